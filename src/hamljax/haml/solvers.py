"""How an agent goes where it may: solvers of the mirror objective within a neighbourhood.

A solver is ``solve(objective, divergence, limit, agent, batch, context, key) -> agent, info``. ``objective(params, batch)``,
one number, is to be maximised; ``divergence(params, batch)`` is a ``Divergence`` over the samples of the batch;
``limit(divergence)``, one number, is at most 0 inside of the neighbourhood (``limit`` is None where that is the whole space),
and is meant for the divergence over the whole batch. Leaves of ``batch`` share a leading sample axis of length B;
``context`` holds what the agent knows beside it: ``agent`` (whose policy it is), ``log_m``, ``progress`` and, where the
neighbourhood divides something among the policies, its ``share``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from .natural_gradient import natural_direction
from .parameters import Parameters, asked_by, check_name, of_agent, summary

GIVEN = ("optimiser",)


class Solver(NamedTuple):
    """How to make a solver: ``make([optimiser,] hyper-parameters by name) -> solve``.

    ``uses_optimiser``: it follows an optimiser's steps, on an objective with an entropy bonus; a natural gradient has
    neither. ``given``: what of GIVEN it asks for.
    """

    make: Callable
    uses_optimiser: bool
    parameters: Parameters
    given: tuple[str, ...]
    summary: str


SOLVERS: dict[str, Solver] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_solver(name: str, uses_optimiser: bool = True) -> Callable:
    """Decorator: make a factory of solvers known to ``register_neighbourhood(..., solver=name)``.

    A parameter called like a number of ``algo`` (``update_epochs``, ``max_kl``, ...) is that number; any other is set by
    ``+algo.neighbourhood_params.PARAMETER=VALUE``, or has its default. Raises ValueError for the name of a shipped solver,
    and for a factory that does not take its parameters by name.
    """

    check_name("solver", name, SHIPPED)

    def register(make):
        own, given = asked_by("solver", name, make, (), GIVEN)
        SOLVERS[name] = Solver(make, uses_optimiser, own, given, summary(make))
        return make

    return register


def bind_solver(solver: Solver, values: Mapping[str, Any], optimiser: optax.GradientTransformation) -> Callable:
    """The solver, with every hyper-parameter that the factory names filled in from ``values``; of an agent its own number."""
    given = {"optimiser": optimiser}
    asked, chosen = {name: given[name] for name in solver.given}, solver.parameters.chosen(values)

    def solve(objective, divergence, limit, agent, batch, context, key):
        own = {name: of_agent(value, context) for name, value in chosen.items()}
        return solver.make(**asked, **own)(objective, divergence, limit, agent, batch, context, key)

    return solve


class Agent(NamedTuple):
    """What a solver improves: parameters and the state of its optimiser (empty where the solver uses none)."""

    params: Any
    opt_state: Any


def gradient_step(
    optimiser: optax.GradientTransformation, loss: Callable, agent: Agent, *arguments
) -> tuple[Agent, jax.Array, jax.Array]:
    """One step of ``optimiser`` down ``loss(params, *arguments)``: the agent, the loss before, the norm of its gradient."""
    value, gradient = jax.value_and_grad(loss)(agent.params, *arguments)
    updates, opt_state = optimiser.update(gradient, agent.opt_state, agent.params)
    return Agent(optax.apply_updates(agent.params, updates), opt_state), value, optax.tree.norm(gradient)


def minibatches(
    step: Any, carry: jax.Array, batch: Any, key: jax.Array, epochs: int, num_minibatches: int
) -> tuple[Any, Any]:
    """Scan ``step(carry, minibatch) -> carry, info`` over ``epochs`` reshuffled passes; infos: (epochs * num_minibatches,)."""
    if num_minibatches == 1:  # the order of a full batch does not matter, so it is not shuffled
        return jax.lax.scan(lambda carry, _: step(carry, batch), carry, None, length=epochs)
    size = jax.tree.leaves(batch)[0].shape[0]

    def epoch(carry, key):
        chunks = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(lambda carry, rows: step(carry, jax.tree.map(lambda x: x[rows], batch)), carry, chunks)

    carry, infos = jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), infos)


@register_solver("ascent")
def ascent(optimiser: optax.GradientTransformation, update_epochs: int, num_minibatches: int = 1) -> Callable:
    """``update_epochs`` x ``num_minibatches`` steps of an optax optimiser; one that would lead outside is not taken.

    So the result is the last iterate within the limit, with the optimiser's state that belongs to it. The limit is held over
    the whole batch, whatever the minibatch; ``inside`` is the share of steps that were taken.
    """

    def solve(objective, divergence, limit, agent, batch, context, key):
        del context

        def step(agent, minibatch):
            after, value, norm = gradient_step(optimiser, lambda params: -objective(params, minibatch), agent)
            info = {"objective": -value, "grad_norm": norm}
            if limit is None:
                return after, info
            inside = limit(divergence(after.params, batch)) <= 0
            after = jax.tree.map(lambda new, old: jnp.where(inside, new, old), after, agent)
            return after, info | {"inside": inside.astype(jnp.float32)}

        agent, infos = minibatches(step, agent, batch, key, update_epochs, num_minibatches)
        return agent, jax.tree.map(jnp.mean, infos)

    return solve


@register_solver("natural_gradient", uses_optimiser=False)
def natural_gradient(
    max_kl: float | jax.Array,
    cg_iters: int,
    cg_damping: float | jax.Array,
    backtrack_iters: int,
    backtrack_coef: float | jax.Array,
    accept_ratio: float | jax.Array,
) -> Callable:
    """One natural-gradient step as long as a mean KL of ``max_kl`` allows, with backtracking (TRPO).

    All step lengths of the line search are evaluated as one batch. The first that stays within the limit and improves by
    more than ``accept_ratio`` of what the gradient promised is taken; if none does, the old parameters are kept.
    """

    def solve(objective, divergence, limit, agent, batch, context, key):
        del key
        start, unravel = ravel_pytree(agent.params)
        value, gradient, direction, quadratic = natural_direction(
            objective, divergence, agent.params, batch, cg_iters, cg_damping
        )
        radius = max_kl * context["share"] if "share" in context else max_kl
        scale = jnp.where(quadratic > 0, jnp.sqrt(2 * radius / jnp.where(quadratic > 0, quadratic, 1.0)), 0.0)
        full_step = scale * direction

        fractions = (backtrack_coef ** jnp.arange(backtrack_iters)).astype(start.dtype)
        candidates = start + fractions[:, None] * full_step
        improvement = jax.vmap(lambda x: objective(unravel(x), batch))(candidates) - value
        moved = jax.vmap(lambda x: divergence(unravel(x), batch))(candidates)
        distance, excess = jax.vmap(lambda moved: moved.mean(moved.kl))(moved), jax.vmap(limit)(moved)
        expected = fractions * (gradient @ full_step)
        passed = (excess <= 0) & (improvement > 0) & (improvement > accept_ratio * expected)
        first = jnp.argmax(passed)
        accepted = passed[first]
        params = unravel(jnp.where(accepted, candidates[first], start))
        info = {
            "objective": value,
            "grad_norm": jnp.linalg.norm(gradient),
            "step_kl": jnp.where(accepted, distance[first], 0.0),
            "step_fraction": jnp.where(accepted, fractions[first], 0.0),
        }
        return Agent(params, agent.opt_state), info

    return solve


SHIPPED.update(SOLVERS)
