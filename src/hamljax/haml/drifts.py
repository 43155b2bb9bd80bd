"""Drift functionals (HADF, Definition 1): what a policy pays for moving away from its old self.

A drift is written per sample, ``drift(ratio, m_advantage, *, ...) -> cost`` (arrays of one shape), with value and
gradient zero at ``ratio == 1``. ``ratio`` is the joint probability ratio of one agent's action and ``m_advantage`` is
M * A. Its keywords are bound by name: what is OFFERED, and hyper-parameters (``clip_eps``, ...).

On the boundary of the simplex, where the old policy has actions of probability 0, new mass on such an action costs
``lim cost / r`` for r to infinity. Only where that is 0 (``none``, ``saturating``, ``euclid``) is Definition 1 met by all
policies; every other drift meets it in the interior, and Theorem 1's limit points need not be Nash equilibria.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import Parameters, asked_by, check_name, of_agent, summary

# What a drift may ask for by a keyword of that name: one number a sample, where no other shape is said.
OFFERED = {
    "kl": "KL(old || new) of the two distributions, exactly",
    "reverse_kl": "KL(new || old), exactly",
    "old_prob": "probability (density) of the action under the old policy",
    "m": "M, the joint ratio of the agents that have moved already",
    "advantage": "A",
    "obs": "(..., O) what the agent sees, as its network does",
    "world_state": "(..., S) the state, as the networks see it",
    "agent": "whose policy it is, from 0 on",
    "progress": "() the share of the run that is over: k / K in update k = 0, ..., K - 1",
    "num_updates": "() K",
    "num_agents": "() N",
}


Samples = Float[Array, "..."]  # one number a sample
Cost = TypeVar("Cost", bound=Callable[..., Array])


class Drift(NamedTuple):
    """A registered drift: its hyper-parameters, and what of OFFERED it asks for."""

    function: Callable[..., Samples]  # (ratio, m_advantage, *, ...) -> cost
    parameters: Parameters
    asks: tuple[str, ...]
    summary: str
    discrete: bool = False  # whether it is one of discrete actions alone


DRIFTS: dict[str, Drift] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_drift(name: str, discrete: bool = False) -> Callable[[Cost], Cost]:
    """Decorator: make a drift function known as ``algo.drift=name``.

    A keyword called like what is OFFERED (``kl``, ``old_prob``, ``agent``, ...) is that; one called like a number of
    ``algo`` (``clip_eps``, ...) is that number; any other is set by ``+algo.drift_params.KEYWORD=VALUE``, or has its
    default.

    Args:
        name: as on the command line.
        discrete: whether it means something of discrete actions alone, so that teams with continuous ones are refused.

    Raises:
        ValueError: for the name of a shipped drift, and for a function that does not take (ratio, m_advantage).

    References:
        HAML, Definition 1: non-negative, and zero with a zero slope where the policy has not moved.
    """

    check_name("drift", name, SHIPPED)

    def register(function: Cost) -> Cost:
        own, asks = asked_by("drift", name, function, ("ratio", "m_advantage"), OFFERED)
        DRIFTS[name] = Drift(function, own, asks, summary(function), discrete)
        return function

    return register


class BoundDrift(NamedTuple):
    """``(ratio, m_advantage, given) -> cost`` with its hyper-parameters filled in; ``given`` has all that it ``asks`` for."""

    drift: Drift
    values: Mapping[str, Any]
    asks: tuple[str, ...]

    def __call__(self, ratio: Samples, m_advantage: Samples, given: Mapping[str, Any] | None = None) -> Samples:
        given = given or {}
        own = {name: of_agent(value, given) for name, value in self.values.items()}
        return self.drift.function(ratio, m_advantage, **own, **{name: given[name] for name in self.drift.asks})


def bind_drift(drift: Drift, values: Mapping[str, Any]) -> BoundDrift:
    """A drift with its hyper-parameters filled in.

    Args:
        drift: a registered one.
        values: hyper-parameters by name, of which it takes those that it names; one may be a tuple of a number per agent.

    Returns:
        ``(ratio, m_advantage, given) -> cost``; where a number is one per agent it asks for ``agent`` too.
    """
    chosen = drift.parameters.chosen(values)
    several = any(isinstance(value, tuple) for value in chosen.values())
    return BoundDrift(drift, chosen, tuple(dict.fromkeys(drift.asks + ("agent",) * several)))


@register_drift("none")
def none(ratio: Samples, m_advantage: Samples) -> Samples:
    """No drift: the plain surrogate (HAA2C, HATRPO)."""
    return jnp.zeros_like(ratio)


@register_drift("clip")
def clip(ratio: Samples, m_advantage: Samples, *, clip_eps: float | Array) -> Samples:
    """PPO's clipping: relu((r - clip(r, 1 +- clip_eps)) M A), so that r M A minus it is min(r M A, clip(r) M A) (App. D)."""
    return jax.nn.relu((ratio - jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)) * m_advantage)


@register_drift("clip_n")
def clip_n(ratio: Samples, m_advantage: Samples, *, clip_eps: float | Array, num_agents: int) -> Samples:
    """PPO's clipping with clip_eps / N, so that the joint ratio stays below exp(clip_eps) however many agents there are."""
    return clip(ratio, m_advantage, clip_eps=clip_eps / num_agents)


@register_drift("rollback")
def rollback(
    ratio: Samples, m_advantage: Samples, *, clip_eps: float | Array, rollback_coef: float | Array = 0.3
) -> Samples:
    """PPO's clipping with a slope of -rollback_coef outside, which leads back (Truly PPO, arXiv 1903.07940); 0 is clip."""
    return (1 + rollback_coef) * clip(ratio, m_advantage, clip_eps=clip_eps)


@register_drift("kl")
def kl(ratio: Samples, m_advantage: Samples, *, kl: Samples, kl_coef: float | Array) -> Samples:
    """KL penalty: kl_coef * KL(old || new)."""
    return kl_coef * kl


@register_drift("reverse_kl")
def reverse_kl(ratio: Samples, m_advantage: Samples, *, reverse_kl: Samples, kl_coef: float | Array) -> Samples:
    """Reverse KL penalty: kl_coef * KL(new || old)."""
    return kl_coef * reverse_kl


@register_drift("mirror_descent")
def mirror_descent(
    ratio: Samples,
    m_advantage: Samples,
    *,
    reverse_kl: Samples,
    kl_coef: float | Array,
    progress: float | Array,
    num_updates: float | Array,
) -> Samples:
    """kl_coef / t_k KL(new || old) with t_k = 1 - (k - 1) / K, so that steps get smaller (HAMDPO, arXiv 2308.06741)."""
    return kl_coef * reverse_kl / (1 - progress + 1 / num_updates)


@register_drift("spo")
def spo(ratio: Samples, m_advantage: Samples, *, clip_eps: float | Array) -> Samples:
    """Simple policy optimisation: abs(M A) (r - 1)^2 / (2 clip_eps)."""
    return jnp.abs(m_advantage) * (ratio - 1) ** 2 / (2 * clip_eps)


@register_drift("saturating")
def saturating(ratio: Samples, m_advantage: Samples, *, clip_eps: float | Array) -> Samples:
    """SPO's penalty, saturating: abs(M A) (r - 1)^2 / (2 clip_eps (1 + (r - 1)^2)), a drift also where probabilities are 0."""
    squared = (ratio - 1) ** 2
    return jnp.abs(m_advantage) * squared / (2 * clip_eps * (1 + squared))


@register_drift("euclid", discrete=True)
def euclid(ratio: Samples, m_advantage: Samples, *, old_prob: Samples, euclid_coef: float | Array = 1.0) -> Samples:
    """euclid_coef / 2 sum_a (new - old)^2 in expectation, a drift also where probabilities are 0; of discrete actions alone."""
    return euclid_coef * old_prob * (ratio - 1) ** 2 / 2


@register_drift("dpo")
def dpo(ratio: Samples, m_advantage: Samples, *, dpo_alpha: float | Array, dpo_beta: float | Array) -> Samples:
    """Discovered policy optimisation: relu of x - alpha tanh(x / alpha), x = (r-1)MA if A >= 0, log(r)MA with beta if A < 0."""
    gain = (ratio - 1) * m_advantage
    log_gain = jnp.log(jnp.maximum(ratio, 1e-8)) * m_advantage  # a vanished ratio must not make the gradient 0 * inf
    rising = jax.nn.relu(gain - dpo_alpha * jnp.tanh(gain / dpo_alpha))
    falling = jax.nn.relu(log_gain - dpo_beta * jnp.tanh(log_gain / dpo_beta))
    return jnp.where(m_advantage >= 0, rising, falling)


SHIPPED.update(DRIFTS)
