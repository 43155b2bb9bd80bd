"""Everything that a training run is made of, as frozen dataclasses.

A field annotated ``float`` is a leaf of the configuration's pytree, so it may be traced: ``jax.vmap`` over a
configuration trains one run per value. Every other field is static.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from ..algorithms import Sharing, is_off_policy
from ..errors import ConfigError, nearest
from ..kinds import typed

PerAgent = float | tuple[float, ...]  # one number for all agents, or one for each
LEAVES = (float, PerAgent, dict[str, PerAgent])


def config_dataclass(cls):
    """A frozen dataclass registered as a pytree whose leaves are its floats (and those of nested configurations)."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)
    data = [f.name for f in fields if f.type in LEAVES or hasattr(f.type, "replace_flat")]
    meta = [f.name for f in fields if f.name not in data]

    def unflatten(static, leaves):
        made = object.__new__(
            cls
        )  # not by __init__, which checks: while JAX handles a pytree its leaves may be anything
        for name, value in zip(data + meta, (*leaves, *static), strict=True):
            object.__setattr__(made, name, value)
        return made

    def flatten_with_keys(config):
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(config, name)) for name in data]
        return leaves, tuple(getattr(config, name) for name in meta)

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls


class _Replaceable:
    def __post_init__(self):
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, typed(f.name, getattr(self, f.name), f.type))

    def replace_flat(self, **changes):
        """A copy with some fields replaced; a field of a nested configuration is named by itself (``actor_lr=1e-3``)."""
        own = [f.name for f in dataclasses.fields(self)]
        nested = {name: getattr(self, name) for name in own if isinstance(getattr(self, name), _Replaceable)}
        direct, inner = {}, {}
        for name, value in changes.items():
            if name in own:
                direct[name] = value
                continue
            owners = [n for n, c in nested.items() if name in {f.name for f in dataclasses.fields(c)}]
            if not owners:
                choices = [*own, *(f.name for c in nested.values() for f in dataclasses.fields(c))]
                raise ConfigError(f"unknown setting '{name}'{nearest(name, choices)}")
            if len(owners) > 1:
                raise ConfigError(
                    f"'{name}' is a setting of each of {', '.join(owners)}; replace the one you mean as a whole"
                )
            inner.setdefault(owners[0], {})[name] = value
        for owner, values in inner.items():
            direct[owner] = dataclasses.replace(direct.get(owner, nested[owner]), **values)
        return dataclasses.replace(self, **direct)

    replace = replace_flat


@config_dataclass
class AnyAlgo(_Replaceable):
    """What every row of the table (``hamljax.algorithms``) can be told.

    ``coordination`` and ``sharing`` are empty unless they override the row that ``name`` picks.
    """

    name: str = "happo"
    coordination: str = ""
    order: str = "uniform"
    sharing: Sharing = ""
    actor_lr: float = 5e-4
    critic_lr: float = 5e-4
    anneal_lr: bool = False
    adam_eps: float = 1e-5
    max_grad_norm: float = 10.0


@config_dataclass
class Algo(AnyAlgo):
    """An on-policy row and its hyper-parameters. ``drift`` and ``neighbourhood`` are empty unless they override it."""

    drift: str = ""
    neighbourhood: str = ""

    # Actor: epochs x minibatches of Adam (neighbourhood "everywhere").
    update_epochs: int = 5
    num_minibatches: int = 1
    ent_coef: float = 0.01
    # Drifts: a keyword of the drift function is one of drift_params, or else the number of its name here.
    clip_eps: PerAgent = 0.2
    kl_coef: PerAgent = 1.0
    dpo_alpha: PerAgent = 2.0
    dpo_beta: PerAgent = 0.6
    drift_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    # Likewise what a neighbourhood of a user's own asks for.
    neighbourhood_params: dict[str, PerAgent] = dataclasses.field(default_factory=dict)
    # Natural gradient in a mean-KL ball (neighbourhood "kl_ball").
    max_kl: PerAgent = 0.01
    cg_iters: int = 10
    cg_damping: float = 0.1
    backtrack_iters: int = 10
    backtrack_coef: float = 0.8
    accept_ratio: float = 0.5

    # Critic.
    critic: str = "ep"
    critic_epochs: int = 5
    critic_minibatches: int = 1
    critic_loss: str = "huber"
    huber_delta: float = 10.0
    value_clip: float = 0.2
    clip_value: bool = True
    value_norm: bool = True

    normalise_advantages: bool = True


@config_dataclass
class OffPolicyAlgo(AnyAlgo):
    """An off-policy row and its hyper-parameters.

    ``critics`` 0, ``target_noise`` below 0 and ``policy_delay`` 0 mean what the row says.
    """

    name: str = "haddpg"
    critic_lr: float = 1e-3
    # Replay: the last buffer_size steps of all environments together.
    buffer_size: int = 200_000
    batch_size: int = 256
    learning_starts: int = 5_000  # steps; until then actions are uniformly random and nothing is learnt
    gradient_steps: int = 16  # in one update, after num_steps of every environment
    update_epochs: int = 1  # of every policy, on the sample of one gradient step (Algorithm 3's mini-epochs)
    n_step: int = (
        5  # stochastic policies' entropies count in all of its states, so that alpha means the same for every n
    )
    # Targets move by tau, every target_every gradient steps (0: whenever the policies move).
    tau: float = 0.005
    target_every: int = 0
    critics: int = 0
    # Policies.
    others: str = "buffer"  # whose actions stand for the agents that have not been updated yet: buffer | policy
    policy_delay: int = 0
    exploration_noise: float = 0.1  # deterministic: of actions in [-1, 1]
    target_noise: float = -1.0
    target_noise_clip: float = 0.5
    # Temperature of stochastic policies: where it starts, and whether it follows the target entropy.
    alpha: float = 0.2
    auto_alpha: bool = True
    alpha_lr: float = 5e-4
    # Discrete actions: the target as a share of the largest entropy there is. The 0.98 of Christodoulou (2019) keeps a policy
    # next to random: on smax/3m its own return stayed at 0.31 for 1e6 steps, and with 0.2 to 0.5 it was 1.3 after 3e5.
    target_entropy_scale: float = 0.3


def algo_kind(name: str) -> type[AnyAlgo]:
    """The settings of the row ``name``. Raises ConfigError where there is no such row."""
    return OffPolicyAlgo if is_off_policy(name) else Algo


@config_dataclass
class Network(_Replaceable):
    """The body shared in shape by actors and critic: [LayerNorm] -> (Linear -> activation -> [LayerNorm])* -> [GRU]."""

    name: str = "mlp"
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    layer_norm: bool = False
    input_norm: bool = False
    gru_size: int = 0  # 0: no recurrence
    data_chunk_length: int = 0  # length of the sequences a recurrent net learns from; 0: the whole rollout
    policy_gain: float = 0.01
    std_x_coef: float = 1.0
    std_y_coef: float = 0.5


@config_dataclass
class Config(_Replaceable):
    """A whole training run, apart from its seed."""

    algo: AnyAlgo
    network: Network
    env: Any  # made by hamljax.envs.configure(name, **parameters)
    num_envs: int = 64
    num_steps: int = 128
    total_timesteps: int = 1_000_000
    gamma: float = 0.99
    gae_lambda: float = 0.95
    truncation: str = "bootstrap"
    obs_norm: str = "auto"
    num_evals: int = 11
    num_eval_episodes: int = 64
    eval_sampled: bool = False

    @property
    def num_updates(self) -> int:
        return int(self.total_timesteps) // (self.num_envs * self.num_steps)

    @property
    def chunk_length(self) -> int:
        """Time steps in one training sample: 1 without recurrence."""
        if not self.network.gru_size:
            return 1
        return self.network.data_chunk_length or self.num_steps


LARGEST_COUNT = 2**31 - 1  # of a counter of a run

# What holds for every configuration, and what for one kind of row. Ranges: (lowest, highest, lowest allowed, highest allowed).
ABOVE_0, FROM_0 = (0, math.inf, False, False), (0, math.inf, True, False)
CHOICES = {
    Config: {
        "network.activation": ("relu", "tanh"),
        "truncation": ("bootstrap", "drop", "terminal"),
        "obs_norm": ("auto", "always", "never"),
    },
    Algo: {"algo.critic": ("ep", "fp"), "algo.critic_loss": ("huber", "squared")},
    OffPolicyAlgo: {"algo.others": ("buffer", "policy"), "truncation": ("bootstrap", "terminal")},
}
POSITIVE_INTEGERS = {
    Config: "num_envs num_steps total_timesteps num_eval_episodes",
    Algo: "algo.update_epochs algo.num_minibatches algo.critic_epochs algo.critic_minibatches algo.cg_iters "
    "algo.backtrack_iters",
    OffPolicyAlgo: "algo.buffer_size algo.batch_size algo.gradient_steps algo.update_epochs algo.n_step",
}
NON_NEGATIVE_INTEGERS = {
    Config: "num_evals network.gru_size network.data_chunk_length",
    Algo: "",
    OffPolicyAlgo: "algo.learning_starts algo.target_every algo.critics algo.policy_delay",
}
RANGES = {
    Config: {
        "gamma": (0, 1, True, True),
        "gae_lambda": (0, 1, True, True),
        **{f"algo.{name}": ABOVE_0 for name in "actor_lr critic_lr max_grad_norm adam_eps".split()},
        **{f"network.{name}": ABOVE_0 for name in "policy_gain std_x_coef std_y_coef".split()},
    },
    Algo: {
        "algo.backtrack_coef": (0, 1, False, False),
        "algo.accept_ratio": (0, 1, True, False),
        **{f"algo.{name}": ABOVE_0 for name in "clip_eps huber_delta value_clip max_kl dpo_alpha dpo_beta".split()},
        **{f"algo.{name}": FROM_0 for name in "ent_coef kl_coef cg_damping".split()},
    },
    OffPolicyAlgo: {
        "algo.tau": (0, 1, False, True),
        **{f"algo.{name}": FROM_0 for name in "exploration_noise target_noise_clip".split()},
        **{f"algo.{name}": ABOVE_0 for name in "alpha alpha_lr".split()},
        "algo.target_entropy_scale": (0, 1, True, True),
        "algo.target_noise": (-1, math.inf, True, False),
    },
}


def _get(config, dotted):
    for part in dotted.split("."):
        config = getattr(config, part)
    return config


def validate(config: Config) -> None:
    """Raise ConfigError for values that cannot train; traced floats are taken on trust."""
    for place, value in jax.tree.leaves_with_path(config):
        if shape := jnp.shape(value):
            raise ConfigError(
                f"{jax.tree_util.keystr(place, simple=True, separator='.')} must be one number, not an array of shape "
                f"{shape}; for a run per value, jax.vmap a function that replaces it in the configuration"
            )
    kind = type(config.algo)
    for part in (Config, kind):
        _validate_values(config, part)
    if min(config.network.hidden_sizes, default=0) < 1:
        raise ConfigError(f"network.hidden_sizes must be positive widths, not {list(config.network.hidden_sizes)}")
    rollout = config.num_envs * config.num_steps
    if config.num_updates < 1:
        raise ConfigError(
            f"total_timesteps={int(config.total_timesteps)} is less than one rollout of num_envs * num_steps = "
            f"{config.num_envs} * {config.num_steps} = {rollout}; the smallest valid value is {rollout}"
        )
    longest = LARGEST_COUNT // _counted(config) * rollout
    if config.total_timesteps > longest:
        raise ConfigError(f"total_timesteps={int(config.total_timesteps)} is too large; up to {longest} can be counted")
    if config.num_evals == 1:
        raise ConfigError("num_evals=1 cannot hold both the start and the end of training; use 0 or at least 2")
    {Algo: _validate_rollout, OffPolicyAlgo: _validate_replay}[kind](config, rollout)


def _counted(config: Config) -> int:
    """By how much the fastest counter of a run goes on in an update: updates, steps of an environment, gradient steps."""
    algo = config.algo
    if isinstance(algo, OffPolicyAlgo):
        return max(config.num_steps, algo.gradient_steps * algo.update_epochs)
    return max(algo.update_epochs * algo.num_minibatches, algo.critic_epochs * algo.critic_minibatches)


def _validate_values(config: Config, part: type) -> None:
    for name, choices in CHOICES[part].items():
        if _get(config, name) not in choices:
            raise ConfigError(f"unknown {name} '{_get(config, name)}'{nearest(_get(config, name), choices)}")
    for name in POSITIVE_INTEGERS[part].split():
        if int(_get(config, name)) < 1:
            raise ConfigError(f"{name} must be at least 1, not {_get(config, name)}")
    for name in NON_NEGATIVE_INTEGERS[part].split():
        if _get(config, name) < 0:
            raise ConfigError(f"{name} must not be negative, not {_get(config, name)}")
    for name, interval in RANGES[part].items():
        _check_range(name, _get(config, name), *interval)
        for own in ("drift_params", "neighbourhood_params"):  # where a setting may be said again
            again = getattr(config.algo, own, {})
            if (last := name.removeprefix("algo.")) in again:
                _check_range(f"algo.{own}.{last}", again[last], *interval)


def _check_range(name: str, value, low, high, low_in: bool, high_in: bool) -> None:
    if isinstance(value, tuple):
        for i, each in enumerate(value):
            _check_range(f"{name}[{i}]", each, low, high, low_in, high_in)
    if not isinstance(value, int | float):
        return
    inside = (value >= low if low_in else value > low) and (value <= high if high_in else value < high)
    if not inside:
        interval = f"{'[' if low_in else '('}{low}, {high}{']' if high_in else ')'}"
        raise ConfigError(f"{name} must be in {interval}, not {value}")


def _validate_rollout(config: Config, rollout: int) -> None:
    if config.num_steps % config.chunk_length:
        raise ConfigError(
            f"network.data_chunk_length={config.chunk_length} does not divide num_steps={config.num_steps}"
            f"; nearest divisor: {_nearest_divisor(config.num_steps, config.chunk_length)}"
        )
    samples = rollout // config.chunk_length
    for name in ("algo.num_minibatches", "algo.critic_minibatches"):
        parts = _get(config, name)
        if samples % parts:
            raise ConfigError(
                f"{name}={parts} does not divide the {samples} samples of a rollout"
                f"; nearest divisor: {_nearest_divisor(samples, parts)}"
            )


def _validate_replay(config: Config, rollout: int) -> None:
    algo = config.algo
    least = max(algo.batch_size, algo.n_step * config.num_envs, rollout)
    if config.network.gru_size:
        raise ConfigError(f"{algo.name} has no memory: its replay holds single steps; use network=mlp")
    if algo.buffer_size // rollout * rollout < least:  # it holds whole rollouts
        raise ConfigError(
            f"algo.buffer_size={algo.buffer_size} is too small: it must hold a batch of {algo.batch_size}, a rollout of "
            f"{rollout} steps and {algo.n_step} steps of all {config.num_envs} environments, in whole rollouts, at least "
            f"{-(-least // rollout) * rollout}"
        )
    trained = config.num_updates * rollout
    if algo.n_step * config.num_envs > trained:
        raise ConfigError(
            f"algo.n_step={algo.n_step} is longer than the {trained // config.num_envs} steps of each environment"
        )
    if algo.learning_starts >= trained:
        raise ConfigError(
            f"algo.learning_starts={algo.learning_starts} leaves nothing of total_timesteps="
            f"{int(config.total_timesteps)} to learn in; choose less, or train longer"
        )


def _nearest_divisor(number: int, wanted: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - wanted))
