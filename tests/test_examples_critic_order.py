"""``examples/``: a critic and an order of one's own, from the command line and against numpy."""

import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.algorithms.on_policy.critics import StateCritic
from hamljax.algorithms.on_policy.registry import CRITICS
from hamljax.algorithms.state import see
from hamljax.haml import ORDERS, bind_order
from hamljax.lab.cli import main
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.configuration.plugins import load_plugin
from hamljax.training.train import make_learner

EXAMPLES = Path(__file__).parents[1] / "examples"
CRITIC, ORDER = EXAMPLES / "new_critic.py", EXAMPLES / "new_order.py"
TINY = ["env=game/penalty", "num_envs=4", "num_steps=4", "num_evals=0", "absolute_metric=false"]
TINY += ["network.hidden_sizes=[8]", "algo.update_epochs=1", "algo.critic_epochs=1"]


@pytest.fixture(autouse=True, scope="module")
def plugins():
    """Known while this module is tested, and not after it."""
    kept = [(table, dict(table)) for table in (CRITICS, ORDERS)]
    for file in (CRITIC, ORDER):
        load_plugin(str(file))
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


class Crowd(hamljax.Environment):
    """The reward is a sum of what each of the living chose: of its variance a fifth or so is an agent's own.

    Agents have two or three actions, may be dead, and some may not take their first; NaN stands where nobody looks.
    """

    max_episode_length = 1
    sizes = (2, 3, 2, 3, 2, 3)

    def __init__(self):
        self.team = hamljax.Team(obs_sizes=(1, 2) * 3, action_sizes=self.sizes, world_state_size=6)

    def reset(self, key):
        alive = jax.random.bernoulli(key, 0.8, (6,)).at[0].set(True)
        return alive, self.observe(alive)

    def step(self, key, alive, action):
        reward = jnp.sum(jnp.where(alive, jnp.asarray([3.0, -1.0, 2.0])[action], 0.0))
        return alive, hamljax.Step(self.observe(alive), reward, True, False, {})

    def observe(self, alive):
        legal = jnp.asarray(self.team.action_mask) & ~((jnp.arange(3) == 0) & jnp.roll(~alive, 1)[:, None])
        obs = jnp.where(self.team.obs_mask & alive[:, None], 1.0, jnp.nan)
        return hamljax.Observation(obs, alive.astype(jnp.float32), legal & alive[:, None], alive)


def crowd(network="mlp", **settings):
    sizes = {"num_envs": 16, "num_steps": 8, "total_timesteps": 128 * 80, "hidden_sizes": (16,), "num_evals": 0}
    frozen = {"actor_lr": 1e-12, "critic_lr": 5e-3}  # so that all of it is of one policy
    made = hamljax.config("happo", "game/climbing", network, critic="coma", **{**sizes, **frozen, **settings})
    return make_learner(made, Crowd())


@pytest.fixture(scope="module")
def fitted():
    """The learner, its ``learn``, its state after 80 updates that move the critic alone, and a rollout after these."""
    learner = crowd().learner
    state, collect, learn = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.collect), jax.jit(learner.learn)
    losses = []
    for _ in range(80):
        state, traj = collect(state)
        state, metrics = learn(state, with_valid(traj, True))
        assert not metrics["train/skipped"]
        losses.append(metrics["train/q_loss"])
    assert losses[-1] < 0.1 * losses[0]
    state, traj = collect(state)
    return learner, learn, state, traj


def with_valid(traj, valid):
    steps = traj.transitions
    return traj._replace(transitions=steps._replace(valid=jnp.broadcast_to(jnp.asarray(valid), steps.reward.shape)))


@pytest.fixture(scope="module")
def estimates(fitted):
    """That rollout as the critic is given it, the steps to learn from, and what it and a plain critic of states say."""
    learner, _, state, traj = fitted
    traj = as_seen(learner, traj)
    teaches = jnp.ones(traj.transitions.reward.shape, bool).at[0].set(False)
    plain = StateCritic(learner.config, learner.env.team, per_agent=False)

    @jax.jit
    def both(critic):
        _, of_q = learner.critic.estimate(critic, state.carried, traj, teaches)
        return of_q, plain.estimate(critic[0], state.carried, traj, teaches)[1]

    return traj.transitions, teaches, *both(state.learnt.critic)


def as_seen(learner, traj):
    steps = traj.transitions
    observation, final = (see(None, learner.env.team, x) for x in (steps.observation, steps.final))
    return traj._replace(transitions=steps._replace(observation=observation, final=final))


def test_the_advantage_is_q_of_the_action_minus_its_mean_under_the_policy(fitted, estimates):
    """Sample by sample in numpy, of the Q network's outputs at inputs that are put together by hand."""
    (learner, _, state, _), (steps, teaches, estimate, _) = fitted, estimates
    v, q = state.learnt.critic
    _, std = v.value_norm.statistics()
    teaches, action, seen = np.asarray(teaches), np.asarray(steps.action), jax.tree.map(np.asarray, steps.observation)
    inputs, wanted = np.zeros((*action.shape, 6 + 6 * 3 + 6)), np.zeros(action.shape)
    for at in np.ndindex(*action.shape):
        t, e, i = at
        others = np.zeros((6, 3))
        for j in range(6):
            if j != i and seen.alive[t, e, j]:
                others[j, action[t, e, j]] = 1
        inputs[at] = np.concatenate([seen.world_state[t, e], others.ravel(), np.eye(6)[i]])
    values = float(std) * np.asarray(learner.critic.q_network().apply(q.params, jnp.asarray(inputs, jnp.float32)))
    dead = ~seen.alive
    for at in np.ndindex(*action.shape):
        legal = np.flatnonzero(seen.avail_actions[at])
        if teaches[at[:2]] and not dead[at]:
            weights = np.exp(np.asarray(steps.logits[at], np.float64)[legal])
            wanted[at] = values[at][action[at]] - weights @ values[at][legal] / weights.sum()
    np.testing.assert_allclose(estimate.advantage, wanted, atol=1e-4)
    assert dead.any() and np.abs(wanted).max() > 1


def test_in_the_mean_over_the_policy_it_is_zero():
    counterfactual = sys.modules["hamljax_plugin_new_critic"].counterfactual
    q, logits = jax.random.normal(jax.random.key(0), (2, 7, 4))
    policy = jax.nn.softmax(logits)
    each = jax.vmap(counterfactual, (None, None, 0), -1)(q, policy, jnp.broadcast_to(jnp.eye(4)[:, None], (4, 7, 4)))
    np.testing.assert_allclose(each - each[:, :1], q - q[:, :1], atol=1e-6)
    np.testing.assert_allclose(jnp.sum(policy * each, -1), 0, atol=1e-6)


def test_it_varies_less_than_gae_and_is_what_an_agents_own_choice_adds(estimates):
    steps, teaches, of_q, of_v = estimates
    alive = np.asarray(steps.observation.alive & teaches[..., None])
    gae = np.broadcast_to(of_v.advantage, alive.shape)[alive].var()
    coma = np.asarray(of_q.advantage)[alive].var()
    print(f"variance of the advantage: GAE {gae:.2f}, counterfactual {coma:.2f}, ratio {gae / coma:.2f}")
    assert coma < gae / 2.5
    pays, legal = jnp.asarray([3.0, -1.0, 2.0]), steps.observation.avail_actions
    true = pays[steps.action] - jnp.sum(jax.nn.softmax(steps.logits, where=legal) * pays, axis=-1)
    errors = np.asarray(of_q.advantage - true)[alive]
    assert np.mean(errors**2) < 0.1 * np.var(np.asarray(true)[alive])


def test_nothing_depends_on_what_stands_in_padding_or_with_the_dead_or_lost(fitted):
    learner, learn, state, traj = fitted
    steps = traj.transitions
    valid = jax.random.bernoulli(jax.random.key(1), 0.7, steps.reward.shape)
    there = steps.observation.alive & valid[..., None]
    real = there[..., None] & jnp.asarray(learner.env.team.action_mask)

    def filled(action, number):
        world_state = jnp.where(valid[..., None], steps.observation.world_state, number)
        changed = steps._replace(
            observation=steps.observation._replace(world_state=world_state),
            action=jnp.where(there, steps.action, action),
            logits=jnp.where(real, steps.logits, number),
            reward=jnp.where(valid, steps.reward, number),
        )
        return learn(state, with_valid(traj._replace(transitions=changed), valid))

    (after, metrics), (again, _) = filled(0, 0.0), filled(1, jnp.nan)
    assert not metrics["train/skipped"]
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (after.learnt, state.learnt)), strict=True))
    jax.tree.map(np.testing.assert_array_equal, after.learnt, again.learnt)


def test_it_fits_a_recurrent_run_in_minibatches_and_is_refused_where_actions_are_continuous():
    trainer = crowd("gru", gru_size=4, data_chunk_length=4, critic_minibatches=4)
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    after, metrics = jax.eval_shape(trainer.update, state)
    assert jax.tree.structure(after) == jax.tree.structure(state) and "train/q_loss" in metrics
    with pytest.raises(hamljax.ConfigError, match="discrete"):
        make_learner(hamljax.config("happo", "game/tracking", critic="coma", num_envs=4, num_steps=4))


@pytest.mark.parametrize("scores", [[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
def test_the_first_is_drawn_in_proportion_and_everybody_has_a_turn(scores):
    scores = jnp.asarray(scores)

    def turns(key):
        choose = bind_order(ORDERS["by_gradient"], key, 3, lambda agents, context: scores)

        def turn(visited, _):
            i = choose(visited, None, None)
            return visited.at[i].set(True), i

        return jax.lax.scan(turn, jnp.zeros(3, bool), None, length=3)[1]

    orders = np.asarray(jax.jit(jax.vmap(turns))(jax.random.split(jax.random.key(0), 8000)))
    assert (np.sort(orders, axis=1) == np.arange(3)).all()
    chances = np.asarray(scores) + 0.1 * scores.mean() if scores.any() else np.ones(3)
    first = np.bincount(orders[:, 0], minlength=3) / 8000
    np.testing.assert_allclose(first, chances / chances.sum(), atol=0.02)


@pytest.mark.long  # test_examples_family has the small one of the kind
def test_both_train_resume_load_and_evaluate_from_the_command_line(tmp_path, capsys):
    both, run = tmp_path / "both.py", tmp_path / "run"
    both.write_text(CRITIC.read_text() + ORDER.read_text())
    words = [f"plugin={both}", "algo.critic=coma", "algo.order=by_gradient", f"run_dir={run}"]
    assert main(["train", *TINY, *words, "total_timesteps=32", "checkpoint_every=1"]) == 0
    team = hamljax.load(run)
    assert (team.config.algo.critic, team.config.algo.order, team.update) == ("coma", "by_gradient", 2)
    both.unlink()  # the run keeps a copy
    last = max((run / "checkpoints").iterdir())
    shutil.rmtree(last)  # as of a run that was stopped before
    assert main(["resume", str(run)]) == 0 and last.is_dir()
    jax.tree.map(np.testing.assert_array_equal, hamljax.load(run).actors.params, team.actors.params)
    capsys.readouterr()
    assert main(["evaluate", str(run), "num_episodes=8"]) == 0
    assert "return" in capsys.readouterr().out


@pytest.mark.parametrize("file", [CRITIC, ORDER])
def test_the_line_in_its_docstring_is_one_that_can_be_typed(file, monkeypatch):
    (line,) = [x.split() for x in file.read_text().splitlines() if x.strip().startswith("hamljax train ")]
    monkeypatch.chdir(EXAMPLES.parent)
    make_learner(make_job(line[2:]).config)
