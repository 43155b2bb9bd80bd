"""Neighbourhood operators (Definition 2): where an agent may go.

A neighbourhood is a set of policies, written as a limit on how far samples have moved: ``limit(divergence, *, ...) ->
excess``, one number, which is at most 0 inside. A solver (``haml.solvers``) goes there.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .divergence import Divergence, Measure, Objective
from .natural_gradient import natural_direction
from .parameters import Parameters, asked_by, check_name, of_agent, summary

# What a limit may ask for by a keyword of that name, and over which samples.
OFFERED = {
    "log_m": "log M, the joint log-ratio of the agents that have moved already, one number a sample",
    "agent": "() whose policy it is, from 0 on (where agents share policies: which policy)",
    "progress": "() the share of the run that is over: k / K in update k = 0, ..., K - 1",
    "share": "() of each of the policy's agents in what a neighbourhood divides (``divide``); those of all agents add up to 1",
}


class Limit(Protocol):
    """A limit with its hyper-parameters filled in."""

    def __call__(self, divergence: Divergence, given: Mapping[str, Any]) -> Float[Array, ""]:
        """By how much a policy is outside.

        Args:
            divergence: how far it has moved. given: what of OFFERED the limit asks for, by name.

        Returns:
            At most 0 inside.
        """
        ...


Divide = Callable[..., Float[Array, ""]]  # (objective, divergence, params, batch, *, hyper-parameters) -> score
Excess = TypeVar("Excess", bound=Callable[..., Array])


class Neighbourhood(NamedTuple):
    """A registered neighbourhood."""

    limit: Callable[..., Float[Array, ""]] | None  # (divergence, *, ...) -> excess; None for the whole policy space
    solver: str  # by name, who goes there
    parameters: Parameters
    asks: tuple[str, ...]
    summary: str
    divide: Divide | None = None  # what a policy's share is in proportion to; None: nothing is divided
    divide_parameters: Parameters = Parameters((), {})

    @property
    def all_parameters(self) -> Parameters:
        """Of the limit and of what divides."""
        return self.parameters | self.divide_parameters


NEIGHBOURHOODS: dict[str, Neighbourhood] = {
    "everywhere": Neighbourhood(None, "ascent", Parameters((), {}), (), "The whole policy space.")
}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_neighbourhood(
    name: str, solver: str = "ascent", divide: Divide | None = None
) -> Callable[[Excess], Excess]:
    """Decorator: make a limit known as ``algo.neighbourhood=name``, to which the solver of that name keeps.

    A limit is ``(divergence, *, ...) -> excess``: a ``Divergence`` over the samples of a rollout, and one number that is at
    most 0 where the policy is inside; so is the policy that has not moved. A keyword called like what is OFFERED is that,
    one called like a number of ``algo`` (``max_kl``, ...) is that number; any other is set by
    ``+algo.neighbourhood_params.KEYWORD=VALUE``, or has its default.

    Args:
        name: as on the command line. solver: that of a registered one.
        divide: ``(objective, divergence, params, batch, *, hyper-parameters) -> score``, one number of at least 0 for every
            policy before the sweep, where M is 1; its ``share`` is in proportion.

    Raises:
        ValueError: for the name of a shipped neighbourhood, and for functions that cannot be called so.

    References:
        HAML, Definition 2: it must contain a ball around the policy that has not moved.
    """

    check_name("neighbourhood", name, SHIPPED)

    def register(limit: Excess) -> Excess:
        own, asks = asked_by("neighbourhood", name, limit, ("divergence",), OFFERED)
        given = ("objective", "divergence", "params", "batch")
        of_divide = asked_by("neighbourhood", name, divide, given, ())[0] if divide else Parameters((), {})
        if "share" in asks and divide is None:
            raise ValueError(f"neighbourhood '{name}' asks for a share, and divides nothing: say divide=...")
        NEIGHBOURHOODS[name] = Neighbourhood(limit, solver, own, asks, summary(limit), divide, of_divide)
        return limit

    return register


def bind_limit(neighbourhood: Neighbourhood, values: Mapping[str, Any]) -> Limit | None:
    """A limit with its hyper-parameters filled in.

    Args:
        neighbourhood: a registered one.
        values: hyper-parameters by name, of which it takes those that it names; one may be a tuple of a number per agent.

    Returns:
        ``(divergence, given) -> excess``; None for the whole space.
    """
    if (limit := neighbourhood.limit) is None:
        return None
    chosen = neighbourhood.parameters.chosen(values)

    def bound(divergence: Divergence, given: Mapping[str, Any]) -> Float[Array, ""]:
        own = {name: of_agent(value, given) for name, value in chosen.items()}
        return limit(divergence, **own, **{name: given[name] for name in neighbourhood.asks})

    return bound


def shares(
    neighbourhood: Neighbourhood,
    values: Mapping[str, Any],
    objective: Objective,
    divergence: Measure,
    params: Any,
    batches: Any,
    members: Int[Array, " P"],
) -> Float[Array, " P"]:
    """Every policy's share in what a neighbourhood divides, for each of its members.

    Args:
        neighbourhood: one that divides something. values: hyper-parameters by name.
        objective, divergence: of one policy, before the sweep.
        params, batches: stacked on an axis of policies (P, ...).
        members: (P,) how many take a share of each policy's.

    Returns:
        (P,) shares, of which ``members @ shares`` is 1; equal ones where no policy has a score.
    """
    divide, own = neighbourhood.divide, neighbourhood.divide_parameters.chosen(values)
    assert divide is not None
    score = jax.vmap(lambda params, batch: divide(objective, divergence, params, batch, **own))
    scores = jnp.maximum(score(params, batches), 0.0)
    total = jnp.sum(members * scores)
    return jnp.where(total > 0, scores / jnp.where(total > 0, total, 1.0), 1 / jnp.sum(members))


@register_neighbourhood("kl_ball", solver="natural_gradient")
def kl_ball(divergence: Divergence, *, max_kl: float | Array) -> Float[Array, ""]:
    """Mean KL(old || new) of at most max_kl, in one natural-gradient step (HATRPO)."""
    return divergence.mean(divergence.kl) - max_kl


def natural_gain(
    objective: Objective, divergence: Measure, params: Any, batch: Any, *, cg_iters: int, cg_damping: float | Array
) -> Float[Array, ""]:
    """g' H^-1 g: the square of what a natural-gradient step promises, by its length.

    Args:
        objective, divergence, params, batch, cg_iters, cg_damping: as of ``natural_direction``.
    """
    return natural_direction(objective, divergence, params, batch, cg_iters, cg_damping).quadratic


@register_neighbourhood("kl_budget", solver="natural_gradient", divide=natural_gain)
def kl_budget(divergence: Divergence, *, max_kl: float | Array, share: Array) -> Float[Array, ""]:
    """Mean KLs of at most max_kl in sum, divided where they promise most: d_i in proportion to g_i' H_i^-1 g_i (HATRPO-W)."""
    return divergence.mean(divergence.kl) - max_kl * share


@register_neighbourhood("kl_stop")
def kl_stop(divergence: Divergence, *, max_kl: float | Array) -> Float[Array, ""]:
    """Mean KL(old || new) of at most max_kl: the optimiser's steps up to where it would leave (early stopping).

    The guarantee is of the maximiser within the ball: of the iterate at which an optimiser stopped nothing is known but its HAMO.
    """
    return divergence.mean(divergence.kl) - max_kl


@register_neighbourhood("max_kl_over_states")
def max_kl_over_states(divergence: Divergence, *, max_kl: float | Array) -> Float[Array, ""]:
    """KL(old || new) of at most max_kl in every state of the rollout (TRPO's own constraint)."""
    return divergence.largest(divergence.kl) - max_kl


@register_neighbourhood("tv_ball")
def tv_ball(divergence: Divergence, *, max_tv: float | Array = 0.1) -> Float[Array, ""]:
    """Mean total variation of at most max_tv: half of abs(ratio - 1), over the actions that were taken."""
    return divergence.mean(jnp.abs(jnp.expm1(divergence.log_ratio))) / 2 - max_tv


@register_neighbourhood("ratio_box")
def ratio_box(divergence: Divergence, *, max_log_ratio: float | Array = 0.2) -> Float[Array, ""]:
    """A ratio within exp(-max_log_ratio) to exp(max_log_ratio) for every action that was taken."""
    return divergence.largest(jnp.abs(divergence.log_ratio)) - max_log_ratio


@register_neighbourhood("keep_support")
def keep_support(divergence: Divergence, *, min_ratio: float | Array = 0.1) -> Float[Array, ""]:
    """A ratio of at least min_ratio for every action that was taken, so that none loses its probability in one update."""
    return divergence.largest(jnp.log(min_ratio) - divergence.log_ratio)


SHIPPED.update(NEIGHBOURHOODS)
