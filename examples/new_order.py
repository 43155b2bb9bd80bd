"""An order of one's own: who is first is drawn, the more likely the larger an agent's gradient is.

    hamljax train plugin=examples/new_order.py algo.order=by_gradient env=game/climbing

Only sequential rows ask for an order (``hamljax list``); where agents share a policy, it is policies that take turns.
"""

import jax
import jax.numpy as jnp

import hamljax

SHARE = 0.1  # how much of the mean is added to each: the first is never drawn with less than 1 / 11 of an even chance
TINY = 1e-30  # where all gradients are zero, all are as likely


@hamljax.register_order("by_gradient", start=lambda key, n: jax.random.gumbel(key, (n,)))
def by_gradient(noise, visited, scores):
    """The first by a chance that grows with its squared gradient, and so on. Improvement and Nash limit points both stay.

    Theorem 1 gives improvement for every order. Its limit points are Nash where each agent may be the first, however the
    policies stand: here by a chance of at least SHARE / (1 + SHARE) / n. Without SHARE, an agent whose gradient is zero on
    a rollout would never be the first.
    """
    chances = scores()
    chances = chances + SHARE * jnp.mean(chances) + TINY
    return jnp.argmax(jnp.where(visited, -jnp.inf, jnp.log(chances) + noise))  # Gumbel's trick: a draw by its chance
