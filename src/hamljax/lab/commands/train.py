"""``hamljax train`` and what ``resume`` shares with it: jobs, one after another. Nothing here needs JAX before it is prepared."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError, Stopped
from ..configuration.variables import check_choices

if TYPE_CHECKING:
    from ..configuration.jobs import Job

CHECKED = 64  # jobs of a sweep that are all checked before the first begins; of a larger one every value is


def train(arguments: list[str]) -> None:
    """``hamljax train [-m] key=value...``: one job, or one for every combination."""
    from ..configuration.jobs import expand, make_job
    from ..configuration.overrides import is_for_hydra
    from ..storage.paths import claim

    if is_for_hydra(arguments):
        from .hydra_app import train as by_hydra

        by_hydra(arguments)
        return

    words = [a for a in arguments if a not in ("-m", "--multirun")]
    if len(words) == len(arguments):
        run_jobs([make_job(words)])
        return
    combinations = expand(words)
    root, given = _root_of(combinations[0])
    jobs = _sweep(combinations, root)
    checked = [make_job(w) for w in to_check(jobs)]
    if all(job.run.dry_run for job in checked):
        _prepare(checked)
        from .dry_run import say_sweep

        say_sweep(checked if len(checked) == len(jobs) else [make_job(w) for w in jobs])
        return
    if given:
        run_jobs(checked, jobs)
        return
    mine = claim(Path(root))
    try:
        jobs = jobs if mine == Path(root) else _sweep(combinations, str(mine))
        run_jobs(checked if mine == Path(root) else [make_job(w) for w in to_check(jobs)], jobs)
    finally:
        with contextlib.suppress(OSError):  # it is not empty, unless nothing could be trained
            mine.rmdir()
            mine.parent.rmdir()


def to_check(combinations: list[list[str]]) -> list[list[str]]:
    """The jobs of a sweep, as words, that are checked before the first of them begins.

    All of them where they are few. Else every value once, beside the first ones of the others: a value that does not go with
    another one fails when its job begins.
    """
    if len(combinations) <= CHECKED:
        return combinations
    first, seen, found = combinations[0], set[tuple[int, str]](), []
    for words in combinations:
        differ = [(i, word) for i, word in enumerate(words) if word != first[i] and not word.startswith("run_dir=")]
        if len(differ) <= 1 and not seen.issuperset(differ) or words is first:
            seen.update(differ)
            found.append(words)
    return found


def run_jobs(jobs: list[Job], typed: Sequence[list[str]] = (), longer: bool = False) -> None:
    """Train jobs, one after another, or say what one would be; one that fails does not keep the others.

    Args:
        jobs: checked ones. typed: all of them, as words, where they are many; empty: these.
        longer: whether a directory may hold a shorter run of its job.

    Raises:
        ConfigError: one of them cannot go on where it would; nothing was trained.
        Stopped: a signal came, or some failed.
    """
    from ..storage.paths import path_of
    from ..storage.provenance import devices_of
    from ..storage.rundir import holds_this_run

    if any(job.logger["kind"] == "wandb" for job in jobs):
        check_choices("WANDB_MODE")
    begun = False
    for job in jobs:  # before any of them trains, so that a sweep does not fail in the middle
        if job.run.run_dir:
            begun |= holds_this_run(path_of(job.run.run_dir), job.resolved, job.run.resume, longer)
    devices = devices_of([path_of(job.run.run_dir) for job in jobs]) if begun else None
    _prepare(jobs, devices)
    from ..configuration.jobs import make_job
    from ..configuration.plugins import load_plugin
    from ..drawing.tables import print_facts
    from ..runs.run import train as train_one
    from . import dry_run as dryrun
    from .certify import look_before

    look_before(jobs)
    every: Sequence[Job | list[str]] = typed if len(typed) > len(jobs) else jobs
    failed, total = 0, len(every)
    for number, each in enumerate(every, start=1):
        if total > 1:
            print(f"[{number}/{total}]", flush=True)
        folder = each[-1].removeprefix("run_dir=") if isinstance(each, list) else each.run.run_dir
        try:
            job = make_job(each) if isinstance(each, list) else each
            if job is each and total > 1 and job.run.plugin:  # that of a later job may have taken its names
                load_plugin(job.run.plugin)
            if job.run.dry_run:
                print_facts(dryrun.rows(job))
            else:
                train_one(job, longer)
        except (ConfigError, Stopped) as error:
            if total == 1 or getattr(error, "code", 0) > 128:  # a signal means all of them
                raise
            print(f"hamljax: {folder}: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise Stopped(f"{failed} of {total} runs failed; the same command tries them again", 1)


def _prepare(jobs: Sequence[Job], devices: int | None = None) -> None:
    """Make this machine's devices, for all of ``jobs``; ``devices`` as of ``machine.prepare``."""
    from ..configuration import machine

    seeds, shared = (job.run.num_seeds for job in jobs), max(job.run.devices_per_seed for job in jobs)
    machine.prepare(math.gcd(*seeds), devices, shared)


def _root_of(words: list[str]) -> tuple[str, bool]:
    """The folder of a sweep, and whether it was named."""
    from ..configuration.jobs import parse

    given = next((o.value() for o in parse(words) if o.key_or_group == "run_dir"), "")
    return str(given or time.strftime("multirun/%Y-%m-%d_%H-%M-%S")), bool(given)


def _sweep(combinations: list[list[str]], root: str) -> list[list[str]]:
    """Give every job of a sweep a folder of its own under ``root``, named after what varies."""
    from ..configuration.folders import names_of
    from ..configuration.overrides import quote

    return [
        [word for word in words if not word.startswith("run_dir=")] + [f"run_dir={quote(f'{root}/{name}')}"]
        for words, name in zip(combinations, names_of(combinations), strict=True)
    ]
