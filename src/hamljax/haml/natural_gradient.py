"""The natural gradient of an objective: its direction, without a matrix."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .divergence import Measure, Objective


class NaturalDirection(NamedTuple):
    """Of flat parameters (n,)."""

    value: Float[Array, ""]  # of the objective
    gradient: Float[Array, " n"]
    direction: Float[Array, " n"]
    quadratic: Float[Array, ""]  # direction' H direction, which is g' H^-1 g


def natural_direction(
    objective: Objective, divergence: Measure, params: Any, batch: Any, cg_iters: int, cg_damping: float | Array
) -> NaturalDirection:
    """``H^-1 g`` by conjugate gradients: g the gradient of the objective, H the Hessian of the mean KL, damped.

    Args:
        objective: ``(params, batch) -> ()``. divergence: ``(params, batch) -> Divergence`` from where ``params`` are now.
        params, batch: of one policy, and of all its samples.
        cg_iters: of conjugate gradients. cg_damping: added to the diagonal of H.

    References:
        Schulman et al., 2015 (arXiv 1502.05477), Appendix C.
    """
    start, unravel = ravel_pytree(params)
    value, gradient = jax.value_and_grad(lambda x: objective(unravel(x), batch))(start)

    def kl(x):
        moved = divergence(unravel(x), batch)
        return moved.mean(moved.kl)

    def fisher(v):
        return jax.jvp(jax.grad(kl), (start,), (v,))[1] + cg_damping * v

    direction = conjugate_gradient(fisher, gradient, cg_iters)
    return NaturalDirection(value, gradient, direction, direction @ fisher(direction))


def conjugate_gradient(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]], b: Float[Array, " n"], iterations: int
) -> Float[Array, " n"]:
    """Solve ``product(x) = b`` for a positive definite ``product`` in a fixed number of iterations (no early exit).

    Args:
        product: ``x -> H x``, linear. b: the right side.
        iterations: how many; those after convergence leave the solution as it is.

    Returns:
        x.
    """

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
