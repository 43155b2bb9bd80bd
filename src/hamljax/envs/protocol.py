"""What an environment is: a team description and two pure functions.

Shapes: N agents, O = largest observation, A = largest number of actions (discrete) or action dimensions
(continuous), S = size of the global state. An environment works on one episode; batches are made by ``vmap``.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Team:
    """Who the agents are. Only this knows that they differ; all arrays are padded to the team's maximum.

    obs_sizes: length of each agent's real observation.
    action_sizes: number of actions (discrete) or action dimensions (continuous) of each agent.
    world_state_size: length of the global state that the critic sees.
    action_low, action_high: bounds of every continuous action dimension.
    """

    obs_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    world_state_size: int
    discrete: bool = True
    action_low: float = -1.0
    action_high: float = 1.0

    @property
    def num_agents(self) -> int:
        return len(self.obs_sizes)

    @property
    def obs_size(self) -> int:
        return max(self.obs_sizes)

    @property
    def action_size(self) -> int:
        return max(self.action_sizes)

    @property
    def obs_mask(self) -> np.ndarray:
        """(N, O) bool: which observation entries are real."""
        return np.arange(self.obs_size) < np.array(self.obs_sizes)[:, None]

    @property
    def action_mask(self) -> np.ndarray:
        """(N, A) bool: which actions, or action dimensions, exist."""
        return np.arange(self.action_size) < np.array(self.action_sizes)[:, None]

    def clip(self, action) -> jax.Array:
        """Continuous actions within their bounds; discrete ones as they are."""
        return action if self.discrete else jnp.clip(action, self.action_low, self.action_high)

    def from_unit(self, action) -> jax.Array:
        """Continuous actions in [-1, 1] scaled to their bounds."""
        return (self.action_low + self.action_high) / 2 + (self.action_high - self.action_low) / 2 * action

    def pad(self, observations) -> jax.Array:
        """A list of N vectors of the team's observation sizes -> (N, O), zero-padded."""
        return jnp.stack([jnp.pad(o, (0, self.obs_size - o.shape[-1])) for o in observations])


class Observation(NamedTuple):
    """What the team sees at one time.

    obs: (N, O) float, zero where padded. world_state: (S,) float. alive: (N,) bool.
    avail_actions: (N, A) bool. Discrete: the legal actions (a padded one never is). Continuous: the dimensions that exist.
    """

    obs: jax.Array
    world_state: jax.Array
    avail_actions: jax.Array
    alive: jax.Array

    def converted(self) -> "Observation":
        """With flags of any dtype as bool."""
        return self._replace(avail_actions=self.avail_actions.astype(bool), alive=self.alive.astype(bool))


class Step(NamedTuple):
    """What one transition gives. ``observation`` is the true next one: nothing has been reset.

    reward: () team reward. terminated: () bool, the task ended. truncated: () bool, only the time ran out.
    metrics: named scalars; an episode reports the values of its last step.
    """

    observation: Observation
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, jax.Array]

    def converted(self) -> "Step":
        """With flags of any dtype as bool, and a reward of any as float32."""
        return self._replace(
            observation=self.observation.converted(),
            reward=self.reward.astype(jnp.float32),
            terminated=self.terminated.astype(bool),
            truncated=self.truncated.astype(bool),
        )


class Environment:
    """Base class. A subclass sets ``team`` and ``max_episode_length`` and defines the two pure functions.

    The parameters of ``__init__`` (annotated, with defaults) are the environment's settings on the command line.
    ``needs_obs_norm``: its observations have no common scale, so learners had better normalise them.
    """

    team: Team
    max_episode_length: int
    needs_obs_norm: bool = False
    # ``num_envs`` -> what has the interface of ``VecEnv``, for an environment that is no pure function.
    vectorise: Any = None
    failure: Exception | None = None  # why a program that used it failed, where the program cannot say so itself
    on_host: bool = False  # whether programs stop at every step, for the host to make it
    at_once: int | None = None  # how many episodes may run side by side in an evaluation; None: all of them

    def reset(self, key: jax.Array) -> tuple[Any, Observation]:
        """Start an episode."""
        raise NotImplementedError

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Step]:
        """Advance by one step, without resetting. action: (N,) int32 if discrete, else (N, A) float within the bounds."""
        raise NotImplementedError

    def reset_many(self, keys):
        """Start episodes side by side: keys (E,), and a leading axis (E,) on all that ``reset`` gives."""
        state, observation = jax.vmap(self.reset)(keys)
        return state, observation.converted()

    def step_many(self, keys, states, action):
        """Advance them: keys (E,), action (E, N) or (E, N, A)."""
        state, step = jax.vmap(self.step)(keys, states, action)
        return state, step.converted()

    def close(self) -> None:
        """Give back what it holds outside of JAX."""
