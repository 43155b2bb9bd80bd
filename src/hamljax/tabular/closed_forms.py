"""Exact maximisers of the mirror objective under shipped drifts, in the form that each drift gives them (docs/theory.md)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..haml import drifts
from . import simplex


def _none(drift, surrogate):
    return simplex.greedy(surrogate.q, surrogate.old)


def _kl(drift, surrogate):
    return simplex.forward_kl(surrogate.q, surrogate.old, surrogate.weights_of_kl(drift)[0])


def _reverse_kl(drift, surrogate):
    return jnp.exp(simplex.log_reverse_kl(surrogate.q, surrogate.log_old, surrogate.weights_of_kl(drift)[1]))


def _own(drift, surrogate):
    """Its hyper-parameters: of this agent, and where nothing is said the defaults."""
    values = {**drift.drift.parameters.defaults, **drift.values}
    return {name: drifts.of_agent(value, surrogate.given) for name, value in values.items()}


def _spo(drift, surrogate):
    cost = surrogate.mean(jnp.abs(surrogate.m * surrogate.advantage))
    return simplex.quadratic(surrogate.worth, surrogate.old, cost, _own(drift, surrogate)["clip_eps"])


def _euclid(drift, surrogate):
    return simplex.project(surrogate.old + surrogate.q / _own(drift, surrogate)["euclid_coef"])


def _pieces_of_none(drift, surrogate):
    """Two pieces an action, up to the old policy and beyond, of one slope."""
    old, q = surrogate.old, surrogate.worth
    return jnp.where(surrogate.mask, jnp.stack([old, 1 - old], 1), 0.0), jnp.stack([q, q], 1)


def _pieces_of_clip(drift, surrogate):
    """Four pieces an action: up to (1 - eps) old, to old, to (1 + eps) old, and beyond."""
    own = _own(drift, surrogate)
    eps = own["clip_eps"] / (surrogate.given["num_agents"] if "num_agents" in drift.asks else 1)
    back = own.get("rollback_coef", 0.0)
    weighted = surrogate.m * surrogate.advantage
    up, down = surrogate.mean(jax.nn.relu(weighted)), surrogate.mean(jax.nn.relu(-weighted))
    old, mask = surrogate.old, surrogate.mask
    lengths = [(1 - eps) * old, eps * old, jnp.minimum(eps * old, 1 - old), jnp.maximum(1 - (1 + eps) * old, 0.0)]
    slopes = [up + back * down, up - down, up - down, -down - back * up]
    return jnp.where(mask, jnp.stack(lengths, 1), 0.0), jnp.stack(slopes, 1)


# Gains that are concave and piecewise linear: lengths and slopes (S, K, A) of the pieces, in the order from 0 to 1.
PIECES: dict[Callable, Callable] = {
    drifts.none: _pieces_of_none,
    drifts.clip: _pieces_of_clip,
    drifts.clip_n: _pieces_of_clip,
    drifts.rollback: _pieces_of_clip,
}
CLOSED_FORMS: dict[Callable, Callable] = {
    drifts.none: _none,
    drifts.kl: _kl,
    drifts.reverse_kl: _reverse_kl,
    drifts.mirror_descent: _reverse_kl,
    drifts.spo: _spo,
    drifts.euclid: _euclid,
}


def has_closed_form(drift: drifts.Drift) -> bool:
    """Whether a maximiser over the simplex takes no search."""
    return drift.function in {**PIECES, **CLOSED_FORMS}
