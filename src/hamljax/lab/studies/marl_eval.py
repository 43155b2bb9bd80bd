"""The JSON of marl-eval (Gorsane et al., 2022, arXiv 2209.10485): environment > task > algorithm > run > step."""

from collections.abc import Sequence
from typing import Any

from ...errors import ConfigError
from .comparison import names_of
from .leaderboard import Line

METRICS = {"eval/return": "return", "eval/won": "win_rate"}
Table = dict[str, dict[str, dict[str, dict[str, Any]]]]


def as_marl_eval(lines: Sequence[Line], by: str = "") -> Table:
    """Finished runs as that package reads them.

    A metric is a list of one number, the mean over the episodes of an evaluation; steps are environment steps of a seed, without
    the evaluation at 0, from which the package would measure its interval wrongly.

    Args:
        lines: of runs, of which each has an absolute metric. by: as of ``groups_of``.

    Raises:
        ConfigError: a metric is not finite, or what the package asks for is not so: the same algorithms on every task, the same
            runs and steps of every algorithm, no two names that differ in the size of letters alone, no comma in one.
    """
    if not lines:
        raise ConfigError("there is no finished run to export")
    known = [{name for name in METRICS if name in line.absolute and name in line.curves} for line in lines]
    metrics = [name for name in METRICS if all(name in each for each in known)]
    if not metrics:
        raise ConfigError(
            "these runs have no metric in common that was measured of their best teams: eval/return, eval/won"
        )
    table: Table = {}
    for line, (algorithm, task) in zip(lines, names_of(lines, by), strict=True):
        environment, _, rest = line.environment.partition("/")
        task = task.removeprefix(f"{environment}/") if rest else task
        runs = table.setdefault(environment, {}).setdefault(task, {}).setdefault(algorithm, {})
        for i, seed in enumerate(line.seeds):
            if f"seed_{seed}" in runs:
                raise ConfigError(
                    f"seed {seed} of {algorithm} on {task} is there twice, of runs that differ; name fewer runs"
                )
            runs[f"seed_{seed}"] = _run(line, i, metrics)
    _check(table)
    return table


def _run(line: Line, i: int, metrics: Sequence[str]) -> dict[str, Any]:
    """Of the seed at place ``i``."""
    steps: dict[str, Any] = {}
    for place, step in enumerate(line.at):
        if step:
            values = {METRICS[name]: [_number(line, line.curves[name][i][place])] for name in metrics}
            steps[f"step_{len(steps)}"] = {"step_count": step, **values}
    absolute = {METRICS[name]: [_number(line, line.absolute[name][i])] for name in metrics}
    return {**steps, "absolute_metrics": absolute}


def _number(line: Line, value: float | None) -> float:
    if value is None:
        raise ConfigError(f"{line.row} on {line.environment} has an evaluation that is no finite number; leave it out")
    return value


def _check(table: Table) -> None:
    every = [(f"{env}/{task}", runs) for env, tasks in table.items() for task, runs in tasks.items()]
    first_task, first = every[0]
    wanted = _steps(next(iter(first.values())))
    for task, runs in every:
        if runs.keys() != first.keys():
            other = next(iter(runs.keys() ^ first.keys()))
            raise ConfigError(
                f"marl-eval wants the same algorithms on every task; '{other}' is not on both {first_task} and {task}"
            )
        for algorithm, found in runs.items():
            if _steps(found) != wanted:
                raise ConfigError(
                    f"marl-eval wants the same seeds and steps everywhere; {algorithm} on {task} has others"
                )
            if "," in algorithm:
                raise ConfigError(f"marl-eval takes no comma in a name: '{algorithm}'")
    for names in (first, [task for task, _ in every]):
        if len({name.lower() for name in names}) < len(names):
            raise ConfigError(f"marl-eval makes names lower case, and then two of these are one: {', '.join(names)}")


def _steps(runs: dict[str, Any]) -> dict[str, list[Any]]:
    """Of every run the names of its steps, and where they are."""
    return {name: [(step, values.get("step_count")) for step, values in run.items()] for name, run in runs.items()}
