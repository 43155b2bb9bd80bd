"""What an environment is: a team description and two pure functions.

Shapes: N agents, O = largest observation, A = largest number of actions (discrete) or action dimensions
(continuous), S = size of the global state. An environment works on one episode; batches are made by ``vmap``.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from ..errors import ConfigError
from .tables import Tables

if TYPE_CHECKING:
    from .vector import VectorEnv

# Of all dimensions; or one entry per agent, of all of its own or of each.
Bounds = float | tuple[float | tuple[float, ...], ...]
Action = Int[Array, "... N"] | Float[Array, "... N A"]  # of a team with discrete actions, or with continuous ones

LARGEST = float(np.finfo(np.float32).max)  # bounds beyond it are none


@dataclasses.dataclass(frozen=True)
class Team:
    """Who the agents are. Only this knows that they differ; all arrays are padded to the team's maximum.

    Args:
        obs_sizes: length of each agent's real observation.
        action_sizes: number of actions (discrete) or action dimensions (continuous) of each agent.
        world_state_size: length of the global state that the critic sees.
        discrete: whether an action is the index of a choice, for the whole team.
        action_low: lower bounds of continuous actions; policies' actions in [-1, 1] are scaled to the bounds. A number, or
            an entry per agent: a number, or one per dimension. A dimension without bounds (-inf, inf) takes actions as they are.
        action_high: the upper bounds, likewise.
        kinds: what each agent is (a unit type, a limb), where more than its spaces says who is alike; None where that
            changes from episode to episode, or is not known.

    Raises:
        ConfigError: a dimension is bounded on one side only, or its lower bound is not below its upper one.
    """

    obs_sizes: tuple[int, ...]
    action_sizes: tuple[int, ...]
    world_state_size: int
    discrete: bool = True
    action_low: Bounds = -1.0
    action_high: Bounds = 1.0
    kinds: tuple[str, ...] | None = ()

    def __post_init__(self) -> None:
        for name in ("obs_sizes", "action_sizes", "action_low", "action_high", "kinds"):
            object.__setattr__(self, name, _hashable(getattr(self, name)))
        if self.discrete or not all(
            isinstance(size, Integral) for size in self.action_sizes
        ):  # see ``check.check_team``
            return
        for agent, (lows, highs) in enumerate(
            zip(self._bounds("action_low"), self._bounds("action_high"), strict=True)
        ):
            for dimension, (low, high) in enumerate(zip(lows, highs, strict=True)):
                where = f"dimension {dimension} of agent {agent}'s action"
                if not low < high:
                    raise ConfigError(f"{where}: action_low={low} is not below action_high={high}")
                if math.isinf(low) != math.isinf(high):
                    raise ConfigError(
                        f"{where} is bounded on one side only ({low} to {high}); give both bounds or neither"
                    )

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
    def obs_mask(self) -> Bool[np.ndarray, "N O"]:
        """Which observation entries are real."""
        return np.arange(self.obs_size) < np.array(self.obs_sizes)[:, None]

    @property
    def action_mask(self) -> Bool[np.ndarray, "N A"]:
        """Which actions, or action dimensions, exist."""
        return np.arange(self.action_size) < np.array(self.action_sizes)[:, None]

    def alike(self) -> tuple[int, ...]:
        """A number for each agent, the same for those of one kind that have equal spaces; the first is 0.

        Raises:
            ConfigError: kinds change from episode to episode, or are not known.
        """
        if self.kinds is None:
            raise ConfigError(
                "algo.sharing=kinds: who is of which kind changes from episode to episode here, or is not known; the groups can "
                "be named: algo.sharing=[[0,1],[2]]"
            )
        kinds = self.kinds or ("",) * self.num_agents
        bounds: list[tuple[tuple[float, ...], ...]] = [()] * self.num_agents
        if not self.discrete:
            bounds = list(zip(self._bounds("action_low"), self._bounds("action_high"), strict=True))
        who = list(zip(kinds, self.obs_sizes, self.action_sizes, bounds, strict=True))
        numbers = {one: number for number, one in enumerate(dict.fromkeys(who))}
        return tuple(numbers[one] for one in who)

    def _bounds(self, name: str) -> list[tuple[float, ...]]:
        """``action_low`` or ``action_high``, spelt out: the numbers of each agent's dimensions."""
        given, sizes = getattr(self, name), self.action_sizes
        of_agents = given if isinstance(given, tuple) else (given,) * len(sizes)
        if len(of_agents) != len(sizes):
            raise ConfigError(f"{name} has {len(of_agents)} entries for {len(sizes)} agents")
        spelt = [x if isinstance(x, tuple) else (x,) * size for x, size in zip(of_agents, sizes, strict=True)]
        for agent, (numbers, size) in enumerate(zip(spelt, sizes, strict=True)):
            if len(numbers) != size or not all(isinstance(x, int | float) for x in numbers):
                raise ConfigError(f"{name} of agent {agent} must be a number or {size} of them, not {of_agents[agent]}")
        return [tuple(math.copysign(math.inf, x) if abs(x) > LARGEST else x for x in numbers) for numbers in spelt]

    def _padded(self, name: str, padding: float) -> Float[np.ndarray, "N A"]:
        array = np.full((self.num_agents, self.action_size), padding)
        for row, numbers in zip(array, self._bounds(name), strict=True):
            row[: len(numbers)] = numbers
        return array

    @property
    def low(self) -> Float[np.ndarray, "N A"]:
        """The lower bound of every dimension of a continuous action, float64; -1 where padded."""
        return self._padded("action_low", -1.0)

    @property
    def high(self) -> Float[np.ndarray, "N A"]:
        """The upper bounds, float64; 1 where padded."""
        return self._padded("action_high", 1.0)

    def clip(self, action: Action) -> Action:
        """Continuous actions within their bounds; discrete ones as they are."""
        if self.discrete:
            return action
        return jnp.clip(action, *(bound.astype(np.float32) for bound in (self.low, self.high)))

    def from_unit(self, action: Action) -> Action:
        """Continuous actions in [-1, 1] scaled to their bounds, where there are any; discrete ones as they are."""
        if self.discrete:
            return action
        bounded = np.isfinite(self.low)
        low, high = (np.where(bounded, x, unit) for x, unit in ((self.low, -1.0), (self.high, 1.0)))
        middle, half = (low / 2 + high / 2).astype(np.float32), (high / 2 - low / 2).astype(np.float32)
        return action * half + middle

    def visible(self, observation: "Observation") -> "Observation":
        """What of an observation with any leading axes is there to be looked at, as float32.

        Zero stands for what a dead agent sees and for padding, whatever the environment put there. An observation that lacks
        ``obs`` (None) goes on lacking it.
        """
        obs, alive = observation.obs, observation.alive
        if obs is not None:
            obs = jnp.where(alive[..., None] & self.obs_mask, obs.astype(jnp.float32), 0.0)
        return observation._replace(obs=obs, world_state=observation.world_state.astype(jnp.float32))

    def pad(self, observations: Sequence[Num[Array, " _"]]) -> Num[Array, "N O"]:
        """N vectors of the team's observation sizes in one array, zero-padded."""
        return jnp.stack([jnp.pad(o, (0, self.obs_size - o.shape[-1])) for o in observations])


def _hashable(numbers: Any) -> Any:
    """Lists and arrays as tuples."""
    if isinstance(numbers, np.generic | np.ndarray | jax.Array):
        numbers = np.asarray(numbers).tolist()
    return tuple(map(_hashable, numbers)) if isinstance(numbers, list | tuple) else numbers


class Observation(NamedTuple):
    """What the team sees at one time, or at several: arrays share any leading axes.

    Nobody looks at what stands in padding or in the observation of a dead agent (``Team.visible``).

    Args:
        obs: what each agent sees, of any type of numbers (pixels may stay bytes); networks see float32.
        world_state: the global state that critics see, of any type of numbers.
        avail_actions: of discrete actions the legal ones (a padded one never is), of continuous ones the dimensions that exist.
        alive: who takes part.
    """

    obs: Num[Array, "... N O"]
    world_state: Num[Array, "... S"]
    avail_actions: Bool[Array, "... N A"]
    alive: Bool[Array, "... N"]

    def settled(self) -> "Observation":
        """Of the types that a rollout holds: float32 for any float, bool for masks."""

        def single(x: Array) -> Array:
            return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return Observation(
            single(self.obs), single(self.world_state), self.avail_actions.astype(bool), self.alive.astype(bool)
        )


class Step(NamedTuple):
    """What one transition gives.

    Args:
        observation: the true next one: nothing has been reset.
        reward: of the team.
        terminated: whether the task ended.
        truncated: whether only the time limit was reached.
        metrics: named scalars; an episode reports the values of its last step.
    """

    observation: Observation
    reward: Float[Array, "..."]
    terminated: Bool[Array, "..."]
    truncated: Bool[Array, "..."]
    metrics: dict[str, Float[Array, "..."]]

    def settled(self) -> "Step":
        """Of the types that a rollout holds: float32 for numbers, bool for flags."""
        reward, metrics = jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), (self.reward, self.metrics))
        terminated, truncated = (jnp.asarray(x).astype(bool) for x in (self.terminated, self.truncated))
        return Step(self.observation.settled(), reward, terminated, truncated, metrics)


class Environment:
    """Base class. A subclass sets ``team`` and ``max_episode_length`` and defines the two pure functions.

    The parameters of ``__init__`` (annotated, with defaults) are the environment's settings on the command line.
    """

    team: Team
    max_episode_length: int  # steps after which an episode is over in any case
    needs_obs_norm: bool = False  # its observations have no common scale, so learners had better normalise them
    at_once: int | None = None  # how many episodes may run side by side in an evaluation; None: all of them

    # Of environments in processes of their own, which are no pure functions.
    in_processes: bool = False  # whether its episodes run there: they can neither be restored nor vmapped
    on_host: bool = False  # whether programs stop at every step, for the host to make it
    failure: Exception | None = None  # why a program that used it failed, where the program cannot say so itself
    losses: Sequence[str] = ()  # what became of the processes that were replaced so far
    notes: Mapping[str, str] = MappingProxyType({})  # what is to be said once of its episodes, by what it is about
    waited: float = 0.0  # seconds that training spent waiting for processes so far

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Observation]:
        """Start an episode.

        Returns:
            The state, a pytree of arrays, and what the team sees, without leading axes.
        """
        raise NotImplementedError

    def step(self, key: Key[Array, ""], state: Any, action: Action) -> tuple[Any, Step]:
        """Advance by one step, without resetting.

        Args:
            key: for all that is random in the transition.
            state: as ``reset`` or ``step`` returned it.
            action: (N,) int32 if discrete, else (N, A) within the bounds. What a dead agent does is to be ignored.

        Returns:
            The state, built and typed as ``reset``'s, and what came of the transition.
        """
        raise NotImplementedError

    def reset_many(self, keys: Key[Array, " E"]) -> tuple[Any, Observation]:
        """Start episodes side by side: a leading axis (E,) on all that ``reset`` gives."""
        with jax.enable_x64(False):  # simulators are written for single precision, and some only run in it
            states, observation = jax.vmap(self.reset)(keys)
        return states, observation.settled()

    def step_many(self, keys: Key[Array, " E"], states: Any, action: Action) -> tuple[Any, Step]:
        """Advance episodes side by side.

        Args:
            keys: one for each episode.
            states: as ``reset_many`` or ``step_many`` returned them.
            action: (E, N) or (E, N, A), within the bounds.

        Returns:
            The states, of the types that ``reset`` gave them, and a ``Step`` whose arrays have a leading axis (E,): numbers
            float32, flags bool.
        """
        with jax.enable_x64(False):
            after, step = jax.vmap(self.step)(keys, states, action)
        after = jax.tree.map(lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), after, states)
        return after, step.settled()

    def as_tables(self) -> Tables | None:
        """The game as tables, where it is a finite one and they are known; None: not so."""
        return None

    def observe_states(self) -> Observation:
        """What the team sees in every state of ``as_tables``: a leading axis (S,)."""
        raise NotImplementedError

    def vectorise(self, num_envs: int) -> "VectorEnv":
        """E = ``num_envs`` copies with automatic resets."""
        from .autoreset import VecEnv  # which is made of environments

        return VecEnv(self, num_envs)

    def close(self) -> None:
        """Give back what it holds outside of JAX."""
