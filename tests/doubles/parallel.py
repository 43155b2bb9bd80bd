"""Small parallel environments, each of which does one thing that ``pettingzoo.test.parallel_api_test`` allows.

``parallel_env(kind=NAME)`` makes one of them: ``KINDS`` names those that can be trained in, ``REFUSED`` those that cannot.
"""

import functools

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Pair(ParallelEnv):
    """Two agents, ten steps; a step pays each the mean of its action."""

    metadata = {"name": "pair"}
    possible_agents = ["a", "b"]
    seen, act = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
    value = np.ones(2, np.float32)

    def __init__(self):
        self.render_mode, self.agents = None, []

    @functools.cache  # noqa: B019  the test asks for the same object
    def observation_space(self, agent):
        return self.seen[agent] if isinstance(self.seen, dict) else self.seen

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return self.act[agent] if isinstance(self.act, dict) else self.act

    def reset(self, seed=None, options=None):
        self.agents, self.time = list(self.possible_agents), 0
        return self.all_see(), self.infos()

    def step(self, actions):
        self.actions, playing = actions, list(self.agents)
        self.time += 1
        found = [
            {a: f(a) for a in playing} for f in (self.sees, self.reward, self.terminated, self.truncated, self.info)
        ]
        self.agents = [a for a in playing if not (found[2][a] or found[3][a])]
        return tuple(found)

    def all_see(self):
        return {a: self.sees(a) for a in self.agents}

    def infos(self):
        return {a: self.info(a) for a in self.agents}

    def sees(self, agent):
        return getattr(self, f"value_{agent}", self.value)

    def reward(self, agent):
        return float(np.mean(self.actions[agent]))

    def terminated(self, agent):
        return False

    def truncated(self, agent):
        return self.time >= 10

    def info(self, agent):
        return {}


class Late(Pair):
    """``b`` comes after three steps."""

    def reset(self, seed=None, options=None):
        super().reset()
        self.agents = ["a"]
        return self.all_see(), self.infos()

    def step(self, actions):
        obs, *rest = super().step(actions)
        if self.time == 3:
            self.agents.append("b")
            obs["b"] = self.value
            for part, value in zip(rest, (0.0, False, False, {}), strict=True):
                part["b"] = value
        return (obs, *rest)


class Leaving(Pair):
    """``b`` has done its task after two steps."""

    def terminated(self, agent):
        return agent == "b" and self.time == 2


class BothEnds(Pair):
    """The task is over when the time is, for ``a`` or for both."""

    done = ("a", "b")

    def terminated(self, agent):
        return agent in self.done and self.time == 10


class BothEndsOfOne(BothEnds):
    done = ("a",)


class NumpyScalars(Pair):
    """Everything is numpy's: rewards are arrays of no axis, or of one, flags are numpy's, whole numbers are rewards."""

    def reward(self, agent):
        return {"a": np.array(3, np.int64), "b": np.array([1], np.uint8)}[agent]

    def terminated(self, agent):
        return np.bool_(False)

    def truncated(self, agent):
        return np.array(self.time >= 10)


class WholeRewards(Pair):
    def reward(self, agent):
        return int(self.actions[agent])


class WholeBox(Pair):
    """Observations in a box of whole numbers, bounded on one side."""

    seen, value = spaces.Box(0, np.iinfo(np.int64).max, (2, 2), np.int64), np.array([[1, 2], [3, 4]])


class OneSided(Pair):
    seen = spaces.Box(np.array([0, -np.inf], np.float32), np.array([np.inf, 1], np.float32))


class Images(Pair):
    """Bytes."""

    seen, value = spaces.Box(0, 255, (2, 2, 3), np.uint8), np.arange(200, 212, dtype=np.uint8).reshape(2, 2, 3)


class DiscreteSeen(Pair):
    seen, value = spaces.Discrete(4, start=2), np.int64(3)


class BinarySeen(Pair):
    seen, value = spaces.MultiBinary(3), np.array([1, 0, 1], np.int8)


class ManyDiscreteSeen(Pair):
    seen, value = spaces.MultiDiscrete([2, 3]), np.array([1, 2])


class Parts(Pair):
    """A dictionary of several parts, one of them a tuple."""

    seen = spaces.Dict(
        {"where": spaces.Box(-9, 9, (2,)), "kind": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, ())])}
    )
    value = {"kind": (np.int64(1), np.float32(0.5)), "where": np.array([7, 8], np.float32)}


class MaskedParts(Pair):
    """A dictionary of several parts, one of which says what is legal."""

    seen = spaces.Dict({n: spaces.Box(0, 9, (1,)) for n in "xy"} | {"action_mask": spaces.Box(0, 1, (3,), np.int8)})
    value = {"x": np.array([4.0]), "y": np.array([5.0]), "action_mask": np.array([0, 1, 0], np.int8)}


class MaskedSeen(Pair):
    """As PettingZoo's board games do it."""

    seen = spaces.Dict({"observation": spaces.Box(0, 9, (1,)), "action_mask": spaces.Box(0, 1, (3,), np.int8)})
    value = {"observation": np.array([4.0]), "action_mask": np.array([0, 1, 0], np.int8)}


class MaskedInfo(Pair):
    def info(self, agent):
        return {"action_mask": np.array([0, 0, 1], np.int8)}


class Unlike(Pair):
    """Agents that see and do other things."""

    seen = {"a": spaces.Box(-1, 1, (3,)), "b": spaces.Discrete(2)}
    act = {"a": spaces.Discrete(3), "b": spaces.Discrete(2, start=-1)}
    value_a, value_b = np.array([1, 2, 3], np.float32), np.int64(0)


class StateOfParts(Pair):
    """A dictionary by agent, which is shorter when one is gone."""

    def terminated(self, agent):
        return agent == "b" and self.time == 2

    def state(self):
        return {a: np.full(2, "ab".index(a) + 1.0) for a in self.agents}


class WholeState(Pair):
    def state(self):
        return np.arange(4).reshape(2, 2)


class StateWithoutNumbers(Pair):
    def state(self):
        return {"a": object()}


class NoMetadata(Pair):
    """And so a ``state`` that fails in its own error message."""

    @property
    def metadata(self):
        raise AttributeError("metadata")


class Bounds(Pair):
    """Boxes of all kinds: bounded differently in each dimension, and not bounded."""

    act = {
        "a": spaces.Box(np.array([0, -0.4], np.float32), np.array([100, 0.4], np.float32)),
        "b": spaces.Box(-np.inf, np.inf, (1, 1), np.float64),
    }


class WholeActions(Pair):
    act = spaces.Box(0, 255, (2,), np.uint8)


class Nobody(Pair):
    """A team none of whose agents is there."""

    def reset(self, seed=None, options=None):
        super().reset()
        self.agents = []
        return {}, {}


class OneSidedActions(Pair):
    act = spaces.Box(0, np.inf, (2,))


class ManyDiscreteActions(Pair):
    act = spaces.MultiDiscrete([2, 2])


class MixedActions(Pair):
    act = {"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (2,))}


class Texts(Pair):
    seen, value = spaces.Text(5), "seen"


class GrowingState(Pair):
    def state(self):
        return np.zeros(3 + self.time)


class NoPossibleAgents(Pair):
    @property
    def possible_agents(self):
        raise AttributeError("possible_agents")


class NoSeed(Pair):
    def reset(self, options=None):
        return super().reset()


class OldReset(Pair):
    def reset(self, seed=None, options=None):
        return super().reset()[0]


class OldStep(Pair):
    def step(self, actions):
        obs, rewards, terminated, _, infos = super().step(actions)
        return obs, rewards, terminated, infos


class ShortMask(Pair):
    def info(self, agent):
        return {"action_mask": np.ones(2, np.int8)}


class NoReward(Pair):
    def reward(self, agent):
        return None


KINDS = [
    *(Pair, Late, Leaving, NumpyScalars, WholeRewards, WholeBox, OneSided, Images, DiscreteSeen, BinarySeen),
    *(
        ManyDiscreteSeen,
        Parts,
        MaskedParts,
        MaskedSeen,
        MaskedInfo,
        Unlike,
        StateOfParts,
        WholeState,
        StateWithoutNumbers,
    ),
    *(NoMetadata, Bounds, WholeActions, Nobody, BothEnds, BothEndsOfOne),
]
REFUSED = [
    *(OneSidedActions, ManyDiscreteActions, MixedActions, Texts, GrowingState, NoPossibleAgents, NoSeed, OldReset),
    *(OldStep, ShortMask, NoReward),
]


def parallel_env(kind):
    return {each.__name__: each for each in (*KINDS, *REFUSED)}[kind]()
