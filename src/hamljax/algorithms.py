"""The table: an algorithm is a row. On-policy: coordination x drift x neighbourhood; off-policy: coordination x actor x critics.

Who shares parameters is a column of both: ``own``, ``all``, or what ``algo.sharing`` says else.

A baseline differs from its heterogeneous-agent twin by one word, and that word is the paper.
"""

import dataclasses
import typing

import jax.numpy as jnp

from .errors import ConfigError, lookup, nearest, one_of
from .haml import COORDINATIONS, DRIFTS, NEIGHBOURHOODS, ORDERS, SOLVERS, Parameters

Sharing = str | tuple[tuple[int, ...], ...]  # of parameters: one of SHARING, or the groups of agents that share
SHARING = ("own", "kinds", "all")


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A row that learns from rollouts. Each field names an entry of ``haml``'s tables; ``summary`` is for people."""

    coordination: str
    drift: str
    neighbourhood: str
    summary: str = ""
    sharing: Sharing = "own"


@dataclasses.dataclass(frozen=True)
class OffPolicyAlgorithm:
    """A row that learns from a replay.

    coordination: as in ``haml``. actor: ``deterministic`` (continuous actions only) or ``stochastic`` (with a temperature
    of its own; continuous or discrete). critics: how many; the lowest value counts. target_noise: standard deviation of
    the noise on target actions. policy_delay: steps of the critics for one of the policies.
    """

    coordination: str
    actor: str
    critics: int
    target_noise: float
    policy_delay: int
    summary: str = ""
    sharing: Sharing = "own"


ALGORITHMS: dict[str, Algorithm | OffPolicyAlgorithm] = {
    # on-policy            coordination    drift   neighbourhood
    "happo": Algorithm("sequential", "clip", "everywhere", "Heterogeneous-Agent PPO"),
    "haa2c": Algorithm("sequential", "none", "everywhere", "Heterogeneous-Agent A2C"),
    "hatrpo": Algorithm("sequential", "none", "kl_ball", "Heterogeneous-Agent TRPO"),
    "hamdpo": Algorithm(
        "sequential", "mirror_descent", "everywhere", "Heterogeneous-Agent Mirror Descent Policy Optimisation"
    ),
    "mappo_ns": Algorithm("simultaneous", "clip", "everywhere", "Multi-Agent PPO, own parameters"),
    "maa2c_ns": Algorithm("simultaneous", "none", "everywhere", "Multi-Agent A2C, own parameters"),
    "matrpo_ns": Algorithm("simultaneous", "none", "kl_ball", "Multi-Agent TRPO, own parameters"),
    "mappo_s": Algorithm("simultaneous", "clip", "everywhere", "Multi-Agent PPO, shared parameters", "all"),
    "maa2c_s": Algorithm("simultaneous", "none", "everywhere", "Multi-Agent A2C, shared parameters", "all"),
    "matrpo_s": Algorithm("simultaneous", "none", "kl_ball", "Multi-Agent TRPO, shared parameters", "all"),
    # off-policy                   coordination    actor      critics, target noise, policy delay
    "haddpg": OffPolicyAlgorithm("sequential", "deterministic", 1, 0.0, 1, "Heterogeneous-Agent DDPG"),
    "hatd3": OffPolicyAlgorithm("sequential", "deterministic", 2, 0.2, 2, "Heterogeneous-Agent TD3"),
    "hasac": OffPolicyAlgorithm("sequential", "stochastic", 2, 0.0, 1, "Heterogeneous-Agent SAC"),
    "maddpg": OffPolicyAlgorithm("simultaneous", "deterministic", 1, 0.0, 1, "Multi-Agent DDPG, own parameters"),
    "matd3": OffPolicyAlgorithm("simultaneous", "deterministic", 2, 0.2, 2, "Multi-Agent TD3, own parameters"),
    "masac": OffPolicyAlgorithm("simultaneous", "stochastic", 2, 0.0, 1, "Multi-Agent SAC, own parameters"),
    "maddpg_s": OffPolicyAlgorithm(
        "simultaneous", "deterministic", 1, 0.0, 1, "Multi-Agent DDPG, shared parameters", "all"
    ),
    "matd3_s": OffPolicyAlgorithm(
        "simultaneous", "deterministic", 2, 0.2, 2, "Multi-Agent TD3, shared parameters", "all"
    ),
    "masac_s": OffPolicyAlgorithm("simultaneous", "stochastic", 2, 0.0, 1, "Multi-Agent SAC, shared parameters", "all"),
}
ACTORS = ("deterministic", "stochastic")
SHIPPED = frozenset(ALGORITHMS)
LEAST = {"critics": 1, "target_noise": 0, "policy_delay": 1}


def register_algorithm(name: str, row: Algorithm | OffPolicyAlgorithm) -> None:
    """Add a row, so that ``algo=name`` and ``hamljax.config(name, ...)`` know it.

    What it names may be registered later. Raises ConfigError for the name of a shipped row and for what is no row.
    """
    if name in SHIPPED:
        raise ConfigError(f"'{name}' is an algorithm that hamljax ships; choose another name")
    if not (isinstance(name, str) and name) or "/" in name:
        raise ConfigError(f"an algorithm is registered with a name, without a slash, not {name!r}")
    if not isinstance(row, Algorithm | OffPolicyAlgorithm):
        raise ConfigError(
            f"algorithm '{name}' must be an Algorithm or an OffPolicyAlgorithm, not a {type(row).__name__}"
        )
    for f in dataclasses.fields(row):
        value, least = getattr(row, f.name), LEAST.get(f.name)
        kinds = {float: (int, float), Sharing: (str, tuple)}.get(f.type, f.type)
        if not isinstance(value, kinds) or (least is not None and value < least):
            wanted = getattr(f.type, "__name__", "str or a tuple of groups") + (
                "" if least is None else f" of at least {least}"
            )
            raise ConfigError(f"algorithm '{name}': {f.name} must be a {wanted}, not {value!r}")
    ALGORITHMS[name] = row


def is_off_policy(name: str) -> bool:
    """Whether the row ``name`` learns from a replay. Raises ConfigError where there is no such row."""
    return isinstance(lookup("algorithm", name, ALGORITHMS), OffPolicyAlgorithm)


def resolve(algo) -> Algorithm | OffPolicyAlgorithm:
    """The row that ``algo`` (of ``learning.config``) names, with its overrides; every entry is checked."""
    row = lookup("algorithm", algo.name, ALGORITHMS)
    fields = [f for f in dataclasses.fields(row) if hasattr(algo, f.name)]
    row = dataclasses.replace(
        row, **{f.name: _either(f.type, getattr(algo, f.name), getattr(row, f.name)) for f in fields}
    )
    lookup("coordination", row.coordination, COORDINATIONS)
    lookup("order", algo.order, ORDERS)
    if isinstance(row.sharing, str):
        one_of("algo.sharing", row.sharing, SHARING)
    if isinstance(row, OffPolicyAlgorithm):
        lookup("actor", row.actor, dict.fromkeys(ACTORS))
    else:
        _check_kernel(algo, row)
    return row


def _either(kind: type, said, of_row):
    """What was said, or what the row has: an empty word, a zero count and a negative number say nothing."""
    if kind is not float:
        return said or of_row
    if isinstance(said, int | float):
        return said if said >= 0 else of_row
    return jnp.where(said >= 0, said, of_row)  # traced


def _check_kernel(algo, row: Algorithm) -> None:
    drift = lookup("drift", row.drift, DRIFTS)
    neighbourhood = lookup("neighbourhood", row.neighbourhood, NEIGHBOURHOODS)
    solver = lookup("solver", neighbourhood.solver, SOLVERS)
    _check_parameters(f"drift '{row.drift}'", drift.parameters, algo, "drift_params")
    own = neighbourhood.parameters | solver.parameters
    _check_parameters(f"neighbourhood '{row.neighbourhood}'", own, algo, "neighbourhood_params")


def _check_parameters(what: str, parameters: Parameters, algo, own: str) -> None:
    """Every parameter has a value, and every value of ``own`` a parameter; no default hides behind a setting's."""
    for name in getattr(algo, own):
        if name not in parameters.names:
            raise ConfigError(f"{what} has no parameter '{name}'{nearest(name, parameters.names)}")
        if name in {f.name for f in _numbers(algo) if f.type is int}:
            raise ConfigError(f"algo.{own} holds fractions; '{name}' is a whole number: say algo.{name}=VALUE")
    for name in parameters.required:
        if name not in hyper_parameters(algo, own):
            raise ConfigError(f"{what} needs '{name}'; add +algo.{own}.{name}=VALUE")
    settings = {f.name: f.default for f in _numbers(algo)}
    for name, default in parameters.defaults.items():
        if name in settings and default is not settings[name] and default != settings[name]:
            raise ConfigError(
                f"{what}: its parameter '{name}' is {default} by default, but algo.{name}, which it stands for, is "
                f"{settings[name]}; leave the default out, or choose another name"
            )


def hyper_parameters(algo, own: str) -> dict:
    """All that a drift (``own``: drift_params) or a neighbourhood (neighbourhood_params) may ask for by name.

    These are the numbers among the fields of ``algo``, and over them its ``own`` ones.
    """
    return {f.name: getattr(algo, f.name) for f in _numbers(algo)} | getattr(algo, own)


def _numbers(algo) -> list[dataclasses.Field]:
    return [f for f in dataclasses.fields(algo) if f.type is int or float in (f.type, *typing.get_args(f.type))]
