"""Many episodes side by side, each followed at once by an independent fresh one.

A full reset at every step would cost a good part of the simulation, so fresh episodes wait in a pool and are made in
batches, only when the pool runs low.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from .protocol import Environment, Observation


class EpisodeStats(NamedTuple):
    """Running return and length of the episodes in progress, each (E,)."""

    episode_return: jax.Array
    episode_length: jax.Array


class Pool(NamedTuple):
    """Fresh episodes in two halves of E. Episode number n (for ever) has key ``fold_in(key, n)`` and slot ``n % 2E``."""

    key: jax.Array
    states: Any
    observations: Observation
    head: jax.Array  # how many episodes have been handed out
    tail: jax.Array  # how many have been made; head + E <= tail <= head + 2E between steps


class VecState(NamedTuple):
    """E environments in progress."""

    states: Any
    pool: Pool
    stats: EpisodeStats
    key: jax.Array


class VecStep(NamedTuple):
    """One transition of E environments.

    observation: where each environment goes on (after the reset of those that ended).
    final: the true next observation, before any reset. reward, terminated, truncated: (E,).
    metrics: (E,) each, with ``episode_return`` and ``episode_length``; they count where ``terminated | truncated``.
    valid: (E,) bool, whether the step is one to learn from; None where every step is.
    """

    observation: Observation
    final: Observation
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, jax.Array]
    valid: Any = None


def _select(condition, new, old):
    return jax.tree.map(
        lambda x, y: jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y), new, old
    )


class VecEnv:
    """``num_envs`` copies of an environment with automatic resets.

    The k-th episode started (in time, then in the order of environments) is ``env.reset(fold_in(pool_key, k))``: every
    episode is independent, and which ones run does not depend on when the pool was filled.
    """

    def __init__(self, env: Environment, num_envs: int):
        self.env, self.num_envs = env, num_envs
        self._top_up = self._make_top_up()

    def _fresh(self, pool_key, first, count: int):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(pool_key, first + jnp.arange(count))
        return self.env.reset_many(keys)

    def _fill(self, pool: Pool) -> Pool:
        """Make the next E episodes, in the half of the pool that has been handed out."""
        fresh = self._fresh(pool.key, pool.tail, self.num_envs)
        slot = pool.tail % (2 * self.num_envs)
        states, observations = jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, slot, 0),
            (pool.states, pool.observations),
            fresh,
        )
        return pool._replace(states=states, observations=observations, tail=pool.tail + self.num_envs)

    def _make_top_up(self):
        """``fill`` behind a true branch. ``vmap`` would turn the branch into a select that always pays for both sides,

        so batched pools (vmapped seeds) share one scalar condition: whether any of them runs low.
        """

        def low(pool):
            return pool.tail - pool.head < self.num_envs

        @custom_vmap
        def top_up(pool):
            return jax.lax.cond(low(pool), self._fill, lambda pool: pool, pool)

        @custom_vmap
        def top_up_batch(pools):
            needs = low(pools)

            def fill_those(pools):
                return _select(needs, jax.vmap(self._fill)(pools), pools)

            return jax.lax.cond(jnp.any(needs), fill_those, lambda pools: pools, pools)

        @top_up.def_vmap
        def _(axis_size, in_batched, pool):
            pool = jax.tree.map(
                lambda x, b: x if b else jnp.broadcast_to(x, (axis_size, *x.shape)), pool, in_batched[0]
            )
            return top_up_batch(pool), jax.tree.map(lambda _: True, pool)

        @top_up_batch.def_vmap
        def _(axis_size, in_batched, pools):
            pools = jax.tree.map(
                lambda x, b: x if b else jnp.broadcast_to(x, (axis_size, *x.shape)), pools, in_batched[0]
            )
            flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), pools)
            out = jax.tree.map(lambda x: x.reshape(axis_size, -1, *x.shape[1:]), top_up_batch(flat))
            return out, jax.tree.map(lambda _: True, out)

        return top_up

    def reset(self, key) -> tuple[VecState, Observation]:
        """Start all environments. Observation arrays gain a leading axis (E,)."""
        pool_key, step_key = jax.random.split(key)
        episodes = self._fresh(pool_key, 0, 2 * self.num_envs)
        states, observations = jax.tree.map(lambda x: x[: self.num_envs], episodes)
        zero = jnp.zeros((), jnp.int32)
        pool = Pool(pool_key, *episodes, head=zero + self.num_envs, tail=zero + 2 * self.num_envs)
        stats = EpisodeStats(jnp.zeros(self.num_envs), jnp.zeros(self.num_envs, jnp.int32))
        return VecState(states, pool, stats, step_key), observations

    def step(self, state: VecState, action) -> tuple[VecState, VecStep]:
        """Advance all environments; action (E, N) or (E, N, A), clipped to the bounds here."""
        key, step_key = jax.random.split(state.key)
        keys = jax.random.split(step_key, self.num_envs)
        states, step = self.env.step_many(keys, state.states, self.env.team.clip(action))
        done = step.terminated | step.truncated
        stats = EpisodeStats(state.stats.episode_return + step.reward, state.stats.episode_length + 1)
        metrics = {**step.metrics, **stats._asdict()}

        pool = state.pool
        slots = (pool.head + jnp.cumsum(done) - 1) % (2 * self.num_envs)
        fresh = jax.tree.map(lambda x: x[slots], (pool.states, pool.observations))
        states, observation = _select(done, fresh, (states, step.observation))
        pool = self._top_up(pool._replace(head=pool.head + jnp.sum(done)))
        stats = jax.tree.map(lambda x: jnp.where(done, jnp.zeros_like(x), x), stats)

        truncated = step.truncated & ~step.terminated
        out = VecStep(observation, step.observation, step.reward, step.terminated, truncated, metrics)
        return VecState(states, pool, stats, key), out


def vectorise(env: Environment, num_envs: int):
    """``num_envs`` copies of ``env`` with automatic resets: a ``VecEnv``, or what the environment has in its place."""
    return VecEnv(env, num_envs) if env.vectorise is None else env.vectorise(num_envs)
