"""Exact values of joint policies in a finite game. Every function is of one game (``game.batched`` is over many)."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .game import Game


class Values(NamedTuple):
    """v: (S,). q, advantage: (S, J) of joint actions, A = Q - V. expected_return: () J, over the first state."""

    v: Float[Array, " S"]
    q: Float[Array, "S J"]
    advantage: Float[Array, "S J"]
    expected_return: Float[Array, ""]


def by_joint_action(game: Game, policies: Float[Array, "N S A"]) -> Float[Array, "N S J"]:
    """Every agent's probability of its part of a joint action."""
    return jnp.take_along_axis(policies, jnp.asarray(game.digits)[:, None], axis=-1)


def joint_policy(game: Game, policies: Float[Array, "N S A"]) -> Float[Array, "S J"]:
    """The probability of every joint action: agents act independently."""
    return jnp.prod(by_joint_action(game, policies), axis=0)


def _induced(game: Game, joint: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rewards (S,) and transitions (S, S) of the Markov chain under a joint policy (S, J)."""
    return jnp.sum(joint * game.reward, -1), jnp.einsum("sj,sjt->st", joint, game.transition)


def evaluate(game: Game, policies: Float[Array, "N S A"]) -> Values:
    """V, Q, A and J of a joint policy: V = (I - gamma P)^-1 r (section 2)."""
    reward, transition = _induced(game, joint_policy(game, policies))
    v = jnp.linalg.solve(jnp.eye(game.num_states) - game.discount * transition, reward)
    q = game.reward + game.discount * game.transition @ v
    return Values(v, q, q - v[:, None], game.initial @ v)


def episode_return(
    game: Game, policies: Float[Array, "N S A"], horizon: int | Array, discount: float | Array
) -> Float[Array, ""]:
    """The expected sum of ``discount**t`` r_t over the first ``horizon`` steps, by backward induction.

    Args:
      discount: instead of the game's; the probability that an episode goes on after a step makes it the undiscounted return.
    """
    reward, transition = _induced(game, joint_policy(game, policies))
    v = jax.lax.fori_loop(0, horizon, lambda _, v: reward + discount * transition @ v, jnp.zeros_like(reward))
    return game.initial @ v


def occupancy(game: Game, policies: Float[Array, "N S A"], normalised: bool = True) -> Float[Array, " S"]:
    """The discounted state distribution rho: sums to 1, or (not normalised) to 1 / (1 - gamma), so that J = rho . r."""
    transition = _induced(game, joint_policy(game, policies))[1]
    rho = jnp.linalg.solve((jnp.eye(game.num_states) - game.discount * transition).T, game.initial)
    return rho * (1 - game.discount) if normalised else rho


def policy_of_others(game: Game, policies: Float[Array, "N S A"], agents: Bool[Array, " N"]) -> Float[Array, "S J"]:
    """The probability of what everybody plays in a joint action who is not among ``agents``."""
    parts = jnp.where(agents[:, None, None], 1.0, by_joint_action(game, policies))
    return jnp.prod(parts, axis=0)


def subset_q(
    game: Game, policies: Float[Array, "N S A"], q: Float[Array, "S J"], subset: Sequence[int]
) -> Float[Array, "S ..."]:
    """Q of the actions of a subset of agents, the mean over those of all others (Definition 5).

    Returns: (S, A_i, A_j, ...), the axes in the order of ``subset``; (S,), which is V, for none.
    """
    inside = np.isin(np.arange(game.num_agents), list(subset))
    weighted = (q * policy_of_others(game, policies, jnp.asarray(inside))).reshape(-1, *game.actions)
    kept = [i for i in range(game.num_agents) if inside[i]]
    summed = jnp.sum(weighted, axis=tuple(1 + i for i in range(game.num_agents) if not inside[i]))
    return jnp.transpose(summed, (0, *(1 + kept.index(i) for i in subset)))


def multi_agent_advantage(
    game: Game, policies: Float[Array, "N S A"], q: Float[Array, "S J"], given: Sequence[int], agents: Sequence[int]
) -> Float[Array, "S ..."]:
    """A^agents(s, a_given, a_agents) = Q^{given, agents} - Q^given (Definition 5).

    Returns: (S, given's actions..., agents' actions...).
    """
    without = subset_q(game, policies, q, given)
    return subset_q(game, policies, q, (*given, *agents)) - without.reshape(without.shape + (1,) * len(agents))


def _policy_iteration(
    reward: jax.Array, transition: jax.Array, discount: Any, mask: jax.Array, v: jax.Array, iterations: int
) -> jax.Array:
    """V (S,) of the best choice among the K actions of ``mask`` (K,), from ``v``; reward (S, K), transition (S, K, S)."""

    def improve(v, _):
        action = jnp.argmax(jnp.where(mask, reward + discount * transition @ v, -jnp.inf), -1)
        chosen = jnp.take_along_axis(transition, action[:, None, None], 1)[:, 0]
        gained = jnp.take_along_axis(reward, action[:, None], 1)[:, 0]
        return jnp.linalg.solve(jnp.eye(v.size) - discount * chosen, gained), None

    return jax.lax.scan(improve, v, None, length=iterations)[0]


def best_response(
    game: Game, policies: Float[Array, "N S A"], agent: jax.Array, iterations: int = 8
) -> Float[Array, " S"]:
    """V of the best that one agent can do against the others: policy iteration in the process that they induce for it."""
    plays = jnp.asarray(game.plays, game.reward.dtype)[agent]
    weight = policy_of_others(game, policies, jnp.arange(game.num_agents) == agent)
    reward = jnp.einsum("sj,aj->sa", weight * game.reward, plays)
    transition = jnp.einsum("sj,aj,sjt->sat", weight, plays, game.transition)
    mask = jnp.asarray(game.action_mask)[agent]

    return _policy_iteration(reward, transition, game.discount, mask, evaluate(game, policies).v, iterations)


def nash_gap(game: Game, policies: Float[Array, "N S A"]) -> Float[Array, ""]:
    """The most that an agent could add to J on its own; 0 at a Nash equilibrium (section 2)."""
    best = jax.vmap(functools.partial(best_response, game, policies))(jnp.arange(game.num_agents))
    return jnp.max(best @ game.initial) - evaluate(game, policies).expected_return


def optimum(game: Game, iterations: int = 50) -> Float[Array, ""]:
    """J of the best joint policy: policy iteration over joint actions."""

    tables = jnp.asarray(game.reward), jnp.asarray(game.transition), game.discount
    every = jnp.ones(game.reward.shape[-1], bool)
    return jnp.asarray(game.initial) @ _policy_iteration(*tables, every, jnp.zeros(game.num_states), iterations)
