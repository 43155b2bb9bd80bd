"""The mirror objective of one agent (HAMO, Definition 3) on a batch of samples, and the compound factor M."""

import jax
import jax.numpy as jnp


def masked_mean(x, mask):
    """Mean of ``x`` over the samples where ``mask`` is true; 0 where there are none."""
    return jnp.sum(jnp.where(mask, x, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def mirror_objective(log_prob, old_log_prob, m_advantage, mask, drift, divergences=None):
    """Sample mean of ``ratio * M A - drift`` over alive samples; all arrays of one shape.

    The log-probabilities are those of an agent's whole action (summed over its dimensions), so the ratio is joint. What
    stands in a dead sample has no influence, NaN and infinity included: the drift is shown a ratio of 1 and zeros there.
    """

    def alive(x):  # masked before exp and drift, not after: a gradient would be 0 times their infinite slopes
        return jnp.where(mask, x, 0.0)

    ratio, gain = jnp.exp(alive(log_prob - old_log_prob)), alive(m_advantage)
    return masked_mean(ratio * gain - drift(ratio, gain, jax.tree.map(alive, divergences)), mask)


def compound(log_m, log_prob, old_log_prob, mask):
    """Fold one updated agent into ``log M``: the sum of log-ratios, never clipped; a dead agent adds nothing."""
    return log_m + jnp.where(mask, log_prob - old_log_prob, 0.0)
