"""Rollouts: how they are collected, what they report, and how they become training samples.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``policies.layout``).
"""

from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from ..envs.protocol import Observation
from ..envs.vector import VecStep, VectorEnv
from .state import RolloutState


def unroll(
    vec: VectorEnv,
    act: Callable[[RolloutState, Key[Array, ""]], tuple[Array, Array, Any]],
    make_transition: Callable[[RolloutState, Any, VecStep], Any],
    rollout: RolloutState,
    num_steps: int,
) -> tuple[RolloutState, Any]:
    """``num_steps`` steps of all environments.

    Args:
        vec: the environments.
        act: ``(rollout, key) -> memory, env_action, decision``.
        make_transition: ``(rollout, decision, step) -> transition``, what remains of a step (a ``VecStep``).
        rollout: where they are. num_steps: how many to take.

    Returns:
        The rollout's state afterwards, and the transitions stacked over time.
    """

    def step(rollout, _):
        key, act_key = jax.random.split(rollout.key)
        memory, action, decision = act(rollout, act_key)
        env_state, out = vec.step(rollout.env_state, action)
        after = RolloutState(env_state, out.observation, out.terminated | out.truncated, memory, key)
        return after, make_transition(rollout, decision, out)

    return jax.lax.scan(step, rollout, None, length=num_steps)


def episode_metrics(steps: Any, observation: Observation) -> dict[str, Array]:
    """Means over the episodes that ended in a rollout (NaN when none did) and their number, ``episodes``.

    Where steps can be lost, ``lost`` is the number of episodes that ended so, and these do not count in the others.
    ``no_legal_action``: how often an agent was alive and had none.

    Args:
        steps: anything with ``terminated``, ``truncated``, ``valid`` and ``metrics``, (T, E) each.
        observation: (T, E, N, ...) what the team saw.

    Returns:
        Scalars by name.
    """
    done, lost = steps.terminated | steps.truncated, {}
    if steps.valid is not None:
        lost = {"lost": jnp.sum(done & ~steps.valid)}
        done = done & steps.valid
    count = jnp.sum(done)
    means = {name: jnp.sum(jnp.where(done, x, 0)) / count for name, x in steps.metrics.items()}
    stuck = jnp.sum(observation.alive & ~observation.avail_actions.any(-1))
    return {**means, "episodes": count, "no_legal_action": stuck, **lost}


def to_chunks(x: Shaped[Array, "T B ..."], length: int) -> Shaped[Array, "samples L ..."]:
    """(T, B, ...) -> (T / length * B, length, ...)."""
    x = x.reshape(-1, length, *x.shape[1:]).swapaxes(1, 2)
    return x.reshape(-1, length, *x.shape[3:])


def merge_leading(x: Float[Array, "T B H"]) -> Float[Array, "TB H"]:
    """(T, B, H) -> (T * B, H), also for H = 0, where -1 would be ambiguous."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


@overload
def time_major(x: Array) -> Array: ...
@overload
def time_major(x: None) -> None: ...
def time_major(x: Array | None) -> Array | None:
    """(samples, L, ...) -> (L, samples, ...); None stays None."""
    return None if x is None else x.swapaxes(0, 1)
