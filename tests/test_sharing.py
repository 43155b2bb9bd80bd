"""Who shares parameters with whom: one mechanism for own, shared and grouped policies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

import hamljax
from hamljax.algorithms.policies.layout import Layout, policy_of
from hamljax.bridge.spec import team_of
from hamljax.envs import make
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.configuration.jobs import job_of, make_job
from hamljax.lab.drawing.tables import who_shares
from hamljax.lab.storage.saved_config import read_config, write_yaml
from hamljax.training.train import make_learner

GROUPS = ((0, 3), (1,), (2, 4))
TEAM = Team(obs_sizes=(3, 2, 3, 3, 1), action_sizes=(2,) * 5, world_state_size=2)
LAYOUT = Layout(TEAM, policy_of(GROUPS, TEAM))


class Roll(Environment):
    """Five agents, of whom some are dead by the clock, are paid for a sum of their actions; two steps or three."""

    team, max_episode_length = TEAM, 3

    def reset(self, key):
        state = (jax.random.randint(key, (), 2, 4), jnp.int32(0))
        return state, self._observe(state)

    def step(self, key, state, action):
        length, time = state[0], state[1] + 1
        pay = jnp.sum(action * jnp.array([1.0, -1.0, 2.0, 1.0, 0.5])) + time
        return (length, time), Step(self._observe((length, time)), pay, time == length, False, {})

    def _observe(self, state):
        length, time = state
        seen = jnp.stack([time / 3, length / 3, 1.0])
        alive = jnp.array([True, True, True, False, True]) | (time < 1)
        return Observation(jnp.tile(seen, (5, 1)) * TEAM.obs_mask, seen[:2], jnp.ones((5, 2), bool), alive)


def algorithm(algo="happo", network="mlp", **overrides):
    sizes = {"num_envs": 2, "num_steps": 6, "total_timesteps": 24, "num_evals": 0, "hidden_sizes": (8,)}
    return make_learner(hamljax.config(algo, "game/climbing", network, **{**sizes, **overrides}), Roll()).learner


@functools.cache
def collected(**settings):
    """A learner, its state after a rollout, and the rollout."""
    loop = algorithm(**settings)
    return loop, *jax.jit(lambda key: loop.collect(loop.init(key)))(jax.random.key(0))


TWO = {"sharing": ((0, 3), (1, 2, 4)), "actor_lr": 0.05}


def test_a_team_is_laid_out_by_its_groups_and_comes_back():
    """Two environments, so that each policy has four samples a step: environment by environment, member by member."""
    assert LAYOUT.num_policies == 3 and LAYOUT.group_size == 2
    np.testing.assert_array_equal(LAYOUT.members, [[0, 3], [1, 5], [2, 4]])
    x = jnp.arange(7 * 2 * 5 * 3).reshape(7, 2, 5, 3)
    split = LAYOUT.split(x, 2)
    for policy, group in enumerate(GROUPS):
        for env in range(2):
            for place, agent in enumerate(group):
                np.testing.assert_array_equal(split[policy, :, env * 2 + place], x[:, env, agent])
    np.testing.assert_array_equal(LAYOUT.merge(split, 2), x)
    alive = LAYOUT.split_alive(jnp.ones((7, 2, 5), bool), 2)
    np.testing.assert_array_equal(alive[:, 0], [[True] * 4, [True, False] * 2, [True] * 4])


def test_members_see_their_number_in_the_group_and_who_is_alone_everywhere_sees_none():
    seen = LAYOUT.policy_input(jnp.zeros((2, 5, 3)))
    np.testing.assert_array_equal(seen[0, :, 3:], [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]])
    mask = LAYOUT.policy_mask((2, 5, 5))
    np.testing.assert_array_equal(mask[1, :, :3], TEAM.obs_mask)
    assert mask[..., 3:].all()
    own = Layout(TEAM, policy_of("own", TEAM))
    assert own.policy_input(jnp.zeros((2, 5, 3))).shape == (2, 5, 3)


@pytest.mark.parametrize("sharing", ["own", "all"])
def test_without_groups_nothing_is_gathered(sharing):
    layout, x = Layout(TEAM, policy_of(sharing, TEAM)), jnp.zeros((4, 2, 5, 3))
    text = str(jax.make_jaxpr(lambda x: layout.merge(layout.split(x, 2), 2))(x))
    assert "gather" not in text


def test_after_a_group_m_is_the_product_of_its_living_members_ratios():
    """In a fixed order: the second policy's update is a lone one on the advantage times the first group's ratios."""
    loop, alone = algorithm(order="fixed", **TWO), algorithm(coordination="simultaneous", **TWO)
    _, state, traj = collected(**TWO)
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    keys = jax.random.split(jax.random.key(2))
    agents = jax.jit(loop.sweep.improve)(state.learnt.agents, traj, advantage, *keys)[0]

    @jax.jit
    def log_ratio(params):
        batches = loop.sweep.batches(traj, advantage)
        new = jax.vmap(loop.policy.evaluate_actions)(params, batches)
        return loop.policy.layout.merge((new.log_prob - batches.log_prob).reshape(2, 6, 6), 2)

    alive = np.asarray(traj.transitions.observation.alive)
    m = np.exp(np.where(alive, log_ratio(agents.params), 0.0)[..., [0, 3]].sum(-1))
    assert np.abs(m - 1).max() > 0.05 and (~alive).any()
    lone = jax.jit(alone.sweep.improve)(state.learnt.agents, traj, m[..., None] * advantage, *keys)[0]
    for x, y in zip(jax.tree.leaves(agents.params), jax.tree.leaves(lone.params), strict=True):
        np.testing.assert_allclose(x[1], y[1], atol=1e-5)


def test_a_groups_joint_ratio_is_the_product_of_its_living_members():
    """Against numpy: the group is one agent, whose sample counts where any member lives; KLs add up."""
    limited = {"drift": "kl", "kl_coef": 0.3, "neighbourhood": "kl_stop"}
    loop = algorithm(group_ratio="joint", sharing=TWO["sharing"], **limited)
    _, state, traj = collected(**TWO)
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    batches = jax.jit(loop.sweep.batches)(traj, advantage)
    moved = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size).reshape(x.shape)), state.learnt.agents.params)
    alive = np.asarray(traj.transitions.observation.alive)
    assert (~alive).any()

    @jax.jit
    def numbers(params, batch):
        """Of a policy's samples each, and of all: what the sweep makes of them."""
        new = loop.policy.evaluate_actions(params, batch)
        each = new.log_prob - batch.log_prob, loop.policy.divergence(new, batch).kl, new.entropy
        divergence = loop.sweep.divergence(params, batch)
        return each, loop.sweep.objective(params, batch, 0.0, 0.7), divergence.mean(divergence.kl)

    for policy, group in enumerate(loop.policy.groups):
        each, found, kl_found = numbers(*(jax.tree.map(lambda x, p=policy: x[p], tree) for tree in (moved, batches)))
        members = [x[..., : len(group)] for x in by_time(*each)]
        there = alive[..., np.array(group)]
        log_ratio, kl, entropy = (np.where(there, x, 0).sum(-1) for x in members)
        mine = np.where(there, advantage[..., np.array(group)], 0).sum(-1) / np.maximum(there.sum(-1), 1)
        worth = np.exp(log_ratio) * mine - 0.3 * kl + 0.7 * entropy
        np.testing.assert_allclose(found, worth[there.any(-1)].mean(), rtol=1e-4)
        np.testing.assert_allclose(kl_found, kl[there.any(-1)].mean(), rtol=1e-4)
    agents, _ = jax.jit(loop.sweep.improve)(state.learnt.agents, traj, advantage, *jax.random.split(jax.random.key(2)))
    assert not np.allclose(*(jax.tree.leaves(x.params)[0] for x in (state.learnt.agents, agents)))


def by_time(*arrays):
    """A policy's samples (T * E * M, 1), which lie time by time, environment by environment, member by member."""
    return [np.asarray(x).reshape(6, 2, 3) for x in arrays]


def test_a_joint_ratio_wants_whole_groups():
    with pytest.raises(ConfigError, match="algo.num_minibatches=2 would part them"):
        algorithm(group_ratio="joint", num_minibatches=2)
    hamljax.register_drift("of_agents")(lambda ratio, m_advantage, *, agent: 0 * ratio)
    for more in ({"drift": "of_agents"}, {"clip_eps": (0.1,) * 5}):
        with pytest.raises(ConfigError, match="asks for agent of each agent"):
            algorithm(group_ratio="joint", sharing="all", **more)


def test_a_discounted_occupancy_weighs_each_step_by_its_time_in_the_episode():
    loop = algorithm(occupancy="discounted", gamma=0.5)
    steps = collected(**TWO)[2].transitions
    time, passed = np.zeros(steps.start.shape), np.zeros(2)
    for t, start in enumerate(np.asarray(steps.start)):
        passed = np.where(start, 0, passed + 1)
        time[t] = passed
    weight = jax.jit(loop.sweep.batches)(collected(**TWO)[2], jnp.zeros(steps.log_prob.shape)).alive.reshape(5, 6, 2)
    wanted = 0.5 ** time[..., None] * np.asarray(steps.observation.alive)
    np.testing.assert_allclose(np.moveaxis(weight, 0, -1), wanted, rtol=1e-6)
    assert {0.0, 1.0, 0.5, 0.25} == set(np.unique(wanted))


@pytest.mark.parametrize("algo", ["happo", *long("hasac")])
def test_what_stands_in_padding_has_no_number(algo, monkeypatch):
    more = {"batch_size": 8, "buffer_size": 64, "learning_starts": 12, "gradient_steps": 2} if algo == "hasac" else {}

    _, state, rollout = collected(algo=algo, sharing=GROUPS, **more)

    def learnt():
        """What an update leaves, and what the team then does."""
        loop = algorithm(algo, sharing=GROUPS, **more)

        @jax.jit
        def update(state, rollout):
            state, info = loop.learn(state, rollout)
            return state.learnt, info, loop.collect(state)[1].transitions

        return update(state, rollout)

    before, split = learnt(), Layout.split
    moved = jax.tree.map(lambda x, y: (x != y).any(), before[0].agents.params, state.learnt.agents.params)
    assert all(jax.tree.leaves(moved))

    def spoilt(self, x, axis):
        padding = jnp.tile(self.members == TEAM.num_agents, (1, x.shape[axis - 1]))
        padding = padding.reshape(len(padding), *(1,) * (axis - 1), -1, *(1,) * (x.ndim - axis - 1))
        x = split(self, x, axis)
        return jnp.where(padding, 1e9, x) if jnp.issubdtype(x.dtype, jnp.floating) else x

    monkeypatch.setattr(Layout, "split", spoilt)
    jax.tree.map(np.testing.assert_array_equal, learnt(), before)


def test_kinds_are_unit_types_and_limbs_and_equal_spaces():
    assert make("smax/3s5z").team.alike() == (0, 0, 0, 1, 1, 1, 1, 1)
    assert make("smax/3m").team.alike() == (0, 0, 0)
    assert make("mamujoco/ant_8x1").team.alike() == (0, 1) * 4
    assert make("mamujoco/halfcheetah_6x1").team.alike() == (0, 1, 2, 0, 1, 2)
    assert TEAM.alike() == (0, 1, 0, 0, 2)  # three, two and one number seen
    bounds = Team((2, 2), (1, 1), 2, discrete=False, action_low=(-1.0, -2.0), action_high=(1.0, 2.0))
    assert bounds.alike() == (0, 1)


def test_a_battle_may_be_made_inside_a_program():
    """As ``make_train`` under ``jit`` or ``vmap`` makes it: who is of which kind is no part of the program."""
    found = jax.eval_shape(lambda key: make("smax/2m_vs_1z").reset(key)[1], jax.random.key(0))
    team = make("smax/2m_vs_1z").team
    assert found.obs.shape == (team.num_agents, team.obs_size)


def test_kinds_that_change_are_refused_by_name():
    team = make("smax/smacv2_5_units").team
    with pytest.raises(ConfigError, match="changes from episode to episode"):
        policy_of("kinds", team)
    assert policy_of("all", team) == (0,) * 5


def test_a_host_says_who_is_of_which_kind_or_that_it_does_not_know(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # as the host does for its own process when it is imported
    from hamljax.bridge.worker.hosts.smax import SmaxEnv

    assert SmaxEnv(map_name="3s5z").get_env_info()["kinds"] == ["s"] * 3 + ["Z"] * 5
    assert SmaxEnv(map_name="smacv2_5_units").get_env_info()["kinds"] is None
    spec = {"obs_sizes": [2, 2], "action_sizes": [2, 2], "world_state_size": 2, "discrete": True}
    spec |= {"max_episode_length": 5, "metrics": [], "needs_obs_norm": False}
    assert team_of(spec, "mine").alike() == (0, 0)
    assert team_of(spec | {"kinds": ["a", "b"]}, "mine").alike() == (0, 1)
    with pytest.raises(ConfigError, match="or is not known; the groups can be named"):
        team_of(spec | {"kinds": None}, "mine").alike()


def test_a_run_of_the_version_before_is_read_in_todays_words(tmp_path):
    resolved = make_job(["algo=mappo_s", "env=game/climbing"]).resolved
    old = dict(resolved["algo"]) | {"coordination": "shared", "fixed_order": True}
    del old["sharing"], old["order"]
    (tmp_path / "config.yaml").write_text(write_yaml(resolved | {"algo": old}))
    algo = read_config(tmp_path)["algo"]
    assert (algo["coordination"], algo["sharing"], algo["order"]) == ("simultaneous", "all", "fixed")
    assert "fixed_order" not in algo and job_of(read_config(tmp_path)).config.algo.order == "fixed"


@pytest.mark.parametrize(
    "sharing", [((0, 1), (2, 3)), ((0, 1), (1, 2, 3, 4)), ((0, 1, 2, 3, 4), ()), ((0, 1), (2, 3, 5))]
)
def test_what_is_no_division_of_the_team_is_named(sharing):
    with pytest.raises(ConfigError, match="no division of the agents 0 to 4 into groups"):
        policy_of(sharing, TEAM)


def test_a_run_says_who_shares_with_whom(tmp_path, capsys):
    words = ["train", "env=game/tracking", "algo.sharing=[[0,2],[1]]", "num_envs=4", "num_steps=4"]
    words += ["total_timesteps=16", "num_evals=0", "absolute_metric=false", "network.hidden_sizes=[8]"]
    words += [f"run_dir={tmp_path / 'run'}"]
    assert main(words) == 0
    said = "policies 2: agents 0 2 share one, 1 agent(s) with one of their own"
    assert f"compiling happo on game/tracking, 1 seed(s), {said}" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "run")]) == 0
    assert " ".join(capsys.readouterr().out.split()).count(said) == 1
    assert hamljax.load(tmp_path / "run").config.algo.sharing == ((0, 2), (1,))
    assert who_shares([[0, 2], [1]], "joint").endswith("1 agent(s) with one of their own, joint ratio")
    assert who_shares([[0], [1]], "joint") == "2: 2 agent(s) with one of their own"
