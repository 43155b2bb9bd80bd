"""The optimiser of actors and critics."""

import jax
import jax.numpy as jnp
import optax

from .config import Config


def adam(config: Config, learning_rate, steps_per_update: float) -> optax.GradientTransformation:
    """Adam behind a global-norm clip; with ``anneal_lr`` the rate falls linearly to 0 over the run, update by update."""

    def annealed(count):
        return learning_rate * jnp.maximum(1.0 - (count // steps_per_update) / config.num_updates, 0.0)

    rate = annealed if config.algo.anneal_lr else learning_rate
    return optax.chain(optax.clip_by_global_norm(config.algo.max_grad_norm), optax.adam(rate, eps=config.algo.adam_eps))


def squared_norms(gradients) -> jax.Array:
    """(P,): the squared norms of gradients whose leaves are stacked on a leading axis (P, ...)."""
    return sum(jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim))) for x in jax.tree.leaves(gradients))
