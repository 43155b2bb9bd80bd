"""HAML on random finite games whose advantages are estimated from samples: the score of a drift, for ``drift_search.py``."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from drift_search_families import Family
from jaxtyping import Array, Float

from hamljax.haml import COORDINATIONS, DRIFTS, ORDERS, bind_drift
from hamljax.tabular import (
    Game,
    Solution,
    Sweep,
    batched,
    evaluate,
    in_float64,
    joint_policy,
    optimum,
    random_games,
    random_policies,
    uniform_policies,
)

STARTS = ("uniform", "skewed")
CHUNK = 100  # games at once: sets of any size share a program
NONE = bind_drift(DRIFTS["none"], {})


class Trials(NamedTuple):
    """Games, each from every start: every array with a leading axis (G, starts) where no other is said.

    game: a leading axis (G,). log_policies: (G, starts, N, S, A). first, best: J at the start and of the best joint policy.
    """

    game: Game
    log_policies: Float[Array, "G T N S A"]
    first: Float[Array, "G T"]
    best: Float[Array, " G"]


def make_trials(seed: int, count: int, num_states: int = 4, actions: Sequence[int] = (3, 3)) -> Trials:
    """Random games from a uniform and from a skewed start, Dirichlet(1)."""
    games = random_games(seed, count, num_states, actions)
    skewed = random_policies(games, seed + 500_000)  # not the stream of the games
    policies = np.stack([np.broadcast_to(uniform_policies(games), skewed.shape), skewed], 1)
    first = batched(jax.vmap(lambda game, x: evaluate(game, x).expected_return, (None, 0)))(games, policies)
    return Trials(games, np.log(policies), first, batched(optimum)(games))


def estimate(
    key: jax.Array, advantage: Float[Array, "S J"], joint: Float[Array, "S J"], sigma: jax.Array, samples: int | None
) -> tuple[Float[Array, "S J"], Float[Array, "S J"]]:
    """The share of every joint action among so many samples of each state, and its advantage as estimated from them.

    Args:
      sigma: standard deviation of one sample's advantage.
      samples: None: infinitely many.

    Returns: shares (S, J), and advantages (S, J) of mean 0 over the samples; where there is no sample, what is never used.
    """
    if samples is None:
        return joint, advantage
    draw, noise = jax.random.split(key)
    uniform = jax.random.uniform(draw, (samples, joint.shape[0], 1), joint.dtype)
    passed = jnp.sum(uniform >= jnp.cumsum(joint, -1)[:, :-1], -1)  # (samples, S) the joint action that was drawn
    counts = jnp.sum(passed[..., None] == jnp.arange(joint.shape[1]), 0)
    error = sigma * jax.random.normal(noise, joint.shape, joint.dtype)
    believed = advantage + error / jnp.sqrt(jnp.maximum(counts, 1))
    share = counts / samples
    return share, believed - jnp.sum(share * believed, -1, keepdims=True)


def sampled_sweep(
    solve: Callable,
    game: Game,
    log_policies: Array,
    key: jax.Array,
    share: Array,
    advantage: Array,
    k: Array,
    sweeps: int,
) -> Float[Array, "N S A"]:
    """One sweep in which every agent maximises the mean over the samples; ``solve(surrogate) -> policy``."""

    def choose(drift, seen, beta):
        weight = share / seen.divisor[:, seen.action]
        return Solution(solve(seen._replace(weight=weight)), jnp.zeros_like(beta))

    sweep = Sweep(NONE, COORDINATIONS["sequential"], ORDERS["uniform"], choose)
    return sweep(game, log_policies, key, k / sweeps, float(sweeps), advantage)[0]


def play(
    solve: Callable,
    sweeps: int,
    samples: int | None,
    theta: Float[Array, " D"],
    rate: Float[Array, ""],
    game: Game,
    log_policies: Float[Array, "N S A"],
    sigma: Float[Array, ""],
    key: jax.Array,
) -> Float[Array, " K"]:
    """J after each of so many sweeps, of a family's ``solve`` whose radii shrink by exp(-rate) over all of them."""

    def one(log_policies, k):
        policies = jnp.exp(log_policies)
        values = evaluate(game, policies)
        sampling, order = jax.random.split(jax.random.fold_in(key, k))
        share, believed = estimate(sampling, values.advantage, joint_policy(game, policies), sigma, samples)

        def best(seen):
            return solve(theta, -rate * k / sweeps, seen)

        new = sampled_sweep(best, game, log_policies, order, share, believed, k, sweeps)
        return new, values.expected_return

    last, returns = jax.lax.scan(one, log_policies, jnp.arange(sweeps))
    end = evaluate(game, jnp.exp(last)).expected_return
    return jnp.concatenate([returns[1:], end[None]])


def _parts(trials: Trials, size: int) -> list[tuple[int, tuple[Game, np.ndarray]]]:
    """Games and starts, at most so many at once, each with the number of its first game."""
    starts = range(0, len(trials.best), size)
    return [(at, jax.tree.map(lambda x, at=at: x[at : at + size], (trials.game, trials.log_policies))) for at in starts]


class Scorer:
    """Scores of members of a family: how much of the way to the best J was gone, (J - J_0) / (J* - J_0).

    sigmas: noise levels. samples: of every state in every sweep. Games, samples and noise are the same for all members.
    """

    def __init__(self, sigmas: Sequence[float] = (1.0, 4.0), samples: int | None = 16, sweeps: int = 30):
        self.sigmas, self.samples, self.sweeps = np.asarray(sigmas, float), samples, sweeps
        self._compiled = functools.cache(self._compile)

    def __call__(
        self,
        family: Family,
        thetas: Float[np.ndarray, "C D"],
        rates: Float[np.ndarray, " C"],
        trials: Trials,
        seed: int,
    ) -> Float[np.ndarray, "C G T L K"]:
        """The score after every sweep, of C members on G games from T starts at L noise levels."""
        function = self._compiled(family.solve)

        def of_all(theta, rate):
            parts = [
                function(theta, rate, *part, np.arange(at, at + len(part[1])), seed)
                for at, part in _parts(trials, CHUNK)
            ]
            return np.concatenate(parts)

        returns = np.stack([of_all(*member) for member in zip(thetas, rates, strict=True)])
        first = trials.first[:, :, None, None]
        return (returns - first) / (trials.best[:, None, None, None] - first)

    def _compile(self, solve: Callable) -> Callable:
        def of_game(theta, rate, game, starts, key):
            def of_trial(log_policies, number, sigma):
                own = jax.random.fold_in(key, number)
                return play(solve, self.sweeps, self.samples, theta, rate, game, log_policies, sigma, own)

            over_sigmas = jax.vmap(of_trial, (None, None, 0))
            return jax.vmap(over_sigmas, (0, 0, None))(starts, jnp.arange(len(starts)), jnp.asarray(self.sigmas))

        def of_chunk(theta, rate, games, starts, numbers, seed):
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), numbers)
            return jax.vmap(of_game, (None, None, 0, 0, 0))(theta, rate, games, starts, keys)

        return in_float64(jax.jit(of_chunk))
