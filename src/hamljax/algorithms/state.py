"""What training carries along, whatever the algorithm: the state of a run, of its rollout, and of what acts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..envs.protocol import Observation, Team
from ..envs.vector import VectorEnv
from ..nn.normalisation import Moments, ObsNorm


class ActorState(NamedTuple):
    """What of a run acts: enough to play and to evaluate."""

    params: Any  # of the team's policies, stacked on the policy axis (P, ...)
    obs_norm: Moments | None  # of what the agents see; None: observations reach the networks as they are
    eval_key: Key[Array, ""]
    num_updates: Int[Array, ""]  # after how many updates

    def see(self, team: Team, observation: Observation) -> Observation:
        """An observation with ``obs`` as the actors see it, and without the state of the world.

        Args:
            team: whose it is. observation: any leading axes, as the environment gave it.
        """
        seen = without(team.visible(observation), "world_state")  # it is the critics'
        return seen if self.obs_norm is None else seen._replace(obs=self.obs_norm.normalise(seen.obs))


class RolloutState(NamedTuple):
    """Where E environments and the memories of those who act in them are."""

    env_state: Any  # of a ``VectorEnv``
    observation: Observation  # (E, ...)
    start: Bool[Array, " E"]  # the next step begins an episode
    memory: Float[Array, "P B H"]  # of the policies
    key: Key[Array, ""]

    @classmethod
    def begin(
        cls, vec: VectorEnv, env_key: Key[Array, ""], memory: Float[Array, "P B H"], key: Key[Array, ""]
    ) -> "RolloutState":
        """The start of every environment's first episode.

        Args:
            vec: the environments. env_key: of their episodes.
            memory: of the policies, where nothing has been seen. key: of the actions.
        """
        env_state, observation = vec.reset(env_key)
        return cls(env_state, observation, jnp.ones(vec.num_envs, bool), memory, key)


class RunnerState(NamedTuple):
    """All that training carries from one update to the next; saving it saves the run."""

    learnt: Any  # what an update improves, and what stays as it was where an update is not taken
    rollout: RolloutState
    carried: Any  # what a learner takes along beside these: a critic's memory, a counter
    replay: Any  # None where nothing is replayed
    eval_key: Key[Array, ""]  # never changes: evaluations derive their keys from it
    num_updates: Int[Array, ""]
    skipped: Int[Array, ""]  # how many updates in a row, up to now, were not taken because of a non-finite number

    @classmethod
    def begin(cls, learnt: Any, rollout: RolloutState, carried: Any, eval_key: Key[Array, ""]) -> "RunnerState":
        """The state of a run that has not begun, without a replay.

        Args:
            learnt, rollout, carried: as of the fields. eval_key: that of all its evaluations.
        """
        zero = jnp.zeros((), jnp.int32)
        return cls(learnt, rollout, carried, None, eval_key, zero, zero)


def see(obs_norm: ObsNorm | None, team: Team, observation: Observation) -> Observation:
    """``observation`` as networks see it: what is visible, normalised if this run does so.

    Args:
        obs_norm: the statistics in force; None: this run does not. team: whose observation it is.
        observation: any leading axes, as the environment gave it.
    """
    seen = team.visible(observation)
    return seen if obs_norm is None else obs_norm.normalise(seen)


def without(observation: Observation, *names: str) -> Observation:
    """An observation that lacks some of its arrays: None stands for what nobody is to look at, or to store.

    Args:
        observation: any leading axes. names: of the arrays.
    """
    nothing: dict[str, Any] = dict.fromkeys(names)
    return observation._replace(**nothing)


def guard(before: RunnerState, after: RunnerState, info: dict[str, Array]) -> tuple[RunnerState, Float[Array, ""]]:
    """Take an update, unless it made something that is not finite.

    Args:
        before, after: the update. info: scalars that are finite where all is well.

    Returns:
        ``after``; or, where something learnt or a scalar of ``info`` is not finite, ``after`` with nothing learnt. And 1.0 if
        the update was not taken, else 0.0.
    """
    numbers = [x for x in jax.tree.leaves((after.learnt, info)) if jnp.issubdtype(x.dtype, jnp.floating)]
    # One array, because the compiler would repeat what is found of each for each that is kept: a third of the program.
    finite = jnp.isfinite(jnp.concatenate([x.ravel() for x in numbers])).all()
    learnt = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after.learnt, before.learnt)
    return after._replace(learnt=learnt, skipped=jnp.where(finite, 0, before.skipped + 1)), 1.0 - finite
