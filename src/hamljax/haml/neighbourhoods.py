"""Neighbourhood operators (Definition 2): where an agent may go.

A neighbourhood is a set of policies, written as a limit on how far samples have moved: ``limit(divergence, *, ...) ->
excess``, one number, which is at most 0 inside. A solver (``haml.solvers``) goes there.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .natural_gradient import natural_direction
from .objective import weighted_mean
from .parameters import Parameters, asked_by, check_name, of_agent, summary

# What a limit may ask for by a keyword of that name, and over which samples.
OFFERED = {
    "log_m": "log M, the joint log-ratio of the agents that have moved already, one number a sample",
    "agent": "() whose policy it is, from 0 on (where agents share policies: which policy)",
    "progress": "() the share of the run that is over: k / K in update k = 0, ..., K - 1",
    "share": "() of each of the policy's agents in what a neighbourhood divides (``divide``); those of all agents add up to 1",
}


class Divergence(NamedTuple):
    """How far a policy has moved, sample by sample; all of one shape."""

    log_ratio: jax.Array  # log new - log old probability of the action that was taken
    kl: jax.Array  # KL(old || new) of the two distributions
    reverse_kl: jax.Array  # KL(new || old)
    weight: jax.Array  # >= 0, bool or float; 0: a sample that does not count

    def mean(self, x: jax.Array) -> jax.Array:
        """The weighted mean of ``x``, one number a sample: over the (normalised) occupancy of the samples."""
        return weighted_mean(x, self.weight)

    def largest(self, x: jax.Array) -> jax.Array:
        """The largest ``x`` of a sample that counts; 0 where none does."""
        return jnp.max(jnp.where(self.weight > 0, x, 0.0))


class Neighbourhood(NamedTuple):
    """A registered neighbourhood. limit: None for the whole policy space. solver: by name, who goes there.

    divide: what a policy's share is in proportion to; None: nothing is divided.
    """

    limit: Callable | None
    solver: str
    parameters: Parameters
    asks: tuple[str, ...]
    summary: str
    divide: Callable | None = None
    divide_parameters: Parameters = Parameters((), {})

    @property
    def all_parameters(self) -> Parameters:
        """Of the limit and of what divides."""
        return self.parameters | self.divide_parameters


NEIGHBOURHOODS: dict[str, Neighbourhood] = {
    "everywhere": Neighbourhood(None, "ascent", Parameters((), {}), (), "The whole policy space.")
}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_neighbourhood(name: str, solver: str = "ascent", divide: Callable | None = None) -> Callable:
    """Decorator: make a limit known as ``algo.neighbourhood=name``, to which the solver of that name keeps.

    A limit is ``(divergence, *, ...) -> excess``: a ``Divergence`` over the samples of a rollout, and one number that is at
    most 0 where the policy is inside; so is the policy that has not moved. A keyword called like what is OFFERED is that,
    one called like a number of ``algo`` (``max_kl``, ...) is that number; any other is set by
    ``+algo.neighbourhood_params.KEYWORD=VALUE``, or has its default. divide: ``(objective, divergence, params, batch, *,
    hyper-parameters) -> score``, one number of at least 0 for every policy before the sweep, where M is 1; its ``share`` is in
    proportion. Raises ValueError for the name of a shipped neighbourhood, and for functions that cannot be called so.
    """

    check_name("neighbourhood", name, SHIPPED)

    def register(limit):
        own, asks = asked_by("neighbourhood", name, limit, ("divergence",), OFFERED)
        given = ("objective", "divergence", "params", "batch")
        of_divide = asked_by("neighbourhood", name, divide, given, ())[0] if divide else Parameters((), {})
        if "share" in asks and divide is None:
            raise ValueError(f"neighbourhood '{name}' asks for a share, and divides nothing: say divide=...")
        NEIGHBOURHOODS[name] = Neighbourhood(limit, solver, own, asks, summary(limit), divide, of_divide)
        return limit

    return register


def bind_limit(neighbourhood: Neighbourhood, values: Mapping[str, Any]) -> Callable | None:
    """``(divergence, given) -> excess`` with hyper-parameters out of ``values`` filled in; None for the whole space."""
    if neighbourhood.limit is None:
        return None
    chosen = neighbourhood.parameters.chosen(values)

    def bound(divergence, given):
        own = {name: of_agent(value, given) for name, value in chosen.items()}
        return neighbourhood.limit(divergence, **own, **{name: given[name] for name in neighbourhood.asks})

    return bound


def shares(
    neighbourhood: Neighbourhood,
    values: Mapping[str, Any],
    objective: Callable,
    divergence: Callable,
    params: Any,
    batches: Any,
    members: jax.Array,
) -> jax.Array:
    """(P,): every policy's share in what a neighbourhood divides, for each of its ``members`` (P,): ``members @ shares`` is 1.

    params, batches: stacked on an axis of policies (P, ...).
    """
    own = neighbourhood.divide_parameters.chosen(values)
    score = jax.vmap(lambda params, batch: neighbourhood.divide(objective, divergence, params, batch, **own))
    scores = jnp.maximum(score(params, batches), 0.0)
    total = jnp.sum(members * scores)
    return jnp.where(total > 0, scores / jnp.where(total > 0, total, 1.0), 1 / jnp.sum(members))


@register_neighbourhood("kl_ball", solver="natural_gradient")
def kl_ball(divergence: Divergence, *, max_kl: float | jax.Array) -> jax.Array:
    """Mean KL(old || new) of at most max_kl, in one natural-gradient step (HATRPO)."""
    return divergence.mean(divergence.kl) - max_kl


def natural_gain(
    objective: Callable, divergence: Callable, params: Any, batch: Any, *, cg_iters: int, cg_damping: float | jax.Array
) -> jax.Array:
    """g' H^-1 g: the square of what a natural-gradient step promises, by its length."""
    return natural_direction(objective, divergence, params, batch, cg_iters, cg_damping).quadratic


@register_neighbourhood("kl_budget", solver="natural_gradient", divide=natural_gain)
def kl_budget(divergence: Divergence, *, max_kl: float | jax.Array, share: jax.Array) -> jax.Array:
    """Mean KLs of at most max_kl in sum, divided where they promise most: d_i in proportion to g_i' H_i^-1 g_i (HATRPO-W)."""
    return divergence.mean(divergence.kl) - max_kl * share


@register_neighbourhood("kl_stop")
def kl_stop(divergence: Divergence, *, max_kl: float | jax.Array) -> jax.Array:
    """Mean KL(old || new) of at most max_kl: the optimiser's steps up to where it would leave (early stopping)."""
    return divergence.mean(divergence.kl) - max_kl


@register_neighbourhood("max_kl_over_states")
def max_kl_over_states(divergence: Divergence, *, max_kl: float | jax.Array) -> jax.Array:
    """KL(old || new) of at most max_kl in every state of the rollout (TRPO's own constraint)."""
    return divergence.largest(divergence.kl) - max_kl


@register_neighbourhood("tv_ball")
def tv_ball(divergence: Divergence, *, max_tv: float | jax.Array = 0.1) -> jax.Array:
    """Mean total variation of at most max_tv: half of abs(ratio - 1), over the actions that were taken."""
    return divergence.mean(jnp.abs(jnp.expm1(divergence.log_ratio))) / 2 - max_tv


@register_neighbourhood("ratio_box")
def ratio_box(divergence: Divergence, *, max_log_ratio: float | jax.Array = 0.2) -> jax.Array:
    """A ratio within exp(-max_log_ratio) to exp(max_log_ratio) for every action that was taken."""
    return divergence.largest(jnp.abs(divergence.log_ratio)) - max_log_ratio


SHIPPED.update(NEIGHBOURHOODS)
