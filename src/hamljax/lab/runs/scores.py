"""The scores of finished runs, as statistics want them: algorithm by algorithm, runs by tasks."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...errors import ConfigError, nearest, one_line
from ..drawing.plots import MEASURED, told_apart, told_apart_by_task
from ..statistics import Scores
from ..storage.files import read_json
from ..storage.paths import as_typed
from ..storage.rundir import find_runs, read_run
from ..storage.saved_config import read_config

BySeed = dict[int, dict[int, float]]  # seed -> step -> score; the absolute metric's step is 0


def load_scores(
    paths: str | Path | Iterable[str | Path], metric: str | None = None, *, curves: bool = False
) -> dict[str, Scores]:
    """Scores of every run at or below some folders, by algorithm.

    A seed of a run directory is a run, an environment is a task. Directories of equal settings are pooled as more seeds;
    runs of one algorithm on one task that differ in a setting are algorithms of their own, called by what differs.

    Args:
        paths: a folder, or several.
        metric: a name of the record, such as ``eval/return``; by default win rates where all runs have them, else returns.
        curves: all evaluations at steps that all runs have, instead of the absolute metric: the best joint policy of a
            run over ten times the episodes of an evaluation.

    Returns:
        Scores (runs, tasks), or (runs, tasks, evaluations) with their steps. Every algorithm has the same tasks, in one order.

    Raises:
        ConfigError: no runs; unfinished or damaged ones; a metric that some lack; a task without some of the seeds; a score
            that is no finite number, with its run and seed.

    References:
        Gorsane et al., 2022, Towards a standardised performance evaluation protocol for cooperative MARL, arXiv 2209.10485.
    """
    paths = [paths] if isinstance(paths, str | Path) else paths
    folders = find_runs([str(path) for path in paths])
    read = curve_of if curves else absolute_of
    records = {folder: read(folder) for folder in folders}
    metric = _metric_of_all(records, metric)
    table: dict[str, dict[str, BySeed]] = {}
    for folder, (algorithm, task) in zip(folders, _names([read_config(folder) for folder in folders]), strict=True):
        table.setdefault(algorithm, {}).setdefault(task, {}).update(_finite(folder, metric, records[folder][metric]))
    return _arrays(table, curves)


def absolute_of(folder: Path) -> dict[str, BySeed]:
    """The absolute metrics of a finished run, by name. Raises ConfigError where there are none."""
    file = folder / "summary.json"
    if not file.is_file():
        raise ConfigError(f"the run in '{folder}' is not finished; hamljax resume {as_typed(folder)}")
    try:
        summary = read_json(file)
        found = {
            name: {seed: {0: score} for seed, score in zip(summary["seeds"], values["per_seed"], strict=True)}
            for name, values in summary["absolute"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"cannot read '{file}': {one_line(error)}") from None
    if not found:
        raise ConfigError(f"the run in '{folder}' has no absolute metric (absolute_metric=false, or no evaluations)")
    return found


def curve_of(folder: Path) -> dict[str, BySeed]:
    """The evaluations of a run, by the name of the metric, of steps at which any of its seeds was evaluated."""
    _, metrics = read_run(folder)
    found = {}
    for name in (column for column in metrics.columns if column.startswith("eval")):
        table = metrics.pivot_table(index="step", columns="seed", values=name, dropna=False).dropna(how="all")
        found[name] = {int(seed): {int(step): x for step, x in table[seed].items()} for seed in table.columns}
    if not any(any(seeds.values()) for seeds in found.values()):
        raise ConfigError(f"the run in '{folder}' has no evaluations")
    return found


def _metric_of_all(records: dict[Path, dict[str, BySeed]], metric: str | None) -> str:
    """``metric``, or the first of those that are drawn, which every run has. Raises ConfigError where one lacks it."""
    for name in [metric] if metric else MEASURED:
        lacking = [folder for folder, found in records.items() if name not in found]
        if not lacking:
            return name
    raise ConfigError(f"the run in '{lacking[0]}' has no '{name}'{nearest(name, records[lacking[0]])}")


def _names(configs: list[dict]) -> list[tuple[str, str]]:
    """(algorithm, task) of every run, each with the settings that tell it from others of that name."""
    environments = [config["env"] for config in configs]
    tasks = told_apart([env["name"] for env in environments], [{"env": env} for env in environments])
    networks = {config["network"]["name"] for config in configs}
    plain = [
        config["algo"]["name"] + (f" · {config['network']['name']}" if len(networks) > 1 else "") for config in configs
    ]
    return list(zip(told_apart_by_task(plain, configs, tasks), tasks, strict=True))


def _finite(folder: Path, metric: str, found: BySeed) -> BySeed:
    """``found``, where every score is a finite number. Raises ConfigError, which names the run and the seed, otherwise."""
    for seed, scores in found.items():
        for step, score in scores.items():
            if not isinstance(score, int | float) or not math.isfinite(score):
                at = f" at step {step:,}" if step else ""
                raise ConfigError(
                    f"seed {seed} of the run in '{folder}' has no finite {metric}{at}; leave this run out"
                )
    return found


def _arrays(table: dict[str, dict[str, BySeed]], curves: bool) -> dict[str, Scores]:
    """Arrays of algorithm -> task -> seed -> step -> score, which has to have the same seeds in every task."""
    tasks = sorted({task for by_task in table.values() for task in by_task})
    for algorithm, by_task in table.items():
        everywhere = set.union(*map(set, by_task.values()))
        for task in tasks:
            if missing := sorted(everywhere - by_task.get(task, {}).keys()):
                need = "an algorithm needs the same seeds on every task"
                raise ConfigError(f"{algorithm} has no run of seed {missing[0]} on {task}; {need}")
    every = [set(scores) for by_task in table.values() for by_seed in by_task.values() for scores in by_seed.values()]
    steps = sorted(set.intersection(*every))
    if not steps:
        raise ConfigError("the runs were evaluated at different steps, and have none in common")
    found = {}
    for algorithm, by_task in sorted(table.items()):
        seeds = sorted(by_task[tasks[0]])
        values = np.array([[[by_task[task][seed][step] for step in steps] for task in tasks] for seed in seeds])
        runs = tuple(f"seed {seed}" for seed in seeds)
        found[algorithm] = Scores(
            values if curves else values[..., 0], tuple(tasks), runs, tuple(steps) if curves else ()
        )
    return found
