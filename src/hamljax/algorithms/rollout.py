"""Rollouts: how they are collected, what they report, and how they become training samples.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``policies.layout``).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..envs.protocol import Observation
from ..envs.vector import VectorEnv
from .state import RolloutState


def unroll(vec: VectorEnv, act: Callable, make_transition: Callable, rollout: RolloutState, num_steps: int):
    """``num_steps`` steps of all environments.

    Args:
        act: ``(rollout, key) -> memory, env_action, decision``.
        make_transition: ``(rollout, decision, step) -> transition``, what remains of a step (a ``VecStep``).

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


def episode_metrics(steps: Any, observation: Observation) -> dict[str, jax.Array]:
    """Means over the episodes that ended in a rollout (NaN when none did) and their number, ``episodes``.

    Where steps can be lost, ``lost`` is the number of episodes that ended so, and these do not count in the others.
    ``no_legal_action``: how often an agent of ``observation``, what the team saw, was alive and had none.

    Args:
        steps: anything with ``terminated``, ``truncated``, ``valid`` and ``metrics``, (T, E) each.
    """
    done, lost = steps.terminated | steps.truncated, {}
    if steps.valid is not None:
        lost = {"lost": jnp.sum(done & ~steps.valid)}
        done = done & steps.valid
    count = jnp.sum(done)
    means = {name: jnp.sum(jnp.where(done, x, 0)) / count for name, x in steps.metrics.items()}
    stuck = jnp.sum(observation.alive & ~observation.avail_actions.any(-1))
    return {**means, "episodes": count, "no_legal_action": stuck, **lost}


def to_chunks(x: jax.Array, length: int) -> jax.Array:
    """(T, B, ...) -> (T / length * B, length, ...)."""
    x = x.reshape(-1, length, *x.shape[1:]).swapaxes(1, 2)
    return x.reshape(-1, length, *x.shape[3:])


def merge_leading(x: jax.Array) -> jax.Array:
    """(T, B, H) -> (T * B, H), also for H = 0, where -1 would be ambiguous."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def time_major(x: jax.Array | None) -> jax.Array | None:
    """(samples, L, ...) -> (L, samples, ...); None stays None."""
    return None if x is None else x.swapaxes(0, 1)
