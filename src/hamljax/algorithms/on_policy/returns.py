"""Advantages and the critic's loss, on arrays (time, ...)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def calculate_gae(
    reward: jax.Array,
    value: Any,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: float | jax.Array,
    gae_lambda: float | jax.Array,
    dropped=False,
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimation (Schulman et al., 2016) with time limits told from terminations.

    All arrays (T, ...). ``next_value`` is V of the true next observation, before any reset. With done = terminated or
    truncated: ``delta = r + gamma next_value (1 - terminated) - value`` and
    ``advantage_t = delta_t + gamma lambda (1 - done_t) advantage_{t+1}``. Where ``dropped``, delta is 0: the step teaches
    nothing (advantage 0, target = value). ``next_value`` may be anything, NaN included, where it terminated.

    Returns advantages and value targets (advantage + value).
    """
    delta = reward + gamma * jnp.where(terminated, 0.0, next_value) - value
    delta = jnp.where(dropped, 0.0, delta)
    decay = gamma * gae_lambda * (1 - jnp.maximum(terminated, truncated).astype(delta.dtype))

    def backward(following, delta_and_decay):
        delta, decay = delta_and_decay
        advantage = delta + decay * following
        return advantage, advantage

    _, advantage = jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)
    return advantage, advantage + value


def value_loss(
    value: Any,
    old_value: jax.Array,
    target: jax.Array,
    kind: str,
    huber_delta: float | jax.Array,
    value_clip: float | jax.Array,
    clip_value: bool,
) -> jax.Array:
    """Per-sample critic loss ``max(l(R - V), l(R - [V_old + clip(V - V_old, +-value_clip)]))``.

    ``l`` is Huber's function or half the square; without ``clip_value`` the first term alone.
    """

    def error(prediction):
        if kind == "huber":
            return optax.huber_loss(prediction, target, delta=huber_delta)
        return 0.5 * (prediction - target) ** 2

    if not clip_value:
        return error(value)
    return jnp.maximum(error(value), error(old_value + jnp.clip(value - old_value, -value_clip, value_clip)))
