"""The optimiser of actors and critics."""

import optax

from .config import Config


def adam(config: Config, learning_rate, steps_per_update: int) -> optax.GradientTransformation:
    """Adam behind a global-norm clip; with ``anneal_lr`` the rate falls linearly to 0 over the run, update by update."""

    def annealed(count):
        return learning_rate * (1.0 - (count // steps_per_update) / config.num_updates)

    rate = annealed if config.algo.anneal_lr else learning_rate
    return optax.chain(optax.clip_by_global_norm(config.algo.max_grad_norm), optax.adam(rate, eps=config.algo.adam_eps))
