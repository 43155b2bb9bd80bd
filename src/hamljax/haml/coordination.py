"""Who is updated when, and what an agent knows of its predecessors.

``update(agent, context, i) -> agent, context, info`` improves one agent. ``agents`` is a pytree stacked on a leading
agent axis of length n; ``context`` is all that an agent learns of those updated before it (on-policy: ``log M``).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .parameters import asked_by, check_name

Update = Callable[[Any, Any, Int[Array, ""]], tuple[Any, Any, Any]]  # (agent, context, i) -> agent, context, info
Choose = Callable[[Bool[Array, " n"], Any, Any], Int[Array, ""]]  # (visited, agents, context) -> i
Coordination = Callable[[Update, Any, Any, Choose], tuple[Any, Any]]
C = TypeVar("C", bound=Coordination)

COORDINATIONS: dict[str, Coordination] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_coordination(name: str) -> Callable[[C], C]:
    """Decorator: make ``(update, agents, context, choose) -> agents, infos`` known as ``algo.coordination=name``.

    ``update`` and ``choose`` are as this module's ``sequential`` has them.

    Raises:
        ValueError: for the name of a shipped coordination, and for what cannot be called so.
    """
    check_name("coordination", name, SHIPPED)

    def register(function: C) -> C:
        asked_by("coordination", name, function, ("update", "agents", "context", "choose"), ())
        COORDINATIONS[name] = function
        return function

    return register


@register_coordination("sequential")
def sequential(update: Update, agents: Any, context: Any, choose: Choose) -> tuple[Any, Any]:
    """Visit the agents one after another, each with the context that its predecessors left (Algorithm Template 1).

    Args:
        update: ``(agent, context, i) -> agent, context, info`` improves agent number ``i``.
        agents: a pytree whose leaves are stacked on an axis of the n agents.
        context: what the first agent knows of its predecessors: that there are none.
        choose: ``(visited, agents, context) -> i`` says who is next; visited (n,) bool.

    Returns:
        The agents and the infos, both on the agent axis (not in visiting order).

    References:
        HAML, Algorithm Template 1; Lemma 2 is why improvements add up.
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
def simultaneous(update: Update, agents: Any, context: Any, choose: Choose) -> tuple[Any, Any]:
    """Update every agent against the same, initial context: each ignores that the others move too.

    Args:
        update, agents, context: as of ``sequential``. choose: not asked, for there is no order.

    Returns:
        The agents and the infos, both on the agent axis.

    References:
        HAML, Proposition 2: what may go wrong.
    """
    del choose
    count = jax.tree.leaves(agents)[0].shape[0]
    agents, _, infos = jax.vmap(update, in_axes=(0, None, 0))(agents, context, jnp.arange(count))
    return agents, infos


SHIPPED.update(COORDINATIONS)
