"""Runs that are over in a moment, and what tests compare of them."""

from pathlib import Path

import numpy as np
import pandas as pd

TINY = ["env=game/climbing", "num_envs=4", "num_steps=4", "num_evals=2", "num_eval_episodes=4", "total_timesteps=64"]
TINY += ["network.hidden_sizes=[8]"]
ONCE = ["algo.update_epochs=1", "algo.critic_epochs=1"]


def record(run: Path) -> pd.DataFrame:
    """The metrics of a run, without what depends on how fast it was."""
    found = pd.read_parquet(run / "metrics.parquet")
    return found[[column for column in found.columns if not column.startswith("perf/")]]


def numbers(start: int, size: int) -> np.ndarray:
    """Keys (size, 2) that a ``hosts_of_tests.Counter`` reads ``start``, ``start + 1``, ... from."""
    return np.stack([np.zeros(size), start + np.arange(size)], axis=1).astype(np.uint32)
