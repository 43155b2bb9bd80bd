"""In which order the agents of a sequential sweep are visited.

What an order does to the guarantee: joint improvement (Theorem 1, 1) holds for every order. That limit points are Nash
equilibria (Theorem 1, 4) is proved for orders in which every agent is the first with positive probability. What each of them is
given is what ``register_order`` says.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from .coordination import Choose
from .parameters import check_name, summary

Scores = Callable[[], Float[Array, " n"]]  # computed where it is called
Start = Callable[[Key[Array, ""], int], Any]  # (key, n) -> plan
C = TypeVar("C", bound=Callable[..., Array])


class Order(NamedTuple):
    """``start(key, n) -> plan`` before a sweep; ``choose(plan, visited, scores) -> i``, the next agent, in every turn of it."""

    choose: Callable[[Any, Bool[Array, " n"], Scores], Int[Array, ""]]
    start: Start
    summary: str


ORDERS: dict[str, Order] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_order(name: str, start: Start = jax.random.permutation) -> Callable[[C], C]:
    """Decorator: make ``choose(plan, visited, scores) -> i`` known as ``algo.order=name``.

    ``visited`` (n,) bool: who was updated already; i must be one who was not. ``scores()`` (n,): the squared norm of each
    agent's gradient of its mirror objective as it stands in this turn, computed only where it is called.

    Args:
        name: as on the command line.
        start: ``(key, n) -> plan``, called before a sweep of n agents: a random permutation, where nothing is said.

    Raises:
        ValueError: for the name of a shipped order.

    References:
        HAML, Theorem 1: its fourth statement needs orders in which every agent may be the first.
    """
    check_name("order", name, SHIPPED)

    def register(choose: C) -> C:
        ORDERS[name] = Order(choose, start, summary(choose))
        return choose

    return register


def bind_order(
    order: Order, key: Key[Array, ""], count: int, score: Callable[[Any, Any], Float[Array, " n"]]
) -> Choose:
    """The order of one sweep, as a coordination asks for it.

    Args:
        order: a registered one. key: its randomness. count: n.
        score: ``(agents, context) -> (n,)``, the squared norms of the gradients as they stand.

    Returns:
        ``choose(visited, agents, context) -> i``.
    """
    plan = order.start(key, count)

    def choose(visited, agents, context):
        return order.choose(plan, visited, lambda: score(agents, context))

    return choose


@register_order("uniform", start=jax.random.permutation)
def uniform(plan: Int[Array, " n"], visited: Bool[Array, " n"], scores: Scores) -> Int[Array, ""]:
    """A random permutation, drawn anew for every sweep: the paper's own."""
    return plan[jnp.sum(visited)]


@register_order("fixed", start=lambda key, n: jnp.arange(n))
def fixed(plan: Int[Array, " n"], visited: Bool[Array, " n"], scores: Scores) -> Int[Array, ""]:
    """The first agent first, in every sweep. Improvement stays; where actions tie, limit points need not be Nash equilibria."""
    return plan[jnp.sum(visited)]


@register_order("semi_greedy")
def semi_greedy(plan: Int[Array, " n"], visited: Bool[Array, " n"], scores: Scores) -> Int[Array, ""]:
    """The largest gradient first, then a random one, and so on in turn. Improvement stays; Nash limits are not proved."""

    def greedy():
        return jnp.argmax(jnp.where(visited, -jnp.inf, scores()))

    def random():
        return plan[jnp.argmin(visited[plan])]

    return jax.lax.cond(jnp.sum(visited) % 2 == 0, greedy, random)


SHIPPED.update(ORDERS)
