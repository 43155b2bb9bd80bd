"""A host that does nothing but take its time, to measure by."""

import time

from . import Seen


class Pause:
    """Eight agents with observations of 80 numbers; a step lasts ``milliseconds``."""

    def __init__(self, milliseconds=1.0):
        self.seconds = milliseconds / 1000
        self.spec = {
            "obs_sizes": [80] * 8,
            "action_sizes": [12] * 8,
            "world_state_size": 120,
            "discrete": True,
            "max_episode_length": 1 << 30,
            "metrics": [],
            "needs_obs_norm": False,
        }
        self.seen = Seen([[0.0] * 80] * 8, [0.0] * 120, [[1] * 12] * 8, [1] * 8)

    def reset(self, key):
        return self.seen

    def step(self, key, action):
        time.sleep(self.seconds)
        return self.seen, 0.0, False, False, {}

    def close(self):
        pass
