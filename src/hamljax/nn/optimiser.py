"""The optimiser of actors and critics."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def adam(
    learning_rate: float | jax.Array,
    eps: float | jax.Array,
    max_grad_norm: float | jax.Array,
    anneal_over: int | None = None,
    steps_per_update: float = 1,
) -> optax.GradientTransformation:
    """Adam behind a global-norm clip.

    anneal_over: over how many updates, of ``steps_per_update`` steps each, the rate falls linearly to 0; None: it stays.
    """

    def annealed(count):
        return learning_rate * jnp.maximum(1.0 - (count // steps_per_update) / anneal_over, 0.0)

    rate = annealed if anneal_over else learning_rate
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(rate, eps=eps))


def squared_norms(gradients: Any) -> jax.Array:
    """(P,): the squared norms of gradients whose leaves are stacked on a leading axis (P, ...)."""
    return sum(jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(gradients))
