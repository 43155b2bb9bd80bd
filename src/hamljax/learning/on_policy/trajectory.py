"""What a rollout is, whatever collected it, and how it becomes training samples.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``).
"""

from typing import Any, NamedTuple

import jax

from ...envs.protocol import Observation
from ..batching import blanked


class Transition(NamedTuple):
    """One step of E environments; a trajectory stacks T of them on the leading axis."""

    observation: Observation  # as the environment gave it, not normalised
    start: jax.Array  # (E,) bool: the first step of an episode
    action: jax.Array  # (E, N) or (E, N, A), in units of the bounds, before any clipping
    log_prob: jax.Array  # (E, N)
    logits: jax.Array  # (E, N, ...) of the policy that acted
    reward: jax.Array  # (E,)
    terminated: jax.Array  # (E,)
    truncated: jax.Array  # (E,)
    final: Observation  # the true next observation as the environment gave it: what the critic looks at of it
    metrics: dict[str, jax.Array]  # (E,) each
    valid: Any = None  # (E,) bool: a step to learn from; None: every one is

    def without_lost(self) -> "Transition":
        """Zeros for what a lost step may have left behind; when it began and ended an episode stays."""
        said = ("observation", "action", "log_prob", "logits", "reward", "final")
        return self if self.valid is None else blanked(self, self.valid, said)


class Trajectory(NamedTuple):
    """A rollout, from whatever collected it. ``carry`` (T / L, P, B, H): actor memory at the start of every chunk."""

    transitions: Transition
    carry: jax.Array


def to_chunks(x, length: int):
    """(T, B, ...) -> (T / length * B, length, ...)."""
    x = x.reshape(-1, length, *x.shape[1:]).swapaxes(1, 2)
    return x.reshape(-1, length, *x.shape[3:])


def merge_leading(x):
    """(T, B, H) -> (T * B, H), also for H = 0, where -1 would be ambiguous."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def time_major(x):
    return None if x is None else x.swapaxes(0, 1)
