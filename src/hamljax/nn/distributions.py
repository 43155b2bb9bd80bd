"""Action distributions, as plain arrays outside and distrax inside.

``logits`` is what a policy head returns: unnormalised log-probabilities (discrete) or ``(mean, log_std)`` stacked on the
last-but-one axis (continuous; the mean alone where ``head`` says so). ``avail`` (..., A) bool marks legal actions
(discrete) or existing dimensions (continuous); what it excludes is never sampled, and whatever its logits are (NaN
included) they enter no log-probability, entropy or divergence, nor their gradients.

Continuous actions are in units of the environment's bounds, which are -1 and 1 here. ``sample_and_log_prob``, for rows that
learn from a replay, samples so that gradients reach the logits: an action as a critic sees it, (..., A) in [-1, 1] or
one-hot, and its log-probability. What the methods are given and return is what ``nn.protocols`` says.
"""

from typing import Any, ClassVar, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from .protocols import Avail, Continuous, Discrete, Heads, Logits, OneKey, PerDecision
from .transforms import clamp


@struct.dataclass
class Categorical:
    """Masked categorical distribution over A actions; samples are int32 of shape ``(...)``."""

    head: ClassVar[str] = "logits"

    @staticmethod
    def _make(logits: Logits, avail: Avail) -> Any:
        # Finite, so that entropy and gradients stay finite; low enough that exp underflows to exactly 0.
        return distrax.Categorical(logits=jnp.where(avail, logits, -1e9))

    @classmethod
    def sample(cls, key: OneKey, logits: Logits, avail: Avail) -> Discrete:
        masked = cls._make(logits, avail).logits
        return cls._some(jax.random.categorical(key, masked), masked, avail)

    @staticmethod
    def _some(action: Discrete, logits: Logits, avail: Avail) -> Discrete:
        """``action``, or the first legal one where logits are NaN: such an update is not taken, but an environment is asked."""
        return jnp.where(jnp.isnan(logits).any(-1), jnp.argmax(avail, axis=-1), action).astype(jnp.int32)

    @classmethod
    def mode(cls, logits: Logits, avail: Avail) -> Discrete:
        masked = cls._make(logits, avail).logits
        return cls._some(jnp.argmax(masked, axis=-1), masked, avail)

    @classmethod
    def probs(cls, logits: Logits, avail: Avail) -> Continuous:
        """(..., A): the probabilities of all actions, 0 for the illegal."""
        return cls._make(logits, avail).probs

    @classmethod
    def log_prob(cls, logits: Logits, avail: Avail, action: Discrete) -> PerDecision:
        return cls._make(logits, avail).log_prob(action)

    @classmethod
    def entropy(cls, logits: Logits, avail: Avail) -> PerDecision:
        return cls._make(logits, avail).entropy()

    @classmethod
    def kl(cls, logits: Logits, other_logits: Logits, avail: Avail) -> PerDecision:
        """KL(logits || other_logits), (...): sum over legal actions of p log(p / q)."""
        return cls._make(logits, avail).kl_divergence(cls._make(other_logits, avail))

    @classmethod
    def sample_and_log_prob(cls, key: OneKey, logits: Logits, avail: Avail) -> tuple[Continuous, PerDecision]:
        """A one-hot sample by Gumbel's trick, its gradient that of the softmax at temperature 1 (Jang et al., 2017).

        The log-probability is its mean over all actions: exact, where a sample's own would be one draw of it.
        """
        log_probs = cls._make(logits, avail).logits
        soft = jax.nn.softmax(log_probs + jax.random.gumbel(key, log_probs.shape, log_probs.dtype))
        hard = jax.nn.one_hot(jnp.argmax(soft, axis=-1), soft.shape[-1], dtype=soft.dtype)
        return hard + (soft - jax.lax.stop_gradient(soft)), -cls.entropy(logits, avail)

    @staticmethod
    def encode(action: Discrete, avail: Avail) -> Continuous:
        """Actions as a critic sees them: one-hot (..., A)."""
        return jax.nn.one_hot(action, avail.shape[-1], dtype=jnp.float32)

    @staticmethod
    def uniform(key: OneKey, avail: Avail) -> Discrete:
        return jax.random.categorical(key, jnp.where(avail, 0.0, -1e9)).astype(jnp.int32)

    @staticmethod
    def target_entropy(avail: Avail, scale: float | Array) -> PerDecision:
        """``scale`` of the largest entropy there is, over the legal actions (Christodoulou, 2019)."""
        return scale * jnp.log(jnp.maximum(jnp.sum(avail, axis=-1, dtype=jnp.float32), 1))


@struct.dataclass
class Gaussian:
    """Diagonal Gaussian over the existing of A dimensions; samples are float32 (..., A), zero where a dimension is padding.

    ``logits`` (..., 2, A): mean and logarithm of the standard deviation.
    """

    head: ClassVar[str] = "gaussian"

    @staticmethod
    def _make(logits: Heads, avail: Avail) -> Any:
        logits = existing(logits, avail)
        return distrax.Normal(logits[..., 0, :], jnp.exp(logits[..., 1, :]))

    @staticmethod
    def _sum(x: Continuous, avail: Avail) -> PerDecision:
        return jnp.sum(jnp.where(avail, x, 0.0), axis=-1)

    @classmethod
    def sample(cls, key: OneKey, logits: Heads, avail: Avail) -> Continuous:
        return jnp.where(avail, cls._make(logits, avail).sample(seed=key), 0.0)

    @classmethod
    def mode(cls, logits: Heads, avail: Avail) -> Continuous:
        return jnp.where(avail, logits[..., 0, :], 0.0)

    @classmethod
    def log_prob(cls, logits: Heads, avail: Avail, action: Continuous) -> PerDecision:
        return cls._sum(cls._make(logits, avail).log_prob(jnp.where(avail, action, 0.0)), avail)

    @classmethod
    def entropy(cls, logits: Heads, avail: Avail) -> PerDecision:
        return cls._sum(cls._make(logits, avail).entropy(), avail)

    @classmethod
    def kl(cls, logits: Heads, other_logits: Heads, avail: Avail) -> PerDecision:
        return cls._sum(cls._make(logits, avail).kl_divergence(cls._make(other_logits, avail)), avail)


def existing(logits: Heads, avail: Avail) -> Heads:
    """``logits`` (..., 2, A) with zeros, so a standard normal, where ``avail`` (..., A) says that a dimension is none."""
    return jnp.where(avail[..., None, :], logits, 0.0)


class Unit:
    """What distributions over actions in [-1, 1]^A have in common; padding dimensions are zero."""

    @staticmethod
    def encode(action: Continuous, avail: Avail) -> Continuous:
        """Actions as a critic sees them: as they are."""
        return jnp.where(avail, action, 0.0)

    @staticmethod
    def uniform(key: OneKey, avail: Avail) -> Continuous:
        return jnp.where(avail, jax.random.uniform(key, avail.shape, jnp.float32, minval=-1.0), 0.0)

    @staticmethod
    def target_entropy(avail: Avail, scale: float | Array) -> PerDecision:
        """Minus the number of dimensions (Haarnoja et al., 2018), whatever the ``scale`` of discrete ones."""
        del scale
        return -jnp.sum(avail, axis=-1, dtype=jnp.float32)


@struct.dataclass
class SquashedGaussian(Unit):
    """A tanh-squashed diagonal Gaussian; ``logits`` (..., 2, A): mean and log standard deviation before the squashing."""

    head: ClassVar[str] = "squashed"
    LOG_STD: ClassVar[tuple[float, float]] = (-20.0, 2.0)
    EDGE: ClassVar[float] = 1 - 1e-6  # the arc tangent of 1 is infinite

    @classmethod
    def _make(cls, logits: Heads, avail: Avail) -> Any:
        logits = existing(logits, avail)
        return distrax.Normal(logits[..., 0, :], jnp.exp(clamp(logits[..., 1, :], *cls.LOG_STD)))

    @classmethod
    def _log_prob(cls, logits: Heads, avail: Avail, before: Continuous) -> PerDecision:
        """Of the action tanh(``before``): log N(before) - log(1 - tanh(before)^2), written so that nothing overflows."""
        log_slope = 2 * (jnp.log(2.0) - before - jax.nn.softplus(-2 * before))
        return Gaussian._sum(cls._make(logits, avail).log_prob(before) - log_slope, avail)

    @classmethod
    def sample_and_log_prob(cls, key: OneKey, logits: Heads, avail: Avail) -> tuple[Continuous, PerDecision]:
        before = cls._make(logits, avail).sample(seed=key)
        return jnp.where(avail, jnp.tanh(before), 0.0), cls._log_prob(logits, avail, before)

    @classmethod
    def sample(cls, key: OneKey, logits: Heads, avail: Avail) -> Continuous:
        return cls.sample_and_log_prob(key, logits, avail)[0]

    @classmethod
    def kl(cls, logits: Heads, other_logits: Heads, avail: Avail) -> PerDecision:
        """KL(logits || other_logits), (...): tanh is one to one, so it is that of the Gaussians before it."""
        return Gaussian._sum(cls._make(logits, avail).kl_divergence(cls._make(other_logits, avail)), avail)

    @classmethod
    def mode(cls, logits: Heads, avail: Avail) -> Continuous:
        return jnp.tanh(jnp.where(avail, logits[..., 0, :], 0.0))

    @classmethod
    def log_prob(cls, logits: Heads, avail: Avail, action: Continuous) -> PerDecision:
        """Finite also at -1 and 1, which tanh rounds to."""
        inside = jnp.clip(jnp.where(avail, action, 0.0), -cls.EDGE, cls.EDGE)
        return cls._log_prob(logits, avail, jnp.arctanh(inside))


@struct.dataclass
class Deterministic(Unit):
    """One action, tanh(logits); a sample adds Gaussian noise of standard deviation ``noise`` to explore, within bounds."""

    noise: float
    head: ClassVar[str] = "mean"

    @staticmethod
    def mode(logits: Continuous, avail: Avail) -> Continuous:
        return jnp.tanh(jnp.where(avail, logits, 0.0))

    def sample(self, key: OneKey, logits: Continuous, avail: Avail) -> Continuous:
        return perturb(key, self.mode(logits, avail), avail, self.noise)

    @staticmethod
    def log_prob(logits: Continuous, avail: Avail, action: Continuous) -> PerDecision:
        """Zero: there is no density."""
        return jnp.zeros(action.shape[:-1], jnp.float32)

    @classmethod
    def kl(cls, logits: Continuous, other_logits: Continuous, avail: Avail) -> PerDecision:
        """Of two points: 0 where they are one, else infinite."""
        same = cls.mode(logits, avail) == cls.mode(other_logits, avail)
        return jnp.where(jnp.all(same, axis=-1), 0.0, jnp.inf)

    @classmethod
    def sample_and_log_prob(cls, key: OneKey, logits: Continuous, avail: Avail) -> tuple[Continuous, PerDecision]:
        return cls.mode(logits, avail), jnp.zeros(logits.shape[:-1], jnp.float32)


def perturb(
    key: OneKey, action: Continuous, avail: Avail, noise: float | Array, limit: float | Array = jnp.inf
) -> Continuous:
    """Actions with Gaussian noise on their real dimensions, within [-1, 1].

    Args:
        key: of the noise. action: (..., A). avail: (..., A) which dimensions exist.
        noise: its standard deviation. limit: what it is clipped to.
    """
    noise = jnp.clip(noise * jax.random.normal(key, action.shape, action.dtype), -limit, limit)
    return jnp.where(avail, jnp.clip(action + noise, -1.0, 1.0), 0.0)


class Evaluation(NamedTuple):
    """A policy's view of stored actions: all of the batch's shape, ``logits`` with the head's trailing axes."""

    log_prob: Float[Array, "..."]
    entropy: Float[Array, "..."]
    logits: Float[Array, "..."]
