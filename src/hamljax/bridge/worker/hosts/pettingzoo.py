"""Any parallel environment of PettingZoo (Terry et al., 2021), by import path."""

import difflib
import importlib
import pkgutil

import numpy as np

from . import Seen, seed_of


def _module(path):
    """The module ``path``; where its package has none of that name, the error names the nearest that it has."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        parent, _, name = path.rpartition(".")
        if not parent or error.name != path:
            raise
        there = [module.name for module in pkgutil.iter_modules(importlib.import_module(parent).__path__)]
        near = difflib.get_close_matches(name, there, 1, 0.4)
        hint = f"; did you mean '{parent}.{near[0]}'?" if near else f"; it has {', '.join(there)}"
        raise ModuleNotFoundError(f"'{parent}' has no module '{name}'{hint}") from None


class PettingZoo:
    """path: a module that has ``parallel_env``, such as ``pettingzoo.sisl.multiwalker_v9``. options: for ``parallel_env``.

    max_steps: when an episode is truncated, if it is not over before. reward: what of the agents' rewards the team gets, their
    ``mean`` or ``sum``. All action spaces must be Discrete, or all Boxes with finite bounds. Observations are flattened; a
    dict with ``observation`` and ``action_mask`` says which actions are legal. Who has left sees zeros and may only take
    action 0. The global state is the environment's own if it has one, else all observations.
    """

    def __init__(self, path, options=None, max_steps=500, reward="mean"):
        self.env = _module(path).parallel_env(**(options or {}))
        self.agents, self.pool = self.env.possible_agents, {"mean": np.mean, "sum": np.sum}[reward]
        spaces = [self.env.action_space(a) for a in self.agents]
        kinds = {type(s).__name__ for s in spaces}
        if len(kinds) > 1 or not kinds <= {"Discrete", "Box"}:
            raise ValueError(f"all action spaces must be Discrete, or all Box; '{path}' has {sorted(kinds)}")
        self.discrete, self.time, self.limit = kinds == {"Discrete"}, 0, max_steps
        self.first = [s.start if self.discrete else None for s in spaces]
        if not self.discrete:
            self.low, self.high = [s.low.ravel() for s in spaces], [s.high.ravel() for s in spaces]
            self.shapes = [s.shape for s in spaces]
            if not all(np.isfinite(bound).all() for bound in self.low + self.high):
                raise ValueError(f"the action bounds of '{path}' must be finite")
        sizes = [int(s.n) if self.discrete else s.low.size for s in spaces]
        self.sizes = sizes
        obs, _ = self.env.reset(seed=0)
        self.zeros = [np.zeros_like(self._vector(obs[a])) for a in self.agents]
        self.has_state = self._try_state()
        self.spec = {
            "obs_sizes": [len(z) for z in self.zeros],
            "action_sizes": sizes,
            "world_state_size": len(self._state(obs)),
            "discrete": self.discrete,
            "max_episode_length": max_steps,
            "metrics": [],
            "needs_obs_norm": not self.discrete,
        }

    def reset(self, key):
        self.time = 0
        return self._seen(self.env.reset(seed=seed_of(key))[0], self.env.agents)

    def step(self, key, action):
        acts = {a: self._action(i, action[i]) for i, a in enumerate(self.agents) if a in self.env.agents}
        obs, rewards, terminated, truncated, _ = self.env.step(acts)
        self.time += 1
        gone = [a not in self.env.agents or terminated.get(a, False) or truncated.get(a, False) for a in self.agents]
        over = all(gone)  # some leave their agents in the list at the end
        late = over and any(truncated.values()) or not over and self.time >= self.limit
        reward = self.pool([rewards.get(a, 0.0) for a in self.agents])
        # Whose time is up might have gone on: what such an agent sees last is worth something.
        here = [a for a in self.agents if a in self.env.agents or truncated.get(a, False)]
        return self._seen(obs, here), reward, over and not late, late, {}

    def close(self):
        self.env.close()

    def _action(self, i, action):
        if self.discrete:
            return self.first[i] + int(action)
        low, high = self.low[i], self.high[i]
        scaled = (low + high) / 2 + (high - low) / 2 * action[: len(low)]
        return scaled.astype(low.dtype).reshape(self.shapes[i])

    @staticmethod
    def _vector(obs):
        obs = obs["observation"] if isinstance(obs, dict) else obs
        return np.asarray(obs, np.float32).ravel()

    def _try_state(self):
        try:
            return self.env.state() is not None
        except (NotImplementedError, AttributeError):
            return False

    def _state(self, obs):
        if self.has_state:
            try:
                self.last = np.asarray(self.env.state(), np.float32).ravel()
            except Exception:  # some have none left when an episode is over
                if self.env.agents:
                    raise
            return self.last
        return np.concatenate([self._vector(obs[a]) if a in obs else z for a, z in zip(self.agents, self.zeros)])

    def _seen(self, obs, here):
        here = [a in here for a in self.agents]
        vectors = [self._vector(obs[a]) if a in obs else z for a, z in zip(self.agents, self.zeros)]
        avail = [self._avail(obs.get(a), size, alive) for a, size, alive in zip(self.agents, self.sizes, here)]
        return Seen(vectors, self._state(obs), avail, here)

    def _avail(self, obs, size, alive):
        if not self.discrete:
            return np.ones(size, bool)
        if alive and isinstance(obs, dict) and "action_mask" in obs:
            return np.asarray(obs["action_mask"], bool)
        return np.ones(size, bool) if alive else np.arange(size) == 0
