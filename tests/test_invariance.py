"""What must not matter, does not: padding, dead agents. And what the sweep promises: M, order, one epoch after another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.envs import make
from hamljax.envs.protocol import Team
from hamljax.learning.train import make_learner

EXTRA = 3


class WideTeam(Team):
    """A team padded by more than its largest member needs."""

    @property
    def obs_size(self):
        return max(self.obs_sizes) + EXTRA

    @property
    def action_size(self):
        return max(self.action_sizes) + EXTRA


def config(algo, env, network="mlp", **overrides):
    base = {
        "num_envs": 6,
        "num_steps": 12,
        "total_timesteps": 720,
        "input_norm": True,
        "actor_lr": 1e-2,
        "critic": "fp",
    }
    return hamljax.config(algo, env, network, **{**base, **overrides})


def widened(env):
    observe, narrow = env._observe, env.team

    def observe_wide(*arguments):
        observation = observe(*arguments)
        if observation.obs.shape[-1] > narrow.obs_size:  # it pads to whatever its team says
            return observation
        return observation._replace(obs=pad_last(observation.obs), avail_actions=pad_last(observation.avail_actions))

    env._observe = observe_wide
    env.team = WideTeam(**{f.name: getattr(env.team, f.name) for f in dataclasses.fields(env.team)})
    return env


def pad_last(x, width=EXTRA, value=0):
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)], constant_values=value)


def embed(narrow, wide):
    """``wide`` parameters with those of ``narrow`` in their real places."""

    def place(x, y):
        if x.shape == y.shape:
            return x
        return y.at[tuple(slice(0, n) for n in x.shape)].set(x)

    return jax.tree.map(place, narrow, wide)


@pytest.mark.parametrize("algo", ["happo", "hatrpo", "mappo_ns"])
@pytest.mark.parametrize("env", ["smax/3m", "game/tracking"])
def test_widening_the_padding_changes_no_update(algo, env):
    """Ids follow the padded observation where a policy is shared or a critic is FP, so the EP critic is used here.

    Four conjugate-gradient iterations: each one multiplies rounding errors by up to a hundred (measured in float64).
    """
    made = config(algo, env, critic="ep", cg_iters=4)
    narrow = make_learner(made).algorithm
    state = jax.jit(narrow.init)(jax.random.key(0))
    state, traj = jax.jit(narrow.collect)(state)
    wide = make_learner(made, widened(make(made.env))).algorithm
    wide_state = jax.jit(wide.init)(jax.random.key(1))
    params = embed(state.agents.params, wide_state.agents.params)
    wide_state = state._replace(agents=wide_state.agents._replace(params=params))

    steps = traj.transitions
    observation = steps.observation._replace(
        obs=pad_last(steps.observation.obs), avail_actions=pad_last(steps.observation.avail_actions)
    )
    action = steps.action if narrow.env.team.discrete else pad_last(steps.action)
    wide_traj = traj._replace(
        transitions=steps._replace(observation=observation, action=action, logits=pad_last(steps.logits, value=7.0))
    )
    after, _ = jax.jit(narrow.learn)(state, traj)
    wide_after, _ = jax.jit(wide.learn)(wide_state, wide_traj)

    def check(x, y, before):
        np.testing.assert_allclose(
            x, y[tuple(slice(0, n) for n in x.shape)], atol=2e-3
        )  # Adam moves each by about 5e-2
        padding = jnp.ones(y.shape, bool).at[tuple(slice(0, n) for n in x.shape)].set(False)
        np.testing.assert_array_equal(jnp.where(padding, y - before, 0), 0)

    jax.tree.map(check, after.agents.params, wide_after.agents.params, params)
    jax.tree.map(np.testing.assert_array_equal, after.critic.params, wide_after.critic.params)


@pytest.mark.parametrize("algo", ["happo", "hatrpo", "mappo_s"])
def test_a_dead_agents_data_change_no_update(algo):
    made = config(algo, "smax/3m", num_envs=16, num_steps=48, total_timesteps=16 * 48)
    learner = make_learner(made).algorithm
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    steps = traj.transitions
    dead = ~steps.observation.alive
    assert dead.any()
    obs = jnp.where(dead[..., None], 50.0, steps.observation.obs)
    log_prob = jnp.where(dead, -90.0, steps.log_prob)
    changed = steps._replace(observation=steps.observation._replace(obs=obs), log_prob=log_prob)
    after, _ = jax.jit(learner.learn)(state, traj)
    same, _ = jax.jit(learner.learn)(state, traj._replace(transitions=changed))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after.agents.params, same.agents.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), after.critic.params, same.critic.params)


def test_unavailable_actions_are_never_taken():
    learner = make_learner(config("happo", "smax/3m", num_envs=16, num_steps=48, total_timesteps=768)).algorithm
    _, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    steps = traj.transitions
    assert jnp.take_along_axis(steps.observation.avail_actions, steps.action[..., None], -1).all()
    assert not steps.observation.avail_actions.all()


def test_the_second_agent_learns_from_m_times_the_advantage():
    """With a fixed order, agent 1's update equals a lone update on the advantage times agent 0's final joint ratio."""
    made = config("happo", "game/tracking", fixed_order=True, critic="ep")
    learner = make_learner(made).algorithm
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.observation.alive.shape)
    keys = jax.random.split(jax.random.key(2))
    swept, _ = learner.policies.sweep(state.agents, traj, advantage, *keys)

    batch = jax.tree.map(lambda x: x[0], learner.policies.batches(traj, advantage))
    new = learner.policies.evaluate_actions(jax.tree.map(lambda x: x[0], swept.params), batch)
    m = jnp.exp(new.log_prob - batch.log_prob).reshape(advantage.shape[:2])
    assert jnp.abs(m - 1).max() > 0.05
    alone = make_learner(made.replace(coordination="simultaneous")).algorithm
    by_hand, _ = alone.policies.sweep(state.agents, traj, advantage * m[..., None], *keys)
    first, _ = alone.policies.sweep(state.agents, traj, advantage, *keys)

    def agent(tree, i):
        return jax.tree.leaves(jax.tree.map(lambda x: x[i], tree.params))

    for x, y in zip(agent(swept, 0), agent(first, 0), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    for x, y in zip(agent(swept, 1), agent(by_hand, 1), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)
    assert any(not np.allclose(x, y, atol=1e-3) for x, y in zip(agent(swept, 1), agent(first, 1), strict=True))
