"""The files of ``examples/``: each does what its first lines say."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.lab.cli import main
from hamljax.lab.configuration.plugins import load_plugin
from hamljax.training.train import make_learner

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str):
    """The module ``examples/NAME.py``."""
    load_plugin(str(EXAMPLES / f"{name}.py"))
    return sys.modules[f"hamljax_plugin_{name}"]


# HAPPO IN ONE FILE


def test_happo_in_one_file_is_the_librarys_happo():
    """From the library's state: after two updates policies, critic and ValueNorm are the same."""
    one = example("happo_in_one_file")
    sizes = {"num_envs": one.NUM_ENVS, "num_steps": one.NUM_STEPS, "hidden_sizes": one.network.hidden_sizes}
    rates = {"actor_lr": one.RATE, "critic_lr": one.RATE, "obs_norm": "never"}
    total = 2 * one.NUM_ENVS * one.NUM_STEPS
    made = hamljax.config("happo", "game/tracking", total_timesteps=total, num_evals=0, **sizes, **rates)
    trainer = make_learner(made)
    state = jax.jit(trainer.init)(jax.random.key(0))
    (agents, critic, _), rollout = state.learnt, state.rollout
    parts = agents.params, agents.opt_state, critic.agent.params, critic.agent.opt_state, critic.value_norm
    mine = one.State(*parts, rollout.env_state, rollout.observation, rollout.key)
    update = jax.jit(trainer.update)
    theirs = update(update(state)[0])[0].learnt
    mine, _ = jax.jit(one.train, static_argnums=1)(mine, 2)
    for x, y in (
        (mine.actors, theirs.agents.params),
        (mine.critic, theirs.critic.agent.params),
        (mine.value_norm.moments, theirs.critic.value_norm.moments),
    ):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), x, y)
    moved = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), mine.actors, agents.params)
    assert min(jax.tree.leaves(moved)) > 1e-3


# WHAT CANNOT BE TRAINED WITH


class Odd(hamljax.StateCritic):
    def estimate(self, critic, memory, traj, teaches):
        memory, found = super().estimate(critic, memory, traj, teaches)
        return memory, found._replace(advantage=found.advantage[:-1])


class Growing(hamljax.StateCritic):
    def fit(self, critic, estimate, key):
        critic, said = super().fit(critic, estimate, key)
        return critic._replace(agent=jax.tree.map(lambda x: jnp.append(x, x), critic.agent)), said


@pytest.mark.parametrize(
    "critic, line",
    [
        (Odd, r"critic 'mine', traced as in training, failed.*"),
        (Growing, "critic 'mine', traced as in training, failed"),
    ],
)
def test_a_critic_that_does_not_fit_is_one_line(critic, line):
    hamljax.register_critic("mine")(lambda config, team: critic(config, team, per_agent=False))
    made = hamljax.config("happo", "game/climbing", critic="mine", num_envs=2, num_steps=2, total_timesteps=8)
    with pytest.raises(hamljax.ConfigError, match=line) as refused:
        make_learner(made)
    assert "\n" not in str(refused.value)


# A POLICY OF ONE'S OWN


@pytest.fixture(scope="module")
def played():
    """A learner with a transformer, a state and a rollout of it."""
    load_plugin(str(EXAMPLES / "new_policy.py"))
    sizes = {"num_envs": 2, "num_steps": 4, "total_timesteps": 64, "hidden_sizes": (8,), "actor_lr": 1e-2}
    env = hamljax.configure("game/random", num_agents=3)
    learner = make_learner(hamljax.config("mappo_s", env, policy="transformer", **sizes)).learner
    return learner, *jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))


@pytest.fixture(scope="module")
def evaluated(played):
    """``evaluated(action)``: log-probabilities (T * E, N) of a rollout in which these actions had been taken."""
    learner, state, traj = played
    params = jax.tree.map(lambda x: x[0] + 0.1, state.learnt.agents.params)  # the head begins next to zero

    @jax.jit
    def log_probs(action):
        steps = traj.transitions._replace(action=action)
        batch = learner.sweep.batches(traj._replace(transitions=steps), jnp.zeros(action.shape))
        return learner.policy.evaluate_actions(params, jax.tree.map(lambda x: x[0], batch)).log_prob[:, 0]

    return log_probs


@pytest.mark.parametrize("agent", [0, 1, 2])
def test_an_agent_of_the_transformer_knows_the_actions_before_its_own_and_no_later_one(played, evaluated, agent):
    action = played[2].transitions.action
    before, after = evaluated(action), evaluated(action.at[..., agent].set((action[..., agent] + 1) % 2))
    np.testing.assert_allclose(after[:, :agent], before[:, :agent], atol=1e-6)
    changed = np.abs(after - before)[:, agent:]
    assert (changed > 1e-5).all()


def test_the_transformer_evaluates_at_once_what_it_did_step_by_step(played):
    """So that the first ratio is 1."""
    learner, state, traj = played
    batch = jax.tree.map(lambda x: x[0], learner.sweep.batches(traj, jnp.zeros(traj.transitions.log_prob.shape)))
    params = jax.tree.map(lambda x: x[0], state.learnt.agents.params)
    new = jax.jit(learner.policy.evaluate_actions)(params, batch)
    np.testing.assert_allclose(new.log_prob, batch.log_prob, atol=1e-5)
    np.testing.assert_allclose(learner.policy.divergence(new, batch).kl, 0, atol=1e-5)


def test_the_transformer_learns_from_what_was_done_well(played):
    """Where only the first action is praised, an update makes it likelier, for every agent."""
    learner, state, traj = played
    praise = jnp.where(traj.transitions.action == 0, 1.0, -1.0)
    sweep = jax.jit(lambda key: learner.sweep.improve(state.learnt.agents, traj, praise, *jax.random.split(key)))
    agents, info = sweep(jax.random.key(1))
    batch = jax.tree.map(lambda x: x[0], learner.sweep.batches(traj, praise))
    new = learner.policy.evaluate_actions(jax.tree.map(lambda x: x[0], agents.params), batch)
    better = np.asarray((new.log_prob - batch.log_prob) * batch.m_advantage)[:, 0]
    assert (better.mean(axis=0) > 0.01).all() and np.isfinite(info["objective"])


@pytest.mark.long
@pytest.mark.parametrize("env", ["game/climbing", "smax/2m_vs_1z"])
def test_the_transformer_has_a_runs_whole_life(env, tmp_path):
    """And learns the matrix game whose best pair of actions is next to the worst: 5 is the safe pair's."""
    run, plugin = tmp_path / "run", f"plugin={EXAMPLES / 'new_policy.py'}"
    words = ["algo=mappo_s", "algo.policy=transformer", f"env={env}", "algo.actor_lr=3e-3", "num_evals=2"]
    words += ["num_envs=32", "num_steps=4", "num_eval_episodes=8", "absolute_metric=false"]
    steps = 5120 if env == "game/climbing" else 256
    assert main(["train", plugin, *words, f"total_timesteps={steps}", f"run_dir={run}"]) == 0
    if env == "game/climbing":
        assert main(["resume", str(run), f"total_timesteps={steps + 128}"]) == 0
    team = hamljax.load(run)
    found = jax.jit(jax.vmap(team.trainer.evaluate))(team.actors)
    assert env != "game/climbing" or found["eval/return"] >= 5
    _, seen = team.env.reset(jax.random.key(0))
    action, _ = team.policy().act(seen.obs, seen.avail_actions)
    assert action.shape == (2,) and team.update == (41 if env == "game/climbing" else 2)
