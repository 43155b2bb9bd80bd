"""What an environment gave that is not finite, in a batch that an update learns from. Shapes: any leading axes, N agents."""

import numpy as np

from ..bridge.environment import NON_FINITE
from ..envs.protocol import Observation, Team
from ..learning.off_policy.replay import Sample
from ..learning.on_policy.trajectory import Trajectory


def not_finite(team: Team, batch: Trajectory | Sample, truncation: str) -> list[str]:
    """What it is, in words; observations by agent. What nobody looks at does not count, such as what follows a task's end."""
    if isinstance(batch, Sample):
        steps, learnt, goes_on = batch, batch.weight, batch.discount != 0
    else:
        steps = batch.transitions
        learnt, goes_on = steps.valid, ~(steps.terminated | (steps.truncated & (truncation != "bootstrap")))
    learnt = np.ones(steps.reward.shape, bool) if learnt is None else np.asarray(learnt)
    looks = [_of_seen(team, steps.observation, learnt), _of_seen(team, steps.final, learnt & goes_on)]
    if later := getattr(steps, "later", None):
        looks.append(_of_seen(team, later[0], learnt[..., None] & (later[1] != 0)))
    agents = sorted({agent for of_agents, _ in looks for agent in of_agents})
    found = [f"the observation of agent {agent}" for agent in agents]
    if any(state for _, state in looks):
        found.append(NON_FINITE["world_state"])
    if (learnt & ~np.isfinite(steps.reward)).any():
        found.append(NON_FINITE["reward"])
    return found


def _of_seen(team: Team, seen: Observation, used) -> tuple[list[int], bool]:
    """Which agents are alive and see what is not finite where it is ``used`` (bool), and whether a world state is so there."""
    seen = team.visible(seen)
    state = used & ~np.isfinite(seen.world_state).all(-1)
    if seen.obs is None:
        return [], bool(state.any())
    agents = used[..., None] & ~np.isfinite(seen.obs).all(-1)
    return np.unique(np.nonzero(agents)[-1]).tolist(), bool(state.any())
