"""Multi-Agent MuJoCo on MuJoCo itself, by Gymnasium-Robotics: the same tasks, under the same names, as on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Seen, seed_of

TASKS: dict[str, tuple[str, str]] = {
    "reacher_2x1": ("Reacher", "2x1"),
    "swimmer_2x1": ("Swimmer", "2x1"),
    "hopper_3x1": ("Hopper", "3x1"),
    "walker2d_2x3": ("Walker2d", "2x3"),
    "halfcheetah_2x3": ("HalfCheetah", "2x3"),
    "halfcheetah_6x1": ("HalfCheetah", "6x1"),
    "ant_2x4": ("Ant", "2x4"),
    "ant_2x4d_gr": ("Ant", "2x4d"),
    "ant_4x2": ("Ant", "4x2"),
    "humanoid_9_8": ("Humanoid", "9|8"),
    "swimmer_10x2": ("ManySegmentSwimmer", "10x2"),
    "swimmer_5x4": ("ManySegmentSwimmer", "5x4"),
}
# Partitions that it lacks: those of another task of the robot, with agents given as actuator numbers in order of action.
EXTRA: dict[str, tuple[str, str, list[list[int]]]] = {
    "walker2d_3x2": ("Walker2d", "2x3", [[2, 1], [0, 5], [4, 3]]),
    "walker2d_6x1": ("Walker2d", "2x3", [[2], [1], [0], [5], [4], [3]]),
    "halfcheetah_3x2": ("HalfCheetah", "2x3", [[2, 1], [0, 5], [4, 3]]),
    "ant_2x4d": ("Ant", "2x4", [[2, 3, 6, 7], [4, 5, 0, 1]]),
    "ant_8x1": ("Ant", "4x2", [[2], [3], [4], [5], [6], [7], [0], [1]]),
    "humanoid_17x1": ("Humanoid", "9|8", [[i] for i in (14, 15, 2, 0, 1, 11, 12, 13, 16, 7, 9, 8, 3, 5, 4, 6, 10)]),
}


WHOLE_ROBOT = 20  # hops


def _factorization(scenario: str, conf: str, actuators: list[list[int]]) -> dict[str, Any]:
    from gymnasium_robotics.envs.multiagent_mujoco.obsk import get_parts_and_edges

    parts, edges, everywhere = get_parts_and_edges(scenario, conf)
    node = {n.act_ids: n for part in parts for n in part}
    return {"partition": [tuple(node[i] for i in a) for a in actuators], "edges": edges, "globals": everywhere}


class GymnasiumRobotics:
    """A task of ``mamujoco_v1``.

    Agents see q and qd of their own joints and q of those within ``agent_obsk`` hops, as on the device.

    Args:
        task: a key of TASKS or EXTRA.
        agent_obsk: hops, or "all" for the whole robot.
        max_steps: the time limit, if it is below the task's own; 0: that.
    """

    def __init__(self, task: str, agent_obsk: str = "1", max_steps: int = 0) -> None:
        from gymnasium_robotics.envs.multiagent_mujoco.mujoco_multi import MultiAgentMujocoEnv

        named: Any = {**TASKS, **EXTRA}[task]
        scenario, conf, *actuators = named
        everything = agent_obsk == "all"  # to Gymnasium-Robotics that is one agent, so it is a number of hops here
        hops = WHOLE_ROBOT if everything else int(agent_obsk)
        factorization = _factorization(scenario, conf, *actuators) if actuators else None
        categories = [["qpos", "qvel"]] + hops * [["qpos", "qvel"] if everything else ["qpos"]]
        self.env = MultiAgentMujocoEnv(
            scenario, conf, hops, agent_factorization=factorization, local_categories=categories
        )
        self.agents = self.env.possible_agents
        boxes = [self.env.action_space(a) for a in self.agents]
        self.low, self.high = [b.low for b in boxes], [b.high for b in boxes]
        self.avail, self.alive = [np.ones(len(low), bool) for low in self.low], [True] * len(self.agents)
        obs, _ = self.env.reset(seed=0)
        limit = self.env.single_agent_env.spec.max_episode_steps
        self.time, self.limit = 0, min(max_steps or limit, limit)
        self.spec = {
            "obs_sizes": [len(obs[a]) for a in self.agents],
            "action_sizes": [len(low) for low in self.low],
            "world_state_size": len(self.env.state()),
            "discrete": False,
            "max_episode_length": self.limit,
            "metrics": [],
            "needs_obs_norm": True,
            "kinds": None,
        }

    def reset(self, key: np.ndarray) -> Seen:
        self.time = 0
        return self._seen(self.env.reset(seed=seed_of(key))[0])

    def step(self, key: np.ndarray, action: np.ndarray) -> tuple[Seen, float, bool, bool, dict[str, float]]:
        scaled = {}
        for i, agent in enumerate(self.agents):
            low, high = self.low[i], self.high[i]
            scaled[agent] = (low + high) / 2 + (high - low) / 2 * action[i][: len(low)]
        obs, rewards, terminated, truncated, _ = self.env.step(scaled)
        self.time += 1
        over = all(terminated.values())
        late = any(truncated.values()) or self.time >= self.limit
        return self._seen(obs), rewards[self.agents[0]], over, late and not over, {}

    def close(self) -> None:
        self.env.close()

    def _seen(self, obs):
        return Seen([obs[a] for a in self.agents], self.env.state(), self.avail, self.alive)
