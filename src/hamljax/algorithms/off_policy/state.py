"""What the off-policy loop carries and collects."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float

from ...haml.solvers import Agent
from ...nn.normalisation import ObsNorm
from .replay import Transition
from .sweep import PolicyState


class Targets(NamedTuple):
    """Slow copies of what is learnt. actors: None where policies are stochastic, for then they are their own targets."""

    actors: Any
    critic: Any


class Learnt(NamedTuple):
    """What gradient steps improve, and how observations are normalised."""

    agents: PolicyState  # stacked on the policy axis (P, ...)
    critic: Agent  # stacked on the axis of critics
    targets: Targets
    obs_norm: ObsNorm | None


class Rollout(NamedTuple):
    """T steps of E environments on their way into the replay, leaves (T, E, ...), and what is reported of them."""

    transitions: Transition
    metrics: dict[str, Float[Array, "T E"]]

    @property
    def terminated(self) -> Bool[Array, "T E"]:
        """Where a task ended."""
        return self.transitions.terminated

    @property
    def truncated(self) -> Bool[Array, "T E"]:
        """Where only the time ran out."""
        return self.transitions.truncated

    @property
    def valid(self) -> Bool[Array, "T E"] | None:
        """The steps to learn from; None: every one is."""
        return self.transitions.valid
