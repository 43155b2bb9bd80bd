"""What follows from a job alone: when the host looks at it, which files it names, whether a directory holds all of it."""

import dataclasses
from typing import Any, NamedTuple

from ...training.train import evaluation_points
from ..configuration.jobs import Job
from ..storage import checkpoints
from ..storage.rundir import RunDir


def files_of(job: Job) -> dict[str, Any]:
    """The settings of a job that may name files, by dotted name."""
    return {"plugin": job.run.plugin, **{f"env.{name}": x for name, x in dataclasses.asdict(job.config.env).items()}}


def steps_per_update(job: Job) -> int:
    """Environment steps of each seed."""
    return job.config.num_envs * job.config.num_steps


def is_finished(run: RunDir, job: Job) -> bool:
    """Whether the directory holds all of the job, undamaged."""
    done = checkpoints.kept(run.path)[-1:] == [job.config.num_updates]
    return done and (run.path / "summary.json").is_file() and not checkpoints.damage(run.path, job.config.num_updates)


class Schedule(NamedTuple):
    """After how many updates the host does what."""

    ends: list[int]  # it records; all of them, in order
    evals: set[int]  # it evaluates
    saves: set[int]  # it writes a checkpoint


def schedule(job: Job) -> Schedule:
    """When to record, evaluate and save: every so many updates as the job's settings say, and at the end."""
    total, run = job.config.num_updates, job.run
    evals = {int(e) for e in evaluation_points(job.config)} if job.config.num_evals else set()
    log_every, save_every = (
        every or max(1, total // n) for every, n in ((run.log_every, 50), (run.checkpoint_every, 10))
    )
    saves = {*range(save_every, total, save_every), total}
    ends = {*range(log_every, total, log_every), *saves, *evals} - {0}
    return Schedule(sorted(ends), evals, saves)
