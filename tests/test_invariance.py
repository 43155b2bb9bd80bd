"""What must not matter, does not: padding. And what the sweep promises: M, order, one epoch after another."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sizes import long

import hamljax
from hamljax.algorithms.state import see
from hamljax.envs import make
from hamljax.envs.protocol import Team
from hamljax.training.train import make_learner

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
        "hidden_sizes": (8,),
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

    if hasattr(env, "_gather"):  # a robot's, which picks every entry from what there is to see
        env._gather = np.pad(env._gather, ((0, 0), (0, EXTRA)))
    env._observe = observe_wide
    env.team = WideTeam(**{f.name: getattr(env.team, f.name) for f in dataclasses.fields(env.team)})
    return env


def pad_last(x, width=EXTRA, value=0):
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)], constant_values=value)


def real_places(narrow, wide, ids):
    """Index of ``wide`` that picks what ``narrow`` holds: widened axes keep their last ``ids`` entries last."""

    def axis(n, m):
        return np.arange(n) if n == m else np.append(np.arange(n - ids), np.arange(m - ids, m))

    return np.ix_(*map(axis, narrow.shape, wide.shape))


def embed(narrow, wide, ids):
    """``wide`` parameters with those of ``narrow`` in their real places, and the index of these places."""

    def find(path, x, y):
        return real_places(x, y, 0 if "head" in str(path) or "log_std" in str(path) else ids)

    places = jax.tree.map_with_path(find, narrow, wide)
    return jax.tree.map(lambda x, y, index: y.at[index].set(x), narrow, wide, places), places


HUMANOID = hamljax.configure("mamujoco/humanoid_9_8", backend="spring")


@pytest.mark.parametrize(
    "algo, critic, env",
    [
        ("mappo_s", "fp", "game/tracking"),
        *long(
            ("hatrpo", "ep", "game/random"),
            ("hatrpo", "ep", "game/tracking"),
            ("happo", "ep", "smax/3m"),
            ("mappo_ns", "fp", "game/tracking"),
            ("mappo_s", "fp", "smax/3m"),
            ("happo", "ep", HUMANOID),
        ),
    ],
)
def test_widening_the_padding_changes_no_update(algo, critic, env):
    """A shared policy's and an FP critic's ids follow the padded observation, so they move up by the padding.

    Four conjugate-gradient iterations: each one multiplies rounding errors by up to a hundred (measured in float64).
    """
    made = config(algo, env, critic=critic, cg_iters=4)
    narrow = make_learner(made).learner
    state = jax.jit(narrow.init)(jax.random.key(0))
    state, traj = jax.jit(narrow.collect)(state)
    wide = make_learner(made, widened(make(made.env))).learner
    wide_learnt = jax.jit(lambda key: wide.init(key).learnt)(jax.random.key(1))
    num_agents = narrow.env.team.num_agents
    actor, actor_places = embed(
        state.learnt.agents.params, wide_learnt.agents.params, num_agents if algo == "mappo_s" else 0
    )
    fitted, critic_places = embed(state.learnt.critic.agent.params, wide_learnt.critic.agent.params, num_agents)
    agents, judge = wide_learnt.agents, wide_learnt.critic
    learnt = wide_learnt._replace(
        agents=agents._replace(params=actor), critic=judge._replace(agent=judge.agent._replace(params=fitted))
    )
    wide_state = state._replace(learnt=learnt)

    steps = traj.transitions
    observation = steps.observation._replace(
        obs=pad_last(steps.observation.obs), avail_actions=pad_last(steps.observation.avail_actions)
    )
    action = steps.action if narrow.env.team.discrete else pad_last(steps.action)
    final = steps.final
    if critic == "fp":
        final = final._replace(obs=pad_last(final.obs))
    wide_steps = steps._replace(
        observation=observation, action=action, logits=pad_last(steps.logits, value=7.0), final=final
    )
    after, _ = jax.jit(narrow.learn)(state, traj)
    wide_after, _ = jax.jit(wide.learn)(wide_state, traj._replace(transitions=wide_steps))

    def check(x, y, before, places):
        np.testing.assert_allclose(x, y[places], atol=2e-3)  # Adam moves each by about 5e-2
        padding = jnp.ones(y.shape, bool).at[places].set(False)
        np.testing.assert_array_equal(jnp.where(padding, y - before, 0), 0)

    for now, then, before, places in (
        (after.learnt.agents, wide_after.learnt.agents, actor, actor_places),
        (after.learnt.critic.agent, wide_after.learnt.critic.agent, fitted, critic_places),
    ):
        jax.tree.map(check, now.params, then.params, before, places)
    if after.learnt.obs_norm is not None:
        now, then = after.learnt.obs_norm.obs, wide_after.learnt.obs_norm.obs
        np.testing.assert_allclose(now.mean, then.mean[:, :-EXTRA], atol=1e-5)
        np.testing.assert_allclose(now.variance, then.variance[:, :-EXTRA], rtol=1e-4)


BATTLE, TRACKING = hamljax.configure("smax/2m_vs_1z", max_steps=9), hamljax.configure("game/tracking", horizon=7)


@pytest.mark.parametrize(
    "algo, env", [("mappo_s", TRACKING), *long(("happo", BATTLE), ("happo", TRACKING), ("mappo_s", BATTLE))]
)
def test_the_learner_sees_what_the_actors_saw(algo, env):
    """With memory, in chunks, and normalised observations: all at once gives the log-probabilities of step by step.

    So the first ratio is 1, memory is cleared where the whole episode ends and nowhere else, and statistics gathered in
    a rollout are not used to learn from it.
    """
    sizes = {"gru_size": 8, "data_chunk_length": 4, "obs_norm": "always"}
    learner = make_learner(config(algo, env, "gru", **sizes)).learner
    collect, learn = jax.jit(learner.collect), jax.jit(learner.learn)
    state, _ = learn(*collect(jax.jit(learner.init)(jax.random.key(0))))
    assert not np.allclose(state.learnt.obs_norm.obs.mean, 0) and not np.allclose(state.rollout.memory, 0)
    after, traj = collect(state)
    steps = traj.transitions
    done = steps.terminated | steps.truncated
    np.testing.assert_array_equal(steps.start[1:], done[:-1])
    np.testing.assert_array_equal(after.rollout.start, done[-1])
    assert 0 < done.sum() < done.size
    seen = traj._replace(
        transitions=steps._replace(observation=see(state.learnt.obs_norm, learner.env.team, steps.observation))
    )
    batches = learner.sweep.batches(seen, jnp.zeros(steps.observation.alive.shape))
    again = jax.jit(jax.vmap(learner.policy.evaluate_actions))(state.learnt.agents.params, batches)
    np.testing.assert_allclose(again.log_prob, batches.log_prob, atol=1e-4)
    np.testing.assert_allclose(again.logits, batches.logits, atol=1e-4)
    last, _ = learn(after, traj)
    assert not np.allclose(last.learnt.obs_norm.obs.mean, state.learnt.obs_norm.obs.mean)


class Whims(type(make("game/random"))):
    """Any actions may be unavailable, all but one; a different choice at every step."""

    def _observe(self, state):
        key = jax.random.fold_in(jax.random.key(0), 9 * state.time + state.state)
        whole = jnp.asarray(self.team.action_mask)
        left = jax.random.bernoulli(key, 0.3, whole.shape).at[:, state.time % 3].set(True)
        return super()._observe(state)._replace(avail_actions=whole & left)


@pytest.mark.parametrize("env", [Whims(), *long("smax/3m")], ids=["whims", "smax"])
def test_unavailable_actions_are_never_taken(env):
    made = config("happo", "game/random", num_envs=16, num_steps=48, total_timesteps=768)
    learner = make_learner(made, make(env) if isinstance(env, str) else env).learner
    _, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    steps = traj.transitions
    assert jnp.take_along_axis(steps.observation.avail_actions, steps.action[..., None], -1).all()
    assert not steps.observation.avail_actions.all()


def test_the_second_agent_learns_from_m_times_the_advantage():
    """With a fixed order, agent 1's update equals a lone update on the advantage times agent 0's final joint ratio."""
    made = config("happo", "game/tracking", order="fixed", critic="ep")
    learner = make_learner(made).learner
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.observation.alive.shape)
    keys = jax.random.split(jax.random.key(2))
    swept, _ = jax.jit(learner.sweep.improve)(state.learnt.agents, traj, advantage, *keys)

    batch = jax.tree.map(lambda x: x[0], learner.sweep.batches(traj, advantage))
    new = learner.policy.evaluate_actions(jax.tree.map(lambda x: x[0], swept.params), batch)
    m = jnp.exp(new.log_prob - batch.log_prob).reshape(advantage.shape[:2])
    assert jnp.abs(m - 1).max() > 0.05
    alone = jax.jit(make_learner(made.replace(coordination="simultaneous")).learner.sweep.improve)
    by_hand, _ = alone(state.learnt.agents, traj, advantage * m[..., None], *keys)
    first, _ = alone(state.learnt.agents, traj, advantage, *keys)

    def agent(tree, i):
        return jax.tree.leaves(jax.tree.map(lambda x: x[i], tree.params))

    for x, y in zip(agent(swept, 0), agent(first, 0), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    for x, y in zip(agent(swept, 1), agent(by_hand, 1), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)
    assert any(not np.allclose(x, y, atol=1e-3) for x, y in zip(agent(swept, 1), agent(first, 1), strict=True))


@pytest.mark.parametrize("algo", ["happo", "maa2c_s", *long("haa2c", "mappo_s")])
def test_one_agent_learns_as_plain_ppo_and_a2c_do(algo):
    """Against the textbook update, written without the library: min-form surrogate (or ratio A), entropy, clip, Adam."""
    made = config(algo, hamljax.configure("game/random", num_agents=1), critic="ep", update_epochs=3, ent_coef=0.05)
    learner = make_learner(made).learner
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    steps = traj.transitions
    advantage = jax.random.normal(jax.random.key(1), steps.observation.alive.shape)
    swept, _ = jax.jit(learner.sweep.improve)(
        state.learnt.agents, traj, advantage, *jax.random.split(jax.random.key(2))
    )

    inputs = steps.observation.obs.reshape(1, advantage.size, -1)
    action, old, a = steps.action.reshape(-1), steps.log_prob.reshape(-1), advantage.reshape(-1)

    def loss(params):
        _, _, logits = learner.policy.actor.apply(
            params, jnp.zeros((a.size, 0)), inputs, jnp.zeros((1, a.size), bool), None
        )
        log_probs = jax.nn.log_softmax(logits[0])
        ratio = jnp.exp(log_probs[jnp.arange(a.size), action] - old)
        entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, -1).mean()
        surrogate = ratio * a if "a2c" in algo else jnp.minimum(ratio * a, jnp.clip(ratio, 0.8, 1.2) * a)
        return -surrogate.mean() - 0.05 * entropy

    params = jax.tree.map(lambda x: x[0], state.learnt.agents.params)
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(1e-2, eps=1e-5))
    opt_state = optimiser.init(params)
    gradient = jax.jit(jax.grad(loss))
    for _ in range(3):
        updates, opt_state = optimiser.update(gradient(params), opt_state)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, atol=1e-5), swept.params, params)
