"""Many episodes side by side, as a learner sees them. Shapes: E environments, N agents."""

from typing import Any, NamedTuple, Protocol

import jax

from .protocol import Observation


class VecStep(NamedTuple):
    """One transition of E environments.

    observation: where each environment goes on (after the reset of those that ended).
    final: the true next observation, before any reset. reward, terminated, truncated: (E,).
    metrics: (E,) each, with ``episode_return`` and ``episode_length``; they count where ``terminated | truncated``.
    valid: (E,) bool, whether the step is one to learn from; None where every step is.
    """

    observation: Observation
    final: Observation
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, jax.Array]
    valid: Any = None


class VectorEnv(Protocol):
    """E environments, each of whose episodes is followed at once by a fresh one.

    Where an environment is stepped by the host (``Environment.on_host``) a step has two pure halves: ``request``, what
    ``answer`` is to be called with, and ``receive``, what came of it. Elsewhere nobody asks for them.
    """

    num_envs: int
    answer_shapes: Any  # of what ``answer`` returns

    def reset(self, key: jax.Array) -> tuple[Any, Observation]:
        """Start all environments: their state, and observations with a leading axis (E,)."""
        ...

    def step(self, state: Any, action: jax.Array) -> tuple[Any, VecStep]:
        """Advance all of them; action (E, N) int32 or (E, N, A), clipped to the bounds here."""
        ...

    def request(self, state: Any, action: jax.Array) -> tuple[jax.Array, ...]:
        """The arguments of ``answer`` for a step."""
        ...

    def answer(self, *request) -> Any:
        """On the host, outside of any program: step the environments. Numpy arrays in and out."""
        ...

    def receive(self, state: Any, answer: Any) -> tuple[Any, VecStep]:
        """What came of the step."""
        ...
