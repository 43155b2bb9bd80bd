"""How many runs an experiment takes, before it is made or to decide one that was."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ...errors import ConfigError
from .scores import numbers, share, whole

MOST = 1_000_000  # runs beyond which the answer is: no number of runs
CERTAIN = 1e6  # standard errors from 0, where a test is certain to reject


def power(difference: float, runs: int, *sds: float, level: float = 0.95) -> float:
    """Probability that a two-sided t test of normal scores finds a difference of means.

    Args:
        difference: of the means.
        runs: of each algorithm.
        sds: the standard deviation over runs of each algorithm (Welch's test), or one alone, that of the differences
            of paired runs.
        level: 1 minus the test's size.
    """
    variances, level = _variances(sds), share("level", level)
    (difference,), runs = numbers("difference", [difference]), whole("runs", runs, 2)
    total = variances.sum()
    if total == 0:
        return float(difference != 0)
    freedom = (runs - 1) * total**2 / np.square(variances).sum()  # Welch and Satterthwaite's, of equally many runs
    critical = stats.t.ppf((1 + level) / 2, freedom)
    shift = min(abs(difference) / math.sqrt(total / runs), CERTAIN)
    if shift == 0:
        return 1 - level
    # The square of t, which has both tails in one; the noncentral t's own far tail is no number in places.
    return float(stats.ncf.sf(critical**2, 1, freedom, shift**2))


def runs_to_tell_apart(difference: float, *sds: float, level: float = 0.95, wanted_power: float = 0.8) -> float:
    """The fewest runs of each algorithm with which a t test finds a difference with the wanted power.

    Args:
        difference, sds, level: as in ``power``.

    Returns:
        A whole number from 2, or infinity where no number of runs is enough.

    Raises:
        ConfigError: a standard deviation below 0; a level or a power outside of (0, 1).
    """
    wanted = share("wanted_power", wanted_power)
    return _fewest(lambda runs: power(difference, runs, *sds, level=level) >= wanted)


def runs_for_half_width(sd: float, half_width: float, level: float = 0.95) -> float:
    """The fewest runs whose Student's t interval of the mean is ``half_width`` or less to either side.

    Args:
        sd: standard deviation over runs, such as ``sd_of_win_rates``.

    Returns:
        A whole number from 2, or infinity where no number of runs is enough.
    """
    (variance,), level = _variances([sd]), share("level", level)
    if not half_width > 0:
        raise ConfigError(f"half_width={half_width} must be above 0")
    return _fewest(
        lambda runs: stats.t.ppf((1 + level) / 2, runs - 1) * math.sqrt(variance) <= half_width * math.sqrt(runs)
    )


def sd_of_win_rates(win_rate: float, between_runs: float, episodes: int) -> float:
    """Standard deviation of measured win rates: ``between_runs`` and the binomial of ``episodes``, one after the other."""
    if not 0 <= win_rate <= 1:
        raise ConfigError(f"win_rate={win_rate} must lie between 0 and 1")
    variance = _variances([between_runs])[0] + win_rate * (1 - win_rate) / whole("episodes", episodes, 1)
    return math.sqrt(variance)


def _variances(sds: ArrayLike) -> np.ndarray:
    found = numbers("standard deviations", sds)
    if found.min() < 0:
        raise ConfigError(f"a standard deviation of {found.min()} is below 0")
    return np.square(found)


def _fewest(enough: Callable[[int], bool]) -> float:
    """The least whole number from 2 for which ``enough``, which holds from there on."""
    high = 2
    while not enough(high):
        high *= 2
        if high > MOST:
            return math.inf
    low = high // 2  # not enough, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
