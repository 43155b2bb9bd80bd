"""Neighbourhood operators (Definition 2): where an agent may go, and the solver that goes there.

A solver is ``solve(objective, kl, agent, batch, key) -> agent, info``. ``objective(params, batch)`` is to be maximised,
``kl(params, batch)`` is the mean KL(old || new) over the batch; both are scalars. Leaves of ``batch`` share a leading
sample axis of length B.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from .parameters import Parameters, check_name, parameters, parameters_of, summary

GIVEN = ("optimiser",)


class Neighbourhood(NamedTuple):
    """How to make a solver: ``make([optimiser,] hyper-parameters by name) -> solve``.

    ``uses_optimiser``: it follows an optimiser's steps, on an objective with an entropy bonus; a natural gradient has
    neither. ``given``: what of GIVEN it asks for.
    """

    make: Callable
    uses_optimiser: bool
    parameters: Parameters
    given: tuple[str, ...]
    summary: str


NEIGHBOURHOODS: dict[str, Neighbourhood] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_neighbourhood(name: str, uses_optimiser: bool = True):
    """Decorator: make a factory of solvers known as ``algo.neighbourhood=name``.

    A parameter called like a number of ``algo`` (``update_epochs``, ``max_kl``, ...) is that number; any other is set by
    ``+algo.neighbourhood_params.PARAMETER=VALUE``, or has its default. Raises ValueError for the name of a shipped
    neighbourhood, and for a factory that does not take its parameters by name.
    """

    check_name("neighbourhood", name, SHIPPED)

    def register(make):
        try:
            named = parameters_of(make, ())
        except ValueError as error:
            raise ValueError(f"neighbourhood '{name}': {error}") from None
        given = tuple(thing for thing in GIVEN if thing in named)
        NEIGHBOURHOODS[name] = Neighbourhood(make, uses_optimiser, parameters(named, GIVEN), given, summary(make))
        return make

    return register


def bind_neighbourhood(neighbourhood: Neighbourhood, values: Mapping[str, Any], optimiser) -> Callable:
    """The solver, with every hyper-parameter that the factory names filled in from ``values``."""
    given = {"optimiser": optimiser}
    asked = {name: given[name] for name in neighbourhood.given}
    return neighbourhood.make(**asked, **neighbourhood.parameters.chosen(values))


class Agent(NamedTuple):
    """What a solver improves: parameters and the state of its optimiser (empty for ``kl_ball``)."""

    params: Any
    opt_state: Any


def minibatches(step, carry, batch, key, epochs: int, num_minibatches: int):
    """Scan ``step(carry, minibatch) -> carry, info`` over ``epochs`` reshuffled passes; infos: (epochs * num_minibatches,)."""
    if num_minibatches == 1:  # the order of a full batch does not matter, so it is not shuffled
        return jax.lax.scan(lambda carry, _: step(carry, batch), carry, None, length=epochs)
    size = jax.tree.leaves(batch)[0].shape[0]

    def epoch(carry, key):
        chunks = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(lambda carry, rows: step(carry, jax.tree.map(lambda x: x[rows], batch)), carry, chunks)

    carry, infos = jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), infos)


@register_neighbourhood("everywhere")
def everywhere(optimiser: optax.GradientTransformation, update_epochs: int, num_minibatches: int):
    """The whole policy space: ``update_epochs`` x ``num_minibatches`` ascent steps of an optax optimiser."""

    def solve(objective, kl, agent, batch, key):
        del kl

        def step(agent, minibatch):
            value, gradient = jax.value_and_grad(lambda params: -objective(params, minibatch))(agent.params)
            updates, opt_state = optimiser.update(gradient, agent.opt_state, agent.params)
            info = {"objective": -value, "grad_norm": optax.tree.norm(gradient)}
            return Agent(optax.apply_updates(agent.params, updates), opt_state), info

        agent, infos = minibatches(step, agent, batch, key, update_epochs, num_minibatches)
        return agent, jax.tree.map(jnp.mean, infos)

    return solve


def conjugate_gradient(product, b, iterations: int):
    """Solve ``product(x) = b`` for a positive definite ``product`` in a fixed number of iterations (no early exit)."""

    def step(carry, _):
        x, residual, direction, norm = carry
        image = product(direction)
        curvature = direction @ image
        # After convergence the residual underflows: a step of length 0 keeps the solution instead of 0 / 0.
        length = jnp.where(curvature > 0, norm / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        x, residual = x + length * direction, residual - length * image
        new_norm = residual @ residual
        direction = residual + jnp.where(norm > 0, new_norm / jnp.where(norm > 0, norm, 1.0), 0.0) * direction
        return (x, residual, direction, new_norm), None

    (x, *_), _ = jax.lax.scan(step, (jnp.zeros_like(b), b, b, b @ b), None, length=iterations)
    return x


@register_neighbourhood("kl_ball", uses_optimiser=False)
def kl_ball(max_kl, cg_iters: int, cg_damping, backtrack_iters: int, backtrack_coef, accept_ratio):
    """A mean-KL ball of radius ``max_kl``: one natural-gradient step with backtracking (HATRPO).

    The whole ladder of step sizes is evaluated as one batch. The first that stays in the ball, improves, and improves
    by more than ``accept_ratio`` of what the gradient promised is taken; if none does, the old parameters are kept.
    """

    def solve(objective, kl, agent, batch, key):
        del key
        start, unravel = ravel_pytree(agent.params)
        value, gradient = jax.value_and_grad(lambda x: objective(unravel(x), batch))(start)
        kl_gradient = jax.grad(lambda x: kl(unravel(x), batch))

        def fisher(v):
            return jax.jvp(kl_gradient, (start,), (v,))[1] + cg_damping * v

        direction = conjugate_gradient(fisher, gradient, cg_iters)
        quadratic = direction @ fisher(direction)
        scale = jnp.where(quadratic > 0, jnp.sqrt(2 * max_kl / jnp.where(quadratic > 0, quadratic, 1.0)), 0.0)
        full_step = scale * direction

        fractions = (backtrack_coef ** jnp.arange(backtrack_iters)).astype(start.dtype)
        ladder = start + fractions[:, None] * full_step
        improvement = jax.vmap(lambda x: objective(unravel(x), batch))(ladder) - value
        distance = jax.vmap(lambda x: kl(unravel(x), batch))(ladder)
        expected = fractions * (gradient @ full_step)
        passed = (distance <= max_kl) & (improvement > 0) & (improvement > accept_ratio * expected)
        first = jnp.argmax(passed)
        accepted = passed[first]
        params = unravel(jnp.where(accepted, ladder[first], start))
        info = {
            "objective": value,
            "grad_norm": jnp.linalg.norm(gradient),
            "step_kl": jnp.where(accepted, distance[first], 0.0),
            "step_fraction": jnp.where(accepted, fractions[first], 0.0),
        }
        return Agent(params, agent.opt_state), info

    return solve


SHIPPED.update(NEIGHBOURHOODS)
