"""Greedy evaluation over an exact number of episodes."""

import jax
import jax.numpy as jnp

from .on_policy import RunnerState, see
from .policies import Policies


def play(policies, env, state: RunnerState, key, step_keys, env_state, observation, start, carry, greedy: bool = True):
    """One step of E episodes, played by the policies of ``state``.

    ``key`` chooses actions, ``step_keys`` (E,) move the environments; start (E,), carry (P, B, H).
    Returns the new environment states and carry, the actions as they were played (E, N[, A]) and what the step gave.
    """
    seen = see(state, observation)
    carry, action, *_ = policies.act(state.agents.params, carry, key, seen, start, greedy=greedy)
    action = env.team.clip(action)
    env_state, out = jax.vmap(env.step)(step_keys, env_state, action)
    return env_state, carry, action, out


def make_evaluate(config, env):
    """``evaluate(state) -> {"eval/return", "eval/length", "eval/<metric>"}``: means over ``num_eval_episodes`` episodes.

    The policies of ``state`` act greedily from fresh starts; every episode runs to its own end and counts once. Keys
    come from the run's seed and update counter, so evaluating never changes training.
    """
    episodes = config.num_eval_episodes
    policies = Policies(config.replace(num_envs=episodes), env.team)

    def evaluate(state: RunnerState) -> dict[str, jax.Array]:
        reset_key, step_key = jax.random.split(jax.random.fold_in(state.eval_key, state.num_updates))
        env_state, observation = jax.vmap(env.reset)(jax.random.split(reset_key, episodes))
        carry = policies.initial_carry()

        def step(loop, key):
            env_state, observation, start, carry, over, totals = loop
            keys = jax.random.split(key, episodes)
            env_state, carry, _, out = play(policies, env, state, key, keys, env_state, observation, start, carry)
            values = {**out.metrics, "return": totals["return"] + out.reward, "length": totals["length"] + 1}
            totals = {name: jnp.where(over, totals[name], value) for name, value in values.items()}
            over = over | out.terminated | out.truncated
            return (env_state, out.observation, jnp.zeros_like(start), carry, over, totals), None

        shapes = jax.eval_shape(lambda s, o: _first_metrics(policies, env, state, carry, s, o), env_state, observation)
        totals = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
        totals = {**totals, "return": jnp.zeros(episodes), "length": jnp.zeros(episodes, jnp.int32)}
        loop = (env_state, observation, jnp.ones(episodes, bool), carry, jnp.zeros(episodes, bool), totals)
        loop, _ = jax.lax.scan(step, loop, jax.random.split(step_key, env.max_episode_length))
        return {f"eval/{name}": jnp.mean(x) for name, x in loop[-1].items()}

    return evaluate


def _first_metrics(policies, env, state, carry, env_state, observation):
    """The metrics of one step: only their names, shapes and types are used."""
    episodes = observation.alive.shape[0]
    keys = jax.random.split(state.key, episodes)
    start = jnp.ones(episodes, bool)
    return play(policies, env, state, state.key, keys, env_state, observation, start, carry)[-1].metrics
