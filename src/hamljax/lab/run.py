"""The host loop: compiled blocks of updates with the seeds vmapped inside; between blocks log, evaluate, draw."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ..learning.batching import over_seeds
from ..learning.train import evaluation_points, make_learner
from . import checkpoints
from .configuration import Job
from .loggers import make_logger
from .plots import draw_runs
from .progress import Reporter, clock
from .rundir import RunDir


def block_ends(num_updates: int, log_every: int, evals: np.ndarray) -> list[int]:
    """After how many updates the host looks up: at log intervals and evaluations, the end included."""
    log_every = log_every or max(1, num_updates // 50)
    return sorted({*range(log_every, num_updates, log_every), *(int(e) for e in evals if e > 0), num_updates})


def train(job: Job) -> RunDir:
    """Train all seeds of a job and leave a run directory that explains itself."""
    config = job.config
    learner = make_learner(config)
    run = RunDir.create(job.run_dir, job.resolved)
    logger = make_logger(job.logger, run.path, job.resolved)
    per_update = config.num_envs * config.num_steps
    reporter = Reporter(config.num_updates * per_update, job.num_seeds)
    try:
        _train(job, learner, run, logger, reporter, per_update)
    finally:
        reporter.close()
        logger.close()
    return run


def _train(job, learner, run, logger, reporter, per_update):
    config, seeds = job.config, np.arange(job.seed, job.seed + job.num_seeds)
    evals = evaluation_points(config) if config.num_evals else np.array([], int)
    ends = block_ends(config.num_updates, job.log_every, evals)
    capacity = max(np.diff([0, *ends]))

    # COMPILE
    reporter.say(f"compiling {config.algo.name} on {config.env.name}, {job.num_seeds} seed(s)")
    began = time.perf_counter()
    keys = jnp.stack([jax.random.key(int(seed)) for seed in seeds])
    state = jax.jit(over_seeds(learner.init, job.num_seeds))(keys)
    updates = functools.partial(learner.run_updates, capacity=int(capacity))
    block = jax.jit(over_seeds(updates, job.num_seeds, shared=1), donate_argnums=0)
    block = block.lower(state, jnp.int32(1)).compile()
    evaluate = jax.jit(over_seeds(learner.evaluate, job.num_seeds))
    compile_seconds = time.perf_counter() - began
    reporter.say(
        f"compiled in {compile_seconds:.1f} s; training {config.num_updates * per_update:,} steps per seed -> {run.path}"
    )
    reporter.started()

    # TRAIN
    shown: dict[str, float] = {}
    if 0 in evals:
        found = {name: np.asarray(x) for name, x in evaluate(state).items()}
        run.append(_rows(seeds, [0], per_update, {}, found, np.nan))
        shown = _shown(found, shown)
    done = 0
    began = time.perf_counter()
    for end in ends:
        block_began = time.perf_counter()
        state, metrics = block(state, jnp.int32(end - done))
        metrics = {name: np.asarray(x)[:, : end - done] for name, x in metrics.items()}
        speed = (end - done) * per_update * job.num_seeds / (time.perf_counter() - block_began)
        found = {name: np.asarray(x) for name, x in evaluate(state).items()} if end in evals else {}
        rows = _rows(seeds, range(done + 1, end + 1), per_update, metrics, found, speed)
        run.append(rows)
        done = end
        if found or done == config.num_updates:
            checkpoints.save(run.path, done, state)
        shown = _shown(
            {k: np.nanmean(v) if np.isfinite(v).any() else np.nan for k, v in metrics.items()} | found, shown
        )
        logger.log(
            done * per_update, rows.drop(columns=["seed", "update", "step"]).mean(skipna=True).dropna().to_dict()
        )
        reporter.update(done * per_update, shown)

    # SUMMARISE
    seconds = time.perf_counter() - began
    run.write_summary(_summary(run.metrics(), seeds, seconds, compile_seconds, done * per_update))
    draw_runs([run.path], run.path / "curves.png")
    reporter.say(f"done in {clock(seconds)}: {run.path}/curves.png, summary.json, metrics.parquet")


def _rows(seeds, updates, per_update, metrics, evals, speed) -> pd.DataFrame:
    """One row per update and seed; evaluations stand on the row of the update that they follow."""
    updates = np.asarray(updates)
    frame = pd.DataFrame({"update": np.tile(updates, len(seeds)), "seed": np.repeat(seeds, len(updates))})
    frame["step"] = frame["update"] * per_update
    columns = {name: values.reshape(-1) for name, values in metrics.items()}
    last = frame["update"].to_numpy() == updates[-1]
    for name, values in evals.items():
        columns[name] = np.full(len(frame), np.nan)
        columns[name][last] = values
    columns["perf/steps_per_second"] = np.full(len(frame), speed)
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def _shown(new: dict, old: dict) -> dict[str, float]:
    """What a person watches: training return, and the last evaluation."""
    names = {"return": "train/episode_return", "eval": "eval/return", "won": "eval/won"}
    values = {short: float(np.mean(new[name])) for short, name in names.items() if name in new}
    return old | {name: value for name, value in values.items() if np.isfinite(value)}


def _summary(metrics: pd.DataFrame, seeds, seconds, compile_seconds, steps) -> dict:
    columns = [c for c in metrics.columns if c.startswith(("eval/", "train/"))]
    last = metrics.groupby("seed")[columns].last()
    return {
        "seeds": [int(s) for s in seeds],
        "steps_per_seed": int(steps),
        "seconds": round(seconds, 2),
        "compile_seconds": round(compile_seconds, 2),
        "final": {c: {"mean": float(last[c].mean()), "per_seed": [float(x) for x in last[c]]} for c in columns},
    }
