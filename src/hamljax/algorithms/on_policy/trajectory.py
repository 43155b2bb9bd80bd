"""What a rollout is, whatever collected it.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...envs.protocol import Observation
from ...nn.transforms import blanked
from ..base import Action, DebugBatch


class Transition(NamedTuple):
    """One step of E environments; a trajectory stacks T of them on the leading axis."""

    observation: Observation  # as the environment gave it, not normalised
    start: Bool[Array, " E"]  # the first step of an episode
    action: Action  # (E, N) or (E, N, A), in units of the bounds, before any clipping
    log_prob: Float[Array, "E N"]
    logits: Float[Array, "E N ..."]  # of the policy that acted
    reward: Float[Array, " E"]
    terminated: Bool[Array, " E"]
    truncated: Bool[Array, " E"]
    final: Observation  # the true next observation as the environment gave it: what the critic looks at of it
    metrics: dict[str, Float[Array, " E"]]
    valid: Bool[Array, " E"] | None = None  # a step to learn from; None: every one is

    def without_lost(self) -> "Transition":
        """Zeros for what a lost step may have left behind; when it began and ended an episode stays."""
        said = ("observation", "action", "log_prob", "logits", "reward", "final")
        return self if self.valid is None else blanked(self, self.valid, said)


class Trajectory(NamedTuple):
    """A rollout, from whatever collected it."""

    transitions: Transition
    memory: Float[Array, "chunks P B H"]  # of the policies, at the start of each of T / L chunks

    def debug_batch(self, truncation: str) -> DebugBatch:
        """It, and what of it an update looks at."""
        steps = self.transitions
        learnt = jnp.ones(steps.reward.shape, bool) if steps.valid is None else steps.valid
        goes_on = ~steps.terminated if truncation == "bootstrap" else ~(steps.terminated | steps.truncated)
        return DebugBatch(self, steps.reward, learnt, ((steps.observation, learnt), (steps.final, learnt & goes_on)))
