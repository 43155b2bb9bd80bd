"""The natural gradient of an objective: its direction, without a matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree


class NaturalDirection(NamedTuple):
    """Of flat parameters (n,). value: of the objective. quadratic: direction' H direction, which is g' H^-1 g."""

    value: jax.Array
    gradient: jax.Array
    direction: jax.Array
    quadratic: jax.Array


def natural_direction(
    objective: Callable, divergence: Callable, params: Any, batch: Any, cg_iters: int, cg_damping: float | jax.Array
) -> NaturalDirection:
    """``H^-1 g`` by conjugate gradients: g of ``objective(params, batch)``, H the Hessian of the mean KL plus ``cg_damping``."""
    start, unravel = ravel_pytree(params)
    value, gradient = jax.value_and_grad(lambda x: objective(unravel(x), batch))(start)

    def kl(x):
        moved = divergence(unravel(x), batch)
        return moved.mean(moved.kl)

    def fisher(v):
        return jax.jvp(jax.grad(kl), (start,), (v,))[1] + cg_damping * v

    direction = conjugate_gradient(fisher, gradient, cg_iters)
    return NaturalDirection(value, gradient, direction, direction @ fisher(direction))


def conjugate_gradient(product: Callable, b: jax.Array, iterations: int) -> jax.Array:
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
