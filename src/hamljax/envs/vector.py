"""Many episodes side by side, as a learner sees them. Shapes: E environments, N agents."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Key

from .protocol import Action, Observation


class VecStep(NamedTuple):
    """One transition of E environments.

    Args:
        observation: where each environment goes on (after the reset of those that ended), (E, N, ...).
        final: the true next observation, before any reset.
        reward: of the team.
        terminated: whether the task ended.
        truncated: whether only the time limit was reached.
        metrics: of an environment, and ``episode_return`` and ``episode_length``; they count where ``terminated | truncated``.
        valid: whether the step is one to learn from; None where every step is.
    """

    observation: Observation
    final: Observation
    reward: Float[Array, " E"]
    terminated: Bool[Array, " E"]
    truncated: Bool[Array, " E"]
    metrics: dict[str, Float[Array, " E"]]
    valid: Bool[Array, " E"] | None = None


class VectorEnv:
    """Base class: E environments, each of whose episodes is followed at once by a fresh one.

    Where an environment is stepped by the host (``Environment.on_host``) a step has two pure halves: ``request``, what
    ``answer`` is to be called with, and ``receive``, what came of it. Others need not define these.
    """

    num_envs: int

    @property
    def answer_shapes(self) -> Any:
        """The shapes of what ``answer`` returns."""
        raise NotImplementedError

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Observation]:
        """Start all environments: their state, and observations with a leading axis (E,)."""
        raise NotImplementedError

    def step(self, state: Any, action: Action) -> tuple[Any, VecStep]:
        """Advance all of them by one step.

        Args:
            state: as ``reset`` or ``step`` returned it.
            action: (E, N) int32 or (E, N, A), clipped to the bounds here.
        """
        raise NotImplementedError

    def request(self, state: Any, action: Action) -> tuple[Array, ...]:
        """The arguments of ``answer`` for a step of ``state`` by ``action``, as ``step`` takes them."""
        raise NotImplementedError

    def answer(self, *request: np.ndarray) -> Any:
        """On the host, outside of any program: step the environments. Numpy arrays in and out."""
        raise NotImplementedError

    def receive(self, state: Any, answer: Any) -> tuple[Any, VecStep]:
        """The second half of ``step``.

        Args:
            state: that of which ``request`` was asked.
            answer: what ``answer`` returned, on the device.
        """
        raise NotImplementedError
