"""The mirror objective of one agent (HAMO, Definition 3) on a batch of samples, and the compound factor M."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

# What a sample without weight shows to a function that may divide by it; of all else it shows zeros.
NEUTRAL = {"ratio": 1.0, "m": 1.0, "old_prob": 1.0}


def weighted_mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean of ``x`` with ``weight`` >= 0 (of one shape; bool or float); 0 where there is none.

    What stands in a sample of weight 0 has no influence, NaN and infinity included.
    """
    total = jnp.sum(weight)
    return jnp.sum(jnp.where(weight > 0, weight * x, 0.0)) / jnp.where(total > 0, total, 1)


def mirror_objective(
    log_prob: jax.Array,
    old_log_prob: jax.Array,
    m_advantage: jax.Array,
    weight: jax.Array,
    drift: Callable,
    given: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """The sample mean of ``ratio * M A - drift`` (Definition 3, estimated as in Proposition 3).

    Args:
      log_prob, old_log_prob: (...,) of an agent's whole action, summed over its dimensions, so that the ratio is joint.
      m_advantage: (...,) M A, M the joint ratio of the agents that have moved already.
      weight: (...,) of each sample, >= 0; bool or float. 0 for the dead, the lost and the padding; its scale has no effect.
      drift: ``(ratio, m_advantage, given) -> cost`` (...,), as ``bind_drift`` makes it.
      given: what the drift asks for by name; arrays (..., more) of samples, or numbers.

    Returns: (), to be maximised. A sample of weight 0 has no influence, whatever stands in it.
    """

    def living(name, x):  # before exp and drift, not after: a gradient would be 0 times their infinite slopes
        if jnp.shape(x)[: weight.ndim] != weight.shape:
            return x
        seen = (weight > 0).reshape(weight.shape + (1,) * (jnp.ndim(x) - weight.ndim))
        return jnp.where(seen, x, jnp.asarray(NEUTRAL.get(name, 0), jnp.result_type(x)))

    ratio, gain = jnp.exp(living("", log_prob - old_log_prob)), living("", m_advantage)
    asked = {name: living(name, x) for name, x in (given or {}).items()}
    return weighted_mean(ratio * gain - drift(ratio, gain, asked), weight)


def compound(log_m: jax.Array, log_prob: jax.Array, old_log_prob: jax.Array, alive: jax.Array) -> jax.Array:
    """Fold one updated policy into ``log M``: the sum of its agents' log-ratios, never clipped; a dead agent adds nothing.

    log_m (...,); log_prob, old_log_prob and alive (bool, or weights) (..., M) of the M agents that the policy plays.
    """
    return log_m + jnp.sum(jnp.where(alive > 0, log_prob - old_log_prob, 0.0), axis=-1)
