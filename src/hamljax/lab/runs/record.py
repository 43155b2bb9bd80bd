"""The record of a run: rows of metrics, what a person is shown of them, and their summary."""

import numpy as np
import pandas as pd


def rows(seeds, updates, per_update: int, metrics: dict, evals: dict, speed: dict[str, float]) -> pd.DataFrame:
    """One row per update and seed; evaluations stand on the row of the update that they follow.

    metrics: (seeds, updates) by name; evals: (seeds,) by name; speed: one number for all rows, by name.
    """
    updates = np.asarray(updates)
    frame = pd.DataFrame({"update": np.tile(updates, len(seeds)), "seed": np.repeat(seeds, len(updates))})
    frame["step"] = frame["update"] * per_update
    columns = {name: values.reshape(-1) for name, values in metrics.items()}
    last = frame["update"].to_numpy() == updates[-1]
    for name, values in evals.items():
        columns[name] = np.full(len(frame), np.nan)
        columns[name][last] = values
    columns |= {f"perf/{name}": np.full(len(frame), value) for name, value in speed.items()}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def joined(parts: list[dict]) -> dict[str, np.ndarray]:
    """Metrics (seeds, updates) by name, of parts that follow one another."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]} if parts else {}


def shown(metrics: dict, old: dict) -> dict[str, float]:
    """What a person watches: training return, and the last evaluation."""
    names = {"return": "train/episode_return", "eval": "eval/return", "won": "eval/won", "skipped": "train/skipped"}
    found = {short: np.asarray(metrics[name]) for short, name in names.items() if name in metrics}
    means = {short: float(np.nanmean(x)) for short, x in found.items() if np.isfinite(x).any()}
    if not means.get("skipped"):
        means.pop("skipped", None)
    return old | means


def summary(metrics: pd.DataFrame, seeds, steps: int, seconds: dict, absolute: dict) -> dict:
    """Final values with their seeds, the absolute metric, and where the time went."""
    columns = [c for c in metrics.columns if c.startswith(("eval", "train/"))]
    last = metrics.groupby("seed")[columns].last().reindex(seeds)
    return {
        "seeds": [int(s) for s in seeds],
        "steps_per_seed": int(steps),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "final": {c: _over_seeds(last[c]) for c in columns},
        "absolute": {name: _over_seeds(x) for name, x in absolute.items()},
        "skipped_updates": int(metrics["train/skipped"].sum()),
    }


def _over_seeds(values) -> dict:
    return {"mean": float(mean_of_numbers(values)), "per_seed": [float(x) for x in values]}


def mean_of_numbers(values) -> np.ndarray:
    """(n, ...) -> (...): the mean over the first axis of what is finite; NaN where nothing is."""
    values = np.asarray(values)
    finite = np.isfinite(values)
    count, total = finite.sum(axis=0), np.where(finite, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1).astype(values.dtype), np.nan)
