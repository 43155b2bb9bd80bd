"""``hamljax study``: arms tuned alike, measured on fresh seeds, compared as was said before; resumes where it was cut off."""

import contextlib
import dataclasses
import functools
import math
from typing import Any, NamedTuple

from ...errors import ConfigError, nearest, one_of
from ..configuration import machine
from ..configuration.arguments import boolean, whole
from ..configuration.overrides import is_hydras
from ..drawing.tables import print_facts, print_table
from ..runs.reporter import clock
from ..storage.paths import path_of
from ..studies.conduct import Conduct
from ..studies.cost import Costs, steps_of
from ..studies.plan import STAGES, Cell, job_of_cell, pairs
from ..studies.study import BUDGETS, known, read_study
from .report import answers, write_report

KEYS = ("budget", "run_dir", "dry_run", "tasks", "arms", "seeds")
ABOUT = {
    "tune": "tuning, on seeds of its own",
    "tuned": "measuring what tuning chose",
    "preset": "measuring the preset",
}


class Asked(NamedTuple):
    """What was asked for. ``launcher``: words about Hydra."""

    conduct: Conduct
    dry_run: bool
    launcher: list[str]


def read(words: list[str]) -> Asked:
    """``NAME budget=... [key=value...]`` of the command line.

    Raises: ConfigError for anything that is not known, with the nearest that is.
    """
    launcher = [word for word in words if is_hydras(word)]
    names = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word and word not in launcher)
    if flags := [name for name in names if name.startswith("-")]:
        raise ConfigError(f"study knows no '{flags[0]}'; what launches its runs is said as hydra/launcher=joblib")
    if len(names) != 1:
        raise ConfigError(
            f"study takes one name, of: {', '.join(known())}; or a file of your own, such as my_study.yaml"
        )
    for key in given:
        if key not in KEYS:
            raise ConfigError(f"study knows no '{key}'{nearest(key, KEYS)}")
    study = read_study(names[0])
    if "budget" not in given:
        raise ConfigError(f"study {names[0]} needs budget=, one of: {', '.join(BUDGETS)}")
    budget = study.budget(given["budget"])
    for kind, there in (("tasks", study.tasks), ("arms", study.arms)):
        if kind in given:
            some = [one_of(kind[:-1], name, there) for name in given[kind].split(",")]
            chosen: dict[str, Any] = {kind: tuple(dict.fromkeys(some))}
            budget = dataclasses.replace(budget, **chosen)
    folder = path_of(given.get("run_dir") or f"studies/{study.name}-{given['budget']}")
    dry = boolean("dry_run", given.get("dry_run", "false"))
    seeds = whole(budget.seeds)("seeds", given.get("seeds", str(budget.seeds)))
    return Asked(Conduct(study, given["budget"], budget, folder, seeds), dry, launcher)


def study(asked: Asked) -> None:
    """Conduct a study, and report it; or only say what it would be."""
    conduct = asked.conduct
    sizes = [
        len(cell.draws) * conduct.budget.tuning_seeds
        for pair in pairs(conduct.study, conduct.budget)
        for cell in conduct.tuning_of(*pair)
    ]
    machine.prepare(math.gcd(conduct.budget.seeds, *sizes))  # its runs are made in one process
    costs = say(conduct)
    if asked.dry_run:
        return
    conduct.claim()
    from .hydra_app import train

    try:
        conduct.conduct(train, asked.launcher, functools.partial(announce, conduct, costs))
    finally:  # of what is there, also where it was cut off
        if conduct.lines:
            with contextlib.suppress(ConfigError):  # what went wrong is said already
                print(write_report([conduct.folder]), flush=True)
    print(*answers([conduct.folder]), sep="\n")


def say(conduct: Conduct) -> Costs:
    """Print what is asked, what is to be run, and how long that takes here. Returns what it costs."""
    jobs = {cell: job_of_cell(cell) for cell in conduct.to_come()}
    costs, trial = Costs(conduct.lines.values()), dict[str, Cell]()
    for cell, job in jobs.items():
        if not costs.knows(job):
            trial.setdefault(job.config.env.name, cell)
    for number, (environment, cell) in enumerate(trial.items(), start=1):
        print(f"[{number}/{len(trial)}] trying {environment}, to say how long it takes here", flush=True)
        costs.measure(jobs[cell])
    rows, total = [], 0.0
    for stage in STAGES:
        some = [job for cell, job in jobs.items() if cell.stage == stage]
        if some:
            seconds, steps = sum(map(costs.seconds, some)), sum(map(steps_of, some))
            total += seconds
            rows.append((stage, ABOUT[stage], str(len(some)), f"{steps:,}", clock(seconds)))
    print_facts(_facts(conduct))
    if rows:
        print_table(("stage", "", "runs to come", "steps of all seeds", "time here"), rows)
        longest = max(costs.seconds(job) for job in jobs.values())
        print(
            f"about {clock(total)} here, one after another, and the longest run {clock(longest)}; any launcher runs them"
        )
    return costs


def announce(conduct: Conduct, costs: Costs, cells: list[Cell]) -> None:
    """Print which runs begin, how many are to come, and how long all of them take."""
    for line in conduct.lines.values():
        costs.learn(line)
    coming = conduct.to_come()
    left = sum(costs.seconds(job_of_cell(cell)) for cell in coming)
    what = ", ".join(f"{cell.arm} on {cell.task}" for cell in cells)
    print(
        f"[{len(conduct.lines)} runs there, {len(coming)} to come, {clock(left)} left] {cells[0].stage}: {what}",
        flush=True,
    )


def _facts(conduct: Conduct) -> list[tuple[str, str]]:
    asked, budget, primary = conduct.study, conduct.budget, conduct.study.primary
    return [
        ("study", f"{asked.name}: {asked.title}; budget {conduct.name}"),
        ("asks", asked.question),
        ("primary", f"{primary.question} {primary.x} against {primary.y}, {primary.statistic} of {asked.metric}"),
        ("arms", ", ".join(budget.arms)),
        ("tasks", ", ".join(budget.tasks)),
        (
            "seeds",
            f"{conduct.seeds} of each, after {len(conduct.draws)} draw(s) of {len(asked.tuning)} setting(s) each",
        ),
        ("folder", f"{conduct.folder}; {len(conduct.lines)} run(s) are there"),
    ]
