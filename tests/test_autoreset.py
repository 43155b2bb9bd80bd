"""Automatic resets against a plain Python loop that simulates every episode on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

from hamljax.envs import VecEnv, configure, make


def rollout(vec, key, steps):
    """Everything that happened in ``steps`` steps of random legal actions, and those actions; leaves (T, E, ...)."""

    def step(carry, key):
        state, observation = carry
        if vec.env.team.discrete:
            logits = jnp.where(observation.avail_actions, 0.0, -1e9)
            action = jax.random.categorical(key, logits)
        else:
            action = jax.random.uniform(key, observation.avail_actions.shape, minval=-1, maxval=1)
        before = state.key
        state, out = vec.step(state, action)
        return (state, out.observation), (before, action, out)

    reset_key, action_key = jax.random.split(key)
    start = vec.reset(reset_key)
    _, history = jax.lax.scan(step, start, jax.random.split(action_key, steps))
    return start, history


@pytest.mark.parametrize(
    "env",
    [
        configure("game/random", horizon=5, termination=0.2),
        configure("game/tracking", horizon=4),
        *long(configure("smax/2m_vs_1z", max_steps=12)),
    ],
)
def test_vectorised_episodes_equal_episodes_played_alone(env):
    env, num_envs, steps = make(env), 3, 60
    vec = VecEnv(env, num_envs)
    (first, observation), (keys, actions, outs) = jax.jit(lambda key: rollout(vec, key, steps))(jax.random.key(0))
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    pool_key = first.pool.key
    started = num_envs
    states = [reset(jax.random.fold_in(pool_key, n))[0] for n in range(num_envs)]
    returns, lengths = [0.0] * num_envs, [0] * num_envs
    ends = {"terminated": 0, "truncated": 0}
    for t in range(steps):
        step_keys = jax.random.split(jax.random.split(keys[t])[1], num_envs)
        for e in range(num_envs):
            states[e], alone = step(step_keys[e], states[e], actions[t, e])
            out = jax.tree.map(lambda x, t=t, e=e: x[t, e], outs)
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), out.final, alone.observation)
            np.testing.assert_allclose(out.reward, alone.reward, atol=1e-5)
            assert out.terminated == alone.terminated
            assert out.truncated == (alone.truncated and not alone.terminated)
            returns[e], lengths[e] = returns[e] + float(alone.reward), lengths[e] + 1
            np.testing.assert_allclose(out.metrics["episode_return"], returns[e], atol=1e-4)
            assert out.metrics["episode_length"] == lengths[e]
            going_on = alone.observation
            if alone.terminated or alone.truncated:
                ends["terminated" if alone.terminated else "truncated"] += 1
                states[e], going_on = reset(jax.random.fold_in(pool_key, started))
                started, returns[e], lengths[e] = started + 1, 0.0, 0
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), out.observation, going_on)
    assert sum(ends.values()) > 3


def test_starts_of_smax_differ():
    keys = jax.random.split(jax.random.key(0), 8)
    _, seen = jax.jit(jax.vmap(make("smax/smacv2_5_units").reset))(keys)
    assert len(np.unique(seen.world_state, axis=0)) == 8


@pytest.mark.long
def test_consecutive_episodes_of_smax_differ():
    vec = VecEnv(make(configure("smax/smacv2_5_units", max_steps=3)), 2)
    _, (_, _, outs) = jax.jit(lambda key: rollout(vec, key, 16))(jax.random.key(0))
    done = np.asarray(outs.terminated | outs.truncated)
    starts = np.concatenate([np.asarray(outs.observation.world_state)[:, e][done[:, e]] for e in range(2)])
    assert len(starts) >= 6 and len(np.unique(starts, axis=0)) == len(starts)


def test_vmapped_seeds_and_batches_of_them_get_the_episodes_of_single_runs():
    vec = VecEnv(make(configure("game/random", horizon=3, termination=0.3)), 4)
    keys = jax.random.split(jax.random.key(0), (2, 2))

    def play(key):
        return rollout(vec, key, 40)[1][1:]

    alone, seeds, batches = jax.jit(play), jax.jit(jax.vmap(play))(keys[0]), jax.jit(jax.vmap(jax.vmap(play)))(keys)
    for i, j in np.ndindex(2, 2):
        found = alone(keys[i, j])
        for together in (jax.tree.map(lambda x, i=i: x[i], batches), *([seeds] if i == 0 else [])):
            np.testing.assert_array_equal(found[0], together[0][j])
            jax.tree.map(lambda x, y, j=j: np.testing.assert_allclose(x, y[j], atol=1e-6), found[1], together[1])


def test_smax_tells_wins_from_losses_from_time_limits():
    """Hand-set survivors (two allies, one enemy) -> won, terminated, truncated. Nobody left is no win."""
    env = make(configure("smax/2m_vs_1z", max_steps=5))
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    step, stop = jax.jit(env.step), jnp.full(2, 4)
    for alive, wanted in {
        (1, 1, 0): (1, 1, 0),
        (1, 0, 0): (1, 1, 0),
        (0, 0, 1): (0, 1, 0),
        (0, 0, 0): (0, 1, 0),
        (1, 1, 1): (0, 0, 0),
    }.items():
        units = state.state
        health = jnp.where(jnp.array(alive, bool), units.unit_health, 0.0)
        hurt = state.replace(state=units.replace(unit_health=health, unit_alive=health > 0))
        out = step(jax.random.key(1), hurt, stop)[1]
        assert (out.metrics["won"], out.terminated, out.truncated) == wanted, alive
    for t in range(6):
        state, out = step(jax.random.key(t), state, stop)
        assert out.truncated == (t == 5) and not out.terminated
        assert (out.observation.world_state >= 0).all() and (out.observation.world_state <= 1.5).all()
    assert env.max_episode_length == 6
