"""Certificates of drifts with the numbers of ``algo``: what ``hamljax certify`` prints, and what ``train`` looks at."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ... import haml
from ...errors import ConfigError, in_line, lookup, nearest
from ...haml import drifts
from ...haml.certificate import Certificate, examine
from ...haml.parameters import asked_by, summary
from ..table import check_parameters, hyper_parameters, numbers_of
from .settings import Algo


def certify(
    drift: str | Callable, *, budget: float = 20.0, seed: int = 0, quick: bool = False, **parameters: Any
) -> Certificate:
    """Whether a drift meets Definition 1, and how that is known.

    Args:
      drift: its registered name, or a function such as ``register_drift`` takes.
      budget: seconds for the proof, at most.
      seed: of the search; the same seed finds the same.
      quick: a short search and no proof; about a second.
      parameters: hyper-parameters by name; others are as in ``algo``, or have their own defaults.

    Returns: the certificate; ``interior.verdict`` and ``closed.verdict`` are proved, not refuted or refuted.

    Raises ConfigError for a name that there is not, a value that is none, and a drift that cannot be called.
    """
    name, found = (drift, lookup("drift", drift, haml.DRIFTS)) if isinstance(drift, str) else _of_function(drift)
    return certify_with(name, found, settings_of(name, found, parameters), budget, seed, quick)


def certify_with(
    name: str, drift: haml.Drift, algo: Algo, budget: float = 20.0, seed: int = 0, quick: bool = False
) -> Certificate:
    """``certify`` with the numbers of a row's settings."""
    try:
        return examine(name, drift, hyper_parameters(algo, "drift_params"), budget, seed, quick)
    except Exception as error:  # a user's code can break in any way
        file = getattr(getattr(drift.function, "__code__", None), "co_filename", "")
        raise ConfigError(f"drift '{name}' failed{in_line(error, file)}") from error


def settings_of(name: str, drift: haml.Drift, parameters: dict[str, Any]) -> Algo:
    """The settings with the drift's hyper-parameters, by their own names. Raises ConfigError for what is none of them."""
    for given in parameters:
        if given not in drift.parameters.names:
            raise ConfigError(f"drift '{name}' has no parameter '{given}'{nearest(given, drift.parameters.names)}")
    algo = settings_with(parameters, "drift_params")
    check_parameters(f"drift '{name}'", drift.parameters, algo, "drift_params")
    return algo


def settings_with(parameters: dict[str, Any], own: str) -> Algo:
    """The settings with some hyper-parameters: numbers of ``algo`` where it has them, and else of ``own``, a field for others.

    Raises ConfigError for values that these cannot have.
    """
    fields = {f.name for f in numbers_of(Algo())} & parameters.keys()
    others = {given: value for given, value in parameters.items() if given not in fields}
    values: dict[str, Any] = {field: parameters[field] for field in fields} | {own: others}
    algo = dataclasses.replace(Algo(), **values)
    algo.check_fields("")
    return algo


def _of_function(function: Callable) -> tuple[str, haml.Drift]:
    name = getattr(function, "__name__", "drift")
    try:
        own, asks = asked_by("drift", name, function, ("ratio", "m_advantage"), drifts.OFFERED)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return name, haml.Drift(function, own, asks, summary(function))
