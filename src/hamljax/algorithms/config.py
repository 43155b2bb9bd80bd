"""Everything that a training run is made of, as frozen dataclasses. Floats may be traced (see ``hamljax.settings``)."""

from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ..errors import ConfigError
from ..nn.networks import Network
from ..nn.optimiser import adam
from ..settings import POSITIVE, SHARE, Settings, config_dataclass, setting

Sharing = str | tuple[tuple[int, ...], ...]  # of parameters: one of SHARING, or the groups of agents that share
SHARING = ("own", "kinds", "all")
LARGEST_COUNT = 2**31 - 1  # of a counter of a run


@config_dataclass
class AnyAlgo(Settings):
    """What every row of the table (``hamljax.algorithms.table``) can be told; a family adds its own."""

    name: str = ""
    anneal_lr: bool = False
    adam_eps: float = setting(1e-5, within=POSITIVE)
    max_grad_norm: float = setting(10.0, within=POSITIVE)

    def counts(self, config: "Config") -> int:
        """By how much the fastest counter of a learner goes on in an update."""
        return config.num_steps

    def check(self, config: "Config") -> None:
        """Hold these settings and the rest of ``config`` to each other.

        Raises:
            ConfigError: they do not go together.
        """


@config_dataclass
class HamlAlgo(AnyAlgo):
    """What rows whose policies improve in a sweep can be told.

    ``coordination`` and ``sharing``: None is what the row that ``name`` picks has. The guarantee is of a table of probabilities
    for every state and agent: a network that states share approximates it, and one that agents share (``kinds``, ``all``,
    groups) is outside of it. Nash limit points are proved for ``order=uniform``; a fixed order may circle where actions tie.
    """

    coordination: str | None = None
    order: str = "uniform"
    sharing: Sharing | None = None
    actor_lr: float = setting(5e-4, within=POSITIVE)
    critic_lr: float = setting(5e-4, within=POSITIVE)


A = TypeVar("A", bound=AnyAlgo)


@config_dataclass
class Config(Settings, Generic[A]):
    """A whole training run, apart from its seed; ``Config[Algo]`` is one of rows with these settings."""

    algo: A
    network: Network
    env: Any  # made by hamljax.envs.configure(name, **parameters)
    num_envs: int = setting(64, at_least=1)
    num_steps: int = setting(128, at_least=1)
    total_timesteps: int = setting(1_000_000, at_least=1)
    gamma: float = setting(0.99, within=SHARE)
    gae_lambda: float = setting(0.95, within=SHARE)
    truncation: str = setting("bootstrap", choices=("bootstrap", "drop", "terminal"))
    obs_norm: str = setting("auto", choices=("auto", "always", "never"))
    num_evals: int = setting(11, at_least=0)
    num_eval_episodes: int = setting(64, at_least=1)
    eval_sampled: bool = False

    @property
    def num_updates(self) -> int:
        """Whole rollouts in ``total_timesteps``."""
        return int(self.total_timesteps) // (self.num_envs * self.num_steps)

    @property
    def chunk_length(self) -> int:
        """Time steps in one training sample: 1 without recurrence."""
        if not self.network.gru_size:
            return 1
        return self.network.data_chunk_length or self.num_steps

    def adam(self, learning_rate: float | Array, steps_per_update: float) -> optax.GradientTransformation:
        """Adam as this run has it: its epsilon, its gradient clip, and its annealing.

        Args:
            learning_rate: at the start of the run. steps_per_update: how many steps the optimiser makes in an update.
        """
        algo = self.algo
        over = self.num_updates if algo.anneal_lr else None
        return adam(learning_rate, algo.adam_eps, algo.max_grad_norm, over, steps_per_update)


def validate(config: Config) -> None:
    """Hold a configuration to what can be trained; traced floats are taken on trust.

    Raises:
        ConfigError: a field cannot hold its value, or fields do not go together.
    """
    for place, value in jax.tree.leaves_with_path(config):
        if shape := jnp.shape(value):
            raise ConfigError(
                f"{jax.tree_util.keystr(place, simple=True, separator='.')} must be one number, not an array of shape "
                f"{shape}; for a run per value, jax.vmap a function that replaces it in the configuration"
            )
    config.check_fields()
    config.algo.check_fields("algo.")
    config.network.check_fields("network.")
    if min(config.network.hidden_sizes, default=0) < 1:
        raise ConfigError(f"network.hidden_sizes must be positive widths, not {list(config.network.hidden_sizes)}")
    rollout = config.num_envs * config.num_steps
    if config.num_updates < 1:
        raise ConfigError(
            f"total_timesteps={int(config.total_timesteps)} is less than one rollout of num_envs * num_steps = "
            f"{config.num_envs} * {config.num_steps} = {rollout}; the smallest valid value is {rollout}"
        )
    longest = LARGEST_COUNT // config.algo.counts(config) * rollout
    if config.total_timesteps > longest:
        raise ConfigError(f"total_timesteps={int(config.total_timesteps)} is too large; up to {longest} can be counted")
    if config.num_evals == 1:
        raise ConfigError("num_evals=1 cannot hold both the start and the end of training; use 0 or at least 2")
    config.algo.check(config)


def nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of ``number`` that is nearest to ``wanted``, and of two the smaller."""
    divisors = (d for d in range(1, number + 1) if number % d == 0)
    return min(divisors, key=lambda d: (abs(d - wanted), d))
