"""JaxMARL's SMAX behind SMAC's Python interface: a battle without StarCraft, and the proof that the bridge changes nothing."""

from __future__ import annotations

import os
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import numpy as np  # noqa: E402

from .smac import BehindSmac  # noqa: E402

# SMAC's moves are north, south, east, west from 2 on, and 1 is to stop; SMAX's are north, east, south, west, stop.
MOVES = {2: 0, 3: 2, 4: 1, 5: 3, 1: 4}


class SmaxEnv:
    """SMAX with the methods of ``StarCraft2Env``.

    Args:
        layout: of the actions. ``smax``: as on the device. ``smac``: with the action 0 to do nothing, which is all that the
            dead may do, and the moves in SMAC's order.
        settings: of ``hamljax.envs.smax.Smax``.
    """

    def __init__(self, layout: str = "smax", **settings: Any) -> None:
        from hamljax.envs.smax import Smax

        self.smax, self.layout, self.timeouts = Smax(**settings), layout, 0
        self._reset, self._step = jax.jit(self.smax.reset), jax.jit(self.smax.step)
        self._key = np.zeros(2, np.uint32)

    def get_env_info(self) -> dict[str, Any]:
        team = self.smax.team
        return {
            "n_agents": team.num_agents,
            "obs_shape": team.obs_size,
            "n_actions": team.action_size + (self.layout == "smac"),
            "state_shape": team.world_state_size,
            "episode_limit": self.smax.max_episode_length,
            "kinds": team.kinds and list(team.kinds),
        }

    def use_key(self, key: np.ndarray) -> None:
        """Set where the randomness of the next call comes from."""
        self._key = np.array(key, np.uint32)

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        self._state, seen = self._reset(jax.random.wrap_key_data(self._key))
        self._seen = jax.tree.map(np.asarray, seen)
        return self.get_obs(), self.get_state()

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        for agent, action in enumerate(actions):
            assert self.get_avail_actions()[agent][action], f"agent {agent} cannot perform action {action}"
        if self.layout == "smac":
            actions = [MOVES.get(a, a - 1) if a else 4 for a in actions]
        self._state, step = self._step(jax.random.wrap_key_data(self._key), self._state, np.array(actions, np.int32))
        step = jax.tree.map(np.asarray, step)
        self._seen = step.observation
        self.timeouts += int(step.truncated)
        info = {}
        if step.terminated or step.truncated:
            info["battle_won"] = bool(step.metrics["won"])
        return step.reward.item(), bool(step.terminated | step.truncated), info

    def get_obs(self) -> list[np.ndarray]:
        return list(self._seen.obs)

    def get_state(self) -> np.ndarray:
        return self._seen.world_state

    def get_avail_actions(self) -> list[list[int]]:
        avail = self._seen.avail_actions.astype(int)
        if self.layout == "smax":
            return avail.tolist()
        dead = 1 - self._seen.alive[:, None].astype(int)
        avail = avail[:, [MOVES[a] for a in range(1, 6)] + [*range(5, avail.shape[1])]]
        return np.concatenate([dead, avail * (1 - dead)], axis=1).tolist()

    def close(self) -> None:
        pass


class SmaxBehindSmac(BehindSmac):
    """Settings: ``layout`` and those of ``hamljax.envs.smax.Smax``."""

    METRICS = ("won",)

    def __init__(self, **settings: Any) -> None:
        super().__init__(SmaxEnv(**settings))
        for _ in range(2):  # compiles before the trainer's clock runs; after a reset, and after a step
            self.env.reset()
            for _ in range(2):
                self.env.step([row.index(1) for row in self.env.get_avail_actions()])

    def _alive(self, avail):
        # In SMAX's own layout the dead may only stop, so they cannot go north.
        return super()._alive(avail) if self.env.layout == "smac" else [bool(agent[0]) for agent in avail]
