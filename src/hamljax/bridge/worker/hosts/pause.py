"""A host that does nothing but take its time, to measure by."""

from __future__ import annotations

import time

import numpy as np

from . import Seen


class Pause:
    """Eight agents with observations of 80 numbers; a step sleeps, or computes if ``busy``, for ``milliseconds``."""

    def __init__(self, milliseconds: float = 1.0, busy: bool = False) -> None:
        self.seconds, self.busy = milliseconds / 1000, busy
        self.spec = {
            "obs_sizes": [80] * 8,
            "action_sizes": [12] * 8,
            "world_state_size": 120,
            "discrete": True,
            "max_episode_length": 1 << 30,
            "metrics": [],
            "needs_obs_norm": False,
        }
        self.seen = Seen(np.zeros((8, 80)), np.zeros(120), np.ones((8, 12)), np.ones(8))

    def reset(self, key: np.ndarray) -> Seen:
        return self.seen

    def step(self, key: np.ndarray, action: np.ndarray) -> tuple[Seen, float, bool, bool, dict[str, float]]:
        if self.busy:
            end = time.thread_time() + self.seconds
            while time.thread_time() < end:
                pass
        else:
            time.sleep(self.seconds)
        return self.seen, 0.0, False, False, {}

    def close(self) -> None:
        pass
