"""Is one algorithm better than another: tests task by task, corrected for their number, beside one for all tasks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ...errors import ConfigError, lookup
from .aggregates import Statistic, improvement_by_task
from .intervals import Estimate, difference, few_runs, probability_of_improvement
from .planning import runs_to_tell_apart
from .scores import Scores, as_scores, numbers, share, together


def welch(x: Scores | ArrayLike, y: Scores | ArrayLike) -> np.ndarray:
    """(tasks,): two-sided p-values of Welch's t test, for variances that may differ.

    Samples without any spread have p = 1 where they are equal, and 0, the formula's limit, where they differ.
    """
    x, y = _at_least_two(*together(x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.ttest_ind_from_stats(*_moments(x), *_moments(y), equal_var=False).pvalue
    return _without_spread(found, np.ptp(x, axis=0) + np.ptp(y, axis=0) == 0, x[0] == y[0])


def paired_t(x: Scores | ArrayLike, y: Scores | ArrayLike) -> np.ndarray:
    """(tasks,): two-sided p-values of Student's t test of the differences, for runs that belong together."""
    x, y = _at_least_two(*together(x, y, paired=True))
    average, sd, count = _moments(x - y)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 2 * stats.t.sf(np.abs(average) / (sd / math.sqrt(count)), count - 1)
    return _without_spread(found, sd == 0, average == 0)


def mean_difference(
    x: Scores | ArrayLike, y: Scores | ArrayLike, *, paired: bool = False, level: float = 0.95
) -> Estimate:
    """(tasks,): the mean of X minus that of Y, with the t interval that goes with ``welch``, or ``paired_t`` where paired."""
    a, b = _at_least_two(*together(x, y, paired=paired))
    if paired:
        gap, sd, count = _moments(a - b)
        error, freedom = sd / math.sqrt(count), np.full(np.shape(gap), count - 1.0)
    else:
        (mean_a, sd_a, n), (mean_b, sd_b, m) = _moments(a), _moments(b)
        parts = np.stack([sd_a**2 / n, sd_b**2 / m])
        gap, error = mean_a - mean_b, np.sqrt(parts.sum(axis=0))
        # Welch and Satterthwaite's; any number where there is no spread at all
        below = (parts**2 / np.array([[n - 1], [m - 1]])).sum(axis=0)
        freedom = np.where(below > 0, parts.sum(axis=0) ** 2 / np.where(below > 0, below, 1), 1)
    half = stats.t.ppf((1 + share("level", level)) / 2, freedom) * error
    return Estimate(gap, gap - half, gap + half, (len(a), len(b)), level, "Student's t")


def mann_whitney(x: Scores | ArrayLike, y: Scores | ArrayLike) -> np.ndarray:
    """(tasks,): two-sided p-values of the rank-sum test: exact in small samples without ties, else normal, corrected for ties."""
    x, y = together(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):  # where all scores of a task are equal
        # Task by task: a tie in one of them would make all of them approximate.
        return np.array([stats.mannwhitneyu(a, b).pvalue for a, b in zip(x.T, y.T, strict=True)])


def _at_least_two(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    if min(map(len, arrays)) < 2:
        raise ConfigError("a t test needs two runs of each algorithm")
    return arrays


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and standard deviation of every task, and the number of runs; equal scores have no spread, rounding or not."""
    same = np.ptp(values, axis=0) == 0
    return np.where(same, values[0], values.mean(axis=0)), np.where(same, 0, values.std(axis=0, ddof=1)), len(values)


def _without_spread(p: np.ndarray, where: np.ndarray, equal: np.ndarray) -> np.ndarray:
    return np.where(where, np.where(equal, 1.0, 0.0), p)


def smallest_p(runs_x: int, runs_y: int) -> float:
    """The smallest two-sided p-value that a rank-sum test of so many runs can have."""
    return 2 / math.comb(runs_x + runs_y, runs_x)


def holm(p: ArrayLike) -> np.ndarray:
    """P-values corrected by Holm's method: the chance of any false rejection among them stays below the level."""
    p = _p_values(p)
    order, count = np.argsort(p), len(p)
    steps = np.maximum.accumulate((count - np.arange(count)) * p[order])
    return np.minimum(steps, 1)[np.argsort(order)]


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """P-values corrected by Benjamini and Hochberg: the expected share of false ones among rejections stays below the level."""
    return stats.false_discovery_control(_p_values(p))


def _p_values(p: ArrayLike) -> np.ndarray:
    found = numbers("p-values", p)
    if found.min() < 0 or found.max() > 1:
        raise ConfigError("p-values must lie between 0 and 1")
    return found


def more_runs(
    x: Scores | ArrayLike,
    y: Scores | ArrayLike,
    *,
    paired: bool = False,
    level: float = 0.95,
    wanted_power: float = 0.8,
) -> np.ndarray:
    """(tasks,): how many more runs of each algorithm a t test needs to find the difference of means that is seen.

    It plans the next experiment, and takes what is seen for the truth; infinite where no number of runs is enough.
    """
    x, y = _at_least_two(*together(x, y, paired=paired))
    spreads = [_moments(values)[1] for values in ([x - y] if paired else [x, y])]
    needed = [
        runs_to_tell_apart(gap, *sds, level=level, wanted_power=wanted_power)
        for gap, *sds in zip(_moments(x)[0] - _moments(y)[0], *spreads, strict=True)
    ]
    return np.maximum(np.array(needed) - min(len(x), len(y)), 0)


TESTS = {"welch": welch, "mann_whitney": mann_whitney, "paired_t": paired_t}
CORRECTIONS = {"holm": holm, "benjamini_hochberg": benjamini_hochberg}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Algorithm X against algorithm Y.

    difference: of the aggregate over all tasks, X minus Y; one test, which needs no correction.
    improvement: the probability of improvement over all tasks.
    tasks: names; and for each of them: mean_difference; improvement_by_task; p, of ``test``; adjusted, p after
    ``correction``; more_runs, how many more of each algorithm would show a difference as large as this one.
    """

    difference: Estimate
    improvement: Estimate
    tasks: tuple[str, ...]
    mean_difference: np.ndarray
    improvement_by_task: np.ndarray
    p: np.ndarray
    adjusted: np.ndarray
    more_runs: np.ndarray
    test: str
    correction: str

    @property
    def note(self) -> str:
        """What is to be printed beside it; empty where there are runs enough."""
        runs = self.difference.runs
        notes = [few_runs(*runs)]
        if self.test == "mann_whitney" and (least := smallest_p(*runs)) * len(self.tasks) > 1 - self.difference.level:
            notes.append(
                f"the smallest p of ranks of {runs[0]} and {runs[1]} runs is {least:.2g}, before any correction"
            )
        return "; ".join(filter(None, notes))


def compare(
    x: Scores | ArrayLike,
    y: Scores | ArrayLike,
    *,
    statistic: str | Statistic = "iqm",
    paired: bool = False,
    test: str = "",
    correction: str = "holm",
    wanted_power: float = 0.8,
    level: float = 0.95,
    **options: Any,
) -> Comparison:
    """All that this module has to say about whether X is better than Y.

    Args:
        x, y: (runs, tasks).
        statistic: the aggregate whose difference decides; choose it before looking.
        paired: run i of X and of Y belong together (the same maps or payoffs were drawn).
        test: of every task, a name of ``TESTS``; by default ``welch``, or ``paired_t`` where runs are paired.
        correction: for the number of tasks, a name of ``CORRECTIONS``.
        wanted_power: that of the test for which ``more_runs`` counts.
        options: of ``bootstrap``.

    Raises:
        ConfigError: scores that are not finite, or of shapes that do not go together; unknown names.

    References:
        Agarwal et al., 2021, arXiv 2108.13264; Gorsane et al., 2022, arXiv 2209.10485.
    """
    a, b = together(x, y, paired=paired)
    if a.ndim != 2:
        raise ConfigError(f"a comparison needs scores (runs, tasks), not of shape {a.shape}")
    test = test or ("paired_t" if paired else "welch")
    if paired and test in TESTS and TESTS[test] is not paired_t:
        raise ConfigError(f"test={test} is for runs that are not paired; choose paired_t, or paired=False")
    p = lookup("test", test, TESTS)(x, y)
    adjusted = lookup("correction", correction, CORRECTIONS)(p)
    of_all = difference(x, y, statistic, paired=paired, level=level, **options)
    improvement = probability_of_improvement(x, y, level=level, **options)
    names = as_scores(x).tasks or as_scores(y).tasks or tuple(map(str, range(a.shape[1])))
    means = a.mean(axis=0) - b.mean(axis=0)
    more = more_runs(x, y, paired=paired, level=level, wanted_power=wanted_power)
    return Comparison(of_all, improvement, names, means, improvement_by_task(x, y), p, adjusted, more, test, correction)
