"""Finite games: one-shot matrix games, any payoff array from a file, and random stochastic games.

Tables have one axis per agent: ``reward[s, a1, ..., aN]``. Everything that a game is made of is a plain float64 numpy
attribute, so exact methods can read what sampling methods only experience.
"""

import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from numpy.typing import ArrayLike

from ..errors import ConfigError
from .payoffs import read_payoff
from .protocol import Action, Environment, Observation, Step, Team
from .registry import register_environment
from .tables import Tables

MAX_ENTRIES = 2_000_000  # of the largest table of a game: tables become constants of the compiled program


def check_integer(name: str, value: Any, low: int, high: float = math.inf) -> None:
    """Check that ``value`` is a whole number in [low, high].

    Args:
        name: of the setting.
        value: what was given.
        low: the least that it may be.
        high: the most; infinite: no limit.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, Integral) or not low <= int(value) <= high:
        above = f" of at least {low}" if math.isinf(high) else f" from {low} to {high}"
        raise ConfigError(f"{name} must be a whole number{above}, not {value!r}")


def check_real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Check that ``value`` is a finite number in [low, high]; arguments and errors as of ``check_integer``."""
    if not isinstance(value, Real) or not math.isfinite(value) or not low <= float(value) <= high:
        raise ConfigError(f"{name} must be a finite number in [{low}, {high}], not {value!r}")


class GameState(NamedTuple):
    """A state of the game, and the number of steps taken."""

    state: Int[Array, ""]
    time: Int[Array, ""]


class FiniteGame(Environment):
    """A finite cooperative Markov game whose state every agent sees as a one-hot vector.

    After each step the episode terminates with probability ``termination``, whatever happened in it, so that the exact
    value obeys V(s) = E[r(s, a) + gamma (1 - termination) sum_s' P(s'|s, a) V(s')]. An episode that goes on is
    truncated at ``horizon``: the time is not part of the observation, so learners should bootstrap there. An action index
    past an agent's own actions is not valid (``avail_actions``). Tables are float64; the simulation reads float32 copies.

    Args:
        reward: r(s, a), (S, A1, ..., AN).
        transition: P(s'|s, a), (S, A1, ..., AN, S); the last axis sums to 1.
        initial: the distribution of the first state, (S,).
        termination: the probability per step that the task ends for good.
        horizon: steps after which an episode is truncated.

    References:
        Kuba et al., 2022, arXiv:2208.01682, section 2.
    """

    def __init__(self, reward: ArrayLike, transition: ArrayLike, initial: ArrayLike, termination: float, horizon: int):
        self.reward = np.asarray(reward, np.float64)
        self.transition = np.asarray(transition, np.float64)
        self.initial = np.asarray(initial, np.float64)
        self.termination, self.horizon = float(termination), int(horizon)
        self.num_states, *actions = self.reward.shape
        self.team = Team(
            obs_sizes=(self.num_states,) * len(actions),
            action_sizes=tuple(actions),
            world_state_size=self.num_states,
        )
        self.max_episode_length = self.horizon
        # Row-major weights of each agent's action in the number of the joint action.
        self._strides = np.cumprod([1, *actions[:0:-1]])[::-1].astype(np.int32)
        self._rewards = self.reward.reshape(self.num_states, -1).astype(np.float32)
        self._next_states = _thresholds(self.transition.reshape(*self._rewards.shape, self.num_states))
        self._first_states = _thresholds(self.initial)

    def reset(self, key: Key[Array, ""]) -> tuple[GameState, Observation]:
        state = GameState(_draw(key, self._first_states), jnp.zeros((), jnp.int32))
        return state, self._observe(state)

    def step(self, key: Key[Array, ""], state: GameState, action: Action) -> tuple[GameState, Step]:
        transition_key, termination_key = jax.random.split(key)
        joint = self._joint(action)
        reward = jnp.asarray(self._rewards)[state.state, joint]
        next_state = _draw(transition_key, jnp.asarray(self._next_states)[state.state, joint])
        terminated = jax.random.uniform(termination_key) < self.termination
        truncated = (state.time + 1 >= self.horizon) & ~terminated
        metrics = self._metrics(state, joint)
        state = GameState(next_state, state.time + 1)
        return state, Step(self._observe(state), reward, terminated, truncated, metrics)

    def as_tables(self) -> Tables:
        return Tables(self.reward, self.transition, self.initial, self.termination, self.horizon)

    def observe_states(self) -> Observation:
        states = jnp.arange(self.num_states)
        return jax.vmap(self._observe)(GameState(states, jnp.zeros_like(states)))

    def _joint(self, action: Int[Array, " N"]) -> Int[Array, ""]:
        """The row-major number of a joint action."""
        return jnp.sum(action * self._strides)

    def _metrics(self, state: GameState, joint: Int[Array, ""]) -> dict[str, Float[Array, ""]]:
        return {}

    def _observe(self, state: GameState) -> Observation:
        one_hot = jax.nn.one_hot(state.state, self.num_states)
        return Observation(
            obs=jnp.tile(one_hot, (self.team.num_agents, 1)),
            world_state=one_hot,
            avail_actions=jnp.asarray(self.team.action_mask),
            alive=jnp.ones(self.team.num_agents, bool),
        )


def _thresholds(probabilities: np.ndarray) -> np.ndarray:
    """Upper ends of all but the last interval that cut [0, 1) by (..., S) probabilities -> (..., S - 1)."""
    return np.cumsum(probabilities, axis=-1)[..., :-1].astype(np.float32)


def _draw(key: Key[Array, ""], thresholds: Float[Array | np.ndarray, " S-1"]) -> Int[Array, ""]:
    """A state by inversion: how many thresholds a uniform number has reached."""
    return jnp.sum(jax.random.uniform(key) >= thresholds, dtype=jnp.int32)


class MatrixGame(FiniteGame):
    """One state, one step: the team earns ``payoff[a1, ..., aN]`` and the episode terminates.

    Every observation and the world state are the constant [1.0]. Metric ``optimal``: 1 if the joint action attains the
    largest payoff.

    Args:
        payoff: finite numbers, (A1, ..., AN); agents may have different numbers of actions.

    Raises:
        ConfigError: the payoff is no such array, or too large.
    """

    def __init__(self, payoff: ArrayLike):
        self.payoff = _check_payoff(payoff)
        transition = np.ones((1, *self.payoff.shape, 1))
        super().__init__(self.payoff[None], transition, np.ones(1), termination=1.0, horizon=1)
        self._optimal = (self.payoff == self.payoff.max()).ravel().astype(np.float32)

    def _metrics(self, state: GameState, joint: Int[Array, ""]) -> dict[str, Float[Array, ""]]:
        return {"optimal": jnp.asarray(self._optimal)[joint]}


def _check_payoff(payoff: ArrayLike) -> np.ndarray:
    """``payoff`` as float64, or a ConfigError when it is no game."""
    try:
        payoff = np.array(payoff)
    except ValueError:
        raise ConfigError("a payoff must be rectangular, but its rows differ in length") from None
    if payoff.dtype.kind not in "iuf":
        raise ConfigError("a payoff must hold numbers only")
    if payoff.ndim == 0 or payoff.size == 0:
        raise ConfigError(f"a payoff needs an axis per agent and an action on each, not the shape {payoff.shape}")
    if payoff.size > MAX_ENTRIES:
        raise ConfigError(f"a payoff may have at most {MAX_ENTRIES} entries, not {payoff.size}")
    payoff = payoff.astype(np.float64)
    if not (np.abs(payoff) <= np.finfo(np.float32).max).all():  # false for nan as well
        raise ConfigError("a payoff must hold finite float32 numbers only, not nan, inf or beyond 3.4e38")
    return payoff


def climbing() -> MatrixGame:
    """The climbing game (Claus & Boutilier 1998): miscoordination around the optimum (0, 0) is punished."""
    return MatrixGame([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])


def penalty(penalty: float = -100.0) -> MatrixGame:
    """The penalty game (Claus & Boutilier 1998): two optima, and a penalty for mixing them up.

    Args:
        penalty: at most 0.
    """
    check_real("penalty", penalty, high=0.0)
    return MatrixGame([[penalty, 0.0, 10.0], [0.0, 2.0, 0.0], [10.0, 0.0, penalty]])


def prop1(num_agents: int = 4) -> MatrixGame:
    """The paper's Proposition 1: 1 if the first half plays 0 and the second 1, or the reverse; else 0.

    Args:
        num_agents: an even number from 2 to 16.
    """
    check_integer("num_agents", num_agents, 2, 16)
    if num_agents % 2:
        raise ConfigError(f"num_agents must be even in game/prop1, not {num_agents}; try {num_agents + 1}")
    payoff = np.zeros((2,) * num_agents)
    half = num_agents // 2
    payoff[(0,) * half + (1,) * half] = payoff[(1,) * half + (0,) * half] = 1
    return MatrixGame(payoff)


def prop2() -> MatrixGame:
    """The paper's Proposition 2: two agents who both improve on their own make the team worst off."""
    return MatrixGame([[0, 2], [2, -1]])


def crowding_payoff(num_agents: int, congestion: float, scale: float) -> np.ndarray:
    """(2,) * N: scale (k - congestion k (k - 1) / 2), k the number of agents that play 1."""
    k = np.sum(np.indices((2,) * num_agents), axis=0)
    return scale * (k - congestion * k * (k - 1) / 2)


def crowding(num_agents: int = 6, congestion: float = 1 / 3, scale: float = 1.0) -> MatrixGame:
    """A place that is good for one agent and too crowded for many: a simultaneous step overshoots, by more with more agents."""
    check_integer("num_agents", num_agents, 2, 16)
    check_real("congestion", congestion, 0.0)
    check_real("scale", scale)
    return MatrixGame(crowding_payoff(num_agents, congestion, scale))


def matrix(payoff: str = "") -> MatrixGame:
    """A matrix game from a file: .npy, .json (nested lists) or .csv (two agents, a row per action of the first).

    Args:
        payoff: the file's name.

    Raises:
        ConfigError: there is no such file, or it holds no payoff.
    """
    table = read_payoff(payoff)
    try:
        return MatrixGame(table)
    except ConfigError as error:
        raise ConfigError(f"payoff file '{payoff}': {error}") from None


class RandomGame(FiniteGame):
    """A random stochastic game: Dirichlet(1) transitions and first state, rewards uniform in [0, 1].

    The tables depend on ``game_seed`` and the sizes alone, never on the key of an episode.

    Args:
        num_agents: N, at most 16.
        num_states: S, at most 1000.
        num_actions: of every agent, at most 1000.
        horizon: the time limit of an episode.
        termination: the probability per step that the task ends for good.
        game_seed: of the tables.

    Raises:
        ConfigError: a number is out of its range, or the tables together are too large.
    """

    def __init__(
        self,
        num_agents: int = 2,
        num_states: int = 5,
        num_actions: int = 3,
        horizon: int = 20,
        termination: float = 0.0,
        game_seed: int = 0,
    ):
        check_integer("num_agents", num_agents, 1, 16)
        check_integer("num_states", num_states, 1, 1000)
        check_integer("num_actions", num_actions, 1, 1000)
        check_integer("horizon", horizon, 1)
        check_real("termination", termination, 0.0, 1.0)
        check_integer("game_seed", game_seed, 0)
        entries = int(num_states) ** 2 * int(num_actions) ** int(num_agents)
        if entries > MAX_ENTRIES:
            raise ConfigError(
                f"a game of num_states={num_states}, num_actions={num_actions}, num_agents={num_agents} needs "
                f"{entries:.3g} transition entries; at most {MAX_ENTRIES} are allowed, so lower one of them"
            )
        rng = np.random.default_rng(game_seed)
        joint = (num_states, *(num_actions,) * num_agents)
        transition = rng.dirichlet(np.ones(num_states), size=joint)
        super().__init__(rng.random(joint), transition, rng.dirichlet(np.ones(num_states)), termination, horizon)


register_environment("game/climbing", climbing)
register_environment("game/penalty", penalty)
register_environment("game/prop1", prop1)
register_environment("game/prop2", prop2)
register_environment("game/crowding", crowding)
register_environment("game/matrix", matrix)
register_environment("game/random", RandomGame)
