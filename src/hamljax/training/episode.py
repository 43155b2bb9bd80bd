"""One episode, written down step by step, so that it can be looked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Shaped

from ..algorithms.base import ActingPolicy, Action
from ..algorithms.state import ActorState
from ..envs.protocol import Environment
from ..nn.transforms import unvmap_any
from .evaluate import play

WATCHED = np.uint32(2**32 - 1)  # folded into the run's evaluation key; evaluations fold in update counters instead


class Episode(NamedTuple):
    """An episode of T steps."""

    kept: Any  # leaves (T + 1, ...), what was kept of the environment's state, from the start to the end
    keys: Key[Array, " T"]  # with which the environment moved
    action: Action  # (T, N) or (T, N, A), as played
    reward: Float[Array, " T"]
    terminated: Bool[Array, " T"]
    truncated: Bool[Array, " T"]
    metrics: dict[str, Float[Array, " T"]]

    def cut(self) -> "Episode":
        """Only the steps up to the first end. On the host: the length depends on the values."""
        over = np.asarray(self.terminated | self.truncated)
        length = int(over.argmax()) + 1 if over.any() else len(over)
        kept = jax.tree.map(lambda x: x[: length + 1], self.kept)
        return Episode(kept, *jax.tree.map(lambda x: x[:length], tuple(self[1:])))


def _room(length: int, x: Any, key: Key[Array, ""]) -> Shaped[Array, "length ..."]:
    """An empty array (length, ...) for things like ``x``, of which some may be keys."""
    shape = (length, *x.shape)
    return jnp.broadcast_to(key, shape) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else jnp.zeros(shape, x.dtype)


def make_record(
    policy: ActingPolicy, env: Environment, keep: Callable[[Any], Any] = lambda env_state: env_state
) -> Callable[..., Episode]:
    """``record(actors, number, greedy=True) -> Episode``: episode ``number`` of a team.

    Pure, so it has room for ``env.max_episode_length`` steps: ``cut`` what follows the end, which is empty. Keys come from
    the run's seed and ``number`` alone, so episodes of earlier and later checkpoints start alike.

    Args:
        policy: of the team. env: that it plays in.
        keep: what to write down of each state of the environment, whose leaves are (1, ...).
    """

    def record(actors: ActorState, number: int | Array, greedy: bool = True) -> Episode:
        key = jax.random.fold_in(jax.random.fold_in(actors.eval_key, WATCHED), number)
        reset_key, step_key = jax.random.split(key)
        env_state, observation = env.reset_many(reset_key[None])

        def move(time, env_state, observation, start, memory):
            act_key, env_key = jax.random.split(jax.random.fold_in(step_key, time))
            keys = act_key[None], env_key[None]
            env_state, memory, action, out = play(
                policy, env, actors, keys, env_state, observation, start, memory, greedy
            )
            end = (out.reward, out.terminated, out.truncated, out.metrics)
            kept, action, end = jax.tree.map(lambda x: x[0], (keep(env_state), action, end))
            after = (time + 1, env_state, out.observation, jnp.zeros_like(start), memory)
            return after, (kept, env_key, action, *end)

        def step(loop):
            begin, rows = loop
            after, row = move(*begin)
            return after, jax.tree.map(lambda rows, x: rows.at[begin[0]].set(x), rows, row)

        def go_on(loop):
            (time, *_), (_, _, _, _, terminated, truncated, _) = loop
            over = (terminated | truncated)[jnp.maximum(time - 1, 0)]
            return unvmap_any(~over) & (time < env.max_episode_length)

        begin = (jnp.int32(0), env_state, observation, jnp.ones(1, bool), policy.initial_memory(1))
        row = jax.eval_shape(move, *begin)[1]
        rows = jax.tree.map(lambda x: _room(env.max_episode_length, x, reset_key), row)
        _, (kept, *steps) = jax.lax.while_loop(go_on, step, (begin, rows))
        kept = jax.tree.map(lambda first, rest: jnp.concatenate([first, rest]), keep(env_state), kept)
        return Episode(kept, *steps)

    return record
