"""Scores of runs on tasks, checked before anything is computed from them."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike

from ...errors import ConfigError


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one algorithm: every run on every task.

    Args:
        values: (runs, tasks), or (runs, tasks, evaluations) for curves.
        tasks, runs: their names; numbers from 0 where there are none.
        steps: environment steps at the evaluations of a curve.

    Raises:
        ConfigError: another shape, names that do not fit it, or a score that is not finite, with its run and task.
    """

    values: np.ndarray
    tasks: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        values = _floats(self.values)
        if values.ndim < 2 or 0 in values.shape:
            hint = "; a single task is scores[:, None]" if values.ndim == 1 else ""
            raise ConfigError(f"scores have the shape {values.shape} where (runs, tasks, ...) is wanted{hint}")
        object.__setattr__(self, "values", values)
        for axis, name in enumerate(("runs", "tasks", "steps")):
            names = tuple(getattr(self, name))
            object.__setattr__(self, name, names)
            size = values.shape[axis] if axis < values.ndim else 0
            if names and len(names) != size:
                raise ConfigError(f"{len(names)} names of {name} for scores of the shape {values.shape}")
        if not np.isfinite(values).all():
            raise ConfigError(self._not_finite())

    def _not_finite(self) -> str:
        run, task, *when = np.argwhere(~np.isfinite(self.values))[0]
        who = f"run {self.runs[run] if self.runs else run}, task {self.tasks[task] if self.tasks else task}"
        at = f", evaluation {self.steps[when[0]] if self.steps else when[0]}" if when else ""
        found = self.values[run, task, *when]
        return f"the score of {who}{at} is {found}; statistics need finite scores (leave this run out of all tasks)"


def _floats(scores: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(scores, np.float64)
    except (TypeError, ValueError):
        raise ConfigError("scores are no array of numbers: every run needs one score on every task") from None


def as_scores(scores: Scores | ArrayLike) -> Scores:
    """``scores`` with their checks made."""
    return scores if isinstance(scores, Scores) else Scores(_floats(scores))


def values_of(scores: Scores | ArrayLike) -> np.ndarray:
    """(runs, tasks, ...) float64, all finite."""
    return as_scores(scores).values


def together(*scores: Scores | ArrayLike, paired: bool = False) -> list[np.ndarray]:
    """The arrays of several algorithms. Raises ConfigError unless their tasks are the same; ``paired``: their runs too."""
    first, *others = found = [as_scores(x) for x in scores]
    for other in others:
        if other.values.shape[1:] != first.values.shape[1:]:
            raise ConfigError(
                f"scores of other tasks: {first.values.shape} and {other.values.shape}, (runs, tasks, ...)"
            )
        if first.tasks and other.tasks and other.tasks != first.tasks:
            mine, theirs = next((a, b) for a, b in zip(first.tasks, other.tasks, strict=True) if a != b)
            raise ConfigError(f"scores of other tasks: '{mine}' and '{theirs}' in the same column")
        if paired and (
            len(other.values) != len(first.values) or first.runs and other.runs and other.runs != first.runs
        ):
            counts = f"{len(first.values)} and {len(other.values)}"
            raise ConfigError(
                f"paired scores come from the same runs of both algorithms, and these ({counts}) are others"
            )
    return [x.values for x in found]


def share(name: str, value: float) -> float:
    """``value`` where it lies between 0 and 1, ends excluded. Raises ConfigError otherwise."""
    if not isinstance(value, Real) or not 0 < value < 1:
        raise ConfigError(f"{name}={value} must lie between 0 and 1")
    return float(value)


def whole(name: str, value: int, least: int) -> int:
    """``value`` where it is an integer of at least ``least``. Raises ConfigError otherwise."""
    if not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name}={value} must be a whole number of at least {least}")
    return int(value)


def numbers(name: str, values: ArrayLike) -> np.ndarray:
    """``values`` as (n,) finite numbers, at least one. Raises ConfigError otherwise."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise ConfigError(f"{name} must be a list of finite numbers")
    return found
