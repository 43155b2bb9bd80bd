"""Action distributions, as plain arrays outside and distrax inside.

``logits`` is what a policy head returns: unnormalised log-probabilities (discrete) or ``(mean, log_std)`` stacked on the
last-but-one axis (continuous). ``avail`` (..., A) bool marks legal actions (discrete) or existing dimensions
(continuous); what it excludes is never sampled and enters no log-probability, entropy or divergence.
"""

from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp


class Categorical:
    """Masked categorical distribution over A actions; samples are int32 of shape ``(...)``."""

    @staticmethod
    def _make(logits, avail):
        # Finite, so that entropy and gradients stay finite; low enough that exp underflows to exactly 0.
        return distrax.Categorical(logits=jnp.where(avail, logits, -1e9))

    @classmethod
    def sample(cls, key, logits, avail):
        return cls._make(logits, avail).sample(seed=key)

    @classmethod
    def mode(cls, logits, avail):
        return cls._make(logits, avail).mode().astype(jnp.int32)

    @classmethod
    def log_prob(cls, logits, avail, action):
        return cls._make(logits, avail).log_prob(action)

    @classmethod
    def entropy(cls, logits, avail):
        return cls._make(logits, avail).entropy()

    @classmethod
    def kl(cls, logits, other_logits, avail):
        """KL(logits || other_logits), (...): sum over legal actions of p log(p / q)."""
        return cls._make(logits, avail).kl_divergence(cls._make(other_logits, avail))


class Gaussian:
    """Diagonal Gaussian over the existing of A dimensions; samples are float32 (..., A), zero where a dimension is padding.

    ``logits`` (..., 2, A): mean and logarithm of the standard deviation.
    """

    @staticmethod
    def _make(logits):
        return distrax.Normal(logits[..., 0, :], jnp.exp(logits[..., 1, :]))

    @staticmethod
    def _sum(x, avail):
        return jnp.sum(jnp.where(avail, x, 0.0), axis=-1)

    @classmethod
    def sample(cls, key, logits, avail):
        return jnp.where(avail, cls._make(logits).sample(seed=key), 0.0)

    @classmethod
    def mode(cls, logits, avail):
        return jnp.where(avail, logits[..., 0, :], 0.0)

    @classmethod
    def log_prob(cls, logits, avail, action):
        return cls._sum(cls._make(logits).log_prob(action), avail)

    @classmethod
    def entropy(cls, logits, avail):
        return cls._sum(cls._make(logits).entropy(), avail)

    @classmethod
    def kl(cls, logits, other_logits, avail):
        return cls._sum(cls._make(logits).kl_divergence(cls._make(other_logits)), avail)


class Evaluation(NamedTuple):
    """A policy's view of stored actions: all of the batch's shape, ``logits`` with the head's trailing axes."""

    log_prob: jax.Array
    entropy: jax.Array
    logits: jax.Array


def distribution(discrete: bool):
    """The distribution class of a team's action space."""
    return Categorical if discrete else Gaussian
