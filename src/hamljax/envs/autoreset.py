"""Many episodes side by side, each followed at once by an independent fresh one.

A full reset at every step would cost a good part of the simulation, so fresh episodes wait in a pool and are made in
batches, only when the pool runs low.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, Key

from .protocol import Action, Environment, Observation
from .vector import VecStep, VectorEnv


class EpisodeStats(NamedTuple):
    """Running return and length of the episodes in progress."""

    episode_return: Float[Array, " E"]
    episode_length: Int[Array, " E"]

    @classmethod
    def begin(cls, num_envs: int) -> "EpisodeStats":
        """Of E = ``num_envs`` episodes that have not begun."""
        return cls(jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32))


LARGEST = 2**31 - 2**24  # an episode's number fits into an int32, with room for those that are made ahead


class Numbering:
    """Episodes by number: the n-th has key ``fold_in(key, n)``.

    After ``limit``, a multiple of 2E, numbers begin again, with another key: a run may have any number of episodes, and no
    two of them are the same.
    """

    def __init__(self, num_envs: int):
        self.num_envs = num_envs
        self.limit = LARGEST // (2 * num_envs) * 2 * num_envs

    def keys(self, key: Key[Array, ""], first: Int[Array, ""]) -> Key[Array, " E"]:
        """Keys of the E episodes from number ``first`` on, which may go past the limit.

        Args:
            key: of this round of numbers.
            first: the number of the first of them.
        """
        numbers = first + jnp.arange(self.num_envs, dtype=jnp.int32)
        late = numbers >= self.limit
        pool_keys = jax.vmap(lambda late: self._next(key, late))(late)
        return jax.vmap(jax.random.fold_in)(pool_keys, jnp.where(late, numbers - self.limit, numbers))

    def begin_again(self, key: Key[Array, ""], *numbers: Int[Array, ""]) -> tuple[Array, ...]:
        """A new round of numbers once the first of ``numbers`` has reached the limit.

        Args:
            key: of this round.
            numbers: of episodes, the lowest first.

        Returns:
            The key and the numbers, of the next round where that has begun.
        """
        late = numbers[0] >= self.limit
        return self._next(key, late), *(jnp.where(late, n - self.limit, n) for n in numbers)

    @staticmethod
    def _next(key: Key[Array, ""], late: Bool[Array, ""]) -> Key[Array, ""]:
        return jnp.where(late, jax.random.fold_in(key, jnp.uint32(2**32 - 1)), key)


class Pool(NamedTuple):
    """Fresh episodes, 2E of them, numbered as in ``Numbering``: number n has slot ``n % 2E``."""

    key: Key[Array, ""]
    states: Any
    observations: Observation
    head: Int[Array, ""]  # the number of the next episode to be handed out
    tail: Int[Array, ""]  # of the next to be made; head + E <= tail <= head + 2E between steps


class VecState(NamedTuple):
    """E environments in progress."""

    states: Any
    pool: Pool
    stats: EpisodeStats
    key: Key[Array, ""]


def _select(condition: Bool[Array, " E"], new: Any, old: Any) -> Any:
    return jax.tree.map(
        lambda x, y: jnp.where(condition.reshape(condition.shape + (1,) * (x.ndim - 1)), x, y), new, old
    )


class VecEnv(VectorEnv):
    """E copies of an environment with automatic resets.

    The k-th episode started (in time, then in the order of environments) is ``env.reset(fold_in(pool_key, k))``: every
    episode is independent, and which ones run does not depend on when the pool was filled.

    Args:
        env: the environment, of pure functions.
        num_envs: E.
    """

    def __init__(self, env: Environment, num_envs: int):
        self.env, self.num_envs, self.numbering = env, num_envs, Numbering(num_envs)
        self._top_up = self._make_top_up()

    def _fresh(self, pool_key: Key[Array, ""], first: Int[Array, ""]) -> tuple[Any, Observation]:
        """The E episodes from number ``first`` on."""
        return self.env.reset_many(self.numbering.keys(pool_key, first))

    def _fill(self, pool: Pool) -> Pool:
        """Make the next episodes, as many as there is room for, and E at most."""
        size, ahead = 2 * self.num_envs, jnp.arange(self.num_envs, dtype=jnp.int32)
        room = jnp.minimum(size - (pool.tail - pool.head), self.num_envs)
        slots = jnp.where(ahead < room, (pool.tail + ahead) % size, size)  # past the end nothing is written
        states, observations = jax.tree.map(
            lambda old, new: old.at[slots].set(new, mode="drop"),
            (pool.states, pool.observations),
            self._fresh(pool.key, pool.tail),
        )
        return pool._replace(states=states, observations=observations, tail=pool.tail + room)

    def _make_top_up(self) -> Callable[[Pool], Pool]:
        """``_fill`` behind a true branch, also under ``vmap``, which would turn it into a select that pays for both sides.

        So batched pools (vmapped seeds) share one scalar condition, whether any of them runs low, and then all are filled:
        each pays for it anyway, and runs low that much later.
        """

        def low(pool: Pool) -> Bool[Array, "..."]:
            return pool.tail - pool.head < self.num_envs

        @custom_vmap
        def top_up(pool):
            return jax.lax.cond(low(pool), self._fill, lambda pool: pool, pool)

        @custom_vmap
        def top_up_batch(pools):
            return jax.lax.cond(jnp.any(low(pools)), jax.vmap(self._fill), lambda pools: pools, pools)

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

    def reset(self, key: Key[Array, ""]) -> tuple[VecState, Observation]:
        """Start all environments: their state, and observations with a leading axis (E,)."""
        pool_key, step_key = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        halves = self._fresh(pool_key, zero), self._fresh(pool_key, zero + self.num_envs)
        (states, observations), ahead = halves[0], jax.tree.map(lambda *x: jnp.concatenate(x), *halves)
        pool = Pool(pool_key, ahead[0], ahead[1], head=zero + self.num_envs, tail=zero + 2 * self.num_envs)
        return VecState(states, pool, EpisodeStats.begin(self.num_envs), step_key), observations

    def step(self, state: VecState, action: Action) -> tuple[VecState, VecStep]:
        """Advance all environments by one step.

        Args:
            state: as ``reset`` or ``step`` returned it.
            action: (E, N) int32 or (E, N, A), clipped to the bounds here.
        """
        key, step_key = jax.random.split(state.key)
        keys = jax.random.split(step_key, self.num_envs)
        states, step = self.env.step_many(keys, state.states, self.env.team.clip(action))
        done = step.terminated | step.truncated
        stats = EpisodeStats(state.stats.episode_return + step.reward, state.stats.episode_length + 1)
        metrics = {**step.metrics, **stats._asdict()}

        pool = state.pool
        slots = (pool.head + jnp.cumsum(done, dtype=jnp.int32) - 1) % (2 * self.num_envs)
        fresh = jax.tree.map(lambda x: x[slots], (pool.states, pool.observations))
        states, observation = _select(done, fresh, (states, step.observation))
        head = pool.head + jnp.sum(done, dtype=jnp.int32)
        pool_key, head, tail = self.numbering.begin_again(pool.key, head, pool.tail)
        pool = self._top_up(pool._replace(key=pool_key, head=head, tail=tail))
        stats = jax.tree.map(lambda x: jnp.where(done, jnp.zeros_like(x), x), stats)

        truncated = step.truncated & ~step.terminated
        out = VecStep(observation, step.observation, step.reward, step.terminated, truncated, metrics)
        return VecState(states, pool, stats, key), out
