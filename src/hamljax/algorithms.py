"""The table: an algorithm is a row, coordination x drift x neighbourhood.

A baseline differs from its heterogeneous-agent twin by one word, and that word is the paper.
"""

import dataclasses

from .errors import ConfigError, lookup, nearest
from .haml import COORDINATIONS, DRIFTS, NEIGHBOURHOODS


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """One row. Each field names an entry of ``haml``'s tables; ``summary`` is for people."""

    coordination: str
    drift: str
    neighbourhood: str
    summary: str = ""


ALGORITHMS: dict[str, Algorithm] = {
    "happo": Algorithm("sequential", "clip", "everywhere", "Heterogeneous-Agent PPO"),
    "haa2c": Algorithm("sequential", "none", "everywhere", "Heterogeneous-Agent A2C"),
    "hatrpo": Algorithm("sequential", "none", "kl_ball", "Heterogeneous-Agent TRPO"),
    "mappo_ns": Algorithm("simultaneous", "clip", "everywhere", "Multi-Agent PPO, own parameters"),
    "maa2c_ns": Algorithm("simultaneous", "none", "everywhere", "Multi-Agent A2C, own parameters"),
    "matrpo_ns": Algorithm("simultaneous", "none", "kl_ball", "Multi-Agent TRPO, own parameters"),
    "mappo_s": Algorithm("shared", "clip", "everywhere", "Multi-Agent PPO, shared parameters"),
    "maa2c_s": Algorithm("shared", "none", "everywhere", "Multi-Agent A2C, shared parameters"),
    "matrpo_s": Algorithm("shared", "none", "kl_ball", "Multi-Agent TRPO, shared parameters"),
}


def register_algorithm(name: str, row: Algorithm) -> None:
    """Add a row, so that ``algo=name`` and ``hamljax.config(name, ...)`` know it."""
    ALGORITHMS[name] = row


def resolve(algo) -> Algorithm:
    """The row that ``algo`` (a ``learning.config.Algo``) names, with its overrides; every entry is checked."""
    row = lookup("algorithm", algo.name, ALGORITHMS)
    changes = {f: getattr(algo, f) for f in ("coordination", "drift", "neighbourhood") if getattr(algo, f)}
    row = dataclasses.replace(row, **changes)
    lookup("coordination", row.coordination, COORDINATIONS)
    lookup("neighbourhood", row.neighbourhood, NEIGHBOURHOODS)
    drift = lookup("drift", row.drift, DRIFTS)
    for parameter in drift.required:
        if parameter not in hyper_parameters(algo):
            raise ConfigError(f"drift '{row.drift}' needs '{parameter}'; add +algo.drift_params.{parameter}=VALUE")
    for parameter in algo.drift_params:
        if parameter not in drift.parameters:
            raise ConfigError(
                f"drift '{row.drift}' has no parameter '{parameter}'{nearest(parameter, drift.parameters)}"
            )
    return row


def hyper_parameters(algo) -> dict:
    """Everything that a drift or a neighbourhood may ask for by name: the fields of ``algo``, then its ``drift_params``."""
    return {f.name: getattr(algo, f.name) for f in dataclasses.fields(algo)} | dict(algo.drift_params)
