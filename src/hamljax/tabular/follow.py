"""Many sweeps of many games, and what is to be checked of each."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .exact import Sweep
from .game import Game, in_float64, stack
from .values import evaluate, nash_gap

CHUNK = 1000  # games that are followed at once, which bounds the memory


class Path(NamedTuple):
    """K sweeps of one game (of many: with a leading axis of games).

    expected_return: (K + 1,) J before and after every sweep. rise_of_v: (K,) the smallest V' - V of a state. hamo: (K,) the
    smallest of an agent in a state. slack: (K,) the smallest V' - V - sum of HAMO of a state, at least 0 (``docs/theory.md``).
    missed: (K,) what an update was from the maximum at most. nash_gap: (K // every,) after every so many sweeps.
    log_policies: (N, S, A) at the end.
    """

    expected_return: Float[Array, " K"]
    rise_of_v: Float[Array, " K"]
    hamo: Float[Array, " K"]
    slack: Float[Array, " K"]
    missed: Float[Array, " K"]
    nash_gap: Float[Array, " L"]
    log_policies: Float[Array, "N S A"]


def follow(
    sweep: Sweep, game: Game, log_policies: jax.Array, key: jax.Array, sweeps: int, every: int, late: bool = False
) -> Path:
    """A sweep so many times, from one start; ``late``: with the advantage of the policies before the last sweep."""

    def block(carry, numbers):
        def one(carry, k):
            stale, before, log_policies = carry
            believed = stale if late else before.advantage
            new, info = sweep(game, log_policies, jax.random.fold_in(key, k), k / sweeps, float(sweeps), believed)
            after = evaluate(game, jnp.exp(new))
            rise = after.v - before.v
            facts = (
                after.expected_return,
                jnp.min(rise),
                jnp.min(info.hamo),
                jnp.min(rise - jnp.sum(info.hamo, 0)),
                jnp.max(info.gap),
            )
            return (before.advantage, after, new), facts

        carry, facts = jax.lax.scan(one, carry, numbers)
        return carry, (facts, nash_gap(game, jnp.exp(carry[-1])))

    numbers = jnp.arange(sweeps).reshape(-1, every)
    start = evaluate(game, jnp.exp(log_policies))
    (*_, end), (facts, gaps) = jax.lax.scan(block, (start.advantage, start, log_policies), numbers)
    returns, rise, hamo, slack, missed = (x.reshape(sweeps) for x in facts)
    returns = jnp.concatenate([start.expected_return[None], returns])
    return Path(returns, rise, hamo, slack, missed, gaps, end)


def follow_all(
    sweep: Sweep,
    games: Game,
    policies: np.ndarray,
    seed: int = 0,
    sweeps: int = 30,
    every: int = 0,
    late: bool = False,
    report: Callable[[int], Any] = lambda done: None,
) -> Path:
    """``follow`` of many games, ``CHUNK`` at a time.

    Args:
      policies: (G, N, S, A) to start from.
      every: how many sweeps lie between two Nash gaps, a divisor of ``sweeps``; 0: only at the end.
      report: is told how many games are done.

    Returns: a Path of numpy arrays, a leading axis of games.
    """
    one = functools.partial(follow, sweep, sweeps=sweeps, every=every or sweeps, late=late)
    compiled = in_float64(jax.jit(jax.vmap(one)))
    count = policies.shape[0]
    keys = jax.random.split(jax.random.key(seed), count)
    parts = []
    for at in range(0, count, CHUNK):
        rows = slice(at, at + CHUNK)
        with np.errstate(divide="ignore"):
            start = np.log(policies[rows])
        parts.append(compiled(jax.tree.map(operator.itemgetter(rows), games), start, keys[rows]))
        report(min(at + CHUNK, count))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def changes_of_j(
    sweep: Sweep, game: Game, probabilities: Float[np.ndarray, " n"], seed: int = 0
) -> Float[np.ndarray, " n"]:
    """J' - J of one sweep of a game of one state and two actions, from Pr(1) the same for all agents."""
    policies = np.stack([1 - probabilities, probabilities], -1)[:, None, None]
    policies = np.broadcast_to(policies, (len(policies), game.num_agents, 1, 2))
    path = follow_all(sweep, stack([game] * len(policies)), policies, seed, 1)
    return np.diff(path.expected_return, axis=-1)[:, 0]


def falls(path: Path, tolerance: float = 1e-9) -> np.ndarray:
    """(G,) whether J fell in some sweep."""
    return np.any(np.diff(path.expected_return, axis=-1) < -tolerance, axis=-1)
