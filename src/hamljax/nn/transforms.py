"""Transformations of functions and trees that the loops need and JAX does not have."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

R = TypeVar("R", bound=NamedTuple)


def one_at_a_time_on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which under ``vmap`` handles its batch in turn on a CPU, and all at once elsewhere.

    Eight rollouts at once do not fit into a CPU's caches: learning from them took 1.6 times as long as in turn. Each
    turn is a batch of one, because the compiler does that a fifth faster than no batch.
    """
    if jax.default_backend() != "cpu":
        return function
    batch_of_one = jax.custom_batching.sequential_vmap(jax.vmap(function))

    def in_turn(*arguments):
        arguments = jax.tree.map(lambda x: jnp.asarray(x)[None], arguments)
        return jax.tree.map(lambda x: x[0], batch_of_one(*arguments))

    return in_turn


def blanked(record: R, kept: Bool[Array, "*batch"], fields: tuple[str, ...]) -> R:
    """A record with zeros in some of its fields where it is not to be kept.

    Args:
        record: a named tuple of trees of arrays (*batch, ...). kept: where nothing changes.
        fields: the names of those that are blanked.
    """

    def blank(x):
        return jnp.where(kept.reshape(kept.shape + (1,) * (x.ndim - kept.ndim)), x, jnp.zeros_like(x))

    return record._replace(**{name: jax.tree.map(blank, getattr(record, name)) for name in fields})


@jax.custom_batching.custom_vmap
def unvmap(x: Shaped[Array, ""]) -> Shaped[Array, ""]:
    """``x``, a scalar of which the caller knows that every run of a batch has the same.

    Under ``vmap`` it stays one scalar, so that a branch on it remains a branch (not a choice between two results) and a
    slice at it remains a slice (not a scatter, which would copy what it writes to).
    """
    return x


@unvmap.def_vmap
def _(axis_size, in_batched, x):
    del axis_size
    return unvmap(x[0] if in_batched[0] else x), False


@jax.custom_batching.custom_vmap
def unvmap_any(x: Bool[Array, ""]) -> Bool[Array, ""]:
    """``x``, a scalar bool; under ``vmap``, whether it holds in any run of the batch.

    As the condition of a loop it stays one scalar, so that what a loop carries is not chosen anew for every run in every
    turn. Runs in which it does not hold must not mind another turn.
    """
    return x


@unvmap_any.def_vmap
def _(axis_size, in_batched, x):
    del axis_size
    return unvmap_any(jnp.any(x) if in_batched[0] else x), False


# jnp.min, jnp.minimum, jnp.maximum and jnp.clip find out what they chose, for their gradients, by comparing the result with
# what they chose from. A compiler that computes the latter twice may round it in two ways; then nothing was chosen, and the
# gradient is 0 (of an element-wise function) or 0 / 0 (of a reduction). What networks compute passes through these instead.


def lowest(x: Float[Array, "rows ..."]) -> Float[Array, "..."]:
    """The smallest of several rows; its gradient goes to one of them, the first where they are equal."""
    first = jnp.argmin(x, axis=0)
    return jnp.sum(jnp.where(jnp.arange(len(x)).reshape(-1, *[1] * first.ndim) == first, x, 0.0), axis=0)


def larger(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """The larger of two, NaN where one is; its gradient goes to one of them, the first where they are equal."""
    return jnp.where((x >= y) | jnp.isnan(x), x, y)


def clamp(x: Float[Array, "..."], low: float | Array, high: float | Array) -> Float[Array, "..."]:
    """``x`` within bounds; its gradient is 1 there and 0 outside."""
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def huber(x: Float[Array, "..."], delta: float | Array) -> Float[Array, "..."]:
    """Half the square of ``x`` as far as ``delta``, and from there on a line (Huber, 1964)."""
    size = jnp.abs(x)
    return jnp.where(size > delta, delta * (size - 0.5 * delta), 0.5 * x**2)
