"""Confidence intervals: Student's t for a task, the stratified percentile bootstrap for what sums up several.

The bootstrap draws runs with replacement within each task, each task on its own (Agarwal et al., 2021, arXiv 2108.13264),
and whole runs where scores are curves.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ...errors import ConfigError, lookup
from .aggregates import AGGREGATES, Statistic, improvement_by_task, share_above
from .scores import Scores, as_scores, numbers, share, together, values_of, whole

FEW = 5  # runs below which an interval is shown with a note
CELLS = 4_000_000  # numbers that are in memory at a time, of all resamples
TAUS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value with its confidence interval, and how that was made.

    value, low, high: numbers, or arrays of one shape. runs: of each algorithm. resamples: 0 where none were drawn.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: tuple[int, ...]
    level: float
    method: str
    resamples: int = 0
    seed: int | None = None

    @property
    def note(self) -> str:
        """What is to be printed beside it; empty where there are runs enough."""
        return few_runs(*self.runs)

    def __str__(self) -> str:
        if np.ndim(self.value):
            return f"{self.method} of {np.shape(self.value)} values, runs: {self.runs}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def few_runs(*runs: int) -> str:
    """A note for whoever reads an interval of fewer than ``FEW`` runs; empty for more."""
    if min(runs) >= FEW:
        return ""
    return f"only {min(runs)} run(s): with fewer than {FEW} a bootstrap interval is too narrow, and Student's t is wide"


def half_width(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Half of Student's t interval of the mean over the first axis; NaN of fewer than two values."""
    count = len(values)
    if count < 2:
        return np.full(np.shape(values)[1:], math.nan)[()]
    return stats.t.ppf((1 + level) / 2, count - 1) * values.std(axis=0, ddof=1) / math.sqrt(count)


def student_t(scores: Scores | ArrayLike, level: float = 0.95) -> Estimate:
    """Mean over runs with Student's t interval, for each task by itself.

    Args:
        scores: (runs, tasks, ...).

    Returns:
        An estimate of (tasks, ...); its ends are NaN where there is a single run.

    Raises:
        ConfigError: scores that are not finite or of another shape; a level outside of (0, 1).
    """
    values = values_of(scores)
    centre, half = values.mean(axis=0), half_width(values, share("level", level))
    return Estimate(centre, centre - half, centre + half, (len(values),), level, "Student's t")


def bootstrap(
    statistic: str | Statistic,
    scores: Scores | ArrayLike,
    *others: Scores | ArrayLike,
    level: float = 0.95,
    resamples: int = 50_000,
    seed: int = 0,
    paired: bool = False,
    task_bootstrap: bool = False,
) -> Estimate:
    """A statistic of one or several algorithms with its stratified percentile bootstrap interval.

    Args:
        statistic: a name of ``AGGREGATES``, or a function of as many arrays (runs, tasks, ...) as are given that
            keeps their last axis, along which the resamples lie.
        scores, others: (runs, tasks, ...) of each algorithm, resampled independently of one another.
        seed: of the generator; kept in the result.
        paired: draw the same runs of every algorithm.
        task_bootstrap: draw tasks too (the same of every algorithm): an interval for tasks like these.

    Raises:
        ConfigError: scores that are not finite, or of shapes that do not go together; an impossible option.

    References:
        Agarwal et al., 2021, Deep reinforcement learning at the edge of the statistical precipice, arXiv 2108.13264.
    """
    function = statistic_of(statistic)
    arrays = together(scores, *others, paired=paired)
    level, resamples, seed = share("level", level), whole("resamples", resamples, 1), whole("seed", seed, 0)
    draw = _Resampler(arrays, seed, paired, task_bootstrap)
    found = np.concatenate([function(*drawn) for drawn in draw.chunks(resamples)], axis=-1)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    runs = tuple(len(x) for x in arrays)
    return Estimate(function(*arrays), low, high, runs, level, "stratified percentile bootstrap", resamples, seed)


def statistic_of(statistic: str | Statistic) -> Statistic:
    """The function of a name of ``AGGREGATES``, or the function that was given. Raises ConfigError for another name."""
    return statistic if callable(statistic) else lookup("statistic", statistic, AGGREGATES)


class _Resampler:
    """Resamples of arrays (runs, tasks, ...), a bounded number at a time; how many that is changes none of them."""

    def __init__(self, arrays: list[np.ndarray], seed: int, paired: bool, task_bootstrap: bool):
        self.arrays, self.paired, self.task_bootstrap = arrays, paired, task_bootstrap
        # A generator for each array: what one draws does not depend on how the others are cut into chunks.
        self.of_tasks, *self.of_runs = np.random.default_rng(seed).spawn(1 + len(arrays))
        self.size = max(1, CELLS // (math.prod(map(len, arrays)) * arrays[0][0].size))

    def chunks(self, count: int) -> Iterator[list[np.ndarray]]:
        """For every chunk: an array (runs, tasks, ..., resamples) of each algorithm."""
        for begin in range(0, count, self.size):
            yield self._draw(min(self.size, count - begin))

    def _draw(self, count: int) -> list[np.ndarray]:
        tasks = self.arrays[0].shape[1]
        columns = self.of_tasks.integers(0, tasks, (count, 1, tasks)) if self.task_bootstrap else np.arange(tasks)
        drawn, rows = [], None
        for values, generator in zip(self.arrays, self.of_runs, strict=True):
            if rows is None or not self.paired:
                rows = generator.integers(0, len(values), (count, len(values), tasks))
            drawn.append(np.moveaxis(values[rows, columns], 0, -1))
        return drawn


def aggregates(scores: Scores | ArrayLike, **options: Any) -> dict[str, Estimate]:
    """IQM, median, mean and optimality gap, each from the same resamples. ``options``: of ``bootstrap``."""
    return {name: bootstrap(name, scores, **options) for name in AGGREGATES}


def difference(
    x: Scores | ArrayLike, y: Scores | ArrayLike, statistic: str | Statistic = "iqm", **options: Any
) -> Estimate:
    """The statistic of X minus that of Y, with the interval of this difference: one without 0 in it tells them apart.

    Args:
        x, y: (runs, tasks, ...).
        options: of ``bootstrap``; ``paired`` where runs of both share what is random in a task.
    """
    function = statistic_of(statistic)
    return bootstrap(lambda a, b: function(a) - function(b), x, y, **options)


def probability_of_improvement(x: Scores | ArrayLike, y: Scores | ArrayLike, **options: Any) -> Estimate:
    """Mean over tasks of P(a run of X scores above one of Y), where a tie counts one half.

    Args:
        x, y: (runs, tasks, ...); their numbers of runs may differ. ``improvement_by_task`` has it task by task.
        options: of ``bootstrap``.
    """
    return bootstrap(lambda a, b: improvement_by_task(a, b).mean(axis=0), x, y, **options)


def performance_profile(
    scores: Scores | ArrayLike, taus: ArrayLike = TAUS, *, resamples: int = 2_000, **options: Any
) -> Estimate:
    """The share of runs and tasks with a score above each tau, with a pointwise band. ``options``: of ``bootstrap``."""
    taus = numbers("taus", taus)
    return bootstrap(lambda x: share_above(x, taus), scores, resamples=resamples, **options)


def sample_efficiency(
    scores: Scores | ArrayLike, statistic: str | Statistic = "iqm", *, resamples: int = 5_000, **options: Any
) -> Estimate:
    """An aggregate at every evaluation, with a pointwise band; whole runs are resampled.

    Args:
        scores: (runs, tasks, evaluations).
        options: of ``bootstrap``.
    """
    if as_scores(scores).values.ndim != 3:
        raise ConfigError(f"a curve needs scores (runs, tasks, evaluations), not of shape {values_of(scores).shape}")
    return bootstrap(statistic, scores, resamples=resamples, **options)
