"""Who is updated when, and what an agent knows of its predecessors.

``update(agent, context, i) -> agent, context, info`` improves one agent. ``agents`` is a pytree stacked on a leading
agent axis of length n; ``context`` is all that an agent learns of those updated before it (on-policy: ``log M``).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .parameters import asked_by, check_name

COORDINATIONS: dict[str, Callable] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_coordination(name: str) -> Callable:
    """Decorator: make ``(update, agents, context, choose) -> agents, infos`` known as ``algo.coordination=name``.

    ``update`` and ``choose`` are as this module's ``sequential`` has them. Raises ValueError for the name of a shipped
    coordination, and for what cannot be called so.
    """
    check_name("coordination", name, SHIPPED)

    def register(function):
        asked_by("coordination", name, function, ("update", "agents", "context", "choose"), ())
        COORDINATIONS[name] = function
        return function

    return register


@register_coordination("sequential")
def sequential(update: Callable, agents: Any, context: Any, choose: Callable) -> tuple[Any, Any]:
    """Visit the agents one after another, each with the context that its predecessors left (Algorithm Template 1).

    ``choose(visited, agents, context) -> i`` says who is next; visited (n,) bool. Returns the agents and the infos, both on
    the agent axis (not in visiting order).
    """
    count = jax.tree.leaves(agents)[0].shape[0]

    def visit(carry, _):
        visited, agents, context = carry
        i = choose(visited, agents, context)
        agent, context, info = update(jax.tree.map(lambda x: x[i], agents), context, i)
        agents = jax.tree.map(lambda xs, x: xs.at[i].set(x), agents, agent)
        return (visited.at[i].set(True), agents, context), (i, info)

    start = (jnp.zeros(count, bool), agents, context)
    (_, agents, _), (order, infos) = jax.lax.scan(visit, start, None, length=count)
    return agents, jax.tree.map(lambda x: jnp.zeros_like(x).at[order].set(x), infos)


@register_coordination("simultaneous")
def simultaneous(update: Callable, agents: Any, context: Any, choose: Callable) -> tuple[Any, Any]:
    """Update every agent against the same, initial context: each ignores that the others move too."""
    del choose
    count = jax.tree.leaves(agents)[0].shape[0]
    agents, _, infos = jax.vmap(update, in_axes=(0, None, 0))(agents, context, jnp.arange(count))
    return agents, infos


SHIPPED.update(COORDINATIONS)
