"""One episode, written down step by step, so that it can be looked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .evaluate import play
from .policies import Policies
from .state import Players

WATCHED = np.uint32(2**32 - 1)  # folded into the run's evaluation key; evaluations fold in update counters instead


class Episode(NamedTuple):
    """An episode of T steps.

    kept: leaves (T + 1, ...), what was kept of the environment's state, from the start to the end.
    keys (T,): with which the environment moved. action: (T, N) or (T, N, A), as played. reward: (T,).
    terminated, truncated: (T,) bool. metrics: named (T,).
    """

    kept: Any
    keys: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    metrics: dict[str, jax.Array]

    def cut(self) -> "Episode":
        """Only the steps up to the first end. On the host: the length depends on the values."""
        over = np.asarray(self.terminated | self.truncated)
        length = int(over.argmax()) + 1 if over.any() else len(over)
        kept = jax.tree.map(lambda x: x[: length + 1], self.kept)
        return Episode(kept, *jax.tree.map(lambda x: x[:length], tuple(self[1:])))


def make_record(config, env, keep: Callable[[Any], Any] = lambda env_state: env_state):
    """``record(players, number, greedy) -> Episode``: episode ``number`` of a team.

    Pure. It runs for ``env.max_episode_length`` steps, whenever the episode ends: ``cut`` what follows. Keys come from
    the run's seed and ``number`` alone, so episodes of earlier and later checkpoints start alike. ``keep`` chooses what
    to write down of each state of the environment.
    """
    policies = Policies(config.replace(num_envs=1), env.team)

    def record(players: Players, number, greedy: bool = True) -> Episode:
        key = jax.random.fold_in(jax.random.fold_in(players.eval_key, WATCHED), number)
        reset_key, step_key = jax.random.split(key)
        env_state, observation = env.reset_many(reset_key[None])

        def step(loop, key):
            env_state, observation, start, carry = loop
            act_key, env_key = jax.random.split(key)
            env_state, carry, action, out = play(
                policies, env, players, act_key, env_key[None], env_state, observation, start, carry, greedy
            )
            end = (out.reward, out.terminated, out.truncated, out.metrics)
            one = jax.tree.map(lambda x: x[0], (keep(env_state), action, end))
            return (env_state, out.observation, jnp.zeros_like(start), carry), (one[0], env_key, one[1], *one[2])

        loop = (env_state, observation, jnp.ones(1, bool), policies.initial_carry())
        _, (kept, *steps) = jax.lax.scan(step, loop, jax.random.split(step_key, env.max_episode_length))
        kept = jax.tree.map(lambda first, rest: jnp.concatenate([first, rest]), keep(env_state), kept)
        return Episode(kept, *steps)

    return record
