"""A short trial of a job: what its program costs on this machine."""

import contextlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...training.evaluate import ABSOLUTE_ROUNDS
from ...training.train import make_learner
from ..configuration.jobs import Job
from ..storage.checkpoints import KEEP
from .memory import size_of
from .programs import CAPACITY, AnyPrograms, HostPrograms, make_programs
from .schedule import schedule


class Trial(NamedTuple):
    """What a program costs on this machine, in seconds, and a checkpoint of its runs in bytes."""

    compiling: float
    update: float
    evaluation: float
    checkpoint: int
    shared: bool  # whether runs of one program share it: not where it belongs to workers

    def of(self, job: Job) -> tuple[float, int]:
        """The seconds of one of its runs without compiling, and the bytes that it leaves."""
        _, evals, saves = schedule(job)
        rounds = len(evals) + (ABSOLUTE_ROUNDS if job.run.absolute_metric and evals else 0)
        seconds = job.config.num_updates * self.update + rounds * self.evaluation
        return seconds, min(len(saves), KEEP) * self.checkpoint


def tried(job: Job) -> Trial:
    """Compile a job, and let it make some updates and evaluate once."""
    about = job.run.num_seeds, bool(job.config.num_evals), job.run.devices_per_seed, job.configs
    programs = make_programs(make_learner(job.config), *about)
    with contextlib.closing(programs):
        return _tried(job, programs)


def _tried(job: Job, programs: AnyPrograms) -> Trial:
    progress, count, took = programs.begin(range(job.run.num_seeds)), 1, 0.0
    state = progress.state
    for _ in range(2):  # the second time for long enough to be measured
        began = time.perf_counter()
        state, metrics = programs.advance(state, jnp.int32(count))
        jax.block_until_ready(metrics)
        took = (time.perf_counter() - began) / count
        count = max(1, min(int(0.5 / took), CAPACITY))
    evaluation = 0.0
    if programs.evaluate is not None:
        began = time.perf_counter()
        jax.block_until_ready(programs.evaluate(progress.best.actors, jnp.int32(0)))
        evaluation = time.perf_counter() - began
    shared = not isinstance(programs, HostPrograms)
    return Trial(programs.seconds, took, evaluation, size_of(programs.shapes)[1], shared)
