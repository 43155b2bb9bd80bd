"""Two parallel environments with PettingZoo's interface and all that its own environments do now and then."""

import numpy as np
from gymnasium.spaces import Box, Discrete


class Leaving:
    """Two agents. ``b`` leaves after two steps; the time of ``a`` is up after four. Actions are 5, 6 and 7, and masked."""

    possible_agents = ["a", "b"]

    def __init__(self):
        self.agents, self.played = [], []

    def observation_space(self, agent):
        return Box(0, 9, (2,))

    def action_space(self, agent):
        return Discrete(3, start=5)

    def reset(self, seed=None):
        self.agents, self.time = ["a", "b"], 0
        return self._seen(), {}

    def step(self, actions):
        self.played.append(actions)
        self.time += 1
        gone = {agent: agent == "b" and self.time == 2 for agent in self.agents}
        late = {agent: self.time == 4 for agent in self.agents}
        obs, rewards = self._seen(), {agent: {"a": 1.0, "b": 3.0}[agent] for agent in self.agents}
        self.agents = [agent for agent in self.agents if not (gone[agent] or late[agent])]
        return obs, rewards, gone, late, {}

    def _seen(self):
        mask = np.array([True, self.time % 2 == 0, True])
        return {agent: {"observation": [self.time, 1.0], "action_mask": mask} for agent in self.agents}

    def close(self):
        pass


class Bounded:
    """One agent with actions in [0, 10] and [-3, -1]."""

    possible_agents = ["a"]

    def observation_space(self, agent):
        return Box(0, 9, (1,))

    def action_space(self, agent):
        return Box(np.array([0.0, -3.0]), np.array([10.0, -1.0]))

    def reset(self, seed=None):
        self.agents = ["a"]
        return {"a": [0.0]}, {}

    def step(self, actions):
        self.played = actions["a"]
        return {"a": [0.0]}, {"a": 0.0}, {"a": False}, {"a": False}, {}

    def close(self):
        pass


def parallel_env(bounded=False):
    return Bounded() if bounded else Leaving()
