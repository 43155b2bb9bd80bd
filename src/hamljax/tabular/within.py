"""Exact updates within a registered neighbourhood: the set itself, as its limit says it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import ConfigError
from ..haml import BoundDrift, Divergence, Neighbourhood, bind_limit, looked_at
from .exact import Surrogate, divergence_of, maximise, measure
from .simplex import Solution, bisect

PENALTIES = (-23.0, 14.0)  # natural logarithms of the multiplier of KL(old || new) that is looked for


def everywhere(drift: BoundDrift, surrogate: Surrogate, beta: Float[Array, " S"]) -> Solution:
    """The maximiser over the whole policy space."""
    return maximise(drift, surrogate)


def chooser(neighbourhood: Neighbourhood, values: Mapping[str, Any]) -> Callable:
    """``(drift, surrogate, beta) -> Solution`` that keeps to a neighbourhood.

    Of the policies that the limit lets pass the best one is taken of: the maximiser itself; those with one multiplier of
    KL(old || x) for all states, which are exact for a ball of the mean KL; with one for each state, exact for a largest KL;
    and those within the box of ratios that the limit allows to a single action. A limit on nothing but the largest ratio is a
    box, whose maximiser is exact. For a set of another form the result is within it and no worse than the old policy, and need
    not be the best.

    Raises: ConfigError for a neighbourhood that divides something among the policies by their parameters.
    """
    limit = bind_limit(neighbourhood, values)
    if limit is None:
        return everywhere
    if neighbourhood.divide is not None:
        raise ConfigError("a neighbourhood that is divided by a natural gradient has no exact update; choose kl_ball")

    def choose(drift, surrogate, beta):
        given = {**surrogate.given, "log_m": jnp.log(surrogate.m)}

        def excess(x, weight):
            return limit(divergence_of(surrogate, x, weight), given)

        def of_each_state(x):
            return jax.vmap(lambda state: excess(x, state))(jnp.eye(beta.size))[:, None]

        found = [maximise(drift, surrogate).policy, surrogate.old, _box(drift, surrogate, limit, given)]
        is_box = looked_at(lambda divergence: limit(divergence, given)) == {"log_ratio", "largest"}
        if not is_box or "log_m" in neighbourhood.asks:
            found.append(_least_penalty(drift, surrogate, lambda x: excess(x, beta), ()))
            found.append(_least_penalty(drift, surrogate, of_each_state, (beta.size, 1)))
        candidates = jnp.stack(found)
        inside = jax.vmap(lambda x: excess(x, beta))(candidates) <= 1e-12
        hamo = jax.vmap(lambda x: measure(drift, surrogate, Solution.exact(x)).hamo @ beta)(candidates)
        return Solution.exact(candidates[jnp.argmax(jnp.where(inside, hamo, -jnp.inf))])

    return choose


def _penalised(drift: BoundDrift, surrogate: Surrogate, log_penalty: jax.Array) -> jax.Array:
    return maximise(drift, surrogate, penalty=jnp.exp(log_penalty)).policy


def _least_penalty(drift: BoundDrift, surrogate: Surrogate, excess: Callable, shape: tuple[int, ...]) -> jax.Array:
    """The maximiser with the smallest penalty at which the limit lets it pass.

    Args:
      excess: of a policy, in ``shape``: () for one penalty of all states, (S, 1) for one of each.
    """
    low, high = (jnp.full(shape, x, surrogate.log_old.dtype) for x in PENALTIES)
    outside = bisect(lambda log: excess(_penalised(drift, surrogate, log)) > 0, low, high, 60)
    return _penalised(drift, surrogate, outside[1])


def _box(drift: BoundDrift, surrogate: Surrogate, limit: Callable, given: Mapping[str, Any]) -> jax.Array:
    """The maximiser over old_a times the ratios that the limit allows to one action by itself."""
    one = jnp.ones(1, surrogate.log_old.dtype)

    def allowed(log_ratio):
        return limit(Divergence(log_ratio * one, 0 * one, 0 * one, one), {**given, "log_m": 0 * one}) <= 0

    def furthest(end):
        nowhere, end = jnp.zeros((), one.dtype), jnp.asarray(end, one.dtype)
        return jnp.where(allowed(end), end, bisect(allowed, nowhere, end, 60)[0])

    low = surrogate.old * jnp.exp(furthest(-700.0))
    # Of an action without support a ratio without bound is all there is, and a bounded one next to nothing.
    high = jnp.where(surrogate.mask, jnp.minimum(surrogate.divisor * jnp.exp(furthest(700.0)), 1.0), 0.0)
    return maximise(drift, surrogate, low=low, high=high).policy
