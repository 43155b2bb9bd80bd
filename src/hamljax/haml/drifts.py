"""Drift functionals (HADF, Definition 1): what a policy pays for moving away from its old self.

A drift is written per sample, ``drift(ratio, m_advantage, *, ...) -> cost >= 0`` (arrays of one shape), with value and
gradient zero at ``ratio == 1``. ``ratio`` is the joint probability ratio of one agent's action and ``m_advantage`` is
M * A. Keyword arguments are bound by name: hyper-parameters (``clip_eps``, ...), or the exact divergences of the two
distributions, ``kl`` = KL(old || new) and ``reverse_kl`` = KL(new || old), one number per sample.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .parameters import Parameters, check_name, parameters, parameters_of, summary

DIVERGENCES = ("kl", "reverse_kl")


class Drift(NamedTuple):
    """A registered drift: its hyper-parameters, and the divergences that it asks for."""

    function: Callable
    parameters: Parameters
    divergences: tuple[str, ...]
    summary: str


DRIFTS: dict[str, Drift] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_drift(name: str):
    """Decorator: make a drift function known as ``algo.drift=name``.

    A keyword called like a number of ``algo`` (``clip_eps``, ...) is that number; any other is set by
    ``+algo.drift_params.KEYWORD=VALUE``, or has its default. Raises ValueError for the name of a shipped drift, and for a
    function that does not take (ratio, m_advantage).
    """

    check_name("drift", name, SHIPPED)

    def register(function):
        try:
            named = parameters_of(function, ("ratio", "m_advantage"))
        except ValueError as error:
            raise ValueError(f"drift '{name}': {error}") from None
        divergences = tuple(divergence for divergence in DIVERGENCES if divergence in named)
        DRIFTS[name] = Drift(function, parameters(named, DIVERGENCES), divergences, summary(function))
        return function

    return register


def bind_drift(drift: Drift, values: Mapping[str, Any]) -> Callable:
    """``(ratio, m_advantage, divergences) -> cost`` with the hyper-parameters that the drift names filled in."""
    chosen = drift.parameters.chosen(values)

    def bound(ratio, m_advantage, divergences):
        asked = {name: divergences[name] for name in drift.divergences}
        return drift.function(ratio, m_advantage, **chosen, **asked)

    return bound


@register_drift("none")
def none(ratio, m_advantage):
    """No drift: the plain surrogate (HAA2C, HATRPO)."""
    return jnp.zeros_like(ratio)


@register_drift("clip")
def clip(ratio, m_advantage, *, clip_eps):
    """PPO's clipping: relu((r - clip(r, 1 +- clip_eps)) M A) (HAPPO, Appendix D)."""
    return jax.nn.relu((ratio - jnp.clip(ratio, 1 - clip_eps, 1 + clip_eps)) * m_advantage)


@register_drift("kl")
def kl(ratio, m_advantage, *, kl, kl_coef):
    """KL penalty: kl_coef * KL(old || new)."""
    return kl_coef * kl


@register_drift("reverse_kl")
def reverse_kl(ratio, m_advantage, *, reverse_kl, kl_coef):
    """Reverse KL penalty: kl_coef * KL(new || old)."""
    return kl_coef * reverse_kl


@register_drift("spo")
def spo(ratio, m_advantage, *, clip_eps):
    """Simple policy optimisation: |M A| (r - 1)^2 / (2 clip_eps)."""
    return jnp.abs(m_advantage) * (ratio - 1) ** 2 / (2 * clip_eps)


@register_drift("dpo")
def dpo(ratio, m_advantage, *, dpo_alpha, dpo_beta):
    """Discovered policy optimisation: relu of x - alpha tanh(x / alpha), x = (r-1)MA if A >= 0, log(r)MA with beta if A < 0."""
    gain = (ratio - 1) * m_advantage
    log_gain = jnp.log(jnp.maximum(ratio, 1e-8)) * m_advantage  # a vanished ratio must not make the gradient 0 * inf
    rising = jax.nn.relu(gain - dpo_alpha * jnp.tanh(gain / dpo_alpha))
    falling = jax.nn.relu(log_gain - dpo_beta * jnp.tanh(log_gain / dpo_beta))
    return jnp.where(m_advantage >= 0, rising, falling)


SHIPPED.update(DRIFTS)
