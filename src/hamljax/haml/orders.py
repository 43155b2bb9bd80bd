"""In which order the agents of a sequential sweep are visited.

What an order does to the guarantee: joint improvement (Theorem 1, 1) holds for every order. That limit points are Nash
equilibria (Theorem 1, 4) is proved for orders in which every agent is the first with positive probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .parameters import check_name, summary


class Order(NamedTuple):
    """``start(key, n) -> plan`` before a sweep; ``choose(plan, visited, scores) -> i``, the next agent, in every turn of it."""

    choose: Callable
    start: Callable
    summary: str


ORDERS: dict[str, Order] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_order(name: str, start: Callable = jax.random.permutation) -> Callable:
    """Decorator: make ``choose(plan, visited, scores) -> i`` known as ``algo.order=name``.

    ``plan`` is what ``start(key, n)`` makes before a sweep of n agents: a random permutation, where nothing is said.
    ``visited`` (n,) bool: who was updated already; i must be one who was not. ``scores()`` (n,): the squared norm of each
    agent's gradient of its mirror objective as it stands in this turn, computed only where it is called. Raises ValueError
    for the name of a shipped order.
    """
    check_name("order", name, SHIPPED)

    def register(choose):
        ORDERS[name] = Order(choose, start, summary(choose))
        return choose

    return register


def bind_order(order: Order, key: jax.Array, count: int, score: Callable) -> Callable:
    """``choose(visited, agents, context)`` of one sweep; ``score(agents, context) -> (count,)``."""
    plan = order.start(key, count)

    def choose(visited, agents, context):
        return order.choose(plan, visited, lambda: score(agents, context))

    return choose


@register_order("uniform", start=jax.random.permutation)
def uniform(plan: jax.Array, visited: jax.Array, scores: Callable) -> jax.Array:
    """A random permutation, drawn anew for every sweep: the paper's own."""
    return plan[jnp.sum(visited)]


@register_order("fixed", start=lambda key, n: jnp.arange(n))
def fixed(plan: jax.Array, visited: jax.Array, scores: Callable) -> jax.Array:
    """The first agent first, in every sweep. Improvement stays; limit points need not be Nash equilibria."""
    return plan[jnp.sum(visited)]


@register_order("semi_greedy")
def semi_greedy(plan: jax.Array, visited: jax.Array, scores: Callable) -> jax.Array:
    """The largest gradient first, then a random one, and so on in turn. Improvement stays; Nash limits are not proved."""

    def greedy():
        return jnp.argmax(jnp.where(visited, -jnp.inf, scores()))

    def random():
        return plan[jnp.argmin(visited[plan])]

    return jax.lax.cond(jnp.sum(visited) % 2 == 0, greedy, random)


SHIPPED.update(ORDERS)
