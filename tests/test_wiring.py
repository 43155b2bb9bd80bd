"""That the loop feeds the right numbers to the right formulas, on a toy team whose every episode is known beforehand."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

import hamljax
from hamljax.algorithms.base import Estimate
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.nn.normalisation import ValueNorm
from hamljax.training.train import make_learner

STEPS, ENVS = 12, 4
EVERYWHERE = jnp.ones((STEPS, ENVS), bool)


class Clockwork(Environment):
    """Lasts 2 to 6 steps, drawn at the start: odd lengths are time limits. Agent 1 dies at time 2. Every step pays 1."""

    team = Team(obs_sizes=(3, 3), action_sizes=(2, 2), world_state_size=3)
    max_episode_length = 6

    def reset(self, key):
        state = (jax.random.randint(key, (), 2, 7), jnp.zeros((), jnp.int32))
        return state, self._observe(state)

    def step(self, key, state, action):
        length, time = state[0], state[1] + 1
        over, odd = time == length, length % 2 == 1
        return (length, time), Step(self._observe((length, time)), jnp.float32(1), over & ~odd, over & odd, {})

    def _observe(self, state):
        length, time = state
        seen = jnp.stack([time / 6, length / 6, jnp.float32(1)])
        alive = jnp.array([True, False]) | (time < 2)
        return Observation(jnp.tile(seen, (2, 1)), seen, jnp.ones((2, 2), bool), alive)


def config(algo="happo", network="mlp", **overrides):
    sizes = {"num_envs": ENVS, "num_steps": STEPS, "total_timesteps": 96, "num_eval_episodes": 8, "num_evals": 2}
    return hamljax.config(algo, "game/climbing", network, **{**sizes, **overrides})


def algorithm(*arguments, **overrides):
    return make_learner(config(*arguments, **overrides), Clockwork()).learner


def collected(loop):
    return jax.jit(loop.collect)(jax.jit(loop.init)(jax.random.key(0)))


def agents_of(loop, played):
    """The agents of a learner, with the policies that played."""
    agents = jax.jit(lambda key: loop.init(key).learnt.agents)(jax.random.key(0))
    return agents._replace(params=played[0].learnt.agents.params)


@pytest.fixture(scope="module")
def played():
    """A state and a rollout, which fit every learner of HAPPO whose network is the usual one."""
    return collected(algorithm())


def test_the_critic_remembers_across_chunks_rollouts_and_successors():
    """Against one step at a time: values, values of the true successors, and the batch that the critic learns from."""
    loop = algorithm("happo", "gru", data_chunk_length=4)
    apply = jax.jit(lambda params, carry, x, start: loop.critic.network.apply(params, carry, x, start, None))
    collect, learn, values = jax.jit(loop.collect), jax.jit(loop.learn), jax.jit(loop.critic.values)
    state = jax.jit(loop.init)(jax.random.key(0))
    carry = state.carried
    for _ in range(2):
        np.testing.assert_allclose(state.carried, carry, atol=1e-5)
        after, traj = collect(state)
        params = state.learnt.critic.agent.params
        _, (value, next_value), batch = values(params, state.carried, traj, EVERYWHERE)
        steps = traj.transitions
        for t in range(STEPS):
            carry, _, now = apply(
                state.learnt.critic.agent.params, carry, steps.observation.world_state[t][None], steps.start[t][None]
            )
            _, _, then = apply(
                state.learnt.critic.agent.params, carry, steps.final.world_state[t][None], jnp.zeros((1, ENVS), bool)
            )
            np.testing.assert_allclose(now[0], value[t, :, 0], atol=1e-5)
            np.testing.assert_allclose(then[0], next_value[t, :, 0], atol=1e-5)
        _, _, again = apply(
            state.learnt.critic.agent.params, batch.memory, batch.inputs.swapaxes(0, 1), batch.start.swapaxes(0, 1)
        )
        np.testing.assert_allclose(again.swapaxes(0, 1), batch.old_value, atol=1e-5)
        state, _ = learn(after, traj)


def test_the_successor_of_a_last_step_is_its_own_final_state(played):
    steps = played[1].transitions
    done = steps.terminated | steps.truncated
    assert steps.terminated.any() and steps.truncated.any()
    time, length = steps.final.world_state[..., 0], steps.final.world_state[..., 1]
    np.testing.assert_allclose(time[done], length[done], atol=1e-6)


@pytest.fixture(scope="module")
def three_steps():
    """A rollout of three steps, of HAPPO, whatever it makes of the end of an episode."""
    return collected(algorithm(num_steps=3, total_timesteps=12))[1]


@pytest.mark.parametrize("truncation, bootstrap", [("bootstrap", 1.0), ("terminal", 0.0), ("drop", None)])
def test_advantages_from_denormalised_values(truncation, bootstrap, three_steps):
    """ValueNorm of mean 5 and deviation 2; step 1 is truncated, step 2 terminates."""
    sizes = {"num_steps": 3, "total_timesteps": 12, "gamma": 0.9, "gae_lambda": 0.5, "truncation": truncation}
    loop = algorithm(normalise_advantages=False, **sizes)
    traj = three_steps

    def column(*x):
        return jnp.broadcast_to(jnp.array(x)[:, None], (3, ENVS))

    steps = traj.transitions._replace(
        reward=column(1.0, 2.0, 3.0), terminated=column(False, False, True), truncated=column(False, True, False)
    )
    traj = traj._replace(transitions=steps)
    norm = ValueNorm.create(True).update(jnp.array([3.0, 7.0]))
    values = column(0.0, 0.5, 1.0)[..., None], column(0.5, 1.5, 9.0)[..., None]
    teaches = loop.step_mask(steps._replace(valid=EVERYWHERE[:3]))
    advantage, target = loop.critic._returns(norm, traj, values, teaches)
    value, d2 = np.array([5, 6, 7]), 3 - 7
    d1 = 0 if bootstrap is None else 2 + 0.9 * 8 * bootstrap - 6
    wanted = np.array([1 + 0.9 * 6 - 5 + 0.45 * d1, d1, d2])
    np.testing.assert_allclose(advantage[:, 0, 0], wanted, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(target[:, 0, 0], value + wanted, rtol=2e-3)

    alive = traj.transitions.observation.alive
    advantage, _ = loop.critic._returns(norm, traj, values, EVERYWHERE[:3])
    np.testing.assert_array_equal(loop.agent_advantages(advantage, alive)[0], jnp.broadcast_to(advantage, alive.shape))
    normalised = algorithm(**sizes).agent_advantages(advantage, alive)[0][alive]
    assert abs(normalised.mean()) < 1e-4 and abs(normalised.std() - 1) < 1e-3


def test_the_critic_learns_targets_of_any_scale(played):
    """Targets around 100 with a spread of 20: without ValueNorm on both sides the outputs would be off by far."""
    loop = algorithm(critic_epochs=300, critic_lr=1e-2, clip_value=False)
    state, traj = played
    _, _, batch = loop.critic.values(state.learnt.critic.agent.params, state.carried, traj, EVERYWHERE)
    target = 100 + 20 * traj.transitions.observation.world_state[..., :1].reshape(-1, 1)
    fit, estimate = jax.jit(loop.critic.fit), Estimate(None, None, batch._replace(target=target))
    critic, _ = fit(state.learnt.critic, estimate, jax.random.key(1))
    _, (value, _), _ = loop.critic.values(critic.agent.params, state.carried, traj, EVERYWHERE)
    np.testing.assert_allclose(critic.value_norm.denormalise(value).reshape(-1, 1), target, atol=2)


def test_evaluation_counts_every_episode_up_to_its_end():
    learner = make_learner(config(), Clockwork())
    state = jax.jit(learner.init)(jax.random.key(0))
    found = jax.jit(learner.evaluate)(learner.actor_state(state))
    assert found["eval/return"] == found["eval/length"]  # every step pays 1, also after the end
    assert 2 < found["eval/length"] < 6


def test_the_order_is_drawn_anew_and_only_the_first_agent_ignores_the_other(played):
    """The agent whose update equals the simultaneous one was first: exactly one each time, and not always the same."""
    loop, together = algorithm(actor_lr=1e-2), algorithm("mappo_ns", actor_lr=1e-2)
    state, traj = played
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)

    def sweep(loop):
        return jax.jit(
            lambda key: loop.sweep.improve(state.learnt.agents, traj, advantage, key, jax.random.key(2))[0].params
        )

    visit, alone, first = sweep(loop), sweep(together)(jax.random.key(0)), []
    for number in range(12):
        swept = visit(jax.random.key(number))
        pairs = list(zip(jax.tree.leaves(swept), jax.tree.leaves(alone), strict=True))
        same = [all(np.allclose(x[i], y[i], atol=1e-6) for x, y in pairs) for i in (0, 1)]
        assert sum(same) == 1
        first.append(same.index(True))
    assert set(first) == {0, 1}
    for number in (1, 2):  # order cannot matter where nobody waits for another
        jax.tree.map(np.testing.assert_array_equal, sweep(together)(jax.random.key(number)), alone)


def test_learning_rate_falls_update_by_update_and_gradients_are_clipped_by_their_global_norm():
    optimiser = config(anneal_lr=True, max_grad_norm=1.0).adam(1.0, steps_per_update=2)  # of a run of two updates
    params = jnp.zeros(2)
    state, sizes = optimiser.init(params), []
    for _ in range(4):
        updates, state = optimiser.update(jnp.array([30.0, 40.0]), state, params)
        sizes.append(-float(updates[0]))
    np.testing.assert_allclose(sizes, [1, 1, 0.5, 0.5], rtol=1e-3)
    np.testing.assert_allclose(state[1][0].mu[0] / state[1][0].mu[1], 0.75, rtol=1e-4)


@pytest.mark.parametrize("algo", ["happo", *long("mappo_s", "hatrpo")])
def test_a_dead_agents_data_change_no_update(algo):
    """What it sees and how likely its action was: neither policies, entropy bonus, KL, M nor the critic notice."""
    loop = algorithm(algo, critic="fp", ent_coef=1.0, actor_lr=1e-2)
    state, traj = collected(loop)
    steps = traj.transitions
    dead = ~steps.observation.alive
    assert dead.any()
    obs = jnp.where(dead[..., None], 5.0, steps.observation.obs)
    log_prob = jnp.where(dead, -90.0, steps.log_prob)
    changed = steps._replace(observation=steps.observation._replace(obs=obs), log_prob=log_prob)
    learn = jax.jit(loop.learn)
    after, same = learn(state, traj)[0], learn(state, traj._replace(transitions=changed))[0]
    for x, y in (
        (after.learnt.agents.params, same.learnt.agents.params),
        (after.learnt.critic.agent.params, same.learnt.critic.agent.params),
    ):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), x, y)


def test_the_ball_is_measured_from_the_old_policy_to_the_new(played):
    """A big step, where KL(old || new) and KL(new || old) differ by more than a tenth."""
    loop = algorithm("hatrpo", max_kl=0.5, accept_ratio=0.0, order="fixed")
    traj = played[1]
    advantage = jnp.where(traj.transitions.action == 0, 1.0, -1.0)
    keys = jax.random.split(jax.random.key(0))
    agents, info = jax.jit(loop.sweep.improve)(agents_of(loop, played), traj, advantage, *keys)
    batches = loop.sweep.batches(traj, advantage)
    old = distrax.Categorical(batches.logits)
    new = distrax.Categorical(jax.vmap(loop.policy.evaluate_actions)(agents.params, batches).logits)
    forward, backward = (
        np.array([kl[i][batches.alive[i]].mean() for i in (0, 1)])
        for kl in (old.kl_divergence(new), new.kl_divergence(old))
    )
    assert abs(forward.mean() / backward.mean() - 1) > 0.1 and forward.max() <= 0.5
    np.testing.assert_allclose(info["step_kl"], forward.mean(), rtol=1e-3)
    np.testing.assert_allclose(info["kl"], forward.mean(), rtol=1e-3)


def test_a_natural_gradient_has_no_entropy_bonus(played):
    with_bonus, without = algorithm("hatrpo", ent_coef=1.0), algorithm("hatrpo", ent_coef=0.0)
    agents, traj = agents_of(without, played), played[1]
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    keys = jax.random.split(jax.random.key(0))
    swept = [jax.jit(x.sweep.improve)(agents, traj, advantage, *keys)[0].params for x in (with_bonus, without)]
    jax.tree.map(np.testing.assert_array_equal, *swept)
