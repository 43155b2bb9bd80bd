"""The record of a run: rows of metrics, what a person is shown of them, and their summary."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike

Metrics = dict[str, Num[np.ndarray, "seeds updates"]]


def rows(
    seeds: Int[np.ndarray, " seeds"],
    updates: Sequence[int],
    per_update: int,
    metrics: Metrics,
    evals: dict[str, Num[np.ndarray, " seeds"]],
    speed: dict[str, float],
) -> pd.DataFrame:
    """One row per update and seed; evaluations stand on the row of the update that they follow.

    Args:
        seeds: of the run.
        updates: their numbers.
        per_update: environment steps of an update.
        metrics: of the updates, by name.
        evals: of the evaluation after the last of them, by name.
        speed: one number for all rows, by name.
    """
    frame = pd.DataFrame({"update": np.tile(updates, len(seeds)), "seed": np.repeat(seeds, len(updates))})
    frame["step"] = frame["update"] * per_update
    columns = {name: values.reshape(-1) for name, values in metrics.items()}
    last = frame["update"].to_numpy() == updates[-1]
    for name, values in evals.items():
        columns[name] = np.full(len(frame), np.nan)
        columns[name][last] = values
    columns |= {f"perf/{name}": np.full(len(frame), value) for name, value in speed.items()}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def joined(parts: list[Metrics]) -> Metrics:
    """Metrics by name, of parts that follow one another."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]} if parts else {}


def shown(metrics: Mapping[str, np.ndarray], old: dict[str, float]) -> dict[str, float]:
    """What a person watches: training return, the last evaluation, and where it is known what the policies are worth now.

    Args:
        metrics: of the updates and of the evaluation since the last look, by name.
        old: what was shown then, which stands where there is nothing new.
    """
    names = {"return": "train/episode_return", "eval": "eval/return", "won": "eval/won", "skipped": "train/skipped"}
    found = {short: np.asarray(metrics[name]) for short, name in names.items() if name in metrics}
    now = {"exact": "exact/return", "gap": "exact/nash_gap"}
    found |= {short: metrics[name][:, -1] for short, name in now.items() if name in metrics}
    means = {short: float(np.nanmean(x)) for short, x in found.items() if np.isfinite(x).any()}
    if not means.get("skipped"):
        means.pop("skipped", None)
    return old | means


def summary(
    metrics: pd.DataFrame,
    seeds: Int[np.ndarray, " seeds"],
    steps: int,
    seconds: dict[str, float],
    absolute: dict[str, Float[np.ndarray, " seeds"]],
) -> dict[str, Any]:
    """Final values with their seeds, the absolute metric, and where the time went: plain data.

    Args:
        metrics: all rows of the run.
        seeds: in order.
        steps: environment steps of each.
        seconds: by what they were spent on.
        absolute: the absolute metric, by name.
    """
    columns = [c for c in metrics.columns if c.startswith(("eval", "train/", "exact/"))]
    last = metrics.groupby("seed")[columns].last().reindex(seeds)
    return {
        "seeds": [int(s) for s in seeds],
        "steps_per_seed": int(steps),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "final": {c: _over_seeds(last[c]) for c in columns},
        "absolute": {name: _over_seeds(x) for name, x in absolute.items()},
        "skipped_updates": int(metrics["train/skipped"].sum()),
    }


def _over_seeds(values: Any) -> dict[str, Any]:
    return {"mean": float(mean_of_numbers(values)), "per_seed": [float(x) for x in values]}


def mean_of_numbers(values: ArrayLike) -> np.ndarray:
    """(n, ...) -> (...): the mean over the first axis of what is finite; NaN where nothing is."""
    array = np.asarray(values)
    finite = np.isfinite(array)
    count, total = finite.sum(axis=0), np.where(finite, array, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1).astype(array.dtype), np.nan)


def of_bridge(before: Mapping[str, float], now: Mapping[str, float], restarts: int) -> dict[str, float]:
    """With environments in host processes: where the time between two moments went, and how many workers were lost so far.

    Args:
        before, now: seconds by what they were spent on; empty where there are no such processes. restarts: of workers.
    """
    spent = {part: seconds - before[part] for part, seconds in now.items()}
    shares = {part: x / max(sum(spent.values()), 1e-9) for part, x in spent.items()}
    return shares and shares | {"restarts": restarts}
