"""Point estimates over runs and tasks (Agarwal et al., 2021, arXiv 2108.13264; Gorsane et al., 2022, arXiv 2209.10485).

Each takes scores (runs, tasks, ...), in units in which 1 is as good as wanted, and keeps the axes after the first two.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .scores import Scores, numbers, together, values_of

Statistic = Callable[..., np.ndarray]


def iqm(scores: Scores | ArrayLike) -> np.ndarray:
    """Interquartile mean: of all N scores of all runs and tasks, the int(N / 4) lowest and highest left out."""
    values = values_of(scores)
    pool = values.reshape(-1, *values.shape[2:])
    cut = int(0.25 * len(pool))
    middle = np.partition(pool, (cut, len(pool) - cut - 1), axis=0)[cut : len(pool) - cut]
    return middle.mean(axis=0)


def mean(scores: Scores | ArrayLike) -> np.ndarray:
    """Mean over tasks of the means over runs."""
    return task_means(scores).mean(axis=0)


def median(scores: Scores | ArrayLike) -> np.ndarray:
    """Median over tasks of the means over runs."""
    return np.median(task_means(scores), axis=0)


def optimality_gap(scores: Scores | ArrayLike, target: float = 1.0) -> np.ndarray:
    """Mean shortfall from ``target``, where a score above it counts as the target; lower is better."""
    return target - mean(np.minimum(values_of(scores), target))


AGGREGATES: dict[str, Statistic] = {"iqm": iqm, "median": median, "mean": mean, "optimality_gap": optimality_gap}


def task_means(scores: Scores | ArrayLike) -> np.ndarray:
    """(tasks, ...): means over runs."""
    return values_of(scores).mean(axis=0)


def share_above(scores: Scores | ArrayLike, taus: ArrayLike) -> np.ndarray:
    """(taus, ...): the share of all runs and tasks whose score is strictly above each tau."""
    values = values_of(scores)
    return np.stack([(values > tau).mean(axis=(0, 1)) for tau in numbers("taus", taus)])


def improvement_by_task(x: Scores | ArrayLike, y: Scores | ArrayLike) -> np.ndarray:
    """(tasks, ...): P(X > Y) + P(X = Y) / 2 for a run of each, Mann and Whitney's U over the number of pairs.

    Args:
        x, y: (runs, tasks, ...); their numbers of runs may differ.
    """
    x, y = (values for values in together(x, y))
    # Counts, not means, so that samples in which nothing differs give one half exactly.
    wins = np.count_nonzero(x[:, None] > y, axis=(0, 1)) + np.count_nonzero(x[:, None] >= y, axis=(0, 1))
    return wins / (2 * len(x) * len(y))
