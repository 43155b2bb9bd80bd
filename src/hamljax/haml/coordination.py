"""Who is updated when, and what an agent knows of its predecessors.

``update(agent, context, i) -> agent, context, info`` improves one agent. ``agents`` is a pytree stacked on a leading
agent axis of length n; ``context`` is all that an agent learns of those updated before it (on-policy: ``log M``).
"""

import jax
import jax.numpy as jnp


def sequential(update, agents, context, choose):
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


def simultaneous(update, agents, context, choose):
    """Update every agent against the same, initial context: each ignores that the others move too."""
    del choose
    count = jax.tree.leaves(agents)[0].shape[0]
    agents, _, infos = jax.vmap(update, in_axes=(0, None, 0))(agents, context, jnp.arange(count))
    return agents, infos


COORDINATIONS = {"sequential": sequential, "simultaneous": simultaneous}
