"""Who is updated when, and what an agent knows of its predecessors.

``update(agent, context, i) -> agent, context, info`` improves one agent. ``agents`` is a pytree stacked on a leading
agent axis of length n; ``context`` is all that an agent learns of those updated before it (on-policy: ``log M``).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def sequential(update, agents, context, order):
    """Visit the agents in ``order`` (n,), each with the context that its predecessors left (Algorithm Template 1).

    Returns the agents and the infos, both on the agent axis (not in visiting order).
    """

    def visit(carry, i):
        agents, context = carry
        agent, context, info = update(jax.tree.map(lambda x: x[i], agents), context, i)
        agents = jax.tree.map(lambda xs, x: xs.at[i].set(x), agents, agent)
        return (agents, context), info

    (agents, _), infos = jax.lax.scan(visit, (agents, context), order)
    return agents, jax.tree.map(lambda x: jnp.zeros_like(x).at[order].set(x), infos)


def simultaneous(update, agents, context, order):
    """Update every agent against the same, initial context: each ignores that the others move too."""
    agents, _, infos = jax.vmap(update, in_axes=(0, None, 0))(agents, context, jnp.arange(len(order)))
    return agents, infos


class Coordination(NamedTuple):
    """A sweep over the agents, and whether they are one shared policy (a team of one, agents folded into the batch)."""

    sweep: Callable
    one_policy: bool = False


COORDINATIONS = {
    "sequential": Coordination(sequential),
    "simultaneous": Coordination(simultaneous),
    "shared": Coordination(simultaneous, one_policy=True),
}
