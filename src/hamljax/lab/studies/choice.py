"""What tuning chose: the draw that scored best on the seeds of the search."""

import math

import numpy as np

from .leaderboard import Line
from .plan import Draw


def scores_of_draws(lines: list[Line], metric: str) -> dict[int, float]:
    """The score of every draw that was tried: the mean over its seeds and the later half of the evaluations.

    A draw that led to a number that is not finite has -inf. One evaluation alone would be decided by luck, and the search is
    short, so how fast an arm learns should count.

    Args:
        lines: of the runs in which one arm was tuned on one task. metric: of the evaluations.
    """
    found = {}
    for line in lines:
        curves = np.array(line.curve(metric), np.float64)  # None becomes NaN
        by_draw = curves[:, curves.shape[1] // 2 :].reshape(len(line.draws), -1)
        for draw, scores in zip(line.draws, by_draw, strict=True):
            found[draw] = float(scores.mean()) if np.isfinite(scores).all() else -math.inf
    return found


def chosen(lines: list[Line], metric: str, draws: list[Draw]) -> Draw:
    """The best draw; of equals, and where none was tried, the first, which is the preset.

    Args:
        lines, metric: as of ``scores_of_draws``. draws: all of them.
    """
    return draws[best(scores_of_draws(lines, metric))]


def best(scores: dict[int, float]) -> int:
    """The number of the best draw, of ``scores_of_draws``; of equals the first."""
    return max(sorted(scores), key=scores.__getitem__, default=0)
