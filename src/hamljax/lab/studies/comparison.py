"""Arm against arm over tasks: the table that a paper needs, and what would decide what is undecided."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConfigError, nearest
from ..drawing.plots import MEASURED, told_apart
from ..statistics import (
    Estimate,
    Scores,
    difference,
    holm,
    improvement_by_task,
    mean_difference,
    more_runs,
    probability_of_improvement,
    student_t,
    welch,
)
from ..statistics.comparison import paired_t
from ..storage.saved_config import flatten
from .leaderboard import Line

ByTask = dict[str, dict[int, float]]  # task -> seed -> score
NORMAL = 2.8  # standard errors from 0 at which a test of 5 % finds a difference with a power of 80 %


class Row(NamedTuple):
    """X against Y on one task, or on all of them (``task`` is empty then, and the estimates are bootstrapped).

    x, y: means with their intervals; of all tasks None. p: of the difference, corrected for the number of tasks. more: how many
    more seeds of each would show a difference like this one; 0 where it is decided.
    """

    task: str
    x: Estimate | None
    y: Estimate | None
    difference: Estimate
    improvement: float
    p: float
    more: float

    @property
    def verdict(self) -> str:
        """What the interval of the difference says."""
        return verdict(self.difference)


@dataclasses.dataclass(frozen=True)
class Pair:
    """All that is known of X against Y. ``rows``: of every task that both were measured on; ``all``: over these."""

    x: str
    y: str
    metric: str
    statistic: str
    rows: list[Row]
    all: Row
    probability: Estimate

    @property
    def decides(self) -> Estimate:
        """The number that decides: a difference, or a probability of improvement minus one half."""
        if self.statistic != "improvement":
            return self.all.difference
        found = self.probability
        return dataclasses.replace(found, value=found.value - 0.5, low=found.low - 0.5, high=found.high - 0.5)


def verdict(found: Estimate) -> str:
    """``ahead``, ``behind`` or ``undecided``: whether an interval is above 0, below it, or holds it."""
    return "ahead" if found.low > 0 else "behind" if found.high < 0 else "undecided"


def runs_to_decide(found: Estimate) -> float:
    """How many more runs of each would show a value like this one, by the width of its interval; 0 where it is decided."""
    if verdict(found) != "undecided":
        return 0
    error = (found.high - found.low) / 2 / 1.96
    if found.value == 0 or not np.isfinite(error):
        return math.inf
    runs = min(found.runs)
    return max(math.ceil(runs * (NORMAL * error / abs(found.value)) ** 2) - runs, 1)


def groups_of(lines: Sequence[Line], metric: str = "", by: str = "") -> tuple[str, dict[str, ByTask]]:
    """The metric, and the scores of every group of runs.

    Args:
        lines: of finished runs. metric: of their absolute metrics; empty: win rates where all have them, else returns.
        by: what tells groups apart: a setting, such as ``algo.coordination``; ``arm``, of a study; empty: arms where there
            are some, else algorithms and what else differs.

    Raises:
        ConfigError: there is no such metric or setting.
    """
    metric = _metric(lines, metric)
    names = names_of(lines, by)
    groups: dict[str, ByTask] = {}
    for line, (group, task) in zip(lines, names, strict=True):
        scores = dict(zip(line.seeds, line.scores(metric), strict=True))
        there = groups.setdefault(group, {}).setdefault(task, {})
        if twice := there.keys() & scores.keys():
            raise ConfigError(
                f"seed {min(twice)} of {group} on {task} is there twice, of runs that differ; name fewer runs"
            )
        there |= scores
    return metric, groups


def _metric(lines: Sequence[Line], metric: str) -> str:
    if not lines:
        raise ConfigError("there is no finished run to compare")
    for name in [metric] if metric else MEASURED:
        lacking = [line for line in lines if not all(map(_is_number, line.absolute.get(name, [None])))]
        if not lacking:
            return name
    found = lacking[0]
    raise ConfigError(f"{found.row} on {found.environment} has no finite '{name}'{nearest(name, found.absolute)}")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def names_of(lines: Sequence[Line], by: str = "") -> list[tuple[str, str]]:
    """(group, task) of every run; the task says what else differs. Arguments and errors: ``groups_of``."""
    by = by or ("arm" if all(line.arm for line in lines) else "")
    settings = [_without_seeds(line.settings) for line in lines]
    if by == "arm":
        if lacking := next((line for line in lines if not line.arm), None):
            raise ConfigError(f"by=arm is for runs of a study, and {lacking.row} on {lacking.environment} is of none")
        return [(line.arm, line.task) for line in lines]
    environments = [line.environment for line in lines]
    if not by:
        tasks = told_apart(environments, [{"env": each["env"]} for each in settings])
        rest = [{key: value for key, value in each.items() if key != "env"} for each in settings]
        return list(zip(told_apart([line.row for line in lines], rest), tasks, strict=True))
    flat = [flatten(each) for each in settings]
    for each in flat:
        if by not in each:
            raise ConfigError(f"these runs have no setting '{by}'{nearest(by, each)}")
    others = [_without(each, by, "algo.name") for each in settings]
    return list(zip([each[by] for each in flat], told_apart(environments, others), strict=True))


def _without_seeds(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in ("seed", "num_seeds", "per_seed")}


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    found = copy.deepcopy(settings)
    for name in names:
        *path, last = name.split(".")
        inside = found
        for part in path:
            inside = inside.get(part, {})
        inside.pop(last, None)
    return found


def compared(
    groups: dict[str, ByTask], metric: str, statistic: str = "iqm", *, against: str = "", paired: bool = False
) -> list[Pair]:
    """Every two groups that have tasks in common, in the order of ``groups``.

    Args:
        groups, metric: as of ``groups_of``. statistic: of ``STATISTICS``, which decides. against: a group that all are compared
            with; empty: each with each. paired: whether runs of one seed belong together.

    Raises:
        ConfigError: there is no such group, or there are no two that can be compared.
    """
    if against and against not in groups:
        raise ConfigError(f"there is no '{against}' among these runs{nearest(against, groups)}")
    every = [(name, against) for name in groups if name != against] if against else itertools.combinations(groups, 2)
    found = [pair(groups, x, y, metric, statistic, paired) for x, y in every if groups[x].keys() & groups[y].keys()]
    if not found:
        raise ConfigError(
            f"nothing can be compared: of {', '.join(groups)} no two were measured on the same task with settings that are "
            f"equal in everything else"
        )
    return found


def pair(groups: dict[str, ByTask], x: str, y: str, metric: str, statistic: str = "iqm", paired: bool = False) -> Pair:
    """X against Y, on the tasks and the seeds that both have on all of these."""
    tasks = [task for task in groups[x] if task in groups[y]]
    a, b = (_scores(groups[name], tasks) for name in (x, y))
    of_all = difference(a, b, statistic if statistic != "improvement" else "iqm", paired=paired)
    probability = probability_of_improvement(a, b, paired=paired)
    by_task, p = mean_difference(a, b, paired=paired), holm((paired_t if paired else welch)(a, b))
    each, more = improvement_by_task(a, b), more_runs(a, b, paired=paired)
    rows = [
        Row(
            task,
            _one(student_t(a), i),
            _one(student_t(b), i),
            gap := _one(by_task, i),
            float(each[i]),
            float(p[i]),
            0 if verdict(gap) != "undecided" else float(more[i]),
        )
        for i, task in enumerate(tasks)
    ]
    summed = Row("", None, None, of_all, float(probability.value), math.nan, runs_to_decide(of_all))
    return Pair(x, y, metric, statistic, rows, summed, probability)


def _scores(by_task: ByTask, tasks: list[str]) -> Scores:
    """Of the seeds that were measured on all of these tasks."""
    seeds = sorted(set.intersection(*(set(by_task[task]) for task in tasks)))
    if len(seeds) < 2:
        raise ConfigError(
            f"a comparison needs two seeds of each, the same on {', '.join(tasks)}; there are {len(seeds)}"
        )
    values = np.array([[by_task[task][seed] for task in tasks] for seed in seeds])
    return Scores(values, tuple(tasks), tuple(f"seed {seed}" for seed in seeds))


def _one(found: Estimate, i: int) -> Estimate:
    """Of estimates that are arrays the one at place ``i``."""
    return dataclasses.replace(found, value=found.value[i], low=found.low[i], high=found.high[i])
