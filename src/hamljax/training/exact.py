"""What a team's policies are worth exactly, in a game whose tables are known (``Environment.as_tables``).

A compiled program only reads the policies off, as log-probabilities of all actions in all states. The host solves the game for
them, in double precision.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ..algorithms.base import ActingPolicy
from ..algorithms.config import Config
from ..algorithms.state import ActorState
from ..envs import Environment, make
from ..envs.tables import Tables
from ..tabular import Game, episode_return, evaluate, from_environment, in_float64, nash_gap
from .host_loop import acting_device

POLICIES = "exact/log_policies"  # the metric that programs give; what the host makes of it are the next
RETURN, NASH_GAP, FALL = "exact/return", "exact/nash_gap", "exact/fall"
MOST_WORK = 2**20  # to solve a game, in numbers that are made on the way: about a millisecond after every update
CHUNK = 256  # policies that are solved by one call of the program

Reader = Callable[[ActorState], Float[Array, "N S A"]]
Values = dict[str, Float64[np.ndarray, "*batch"]]


def work(tables: Tables) -> int:
    """What it takes to find all best responses, in numbers."""
    states, *actions = tables.reward.shape
    agents, joint = len(actions), math.prod(actions)
    return agents * states * joint * max(agents, max(actions) * states)


def reader(policy: ActingPolicy, env: Environment, most_work: float = MOST_WORK) -> tuple[Reader | None, str]:
    """How a team's policies are read off in all states of a game.

    Args:
        policy: of the team. env: that it plays in. most_work: the largest ``work`` that is worth it.

    Returns:
        ``actors -> (N, S, A)`` log-probabilities; None where they, or the tables, cannot be had. And why not; empty where the
        environment is no game with tables, so that nobody expects it.
    """
    tables, log_policies = env.as_tables(), getattr(policy, "log_policies", None)
    if tables is None:
        return None, ""
    if log_policies is None:
        return None, "its policies do not say how likely each action is (log_policies)"
    if policy.initial_memory(1).size:
        return None, "its policies remember what they saw"
    if work(tables) > most_work:
        return None, f"a game of the shape {tables.reward.shape} takes too long to be solved after every update"

    def read(actors: ActorState) -> Float[Array, "N S A"]:
        seen = actors.see(env.team, env.observe_states())
        return jnp.moveaxis(log_policies(actors.params, seen), 1, 0)

    return read, ""


def probabilities(log_policies: Float[Array, "N S A"]) -> Float64[Array, "N S A"]:
    """In double precision, so that they sum to 1 to its last digits."""
    return jax.nn.softmax(log_policies.astype(jnp.float64), axis=-1)


@in_float64
@jax.jit
def _solve(game: Game, log_policies: Float[Array, "M N S A"], count: Int[Array, ""]) -> Float64[Array, "2 M"]:
    """J and Nash gap of the first ``count`` policies, one by one: no number depends on what it is computed beside."""

    def one(i, found):
        policies = probabilities(log_policies[i])
        gap = jnp.maximum(nash_gap(game, policies), 0.0)  # rounding may leave less
        return found.at[:, i].set(jnp.stack([evaluate(game, policies).expected_return, gap]))

    return jax.lax.fori_loop(0, count, one, jnp.zeros((2, log_policies.shape[0]), jnp.float64))


def solver(env: Environment, gamma: float) -> Callable[[Float[np.ndarray, "*batch N S A"]], Values]:
    """A function of policies that gives ``exact/return``, the discounted J, and ``exact/nash_gap``, (*batch,) each.

    Args:
        env: a game whose tables are known. gamma: the learners' discount; the game's is gamma (1 - termination).

    Raises:
        ConfigError: the game has no such values.
    """
    game = from_environment(env, gamma)

    def solve(log_policies: Float[np.ndarray, "*batch N S A"]) -> Values:
        batch = log_policies.shape[:-3]
        flat = np.asarray(log_policies, np.float32).reshape(-1, *log_policies.shape[-3:])
        found = np.zeros((2, len(flat)))
        with jax.default_device(acting_device()):
            for at in range(0, len(flat), CHUNK):
                part = flat[at : at + CHUNK]
                padded = np.zeros((CHUNK, *flat.shape[1:]), np.float32)
                padded[: len(part)] = part
                found[:, at : at + len(part)] = _solve(game, padded, np.int32(len(part)))[:, : len(part)]
        return dict(zip((RETURN, NASH_GAP), found.reshape(2, *batch), strict=True))

    return solve


def falls(returns: Float[np.ndarray, "*batch K1"]) -> Float[np.ndarray, "*batch K"]:
    """By how much each update lowered J; 0 where it did not.

    Args:
        returns: before the first update and after each of them, along the last axis.
    """
    return np.maximum(-np.diff(returns, axis=-1), 0.0)


def exact_metrics(
    config: Config, log_policies: Float[Array, "*batch K1 N S A"], env: Environment | None = None
) -> Values:
    """The exact values of the policies of a run, or of several.

    Args:
        config: of the run. env: instead of the environment that it names.
        log_policies: ``metrics["exact/log_policies"]`` of ``make_train``: of the untrained team, and after every update.

    Returns:
        ``exact/return``, the discounted return J of the stochastic policies, and ``exact/nash_gap``, the most that one agent
        could add to it, (..., 1 + num_updates); ``exact/fall``, by how much each update lowered J, (..., num_updates).

    Raises:
        ConfigError: the environment is no game with known tables, or its returns are not discounted.
    """
    found = solver(make(config.env) if env is None else env, float(config.gamma))(np.asarray(log_policies))
    return found | {FALL: falls(found[RETURN])}


@in_float64
@functools.partial(jax.jit, static_argnames="greedy")
def _play(
    game: Game, log_policies: Float[Array, "M N S A"], horizon: Int[Array, ""], goes_on: Float[Array, ""], greedy: bool
) -> tuple[Float64[Array, " M"], Float64[Array, " M"]]:
    def one(log_policies):
        policies = probabilities(log_policies)
        if greedy:
            policies = jax.nn.one_hot(jnp.argmax(log_policies, -1), policies.shape[-1], dtype=policies.dtype)
        return episode_return(game, policies, horizon, goes_on), evaluate(game, policies).expected_return

    return jax.lax.map(one, log_policies)


def episode_values(env: Environment, gamma: float, log_policies: Float[Array, "M N S A"], greedy: bool) -> Values:
    """What evaluations estimate of M teams.

    Args:
        env: a game whose tables are known. gamma: the learners' discount. log_policies: of the teams.
        greedy: whether they take the likeliest actions instead of samples.

    Returns:
        ``return``: the expected undiscounted return of an episode, which ends by its termination or its horizon. And
        ``discounted_return``, J of ``exact/return``, which knows no horizon; not where nothing discounts it. (M,) each.

    Raises:
        ConfigError: the game cannot be solved.
    """
    tables = env.as_tables()
    assert tables is not None  # a ``reader`` was found
    goes_on = 1 - tables.termination
    discounted = gamma * goes_on < 1
    game = from_environment(env, gamma if discounted else 0.0)
    with jax.default_device(acting_device()):
        told = np.asarray(log_policies, np.float32), np.int32(tables.horizon), np.float64(goes_on)
        found = dict(zip(("return", "discounted_return"), _play(game, *told, greedy=greedy), strict=True))
    return found if discounted else {"return": found["return"]}
