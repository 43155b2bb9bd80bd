"""The settings of rows that learn from a replay."""

import dataclasses

from ...errors import ConfigError
from ...settings import NOT_NEGATIVE, POSITIVE, SHARE, Interval, PerAgent, config_dataclass, setting
from ..config import Config, HamlAlgo


@config_dataclass
class OffPolicyAlgo(HamlAlgo):
    """An off-policy row and its hyper-parameters.

    ``critics``, ``target_noise`` and ``policy_delay``: None is what the row has.
    """

    name: str = "haddpg"
    critic_lr: float = setting(1e-3, within=POSITIVE)
    # Replay: the last buffer_size steps of all environments together.
    buffer_size: int = setting(200_000, at_least=1)
    batch_size: int = setting(256, at_least=1)
    # In steps; until then actions are uniformly random and nothing is learnt.
    learning_starts: int = setting(5_000, at_least=0)
    gradient_steps: int = setting(16, at_least=1)  # in one update, after num_steps of every environment
    # Of every policy, on the sample of one gradient step (Algorithm 3's mini-epochs).
    update_epochs: int = setting(1, at_least=1)
    # Stochastic policies' entropies count in all of a window's states, so that alpha means the same for every n.
    n_step: int = setting(5, at_least=1)
    # Targets move by tau, every target_every gradient steps (None: whenever the policies move).
    tau: float = setting(0.005, within=Interval(0, 1, low_in=False, high_in=True))
    target_every: int | None = setting(None, at_least=1)
    critics: int | None = setting(None, at_least=1)
    # Policies. Of stochastic ones: what they pay for moving, and where they may go, in one gradient step (None: as the row).
    drift: str | None = None
    neighbourhood: str | None = None
    kl_coef: PerAgent = setting(1.0, within=NOT_NEGATIVE)
    max_kl: PerAgent = setting(0.01, within=POSITIVE)
    drift_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    neighbourhood_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    # Whose actions stand for the agents that have not been updated yet.
    others: str = setting("buffer", choices=("buffer", "policy"))
    policy_delay: int | None = setting(None, at_least=1)
    exploration_noise: float = setting(0.1, within=NOT_NEGATIVE)  # deterministic: of actions in [-1, 1]
    target_noise: float | None = setting(None, within=NOT_NEGATIVE)
    target_noise_clip: float = setting(0.5, within=NOT_NEGATIVE)
    # Temperature of stochastic policies: where it starts, and whether it follows the target entropy.
    alpha: float = setting(0.2, within=POSITIVE)
    auto_alpha: bool = True
    alpha_lr: float = setting(5e-4, within=POSITIVE)
    # Discrete actions: the target as a share of the largest entropy there is. The 0.98 of Christodoulou (2019) keeps a policy
    # next to random: on smax/3m its own return stayed at 0.31 for 1e6 steps, and with 0.2 to 0.5 it was 1.3 after 3e5.
    target_entropy_scale: float = setting(0.3, within=SHARE)

    def counts(self, config: Config) -> int:
        """Steps of an environment, or of a policy's optimiser."""
        return max(config.num_steps, self.gradient_steps * self.update_epochs)

    def check(self, config: Config) -> None:
        """Hold the sizes of replay, batch and run to each other.

        Raises:
            ConfigError: the replay cannot hold what is to be learnt from, or the run is too short for it.
        """
        if config.truncation == "drop":
            raise ConfigError(
                f"unknown truncation 'drop' of {self.name}, which learns from a replay; choose one of: bootstrap, terminal"
            )
        if config.network.gru_size:
            raise ConfigError(f"{self.name} has no memory: its replay holds single steps; use network=mlp")
        rollout = config.num_envs * config.num_steps
        trained = config.num_updates * rollout
        least = max(self.batch_size, self.n_step * config.num_envs, rollout)
        if self.buffer_size // rollout * rollout < least:  # it holds whole rollouts
            raise ConfigError(
                f"algo.buffer_size={self.buffer_size} is too small: it must hold a batch of {self.batch_size}, a rollout of "
                f"{rollout} steps and {self.n_step} steps of all {config.num_envs} environments, in whole rollouts, at least "
                f"{-(-least // rollout) * rollout}"
            )
        if self.n_step * config.num_envs > trained:
            raise ConfigError(
                f"algo.n_step={self.n_step} is longer than the {trained // config.num_envs} steps of each environment"
            )
        if self.learning_starts >= trained:
            raise ConfigError(
                f"algo.learning_starts={self.learning_starts} leaves nothing of total_timesteps="
                f"{int(config.total_timesteps)} to learn in; choose less, or train longer"
            )
