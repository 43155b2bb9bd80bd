"""The mirror objective of one agent (HAMO, Definition 3) on a batch of samples, and the compound factor M."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# What a sample without weight shows to a function that may divide by it; of all else it shows zeros.
NEUTRAL = {"ratio": 1.0, "m": 1.0, "old_prob": 1.0}

Weight = Bool[Array, "..."] | Float[Array, "..."]  # of samples, >= 0


class BoundCost(Protocol):
    """A drift with its hyper-parameters filled in."""

    def __call__(
        self, ratio: Float[Array, "..."], m_advantage: Float[Array, "..."], given: Mapping[str, Any], /
    ) -> Float[Array, "..."]:
        """What each sample pays.

        Args:
            ratio: of the new probability of what was done to the old. m_advantage: M A.
            given: what the drift asks for by name.
        """
        ...


def weighted_mean(x: Array, weight: Weight) -> Float[Array, ""]:
    """Mean of ``x`` with ``weight`` >= 0 (of one shape; bool or float); 0 where there is none.

    What stands in a sample of weight 0 has no influence, NaN and infinity included.

    Args:
        x: (...,) one number a sample.
        weight: (...,) of each; its scale has no effect.

    Returns:
        The mean, of the type that ``x`` and ``weight`` have together.
    """
    total = jnp.sum(weight)
    return jnp.sum(jnp.where(weight > 0, weight * x, 0.0)) / jnp.where(total > 0, total, 1)


class MirrorGain(NamedTuple):
    """What one agent's new policy is worth to the mirror objective, beside the old one."""

    hamo: Float[Array, ""]  # the sample mean of (ratio - 1) M A - drift: Lemma 2 asks that it is not negative
    drift: Float[Array, ""]  # the sample mean of what was paid for moving


def _counted(
    log_prob: Array, old_log_prob: Array, m_advantage: Array, weight: Weight, given: Mapping[str, Any] | None
) -> tuple[Array, Array, dict[str, Any]]:
    """Ratio, M A and what the drift is given, of the samples that count; the others show what does no harm (NEUTRAL)."""

    def living(name, x):  # before exp and drift, not after: a gradient would be 0 times their infinite slopes
        if jnp.shape(x)[: weight.ndim] != weight.shape:
            return x
        seen = (weight > 0).reshape(weight.shape + (1,) * (jnp.ndim(x) - weight.ndim))
        return jnp.where(seen, x, jnp.asarray(NEUTRAL.get(name, 0), jnp.result_type(x)))

    ratio, gain = jnp.exp(living("", log_prob - old_log_prob)), living("", m_advantage)
    return ratio, gain, {name: living(name, x) for name, x in (given or {}).items()}


def mirror_objective(
    log_prob: Float[Array, "..."],
    old_log_prob: Float[Array, "..."],
    m_advantage: Float[Array, "..."],
    weight: Weight,
    drift: BoundCost,
    given: Mapping[str, Any] | None = None,
) -> Float[Array, ""]:
    """The sample mean of ``ratio * M A - drift`` (Definition 3, estimated as in Proposition 3).

    Args:
        log_prob, old_log_prob: (...,) of an agent's whole action, summed over its dimensions, so that the ratio is joint.
        m_advantage: (...,) M A, M the joint ratio of the agents that have moved already.
        weight: (...,) of each sample, >= 0; bool or float. 0 for the dead, the lost and the padding; its scale has no effect.
        drift: ``(ratio, m_advantage, given) -> cost`` (...,), as ``bind_drift`` makes it.
        given: what the drift asks for by name; arrays (..., more) of samples, or numbers.

    Returns:
        The objective, to be maximised. A sample of weight 0 has no influence, whatever stands in it.

    References:
        Heterogeneous-Agent Mirror Learning, Definition 3 and Proposition 3 (arXiv 2208.01682).
    """
    ratio, gain, asked = _counted(log_prob, old_log_prob, m_advantage, weight, given)
    return weighted_mean(ratio * gain - drift(ratio, gain, asked), weight)


def mirror_gain(
    log_prob: Float[Array, "..."],
    old_log_prob: Float[Array, "..."],
    m_advantage: Float[Array, "..."],
    weight: Weight,
    drift: BoundCost,
    given: Mapping[str, Any] | None = None,
) -> MirrorGain:
    """``mirror_objective`` less its value at the old policy, whose drift is 0; and the drift by itself.

    Args:
        log_prob, old_log_prob, m_advantage, weight, drift, given: as of ``mirror_objective``.

    References:
        HAML, Lemma 2: where no agent's HAMO is negative, in any state, the joint return does not fall. On samples this is an
        estimate of its mean over states.
    """
    ratio, gain, asked = _counted(log_prob, old_log_prob, m_advantage, weight, given)
    cost = drift(ratio, gain, asked)
    return MirrorGain(weighted_mean((ratio - 1) * gain - cost, weight), weighted_mean(cost, weight))


def compound(
    log_m: Float[Array, "..."],
    log_prob: Float[Array, "... M"],
    old_log_prob: Float[Array, "... M"],
    alive: Bool[Array, "... M"] | Float[Array, "... M"],
) -> Float[Array, "..."]:
    """Fold one updated policy into ``log M``: the sum of its agents' log-ratios, never clipped; a dead agent adds nothing.

    Args:
        log_m: (...,) of the agents before, one number a team and step.
        log_prob, old_log_prob: (..., M) of the M agents that the policy plays, after and before its update.
        alive: (..., M) bool, or weights, which are 0 for the dead.

    Returns:
        (...,) ``log M`` for the agents after.

    References:
        HAML, Appendix E: the joint importance ratio of the predecessors.
    """
    return log_m + jnp.sum(jnp.where(alive > 0, log_prob - old_log_prob, 0.0), axis=-1)
