"""Any parallel environment of PettingZoo (Terry et al., 2021), by import path."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np

from . import Refused, Seen, seed_of
from .spaces import Reader, kind_of


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


def _environment(path, options):
    """The parallel environment of module ``path``; Refused where it is none."""
    module = _module(path)
    if not hasattr(module, "parallel_env"):
        raise Refused(f"'{path}' has no parallel_env: only PettingZoo's parallel environments can be trained in")
    env = module.parallel_env(**(options or {}))
    if not getattr(env, "possible_agents", None):
        raise Refused(f"'{path}' has no possible_agents, and a team whose size is unknown cannot be trained")
    try:
        inspect.signature(env.reset).bind(seed=0)
    except TypeError:
        raise Refused(f"reset of '{path}' takes no seed, as PettingZoo's environments do since 1.22") from None
    return env


class Agent:
    """One agent's spaces.

    ``action_size`` is how many actions it has, or dimensions; ``size`` is that of what it sees, a vector of ``dtype``.

    Args:
        env: a parallel environment of PettingZoo.
        name: the agent's.

    Raises:
        Refused: it has no such spaces, or some in which nothing can be learnt.
    """

    def __init__(self, env: Any, name: Any) -> None:
        self.name = name
        self.action_space, space = (self._space(env, what) for what in ("action_space", "observation_space"))
        parts = dict(space.spaces) if kind_of(space) == "Dict" else {"observation": space}
        self.wrapped = set(parts) - {"action_mask"} == {"observation"}
        where = f"what agent '{name}' sees"
        self.read = Reader(parts["observation"], where) if self.wrapped else Reader(space, where, ("action_mask",))
        self.size, self.dtype = self.read.size, self.read.dtype
        self.action_kind = kind_of(self.action_space)
        self._read_actions()

    def _space(self, env, what):
        try:
            return getattr(env, what)(self.name)
        except (AttributeError, KeyError, NotImplementedError) as error:
            raise Refused(f"agent '{self.name}' has no {what}: {type(error).__name__}: {error}") from None

    def _read_actions(self):
        space, name = self.action_space, self.name
        if self.action_kind == "Discrete":
            self.action_size, self.first = int(space.n), int(getattr(space, "start", 0))
        elif self.action_kind == "Box":
            self.low, self.high = (np.ravel(bound).astype(float) for bound in (space.low, space.high))
            self.action_size = len(self.low)
            if (np.isfinite(self.low) != np.isfinite(self.high)).any():
                raise Refused(
                    f"the actions of agent '{name}' are bounded on one side only ({space}); bound both or neither"
                )
        else:
            raise Refused(f"the actions of agent '{name}' are {self.action_kind}; only Discrete and Box can be learnt")

    def action(self, action: Any) -> Any:
        """What the environment gets for its row (A) or number ``action``."""
        if self.action_kind == "Discrete":
            return self.first + int(action)
        space = self.action_space
        inside = np.clip(action[: self.action_size], self.low, self.high)
        inside = np.rint(inside) if space.dtype.kind in "iu" else inside
        return inside.astype(space.dtype).reshape(space.shape)

    def vector(self, seen: Any) -> np.ndarray:
        """What it sees as numbers (size,)."""
        if self.wrapped and isinstance(seen, dict) and "observation" in seen:
            seen = seen["observation"]
        return self.read(seen)

    def legal(self, seen: Any, info: Any) -> np.ndarray:
        """Its legal actions (action_size,), which it may be told with its observation (``seen``) or beside it (``info``)."""
        for told in (seen, info):
            mask = told.get("action_mask") if isinstance(told, dict) else None
            if mask is not None and self.action_kind == "Discrete":
                mask = np.ravel(mask).astype(bool)
                if len(mask) != self.action_size:
                    raise Refused(
                        f"the action_mask of agent '{self.name}' has {len(mask)} of {self.action_size} actions"
                    )
                return mask
        return np.ones(self.action_size, bool)


class PettingZoo:
    """A parallel environment of PettingZoo as a host.

    All action spaces must be Discrete, or all Boxes, bounded or not. Observations are flattened, and stay bytes where all are;
    an ``action_mask``, in the observation or the info, says which actions are legal. Who is not there, yet or any more, sees
    zeros and may only take action 0. The global state is the environment's own if it has one, else all observations.

    Args:
        path: a module that has ``parallel_env``, such as ``pettingzoo.sisl.multiwalker_v9``.
        options: for ``parallel_env``.
        max_steps: when an episode is truncated, if it is not over before.
        reward: what of the agents' rewards the team gets, their ``mean`` or ``sum`` over all possible agents.

    Raises:
        Refused: nothing can be learnt in it.
    """

    def __init__(
        self, path: str, options: dict[str, Any] | None = None, max_steps: int = 500, reward: str = "mean"
    ) -> None:
        self.path, self.env = path, _environment(path, options)
        self.names, self.pool = list(self.env.possible_agents), {"mean": np.mean, "sum": np.sum}[reward]
        self.agents = [Agent(self.env, name) for name in self.names]
        kinds = {agent.action_kind for agent in self.agents}
        if len(kinds) > 1:
            raise Refused(
                f"some agents of '{path}' have Discrete actions and some a Box; mixed teams are not supported"
            )
        self.discrete, self.time, self.limit, self.state_sizes = kinds == {"Discrete"}, 0, max_steps, {}
        seen, infos = self._reset(0)
        self._trust(seen)
        self.has_state = self._try_state()
        state = self._state(self._vectors(seen))
        self.spec = {
            "obs_sizes": [agent.size for agent in self.agents],
            "action_sizes": [agent.action_size for agent in self.agents],
            "world_state_size": len(state),
            "discrete": self.discrete,
            "max_episode_length": max_steps,
            "metrics": [],
            "needs_obs_norm": not self.discrete,
            "obs_dtype": self.dtype.name,
            "world_state_dtype": "float32" if self.has_state else self.dtype.name,
        }
        if not self.discrete and any((a.low != -1).any() or (a.high != 1).any() for a in self.agents):
            self.spec["action_low"] = [agent.low.tolist() for agent in self.agents]
            self.spec["action_high"] = [agent.high.tolist() for agent in self.agents]

    def reset(self, key: np.ndarray) -> Seen:
        self.time = 0
        seen, infos = self._reset(seed_of(key))
        return self._seen(seen, infos, self._here({}, {}))

    def step(self, key: np.ndarray, action: np.ndarray) -> tuple[Seen, float, bool, bool, dict[str, float]]:
        playing = self._here(*self.flags)
        found = self.env.step({a.name: a.action(action[i]) for i, a in enumerate(self.agents) if playing[i]})
        if not (isinstance(found, tuple) and len(found) == 5 and all(isinstance(part, dict) for part in found[:4])):
            raise Refused(
                f"step of '{self.path}' must return dictionaries of observations, rewards, terminations, truncations and infos"
            )
        seen, rewards, terminated, truncated, infos = found
        self.time += 1
        self.flags = terminated, truncated
        there = self._here(*self.flags)
        over = not any(there)  # some leave their agents in the list at the end
        # Whose time alone is up might have gone on: what such an agent sees last is worth something.
        cut = [
            played and bool(truncated.get(a, False)) and not terminated.get(a, False)
            for a, played in zip(self.names, playing)
        ]
        late = any(cut) if over else self.time >= self.limit
        reward = self.pool([self._number(a, rewards.get(a, 0.0)) for a in self.names])
        here = [a or b for a, b in zip(there, cut)]
        return self._seen(seen, infos, here), reward, over and not late, late, {}

    def close(self) -> None:
        self.env.close()

    def _reset(self, seed):
        found = self.env.reset(seed=seed)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], dict)):
            raise Refused(f"reset of '{self.path}' must return two dictionaries by agent, observations and infos")
        self.flags = {}, {}
        return found

    def _here(self, terminated, truncated):
        """Who of all agents goes on playing."""
        there = self.env.agents
        if not set(there) <= set(self.names):
            raise Refused(
                f"'{self.path}' has agents {sorted(map(str, set(there) - set(self.names)))} beside possible_agents"
            )
        return [a in there and not terminated.get(a, False) and not truncated.get(a, False) for a in self.names]

    def _number(self, agent, reward):
        try:
            return float(np.asarray(reward).item())
        except (TypeError, ValueError):
            raise Refused(f"the reward of agent '{agent}' is {reward!r}, which is not one number") from None

    def _trust(self, seen):
        """What agents see at first counts more than what their spaces say: its size, and whether it is bytes."""
        for agent in self.agents:
            if agent.name in seen:
                vector = agent.vector(seen[agent.name])
                agent.size, agent.dtype = len(vector), vector.dtype
        self.dtype = np.dtype(np.uint8 if all(a.dtype == np.uint8 for a in self.agents) else np.float32)

    def _vectors(self, seen):
        """What all agents see, zeros where an agent sees nothing."""
        return [a.vector(seen[a.name]) if a.name in seen else np.zeros(a.size, self.dtype) for a in self.agents]

    def _seen(self, seen, infos, here):
        vectors = self._vectors(seen)
        if self.dtype == np.uint8 and any(vector.dtype != np.uint8 for vector in vectors):
            raise Refused(f"'{self.path}' began with observations of bytes and goes on with {vectors[0].dtype}")
        infos = infos if isinstance(infos, dict) else {}
        avail = [
            a.legal(seen.get(a.name), infos.get(a.name))
            if there or not self.discrete
            else np.arange(a.action_size) == 0
            for a, there in zip(self.agents, here)
        ]
        return Seen(vectors, self._state(vectors), avail, here)

    # THE GLOBAL STATE

    def _try_state(self):
        try:
            state = self._parts(self.env.state())
        except (NotImplementedError, AttributeError, TypeError, ValueError):  # none, or one that is no numbers
            return False
        self.state_sizes = {key: len(part) for key, part in state.items()}
        return bool(sum(self.state_sizes.values()))

    @staticmethod
    def _parts(state):
        """The parts of a state, by name where it has names."""
        parts = state if isinstance(state, dict) else {"": state}
        return {key: np.asarray(part, np.float32).ravel() for key, part in sorted(parts.items(), key=str)}

    def _state(self, vectors):
        if not self.has_state:
            return np.concatenate(vectors)
        try:
            parts = self._parts(self.env.state())
        except Exception:  # some have none left when an episode is over
            if self.env.agents:
                raise
            return self.last
        sizes = {key: len(part) for key, part in parts.items()}
        if not self.env.agents and sizes != self.state_sizes:
            return self.last
        if any(self.state_sizes.get(key) != size for key, size in sizes.items()):
            first, now = (", ".join(map(str, s.values())) for s in (self.state_sizes, sizes))
            raise Refused(
                f"state of '{self.path}' had {first} numbers at first and has {now} now; a critic wants as many always"
            )
        gone = {key: np.zeros(size, np.float32) for key, size in self.state_sizes.items()}  # an agent's, when it leaves
        self.last = np.concatenate([*{**gone, **parts}.values()])
        return self.last
