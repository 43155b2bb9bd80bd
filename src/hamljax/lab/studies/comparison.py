"""Arm against arm over tasks: the table that a paper needs, and what would decide what is undecided."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConfigError, nearest
from ..drawing.plots import MEASURED, told_apart, told_apart_by_task
from ..statistics import (
    FEW,
    Estimate,
    Scores,
    difference,
    holm,
    improvement_by_task,
    mean_difference,
    more_runs,
    paired_t,
    probability_of_improvement,
    student_t,
    welch,
)
from ..storage.saved_config import flatten
from .leaderboard import Line

ByTask = dict[str, dict[int, float]]  # task -> seed -> score
NORMAL = 2.8  # standard errors from 0 at which a test of 5 % finds a difference with a power of 80 %
SIZE = 0.05  # of the tests


class Row(NamedTuple):
    """X against Y on one task.

    x, y: means with their intervals. p: of the difference, corrected for the number of tasks, and what decides. more: how many
    more seeds of each would show a difference like this one; 0 where it is decided.
    """

    task: str
    x: Estimate
    y: Estimate
    difference: Estimate
    improvement: float
    p: float
    more: float

    @property
    def verdict(self) -> str:
        """``ahead``, ``behind`` or ``undecided``."""
        if not self.p < SIZE:
            return "undecided"
        return "ahead" if self.difference.value > 0 else "behind"


@dataclasses.dataclass(frozen=True)
class Pair:
    """All that is known of X against Y. ``rows``: of every task that both were measured on.

    difference: of the IQMs over these tasks. probability: of improvement. Both are of the seeds that each has on all of them.
    """

    x: str
    y: str
    metric: str
    statistic: str
    rows: list[Row]
    difference: Estimate
    probability: Estimate

    @property
    def decides(self) -> Estimate:
        """The number that decides: a difference, or a probability of improvement minus one half."""
        if self.statistic != "improvement":
            return self.difference
        found = self.probability
        return dataclasses.replace(found, value=found.value - 0.5, low=found.low - 0.5, high=found.high - 0.5)


def verdict(found: Estimate) -> str:
    """``ahead``, ``behind`` or ``undecided``: whether a bootstrap interval is above 0, below it, or holds it.

    Of fewer than ``FEW`` runs it is too narrow to decide anything.
    """
    if min(found.runs) < FEW:
        return "undecided"
    return "ahead" if found.low > 0 else "behind" if found.high < 0 else "undecided"


def runs_to_decide(found: Estimate) -> float:
    """How many more runs of each would show a value like this one, by the width of its interval; 0 where it is decided."""
    if verdict(found) != "undecided":
        return 0
    error, runs = (found.high - found.low) / 2 / 1.96, min(found.runs)
    if found.value == 0 or not np.isfinite(error):
        return math.inf
    return max(math.ceil(runs * (NORMAL * error / abs(found.value)) ** 2) - runs, FEW - runs, 1)


def groups_of(lines: Sequence[Line], metric: str = "", by: str = "") -> tuple[str, dict[str, ByTask]]:
    """The metric, and the scores of every group of runs.

    Args:
        lines: of finished runs. metric: of their absolute metrics; empty: win rates where all have them, else returns.
        by: what tells groups apart: a setting, such as ``algo.coordination``; ``arm``, of a study; empty: arms where there
            are some, else algorithms and what else differs.

    Raises:
        ConfigError: there is no such metric or setting; a score that is no number; runs that cannot be pooled.
    """
    metric = _metric(lines, metric)
    groups: dict[str, ByTask] = {}
    for line, (group, task) in zip(lines, names_of(lines, by), strict=True):
        if line.settings.get("per_seed"):
            raise ConfigError(
                f"a run of {group} on {task} is a search (per_seed): its seeds are no sample; leave it out"
            )
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
        lacking = [line for line in lines if name not in line.absolute]
        if lacking:
            continue
        if broken := next((line for line in lines if not line.is_whole(name)), None):
            seed = broken.seeds[broken.absolute[name].index(None)]
            raise ConfigError(
                f"seed {seed} of {broken.row} on {broken.environment} has no finite {name}; leave this run out"
            )
        return name
    found = lacking[0]
    raise ConfigError(f"{found.row} on {found.environment} has no '{name}'{nearest(name, found.absolute)}")


def names_of(lines: Sequence[Line], by: str = "") -> list[tuple[str, str]]:
    """(group, task) of every run; the task says what else differs. Arguments and errors: ``groups_of``."""
    by = by or ("arm" if all(line.arm for line in lines) else "")
    settings = [_without_seeds(line.settings) for line in lines]
    if by == "arm":
        return _by_arm(lines)
    environments = [line.environment for line in lines]
    if by in ("", "algo.name"):
        tasks = told_apart(environments, [{"env": each["env"]} for each in settings])
        return list(zip(told_apart_by_task([line.row for line in lines], settings, tasks), tasks, strict=True))
    flat = [flatten(each) for each in settings]
    for each in flat:
        if by not in each:
            raise ConfigError(f"these runs have no setting '{by}'{nearest(by, each)}")
    others = [_without(each, by, "algo.name") for each in settings]
    return list(zip([each[by] for each in flat], told_apart(environments, others), strict=True))


def _by_arm(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Of several studies, or of several lengths, the task says which."""
    if lacking := next((line for line in lines if not line.arm), None):
        raise ConfigError(f"by=arm is for runs of a study, and {lacking.row} on {lacking.environment} is of none")
    several = len({line.study for line in lines}) > 1
    found = []
    for line in lines:
        task = f"{line.study} {line.task}" if several else line.task
        lengths = {other.steps for other in lines if (other.study, other.task) == (line.study, line.task)}
        found.append((line.arm, f"{task}, {line.steps:,} steps" if len(lengths) > 1 else task))
    return found


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
    """Every two groups that have tasks in common and two seeds there, in the order of ``groups``.

    Args:
        groups, metric: as of ``groups_of``. statistic: of ``STATISTICS``, which decides. against: a group that all are compared
            with; empty: each with each. paired: whether runs of one seed belong together.

    Raises:
        ConfigError: there is no such group, or there are no two that can be compared.
    """
    if against and against not in groups:
        raise ConfigError(f"there is no '{against}' among these runs{nearest(against, groups)}")
    every = [(name, against) for name in groups if name != against] if against else itertools.combinations(groups, 2)
    found, few = [], ""
    for x, y in every:
        if groups[x].keys() & groups[y].keys():
            try:
                found.append(pair(groups, x, y, metric, statistic, paired))
            except ConfigError as error:  # too few seeds
                few = str(error)
    if not found:
        raise ConfigError(
            few
            or f"nothing can be compared: of {', '.join(groups)} no two were measured on the same task with settings that are "
            f"equal in everything else"
        )
    return found


def pair(groups: dict[str, ByTask], x: str, y: str, metric: str, statistic: str = "iqm", paired: bool = False) -> Pair:
    """X against Y, on the tasks that both have. Raises ConfigError unless there are two seeds of each."""
    tasks = [task for task in groups[x] if task in groups[y]]
    a, b = (_scores(groups[name], tasks) for name in (x, y))
    each = [_row(groups[x][task], groups[y][task], task, paired) for task in tasks]
    adjusted = holm(np.array([row.p for row in each]))
    rows = [row._replace(p=float(p)) for row, p in zip(each, adjusted, strict=True)]
    rows = [row._replace(more=max(row.more, 1) if row.verdict == "undecided" else 0) for row in rows]
    of_all = difference(a, b, "iqm", paired=paired)
    return Pair(x, y, metric, statistic, rows, of_all, probability_of_improvement(a, b, paired=paired))


def _row(x: dict[int, float], y: dict[int, float], task: str, paired: bool) -> Row:
    """Of all seeds that there are on a task, or where paired of those that both have; p as it is."""
    both = x.keys() & y.keys()
    a, b = (_scores({task: {s: each[s] for s in each if not paired or s in both}}, [task]) for each in (x, y))
    gap = mean_difference(a, b, paired=paired)
    p, improvement, more = (
        f(a, b) for f in (paired_t if paired else welch, improvement_by_task, lambda *ab: more_runs(*ab, paired=paired))
    )
    estimates = of_task(student_t(a)), of_task(student_t(b)), of_task(gap)
    return Row(task, *estimates, *(float(z[0]) for z in (improvement, p, more)))


def _scores(by_task: ByTask, tasks: list[str]) -> Scores:
    """Of the seeds that were measured on all of these tasks."""
    seeds = sorted(set.intersection(*(set(by_task[task]) for task in tasks)))
    if len(seeds) < 2:
        raise ConfigError(
            f"a comparison needs two seeds of each, the same on {', '.join(tasks)}; there are {len(seeds)}"
        )
    values = np.array([[by_task[task][seed] for task in tasks] for seed in seeds])
    return Scores(values, tuple(tasks), tuple(f"seed {seed}" for seed in seeds))


def of_task(found: Estimate) -> Estimate:
    """Of estimates of one task that of the task."""
    return dataclasses.replace(found, value=found.value[0], low=found.low[0], high=found.high[0])
