"""SMAC and SMACv2, and whatever else has the Python interface of SMAC's ``StarCraft2Env``."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np

from . import Crash, Seen, seed_of


class BehindSmac:
    """An object with SMAC's interface as a host.

    Its quirks are dealt with here: a time limit shows in the counter ``timeouts`` alone; a crashed game ends the episode
    without ``battle_won``, and the object is of no use afterwards; a dead agent is one that may only do nothing.
    """

    METRICS: tuple[str, ...] = ("won", "dead_allies", "dead_enemies")

    def __init__(self, env: Any) -> None:
        self.env = env
        info = env.get_env_info()
        agents = info["n_agents"]
        self.spec = {
            "obs_sizes": [info["obs_shape"]] * agents,
            "action_sizes": [info["n_actions"]] * agents,
            "world_state_size": info["state_shape"],
            "discrete": True,
            "max_episode_length": info["episode_limit"],
            "metrics": list(self.METRICS),
            "needs_obs_norm": False,
            "kinds": info.get("kinds"),
        }

    def reset(self, key: np.ndarray) -> Seen:
        self._use(key)
        with self._sane():
            self.env.reset()  # may return None (SMACv2): the getters say what there is
        return self._seen()

    def step(self, key: np.ndarray, action: np.ndarray) -> tuple[Seen, float, bool, bool, dict[str, float]]:
        self._use(key)
        timeouts = self.env.timeouts
        action = [int(a) for a in action]
        with self._sane(all(legal[a] for legal, a in zip(self.avail, action))):
            reward, over, info = self.env.step(action)
        if over and "battle_won" not in info:
            raise Crash("the game crashed")
        truncated = over and (self.env.timeouts > timeouts or bool(info.get("episode_limit")))
        metrics = {"won": float(bool(info.get("battle_won")))}
        metrics.update({name: float(info.get(name, 0)) for name in self.METRICS[1:]})
        return self._seen(), reward, over and not truncated, truncated, metrics

    def close(self) -> None:
        self.env.close()

    def _use(self, key):
        if hasattr(self.env, "use_key"):  # the game has a seed for its launch only
            self.env.use_key(key)

    @contextlib.contextmanager
    def _sane(self, asked_well=True):
        """What the game asserts is that it is as it should be; where nothing wrong was asked of it, it is not."""
        try:
            yield
        except AssertionError as error:
            if not asked_well:
                raise
            raise Crash(f"the game says of itself: {error or 'AssertionError'}") from error

    def _seen(self):
        with self._sane():
            avail = self.avail = self.env.get_avail_actions()
            return Seen(self.env.get_obs(), self.env.get_state(), avail, self._alive(avail))

    def _alive(self, avail):
        return [not agent[0] for agent in avail]  # action 0 is to do nothing, which the dead alone may


class StarCraft(BehindSmac):
    """The game itself, which has quirks that a double of its interface does not need."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.game = getattr(env, "env", env)  # SMACv2 wraps it

    def reset(self, key: np.ndarray) -> Seen:
        self._reseed(seed_of(key))
        before = self.game.force_restarts
        seen = super().reset(key)
        if self.game.force_restarts > before:  # and the new game has not begun an episode as it should
            raise Crash("the game crashed between two episodes")
        # Until an episode has ended, a reset launches a game.
        self.game._episode_count = max(1, self.game._episode_count)
        return seen

    def _reseed(self, seed):
        if self.game._seed is None:
            self.game._seed = seed  # counts when the game is launched, which is in the first reset


class Smac(StarCraft):
    """StarCraft II micromanagement (Samvelyan et al., 2019). ``settings`` are those of ``StarCraft2Env``."""

    def __init__(self, map_name: str = "3m", **settings: Any) -> None:
        from smac.env import StarCraft2Env

        super().__init__(StarCraft2Env(map_name=map_name, **settings))


class SmacV2(StarCraft):
    """Its second version, with random teams and places (Ellis et al., 2023). ``capabilities``: its distributions."""

    def __init__(
        self, map_name: str = "10gen_terran", capabilities: dict[str, Any] | None = None, **settings: Any
    ) -> None:
        from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper

        super().__init__(StarCraftCapabilityEnvWrapper(capability_config=capabilities, map_name=map_name, **settings))

    def _reseed(self, seed):
        """Of all that teams and places are drawn from: each distribution's generator, and the two global ones."""
        super()._reseed(seed)
        random.seed(seed)
        np.random.seed(seed)
        sequence = np.random.SeedSequence(seed)
        found = list(self.env.env_key_to_distribution_map.values())
        while found:
            distribution = found.pop()
            if hasattr(distribution, "rng"):
                distribution.rng = np.random.default_rng(sequence.spawn(1)[0])
            found += [inner for inner in vars(distribution).values() if hasattr(inner, "generate")]
