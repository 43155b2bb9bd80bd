"""What an environment gave that is not finite, in a batch that an update learns from. Shapes: any leading axes, N agents."""

import jax
import numpy as np
from jaxtyping import Bool

from ...algorithms.base import DebugBatch
from ...bridge.environment import NON_FINITE
from ...envs.protocol import Observation, Team


def not_finite(team: Team, batch: DebugBatch) -> list[str]:
    """What it is, in words; observations by agent. What nobody looks at does not count, such as what follows a task's end.

    Args:
        team: whose agents see it.
        batch: what an update learns from.
    """
    looks = [_of_seen(team, observation, np.asarray(used)) for observation, used in batch.seen]
    agents = sorted({agent for of_agents, _ in looks for agent in of_agents})
    found = [f"the observation of agent {agent}" for agent in agents]
    if any(state for _, state in looks):
        found.append(NON_FINITE["world_state"])
    if (np.asarray(batch.weight) & ~np.isfinite(batch.reward)).any():
        found.append(NON_FINITE["reward"])
    return found


def _of_seen(team: Team, seen: Observation, used: Bool[np.ndarray, "..."]) -> tuple[list[int], bool]:
    """Which agents are alive and see what is not finite where it is ``used``, and whether a world state is so there."""
    seen = jax.tree.map(np.asarray, team.visible(seen))
    state = used & ~np.isfinite(seen.world_state).all(-1)
    if seen.obs is None:
        return [], bool(state.any())
    agents = used[..., None] & ~np.isfinite(seen.obs).all(-1)
    return np.unique(np.nonzero(agents)[-1]).tolist(), bool(state.any())
