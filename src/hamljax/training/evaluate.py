"""Evaluation over an exact number of episodes, and the best team that it has seen."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from ..algorithms.base import ActingPolicy, Action
from ..algorithms.state import ActorState
from ..envs.protocol import Environment, Observation, Step
from ..nn.transforms import unvmap_any

ABSOLUTE_ROUNDS = 10  # the absolute metric: the best team over ten times as many episodes (Gorsane et al., 2022)


def play(
    policy: ActingPolicy,
    env: Environment,
    actors: ActorState,
    keys: tuple[Key[Array, " E"], Key[Array, " E"]],
    env_state: Any,
    observation: Observation,
    start: Bool[Array, " E"],
    memory: Float[Array, "P B H"],
    greedy: bool = True,
) -> tuple[Any, Float[Array, "P B H"], Action, Step]:
    """One step of E episodes.

    Args:
        policy: of the team. env: that it plays in. actors: the policy's parameters, and how they see.
        keys: (E,) to choose actions, unless ``greedy``, and (E,) to move the environments: each episode has randomness of
            its own, whichever others are played beside it.
        env_state, observation: (E, ...) where the episodes are.
        start: (E,) bool. memory: the policies', as ``ActingPolicy`` has it.
        greedy: the best actions instead of samples.

    Returns:
        The new environment states and memory, the actions as the environment took them (E, N[, A]) and its step.
    """
    act_keys, step_keys = keys
    seen = actors.see(env.team, observation)
    memory, action, _ = policy.act(actors.params, memory, act_keys, seen, start, greedy=greedy)
    action = policy.to_env_action(action)
    env_state, out = env.step_many(step_keys, env_state, action)
    return env_state, memory, action, out


def keys_of(key: Key[Array, ""], numbers: Int[Array, " E"]) -> Key[Array, " E"]:
    """A key for each of some numbers. With JAX's own settings these are so many rows of ``split(key, any size)``.

    Args:
        key: of all. numbers: of the episodes.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def make_evaluate(policy: ActingPolicy, env: Environment, episodes: int) -> Callable[..., dict[str, Array]]:
    """``evaluate(actors, round=0, greedy=True) -> {"return", "length", <metric>...}``: (episodes,) each.

    Every episode starts afresh, runs to its own end and counts once; when all have ended, so does the evaluation. Keys come
    from the run's seed, its update counter, ``round`` and the number of the episode alone, so evaluating never changes
    training, every round plays other episodes, and no episode depends on those beside it.

    Args:
        policy: of the team. env: that it plays in. episodes: how many.
    """
    size = min(episodes, env.at_once or episodes)

    def evaluate(
        actors: ActorState, round: int | Array = 0, greedy: bool = True
    ) -> dict[str, Shaped[Array, " episodes"]]:
        key = jax.random.fold_in(jax.random.fold_in(actors.eval_key, actors.num_updates), round)
        keys = jax.random.split(key, 3)
        if size == episodes:
            return some(actors, keys, jnp.arange(episodes), greedy)
        numbers = jnp.arange(-(-episodes // size) * size).reshape(-1, size) % episodes  # the last round may repeat some
        found = jax.lax.map(lambda which: some(actors, keys, which, greedy), numbers)
        return jax.tree.map(lambda x: x.reshape(-1)[:episodes], found)

    def some(actors, keys, which, greedy):
        """Episodes number ``which`` (size,)."""
        reset_key, *move_keys = keys
        env_state, observation = env.reset_many(keys_of(reset_key, which))

        def move(time, env_state, observation, start, memory):
            step_keys, act_keys = (keys_of(jax.random.fold_in(key, time), which) for key in move_keys)
            keys = act_keys, step_keys
            return play(policy, env, actors, keys, env_state, observation, start, memory, greedy)

        def step(loop):
            time, env_state, observation, start, memory, over, totals = loop
            env_state, memory, _, out = move(time, env_state, observation, start, memory)
            values = {**out.metrics, "return": totals["return"] + out.reward, "length": totals["length"] + 1}
            totals = {name: jnp.where(over, totals[name], value) for name, value in values.items()}
            over = over | out.terminated | out.truncated
            return (time + 1, env_state, out.observation, jnp.zeros_like(start), memory, over, totals)

        def go_on(loop):
            time, *_, over, _ = loop
            return unvmap_any(~jnp.all(over)) & (time < env.max_episode_length)

        begin = (jnp.int32(0), env_state, observation, jnp.ones(size, bool), policy.initial_memory(size))
        shapes = jax.eval_shape(move, *begin)[-1].metrics
        totals = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
        totals = {**totals, "return": jnp.zeros(size, jnp.float32), "length": jnp.zeros(size, jnp.int32)}
        return jax.lax.while_loop(go_on, step, (*begin, jnp.zeros(size, bool), totals))[-1]

    return evaluate


def means(episodes: dict[str, Shaped[Array, " episodes"]]) -> dict[str, Float[Array, ""]]:
    """Of what ``evaluate`` gives, over the episodes that came to their own end; ``lost`` is the share of the others."""
    found = {name: jnp.mean(x) for name, x in episodes.items()}
    if "lost" not in episodes:
        return found
    lost = episodes["lost"] > 0
    whole = {name: jnp.sum(jnp.where(lost, 0, x)) / jnp.sum(~lost) for name, x in episodes.items()}
    # A sum divided by a count is not the mean to the last bit, and where nothing was lost it shall be.
    return {name: jnp.where(jnp.any(lost) & (name != "lost"), whole[name], found[name]) for name in episodes}


class Best(NamedTuple):
    """The actors with the highest score of all evaluations so far: the win rate where there are wins, else the return."""

    actors: ActorState
    score: Float[Array, ""]  # -inf before the first evaluation

    @classmethod
    def none_yet(cls, actors: ActorState) -> "Best":
        """Before any evaluation."""
        return cls(actors, jnp.float32(-jnp.inf))

    def update(self, actors: ActorState, metrics: dict[str, Array]) -> "Best":
        """Whoever is better, or the new ones in a tie.

        Args:
            actors: the new ones. metrics: of them, as ``Trainer.evaluate`` gives them.
        """
        score = metrics["eval/won" if "eval/won" in metrics else "eval/return"].astype(jnp.float32)
        better = score >= self.score
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), Best(actors, score), self)
