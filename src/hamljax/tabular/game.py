"""Finite cooperative Markov games as tables in float64, one or thousands at once.

A joint action is a number: row-major over the agents' actions, as ``numpy.reshape`` counts. Policies of all agents are one
array (N, S, A), A the largest number of actions that an agent has; an action that an agent has not is of probability 0.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from ..envs.protocol import Environment
from ..errors import ConfigError

Table = np.ndarray | Array
MAX_ENTRIES = 2**27  # of the transitions of all games that are held at once: 1 GiB


@struct.dataclass
class Game:
    """A game, or several of one shape: every array with a leading axis of games then.

    Attributes:
      reward: (S, J) of every state and joint action.
      transition: (S, J, S), rows sum to 1.
      initial: (S,) the distribution of the first state.
      discount: () gamma below 1, or (where episodes may end at every step) gamma times the probability that one goes on.
      actions: how many actions each agent has; their product is J.
    """

    reward: Float[Table, "S J"]
    transition: Float[Table, "S J S"]
    initial: Float[Table, " S"]
    discount: Float[Table, ""]
    actions: tuple[int, ...] = struct.field(pytree_node=False)

    @property
    def num_agents(self) -> int:
        return len(self.actions)

    @property
    def num_states(self) -> int:
        return self.initial.shape[-1]

    @property
    def digits(self) -> np.ndarray:
        """(N, J) every agent's action in every joint action."""
        return np.stack([x.ravel() for x in np.indices(self.actions)])

    @property
    def plays(self) -> Bool[np.ndarray, "N A J"]:
        """(N, A, J) whether agent n plays a in joint action j."""
        return self.digits[:, None] == np.arange(max(self.actions))[:, None]

    @property
    def action_mask(self) -> Bool[np.ndarray, "N A"]:
        """(N, A) the actions that an agent has."""
        return np.arange(max(self.actions)) < np.asarray(self.actions)[:, None]


def in_float64(function: Callable) -> Callable:
    """``function`` with all that it computes in double precision, whatever the process is set to.

    What it gives are numpy's arrays, because JAX's lose their precision in the next operation outside.
    """

    def outside(x):
        return x if isinstance(x, jax.core.Tracer) else np.asarray(x)

    @functools.wraps(function)
    def exact(*args, **kwargs):
        with jax.enable_x64(True):
            return jax.tree.map(outside, function(*args, **kwargs))

    return exact


def batched(function: Callable, *in_axes: int | None) -> Callable:
    """``function`` of one game, compiled, over a leading axis of games: exact, in double precision.

    Args:
      in_axes: of every argument, 0 where it has that axis and None where it is the same for all; default: 0 for all.
    """
    return in_float64(jax.jit(jax.vmap(function, in_axes=in_axes or 0)))


def check_size(num_games: int, num_states: int, actions: Sequence[int]) -> None:
    """Raises ConfigError where the tables of so many games would not fit."""
    entries = num_games * num_states**2 * math.prod(actions)
    if entries > MAX_ENTRIES:
        raise ConfigError(
            f"{num_games} games of {num_states} states and {math.prod(actions)} joint actions need {entries:.3g} numbers for "
            f"their transitions; at most {MAX_ENTRIES:.3g} are held at once, so lower one of them"
        )


def make_game(reward: Any, transition: Any, initial: Any, discount: float) -> Game:
    """A game from arrays.

    Args:
      reward: (S, A1, ..., AN).
      transition: (S, A1, ..., AN, S), rows sum to 1.
      initial: (S,), sums to 1.
      discount: in [0, 1).

    Raises: ConfigError for arrays that are no game.
    """
    reward, transition, initial = (np.asarray(x, np.float64) for x in (reward, transition, initial))
    if reward.ndim < 2:
        raise ConfigError(
            f"reward needs an axis of states and one of each agent's actions, not the shape {reward.shape}"
        )
    states, *actions = reward.shape
    check_size(1, states, actions)
    for name, x, shape in (("transition", transition, (*reward.shape, states)), ("initial", initial, (states,))):
        if x.shape != shape:
            raise ConfigError(f"{name} must have the shape {shape}, not {x.shape}")
        if not (x >= 0).all() or not np.allclose(x.sum(-1), 1, atol=1e-9):
            raise ConfigError(f"{name} must hold distributions: numbers of at least 0 that sum to 1 over the last axis")
    if not np.isfinite(reward).all():
        raise ConfigError("reward must hold finite numbers only")
    if not 0 <= discount < 1:
        raise ConfigError(f"discount must be in [0, 1), not {discount}")
    joint = math.prod(actions)
    tables = reward.reshape(states, joint), transition.reshape(states, joint, states)
    return Game(*tables, initial, np.asarray(discount, np.float64), tuple(actions))


def load_game(path: str) -> Game:
    """A game from a ``.npz`` with ``reward``, ``transition``, ``initial`` and ``discount`` as ``make_game`` takes them.

    Raises: ConfigError for a file that is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("reward", "transition", "initial", "discount")}
    except KeyError as error:
        raise ConfigError(f"'{path}' has no array {error.args[0].split()[0]}") from None
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"'{path}' is not a readable .npz file: {type(error).__name__}") from None
    if arrays["discount"].size != 1:
        raise ConfigError(f"'{path}': discount must be one number, not of the shape {arrays['discount'].shape}")
    return make_game(arrays["reward"], arrays["transition"], arrays["initial"], float(arrays["discount"].item()))


def from_environment(env: Environment, gamma: float) -> Game:
    """The game that an environment with known tables plays, as its learners discount it.

    Args:
      gamma: the learners' discount; the game's is gamma (1 - termination).

    Raises: ConfigError where the tables are not known, or are no game that can be solved.
    """
    tables = env.as_tables()
    if tables is None:
        raise ConfigError("this environment is no finite game whose tables are known")
    return make_game(tables.reward, tables.transition, tables.initial, gamma * (1 - tables.termination))


def stack(games: Sequence[Game]) -> Game:
    """Games of one shape, on a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *games)
