"""From the team's arrays (..., E, N, features) to the policies' (P, ..., B, features) and back.

With own parameters each agent is a policy: P = N and B = E. With one shared policy P = 1, the agents are folded into the
batch, B = E * N, and every observation carries the agent's id. Nothing above this module knows the difference.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..envs.protocol import Team


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a team of N agents in E environments is laid out over P policies."""

    team: Team
    num_envs: int
    one_policy: bool

    @property
    def num_policies(self) -> int:
        return 1 if self.one_policy else self.team.num_agents

    @property
    def batch_size(self) -> int:
        """Samples per policy and time step."""
        return self.num_envs * self.team.num_agents // self.num_policies

    def split(self, x, axis: int):
        """(..., E, N, ...) with N on ``axis`` -> (P, ..., B, ...)."""
        if not self.one_policy:
            return jnp.moveaxis(x, axis, 0)
        return x.reshape(1, *x.shape[: axis - 1], -1, *x.shape[axis + 1 :])

    def merge(self, x, axis: int):
        """The inverse of ``split``: (P, ..., B, ...) -> (..., E, N, ...)."""
        if not self.one_policy:
            return jnp.moveaxis(x, 0, axis)
        return x[0].reshape(*x.shape[1:axis], -1, self.team.num_agents, *x.shape[axis + 1 :])

    def _with_id(self, x, ids):
        if not self.one_policy:
            return x
        return jnp.concatenate([x, jnp.broadcast_to(ids, (*x.shape[:-1], ids.shape[-1]))], axis=-1)

    def policy_input(self, obs):
        """Observations (..., N, O) as a policy sees them: (..., N, O'), with the agent's one-hot id if it is shared."""
        return self._with_id(obs, jnp.eye(self.team.num_agents, dtype=jnp.float32))

    def policy_mask(self, shape) -> jax.Array:
        """Which entries of ``policy_input`` are real, broadcast to its ``shape``."""
        mask = self._with_id(jnp.asarray(self.team.obs_mask), jnp.ones((self.team.num_agents,) * 2, bool))
        return jnp.broadcast_to(mask, shape)

    def critic_view(self, observation, critic: str):
        """What of an observation ``critic_input`` looks at; None for the rest, which need not be stored."""
        unseen = ("obs", "avail_actions", "alive") if critic == "ep" else ("avail_actions",)
        return observation._replace(**dict.fromkeys(unseen))

    def critic_input(self, observation, critic: str):
        """Critic inputs (..., K, S'). EP: the world state, K = 1. FP: world state, own observation and id, K = N.

        A dead agent's observation does not reach the critic.
        """
        if critic == "ep":
            return observation.world_state[..., None, :]
        obs = jnp.where(observation.alive[..., None], observation.obs, 0.0)
        state = jnp.broadcast_to(
            observation.world_state[..., None, :], (*obs.shape[:-1], observation.world_state.shape[-1])
        )
        ids = jnp.broadcast_to(
            jnp.eye(self.team.num_agents, dtype=jnp.float32), (*obs.shape[:-1], self.team.num_agents)
        )
        return jnp.concatenate([state, obs, ids], axis=-1)

    def critic_mask(self, critic: str) -> np.ndarray:
        """Which entries of ``critic_input`` are real: (K, S')."""
        team = self.team
        world = np.ones((1, team.world_state_size), bool)
        if critic == "ep":
            return world
        everything = np.ones((team.num_agents, team.num_agents), bool)
        return np.concatenate([world.repeat(team.num_agents, 0), team.obs_mask, everything], axis=-1)
