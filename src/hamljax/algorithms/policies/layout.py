"""From the team's arrays (..., E, N, features) to the policies' (P, ..., B, features) and back.

Each agent is played by one of P policies, and a policy plays the M agents of the largest group at most: its batch is
B = E * M samples, agents folded into it, with the members of a smaller group padded by samples in which nobody is alive. With
own parameters P = N and M = 1; with one policy for all P = 1 and M = N. An agent that shares a policy sees its one-hot number
within the group. Nothing above this module knows the difference.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ...envs.protocol import Team
from ...errors import ConfigError
from ..config import Sharing


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a team of N agents is laid out over P policies, in any number of environments.

    Args:
        team: the agents. policy_of: (N,) who plays each.
    """

    team: Team
    policy_of: tuple[int, ...]

    @functools.cached_property
    def groups(self) -> list[list[int]]:
        """The agents of every policy."""
        return [[i for i, p in enumerate(self.policy_of) if p == policy] for policy in range(self.num_policies)]

    @property
    def num_policies(self) -> int:
        """P."""
        return max(self.policy_of) + 1

    @functools.cached_property
    def group_size(self) -> int:
        """M, the members of the largest group."""
        return max(map(len, self.groups))

    @functools.cached_property
    def members(self) -> np.ndarray:
        """(P, M) int: the agents of every policy; N, which is nobody, where a group is smaller."""
        padded = [group + [self.team.num_agents] * (self.group_size - len(group)) for group in self.groups]
        return np.array(padded)

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """(N,) int: where each agent stands in ``members``, flattened."""
        return np.argsort(self.members, axis=None, kind="stable")[: self.team.num_agents]

    def split(self, x: Shaped[Array, "..."], axis: int) -> Shaped[Array, "P ..."]:
        """From the team to its policies; padding repeats an agent.

        Args:
            x: (..., E, N, ...). axis: that of N.

        Returns:
            (P, ..., B, ...).
        """
        members = np.minimum(self.members, self.team.num_agents - 1)
        x = _taken(x, members.ravel(), axis)
        x = jnp.moveaxis(x.reshape(*x.shape[:axis], *members.shape, *x.shape[axis + 1 :]), axis, 0)
        return x.reshape(x.shape[0], *x.shape[1:axis], -1, *x.shape[axis + 2 :])

    def split_alive(self, alive: Bool[Array, "..."], axis: int) -> Bool[Array, "P ..."]:
        """Who is alive, from the team to its policies; nobody is in padding.

        Args:
            alive: (..., E, N). axis: that of N.
        """
        there = self.members < self.team.num_agents
        if there.all():
            return self.split(alive, axis)
        tiled = jnp.tile(there, (1, alive.shape[axis - 1]))  # (P, B)
        return self.split(alive, axis) & tiled.reshape(
            len(tiled), *(1,) * (axis - 1), -1, *(1,) * (alive.ndim - axis - 1)
        )

    def merge(self, x: Shaped[Array, "P ..."], axis: int) -> Shaped[Array, "..."]:
        """The inverse of ``split``.

        Args:
            x: (P, ..., B, ...). axis: that of N in what comes of it, and of B in ``x``.

        Returns:
            (..., E, N, ...).
        """
        x = x.reshape(*x.shape[:axis], -1, self.group_size, *x.shape[axis + 1 :])
        x = jnp.moveaxis(x, 0, axis)
        x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        return _taken(x, self._places, axis)

    def policy_input(self, obs: Float[Array, "*batch N O"]) -> Float[Array, "*batch N OM"]:
        """What the policies see of observations: each with its agent's one-hot number in its group, where it shares a policy."""
        if self.group_size == 1:
            return obs
        ids = jnp.eye(self.group_size, dtype=jnp.float32)[self._places % self.group_size]
        return jnp.concatenate([obs, jnp.broadcast_to(ids, (*obs.shape[:-1], ids.shape[-1]))], axis=-1)

    def policy_mask(self, shape: tuple[int, ...]) -> Bool[Array, "*batch N OM"]:
        """Which entries of ``policy_input`` are real, broadcast to its ``shape``."""
        mask = jnp.asarray(self.team.obs_mask)
        ids = jnp.ones((self.team.num_agents, shape[-1] - mask.shape[-1]), bool)
        return jnp.broadcast_to(jnp.concatenate([mask, ids], axis=-1), shape)


def policy_of(sharing: Sharing, team: Team) -> tuple[int, ...]:
    """Who plays each agent.

    Args:
        sharing: ``own``: each its own. ``kinds``: agents of one kind (``Team.alike``) share. ``all``: one for all. Or the
            groups, as tuples of the agents' numbers.
        team: the agents.

    Returns:
        (N,) the number of each agent's policy.

    Raises:
        ConfigError: the groups are no partition of the team, or who is of which kind is not known.
    """
    count = team.num_agents
    if sharing == "own":
        return tuple(range(count))
    if sharing == "all":
        return (0,) * count
    if sharing == "kinds":
        return team.alike()
    numbers = sorted(agent for group in sharing for agent in group)
    if numbers != list(range(count)) or not all(sharing):
        raise ConfigError(
            f"algo.sharing={[list(group) for group in sharing]} is no division of the agents 0 to {count - 1} into groups: "
            f"each of them is to be in one"
        )
    return tuple(next(p for p, group in enumerate(sharing) if agent in group) for agent in range(count))


def _taken(x: Array, indices: np.ndarray, axis: int) -> Array:
    """``x`` at ``indices`` of an axis; no gather where that is all of it in order."""
    in_order = np.array_equal(indices, np.arange(x.shape[axis]))
    return x if in_order else jnp.take(x, indices, axis=axis)
