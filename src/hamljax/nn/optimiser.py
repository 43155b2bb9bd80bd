"""The optimiser of actors and critics."""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def adam(
    learning_rate: float | Array,
    eps: float | Array,
    max_grad_norm: float | Array,
    anneal_over: int | None = None,
    steps_per_update: float = 1,
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, arXiv 1412.6980) behind a global-norm clip.

    Args:
        learning_rate: at the start. eps: Adam's, outside of the root. max_grad_norm: of a whole gradient.
        anneal_over: over how many updates, of ``steps_per_update`` steps each, the rate falls linearly to 0; None: it stays.
        steps_per_update: of this optimiser.
    """

    def annealed(count):
        return learning_rate * jnp.maximum(1.0 - (count // steps_per_update) / anneal_over, 0.0)

    rate = annealed if anneal_over else learning_rate
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(rate, eps=eps))


def squared_norms(gradients: Any) -> Float[Array, " P"]:
    """The squared norms of gradients whose leaves are stacked on a leading axis (P, ...)."""
    return reduce(jnp.add, (jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(gradients)))
