"""The settings of rows that learn from rollouts."""

import dataclasses

from ...errors import ConfigError
from ...settings import NOT_NEGATIVE, POSITIVE, Interval, PerAgent, check_value, config_dataclass, setting
from ..config import Config, HamlAlgo, nearest_divisor


@config_dataclass
class Algo(HamlAlgo):
    """An on-policy row and its hyper-parameters. ``drift`` and ``neighbourhood``: None is what the row has."""

    name: str = "happo"
    drift: str | None = None
    neighbourhood: str | None = None
    policy: str = "independent"

    # An agent whose HAMO (of the samples, without an entropy bonus) fell keeps its old policy and optimiser's state.
    keep_if_worse: bool = False
    # Actor: epochs x minibatches of Adam (neighbourhood "everywhere").
    update_epochs: int = setting(5, at_least=1)
    num_minibatches: int = setting(1, at_least=1)
    ent_coef: float = setting(0.01, within=NOT_NEGATIVE)
    # ent_coef: a bonus in the objective of the moment, which is no drift, so that no guarantee covers it; or paid with the
    # reward, so that later entropies count (None: as the row).
    entropy: str | None = setting(None, choices=("bonus", "reward"))
    # The weight of a step t of an episode: 1, or gamma^t, which is the theory's state distribution.
    occupancy: str = setting("undiscounted", choices=("undiscounted", "discounted"))
    # Of agents that share a policy: each one's own ratio, or that of their joint action, which the theorem over groups is about.
    group_ratio: str = setting("folded", choices=("folded", "joint"))
    # Drifts: a keyword of the drift function is one of drift_params, or else the number of its name here.
    clip_eps: PerAgent = setting(0.2, within=POSITIVE)
    kl_coef: PerAgent = setting(1.0, within=NOT_NEGATIVE)
    dpo_alpha: PerAgent = setting(2.0, within=POSITIVE)
    dpo_beta: PerAgent = setting(0.6, within=POSITIVE)
    drift_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    # Likewise what a neighbourhood of a user's own asks for.
    neighbourhood_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    # Natural gradient in a mean-KL ball (neighbourhood "kl_ball").
    max_kl: PerAgent = setting(0.01, within=POSITIVE)
    cg_iters: int = setting(10, at_least=1)
    cg_damping: float = setting(0.1, within=NOT_NEGATIVE)
    backtrack_iters: int = setting(10, at_least=1)
    backtrack_coef: float = setting(0.8, within=Interval(0, 1, low_in=False))
    accept_ratio: float = setting(0.5, within=Interval(0, 1))

    # Critic.
    critic: str = "ep"
    critic_epochs: int = setting(5, at_least=1)
    critic_minibatches: int = setting(1, at_least=1)
    critic_loss: str = setting("huber", choices=("huber", "squared"))
    huber_delta: float = setting(10.0, within=POSITIVE)
    value_clip: float = setting(0.2, within=POSITIVE)
    clip_value: bool = True
    value_norm: bool = True

    # Advantages are estimates, so that improvement on a rollout is improvement in expectation at best.
    normalise_advantages: bool = True

    def counts(self, config: Config) -> int:
        """Optimiser steps of an update."""
        return max(self.update_epochs * self.num_minibatches, self.critic_epochs * self.critic_minibatches)

    def check_fields(self, prefix: str = "") -> None:
        """As of all settings; ``drift_params`` and ``neighbourhood_params`` may say a setting again."""
        super().check_fields(prefix)
        named = {f.name: f for f in dataclasses.fields(self)}
        for own in ("drift_params", "neighbourhood_params"):
            for name, value in getattr(self, own).items():
                if name in named:
                    check_value(f"{prefix}{own}.{name}", value, named[name])

    def check(self, config: Config) -> None:
        """Hold the sizes of a rollout to those of samples and minibatches.

        Raises:
            ConfigError: a rollout of ``config`` cannot be cut so.
        """
        if self.group_ratio == "joint" and self.num_minibatches > 1:
            raise ConfigError(
                f"algo.group_ratio=joint keeps the members of a group in one sample, and algo.num_minibatches="
                f"{self.num_minibatches} would part them; use algo.num_minibatches=1"
            )
        length, num_steps = config.chunk_length, config.num_steps
        if num_steps % length:
            raise ConfigError(
                f"network.data_chunk_length={length} does not divide num_steps={num_steps}"
                f"; nearest divisor: {nearest_divisor(num_steps, length)}"
            )
        samples = config.num_envs * num_steps // length
        for name in ("num_minibatches", "critic_minibatches"):
            if samples % (parts := getattr(self, name)):
                raise ConfigError(
                    f"algo.{name}={parts} does not divide the {samples} samples of a rollout"
                    f"; nearest divisor: {nearest_divisor(samples, parts)}"
                )
