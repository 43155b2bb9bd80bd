"""Advantages and the critic's loss, on arrays (time, ...)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...nn.transforms import clamp, huber, larger


def calculate_gae(
    reward: Float[Array, "T ..."],
    value: Float[Array, "T ..."],
    next_value: Float[Array, "T ..."],
    terminated: Bool[Array, "T ..."],
    truncated: Bool[Array, "T ..."],
    gamma: float | Array,
    gae_lambda: float | Array,
    dropped: Bool[Array, "T ..."] | bool = False,
) -> tuple[Float[Array, "T ..."], Float[Array, "T ..."]]:
    """Generalised advantage estimation with time limits told from terminations.

    With done = terminated or truncated: ``delta = r + gamma next_value (1 - terminated) - value`` and
    ``advantage_t = delta_t + gamma lambda (1 - done_t) advantage_{t+1}``.

    Args:
        reward: (T, ...), as all arrays are, whose shapes broadcast to each other.
        value: V of the observations, in units of the reward.
        next_value: V of the true next observations, before any reset; anything, NaN included, where it terminated.
        terminated: the task ended. truncated: only the time ran out.
        gamma: the discount of a step. gae_lambda: 0 for one-step, 1 for Monte Carlo advantages.
        dropped: where delta is 0: the step teaches nothing (advantage 0 + what follows in its episode, target = value).

    Returns:
        Advantages, and value targets (advantage + value).

    References:
        Schulman et al., 2016 (arXiv 1506.02438), equation 16.
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
    value: Float[Array, "..."],
    old_value: Float[Array, "..."],
    target: Float[Array, "..."],
    kind: str,
    huber_delta: float | Array,
    value_clip: float | Array,
    clip_value: bool,
) -> Float[Array, "..."]:
    """Per-sample critic loss ``max(l(R - V), l(R - [V_old + clip(V - V_old, +-value_clip)]))``.

    Args:
        value: V now. old_value: V when the rollout was collected. target: R; all (...,) and in the same units.
        kind: what l is: ``huber``, or half the square. huber_delta: where Huber's function becomes linear.
        value_clip: how far V may usefully move. clip_value: false leaves the first term alone.

    Returns:
        (...,) losses.

    References:
        Yu et al., 2022 (MAPPO, arXiv 2103.01955), Appendix A.
    """

    def error(prediction):
        if kind == "huber":
            return huber(prediction - target, huber_delta)
        return 0.5 * (prediction - target) ** 2

    if not clip_value:
        return error(value)
    return larger(error(value), error(old_value + clamp(value - old_value, -value_clip, value_clip)))
