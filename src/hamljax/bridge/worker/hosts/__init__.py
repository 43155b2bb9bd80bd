"""Environments that live in a worker, each behind the same few calls. Standard library and numpy only, Python 3.8 and later.

A host is a class whose keyword arguments are its settings. It has

* ``spec``: a dict with obs_sizes, action_sizes (N numbers each), world_state_size, discrete, max_episode_length, metrics
  (names) and needs_obs_norm; and, if they are others, obs_dtype and world_state_dtype ("uint8" where all are bytes, else
  "float32"), action_low and action_high (N lists of an agent's bounds, infinite on both sides for none), kinds (N names,
  of those who are alike where their spaces are; None: unknown, or other ones in every episode). Continuous
  actions come within these bounds, which are -1 and 1 where a host does not say.
* ``reset(key) -> Seen``, ``step(key, action) -> Seen, reward, terminated, truncated, metrics``, ``close()``. ``key``: two
  uint32 that all randomness may come from.

An exception of the kinds that a wrong request raises (AssertionError, ValueError, ...) is the learner's bug, and stops
training with its traceback. ``Refused`` stops it with one line: the environment is of no use here. Any other, and
``Crash``, says that the simulator broke down: the worker is replaced, and the one transition is left out of learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

HOSTS = {  # name -> module and class
    "smac": ("smac", "Smac"),
    "smacv2": ("smac", "SmacV2"),
    "smax": ("smax", "SmaxBehindSmac"),
    "mamujoco": ("mamujoco", "GymnasiumRobotics"),
    "pettingzoo": ("pettingzoo", "PettingZoo"),
    "pause": ("pause", "Pause"),
}


class Seen(NamedTuple):
    """What the team sees: N observations and N rows of legal actions of their own lengths, the state, who is alive (N)."""

    obs: Any
    world_state: Any
    avail_actions: Any
    alive: Any


class Refused(Exception):
    """The environment is one that cannot be trained in, for the reason given."""


class Crash(RuntimeError):
    """The simulator broke down through no fault of the learner's."""


def seed_of(key: np.ndarray) -> int:
    """31 bits of a key, for hosts that want one number."""
    return (int(key[0]) * 1000003 ^ int(key[1])) & 0x7FFFFFFF
