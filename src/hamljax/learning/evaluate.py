"""Evaluation over an exact number of episodes, and the best team that it has seen."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .policies import Policies
from .state import Players

ABSOLUTE_ROUNDS = 10  # the absolute metric: the best team over ten times as many episodes (Gorsane et al., 2022)


def play(policies, env, players: Players, key, step_keys, env_state, observation, start, carry, greedy: bool = True):
    """One step of E episodes.

    ``key`` chooses actions, ``step_keys`` (E,) move the environments; start (E,), carry (P, B, H).
    Returns the new environment states and carry, the actions as they were played (E, N[, A]) and what the step gave.
    """
    seen = players.see(env.team, observation)
    carry, action, *_ = policies.act(players.params, carry, key, seen, start, greedy=greedy)
    action = policies.as_played(action)
    env_state, out = env.step_many(step_keys, env_state, action)
    return env_state, carry, action, out


def make_evaluate(config, env, episodes: int):
    """``evaluate(players, round=0, greedy=True) -> {"return", "length", <metric>...}``: (episodes,) each.

    Every episode starts afresh, runs to its own end and counts once. Keys come from the run's seed, its update counter
    and ``round`` alone, so evaluating never changes training, and every round plays other episodes.
    """
    size = min(episodes, env.at_once or episodes)
    policies = Policies(config.replace(num_envs=size), env.team)

    def evaluate(players: Players, round=0, greedy: bool = True) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.fold_in(players.eval_key, players.num_updates), round)
        reset_key, step_key = jax.random.split(key)
        if size == episodes:
            return some(players, reset_key, step_key, jnp.arange(episodes), greedy)
        numbers = jnp.arange(-(-episodes // size) * size).reshape(-1, size) % episodes  # the last round may repeat some
        found = jax.lax.map(lambda which: some(players, reset_key, step_key, which, greedy), numbers)
        return jax.tree.map(lambda x: x.reshape(-1)[:episodes], found)

    def some(players, reset_key, step_key, which, greedy):
        """Episodes number ``which`` (size,)."""
        env_state, observation = env.reset_many(jax.random.split(reset_key, episodes)[which])
        carry = policies.initial_carry()

        def move(key, env_state, observation, start, carry):
            keys = jax.random.split(key, episodes)[which]
            return play(policies, env, players, key, keys, env_state, observation, start, carry, greedy)

        def step(loop, key):
            env_state, observation, start, carry, over, totals = loop
            env_state, carry, _, out = move(key, env_state, observation, start, carry)
            values = {**out.metrics, "return": totals["return"] + out.reward, "length": totals["length"] + 1}
            totals = {name: jnp.where(over, totals[name], value) for name, value in values.items()}
            over = over | out.terminated | out.truncated
            return (env_state, out.observation, jnp.zeros_like(start), carry, over, totals), None

        begin = (env_state, observation, jnp.ones(size, bool), carry)
        shapes = jax.eval_shape(move, step_key, *begin)[-1].metrics
        totals = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
        totals = {**totals, "return": jnp.zeros(size), "length": jnp.zeros(size, jnp.int32)}
        loop = (*begin, jnp.zeros(size, bool), totals)
        loop, _ = jax.lax.scan(step, loop, jax.random.split(step_key, env.max_episode_length))
        return loop[-1]

    return evaluate


def means(episodes: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Of what ``evaluate`` gives, over the episodes that came to their own end; ``lost`` is the share of the others."""
    found = {name: jnp.mean(x) for name, x in episodes.items()}
    if "lost" not in episodes:
        return found
    lost = episodes["lost"] > 0
    whole = {name: jnp.sum(jnp.where(lost, 0, x)) / jnp.sum(~lost) for name, x in episodes.items()}
    # A sum divided by a count is not the mean to the last bit, and where nothing was lost it shall be.
    return {name: jnp.where(jnp.any(lost) & (name != "lost"), whole[name], found[name]) for name in episodes}


class Best(NamedTuple):
    """The players with the highest score of all evaluations so far: the win rate where there are wins, else the return."""

    players: Players
    score: jax.Array  # (); -inf before the first evaluation

    @classmethod
    def none_yet(cls, players: Players) -> "Best":
        return cls(players, jnp.float32(-jnp.inf))

    def update(self, players: Players, metrics: dict[str, jax.Array]) -> "Best":
        """Whoever is better, or ``players`` in a tie, by ``metrics`` as ``Learner.evaluate`` gives them."""
        score = metrics["eval/won" if "eval/won" in metrics else "eval/return"].astype(jnp.float32)
        better = score >= self.score
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), Best(players, score), self)
