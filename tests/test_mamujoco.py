"""Multi-Agent MuJoCo: who drives and who sees what, against Gymnasium-Robotics (frozen in fixtures/) and by pushing joints."""

import copy
import functools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import brax.envs
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from brax.envs.base import State
from sizes import long

import hamljax
from hamljax.envs import ENVIRONMENTS, VecEnv, configure, make
from hamljax.envs.mamujoco import cheetahs, swimmer
from hamljax.envs.mamujoco.cheetahs import CoupledCheetahs
from hamljax.envs.mamujoco.partitions import SKELETONS, hops, swimmer_skeleton
from hamljax.envs.mamujoco.swimmer import Swimmer
from hamljax.errors import ConfigError

REFERENCE = json.loads((Path(__file__).parent / "fixtures/mamujoco_reference.json").read_text())
TASKS = sorted(name for name in ENVIRONMENTS if name.startswith("mamujoco/"))
OUR_NAMES = {"motor1_rot": "rot0", "motor2_rot": "rot1"}


one_of = functools.cache(make)  # of the tests that leave it as it is


ONE_OF_EACH = [
    "reacher_2x1",
    "swimmer_2x1",
    "swimmer_10x2",
    "hopper_3x1",
    "walker2d_2x3",
    "halfcheetah_2x3",
    "coupled_halfcheetah_1p1",
    "ant_4x2",
    "humanoid_9_8",
]
BUMPED = [f"mamujoco/{task}" for task in ONE_OF_EACH if task != "swimmer_10x2"]  # which has joints by the dozen


def ours(names):
    return [OUR_NAMES.get(name, name) for name in names]


def observe(env, q, qd):
    """Real observation entries per agent in a given state, and the state of the world."""
    seen = env._observe(SimpleNamespace(q=jnp.asarray(q, jnp.float32), qd=jnp.asarray(qd, jnp.float32)))
    return [np.asarray(o[:n]) for o, n in zip(seen.obs, env.team.obs_sizes, strict=True)], np.asarray(seen.world_state)


class Place(NamedTuple):
    q: jax.Array
    qd: jax.Array


def without_physics(env, step):
    """The same robot, at random places and moved by ``step`` of a Brax state: a simulator takes long to compile."""
    sizes = env.brax.sys.q_size(), env.brax.sys.qd_size()

    def reset(key):
        place = Place(
            *(jax.random.uniform(key, (size,)) for key, size in zip(jax.random.split(key), sizes, strict=True))
        )
        return State(place, jnp.zeros(0), jnp.zeros(()), jnp.zeros(()), {})

    env = copy.copy(env)
    env.brax = SimpleNamespace(step=step, reset=reset)
    return env


def skeleton(task):
    robot, _, conf = task.removeprefix("mamujoco/").partition("_")
    if robot != "swimmer":
        return SKELETONS["coupled_halfcheetah" if robot == "coupled" else robot]
    agents, each = (10, 2) if conf == "nxm" else map(int, conf.split("x"))
    return swimmer_skeleton(agents * each, agents)


@pytest.mark.parametrize("task", sorted(REFERENCE))
def test_joints_and_hops_are_those_of_gymnasium_robotics(task):
    env = one_of(f"mamujoco/{task}")
    wanted = [ours(agent) for agent in REFERENCE[task]["actions"]]
    got = [list(agent) for agent in env.partition]
    assert got == wanted
    for agent, rings in zip(env.partition, REFERENCE[task]["rings"], strict=True):
        for ring, wanted in zip(hops(agent, skeleton(task).edges, 2), rings, strict=True):
            assert sorted(ring) == sorted(ours(wanted))


def only_they_show(task, agent, q, qd):
    """What Gymnasium-Robotics adds to an agent's observation (the fixture leaves out contacts, inertias and fingertips)."""
    if task == "swimmer_2x1":
        return [qd[agent]]  # a rate of the root's place
    return []


# How far an agent sees is a matter of rings, which are compared above for every task, and of two robots here.
DEPTHS = [(task, depth) for task in sorted(REFERENCE) for depth in ("0", "1", "2")]
NEAR = [(task, depth) for task, depth in DEPTHS if depth == "1" or task in ("hopper_3x1", "ant_4x2")]


@pytest.mark.parametrize("task, depth", NEAR + long(*(case for case in DEPTHS if case not in NEAR)))
def test_observations_are_those_of_gymnasium_robotics(task, depth):
    env = make(configure(f"mamujoco/{task}", agent_obsk=depth))
    for (q, qd), wanted in zip(REFERENCE[task]["states"], REFERENCE[task]["observations"][depth], strict=True):
        more = [only_they_show(task, agent, q, qd) for agent in range(len(wanted))]
        if "humanoid" in task:  # its abdomen_y reads abdomen_z and the other way round
            q, qd = [*q[:7], q[8], q[7], *q[9:]], [*qd[:6], qd[7], qd[6], *qd[8:]]
        for got, extra, theirs in zip(observe(env, q, qd)[0], more, wanted, strict=True):
            if extra:
                np.testing.assert_allclose(np.sort([*got, *extra]), np.sort(theirs), atol=1e-5)
            elif task == "swimmer_2x1" or "humanoid" in task:  # by the label of a joint, where ours has another name
                np.testing.assert_allclose(np.sort(got), np.sort(theirs), atol=1e-5)
            else:
                np.testing.assert_allclose(got, theirs, atol=1e-5)


def test_the_hoppers_rates_are_clipped_and_the_others_are_not():
    for task, seen in (("hopper_3x1", 10.0), ("walker2d_2x3", 50.0)):
        env = make(f"mamujoco/{task}")
        model = env.brax.sys.mj_model
        largest = max(np.abs(obs).max() for obs in observe(env, np.zeros(model.nq), np.full(model.nv, 50.0))[0])
        assert largest == seen


def wrong_pushes(env):
    """(agent, joint) where a unit action does not move the actuator of that joint, and only that."""
    model = env.brax.sys.mj_model
    names = [model.joint(int(model.actuator_trnid[i, 0])).name for i in range(model.nu)]
    return [
        (i, joint)
        for i, own in enumerate(env.partition)
        for j, joint in enumerate(own)
        if (
            env.joint_action(jnp.zeros((env.team.num_agents, env.team.action_size)).at[i, j].set(1.0))
            != (np.array(names) == joint)
        ).any()
    ]


@pytest.mark.parametrize("task", TASKS)
def test_a_push_moves_the_actuator_that_the_partition_names(task):
    env = one_of(task)
    assert not wrong_pushes(env)
    assert sorted(joint for own in env.partition for joint in own) == sorted(env.joints.actuator)


def seers_by_bumping(env, slot, of_q):
    """The agents whose observation changes when one entry of q (or qd) does, and whether the world state does."""
    model = env.brax.sys.mj_model
    q, qd = np.full(model.nq, 0.1), np.full(model.nv, 0.1)
    before, world = observe(env, q, qd)
    (q if of_q else qd)[slot] += 0.3
    after, new_world = observe(env, q, qd)
    changed = {i for i, (x, y) in enumerate(zip(before, after, strict=True)) if not np.array_equal(x, y)}
    return changed, not np.array_equal(world, new_world)


def blind(env):
    """Agents that miss a bump of one of their own joints, as (agent, joint)."""
    return [
        (i, joint)
        for i, own in enumerate(env.partition)
        for joint in own
        if i not in seers_by_bumping(env, env.joints.q[joint], True)[0]
        or i not in seers_by_bumping(env, env.joints.qd[joint], False)[0]
    ]


@pytest.mark.parametrize("task", BUMPED + long(*(task for task in TASKS if task not in BUMPED)))
def test_a_bump_is_seen_by_exactly_those_within_a_hop(task):
    """Joints by those near them, the root by all, its hidden slots by nobody; the critic sees all but the root's place."""
    env, graph = one_of(task), skeleton(task)
    assert not blind(env)
    everybody = set(range(env.team.num_agents))
    for joint in env.joints.actuator:
        near = {i for i, own in enumerate(env.partition) if any(joint in r for r in hops(own, graph.edges, 1))}
        owner = {i for i, own in enumerate(env.partition) if joint in own}
        assert seers_by_bumping(env, env.joints.q[joint], True) == (near, True)
        assert seers_by_bumping(env, env.joints.qd[joint], False) == (owner, True)
    target = "reacher" in task  # which does not move
    for slot in env.joints.root_q:
        seen = slot not in graph.hidden_q
        assert seers_by_bumping(env, slot, True) == (everybody if seen else set(), seen)
    for slot in env.joints.root_qd:
        seen = slot not in graph.hidden_qd and not target
        assert seers_by_bumping(env, slot, False) == (everybody if seen else set(), not target)


def test_velocities_of_neighbours_are_seen_when_asked_for():
    env = make(configure("mamujoco/hopper_3x1", neighbour_velocities=True))
    assert seers_by_bumping(env, env.joints.qd["leg_joint"], False)[0] == {0, 1, 2}
    assert seers_by_bumping(env, env.joints.qd["foot_joint"], False)[0] == {1, 2}


def test_both_tests_find_a_map_that_mixes_up_legs():
    """An earlier library's ant_4x2, planted: agents drive actuators in their stored order, and see the next agent's leg."""
    env = make("mamujoco/ant_4x2")
    env._drivers = np.array([(i // 2, i % 2) for i in range(8)])
    assert len(wrong_pushes(env)) == 8
    env._gather = np.roll(env._gather, -1, axis=0)
    assert len(blind(env)) == 8


@pytest.mark.parametrize(
    "partition, complaint",
    [
        ((("bthigh", "bshin", "bfoot"), ("fthigh", "fshin")), "no agent drives ffoot"),
        ((("bthigh", "bshin", "bfoot"), ("fthigh", "fshin", "fotfoot")), "no joint 'fotfoot'"),
        ((("bthigh", "bshin", "bfoot"), ("fthigh", "fshin", "ffoot", "bfoot")), "'bfoot' is given to two agents"),
        ((("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"), ()), "an agent without joints"),
    ],
)
def test_a_wrong_partition_is_named(partition, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make(configure("mamujoco/halfcheetah_2x3", partition=partition))


# How the joints are shared out does not touch the physics.
@pytest.mark.long
@pytest.mark.parametrize(
    "env",
    [configure("mamujoco/hopper_3x1", backend="spring"), *(f"mamujoco/{task}" for task in ONE_OF_EACH)],
    ids=str,
)
def test_a_thousand_steps_are_finite_or_counted(env):
    """Random and bang-bang play; all that a step returns is of the state that Brax returns."""
    env = make(env)
    shape = (env.team.num_agents, env.team.action_size)

    def play(key, bang):
        def step(state, key):
            action = jax.random.uniform(key, shape, minval=-1.0)
            state, out = env.step(key, state, jnp.where(bang, jnp.sign(action), action))
            q = state.brax.pipeline_state
            return state, (out, state.brax.reward, state.brax.done, env.features(q.q, q.qd))

        first = env.reset(key)[0]
        return first.brax.pipeline_state.q, jax.lax.scan(step, first, jax.random.split(key, 1000))[1]

    keys = jax.random.split(jax.random.key(0))
    first, (out, reward, done, features) = jax.jit(jax.vmap(play))(keys, jnp.array([False, True]))
    assert (first[0] != first[1]).mean() > 0.5  # every episode has a start of its own
    for i, seen in enumerate(env.maps):
        np.testing.assert_allclose(
            out.observation.obs[:, :, i, : len(seen)], features[:, :, seen], rtol=1e-5, atol=1e-5
        )
    counted = out.metrics["non_finite"] == 1
    np.testing.assert_allclose(out.reward, jnp.where(counted, 0.0, reward), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(out.terminated, counted | (done > 0))
    last = jnp.arange(1000) == env.max_episode_length - 1
    np.testing.assert_array_equal(out.truncated[:, last], ~out.terminated[:, last])
    assert not out.truncated[:, ~last & (jnp.arange(1000) < env.max_episode_length)].any()
    assert jnp.isfinite(out.observation.obs).all() and jnp.isfinite(out.observation.world_state).all()
    assert jnp.abs(out.reward).max() > 1e-3


@pytest.mark.parametrize(
    "task", ["hopper_3x1", *long("reacher_2x1", "walker2d_3x2", "halfcheetah_3x2", "ant_2x4d", "humanoid_17x1")]
)
def test_steps_pay_and_end_as_another_robot_of_brax_does(task, tmp_path, monkeypatch):
    """Its own instance, driven through actuator numbers looked up by hand; our actions exceed their bounds, its do not."""
    env = make(configure(f"mamujoco/{task}", backend="spring"))
    monkeypatch.chdir(tmp_path)  # MuJoCo logs a complaint about Brax's model where it stands
    other = brax.envs.get_environment(task.split("_")[0], backend="spring")
    model = other.sys.mj_model
    actuator = {model.joint(int(model.actuator_trnid[i, 0])).name: i for i in range(model.nu)}
    place = [actuator[joint] for own in env.partition for joint in own]
    real = np.asarray(env.team.action_mask)
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    twin = state.brax
    step, twin_step = jax.jit(env.step), jax.jit(other.step)
    for key in jax.random.split(jax.random.key(1), 12):
        action = 2 * jax.random.normal(key, (env.team.num_agents, env.team.action_size))
        state, out = step(key, state, env.team.clip(action))
        ctrl = np.zeros(model.nu, np.float32)
        ctrl[place] = np.clip(np.asarray(action)[real], -1, 1)
        twin = twin_step(twin, ctrl)
        np.testing.assert_allclose(out.reward, twin.reward, rtol=1e-3, atol=1e-3)
        assert out.terminated == (twin.done > 0)
        if twin.done > 0:
            break


def test_one_agent_that_sees_and_drives_everything_is_a_single_agent_task():
    """Its observation is the world state, and its sequential update is the simultaneous one: plain PPO."""
    joints = tuple(make("mamujoco/halfcheetah_2x3").joints.actuator)
    task = configure("mamujoco/halfcheetah_2x3", partition=(joints,), agent_obsk="all", backend="spring")
    env = without_physics(make(task), lambda state, action: state.replace(reward=action.sum()))
    small = {"num_envs": 2, "num_steps": 4, "hidden_sizes": (8,)}
    algorithms = [hamljax.make_learner(hamljax.config(a, task, **small), env).learner for a in ("happo", "mappo_ns")]
    state, traj = jax.jit(lambda key: algorithms[0].collect(algorithms[0].init(key)))(jax.random.key(0))
    seen = traj.transitions.observation
    np.testing.assert_allclose(seen.obs[:, :, 0], seen.world_state, rtol=1e-6)
    assert seen.obs.shape[-1] == 17  # as the original's single agent
    sweeps = [jax.jit(algorithm.sweep.improve) for algorithm in algorithms]
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    keys = jax.random.split(jax.random.key(2))
    after = [sweep(state.learnt.agents, traj, advantage, *keys)[0].params for sweep in sweeps]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *after)


def test_a_state_that_is_not_finite_ends_the_episode_with_no_reward_and_a_fresh_start():
    """A place, a rate, a reward: each in an environment of its own, whose action says which it is."""

    def spoil(state, action):
        pipeline, which = state.pipeline_state, jnp.sign(action.sum())
        q, qd, reward = (
            jnp.where(which == number, jnp.nan, x)
            for number, x in zip((-1, 0, 1), (pipeline.q, pipeline.qd, state.reward), strict=True)
        )
        return state.replace(pipeline_state=Place(q, qd), reward=reward)

    vec = VecEnv(without_physics(make("mamujoco/hopper_3x1"), spoil), 3)
    state, _ = jax.jit(vec.reset)(jax.random.key(0))
    state, step = jax.jit(vec.step)(state, jnp.array([-1.0, 0.0, 1.0])[:, None, None] * jnp.ones((3, 3, 1)))
    assert step.terminated.all() and not step.truncated.any() and not step.reward.any()
    np.testing.assert_array_equal(step.metrics["non_finite"], 1)
    assert jnp.isfinite(step.final.obs).all() and jnp.isfinite(step.observation.obs).all()
    assert jnp.isfinite(state.states.brax.pipeline_state.q).all()
    assert len(np.unique(step.observation.obs[:, 0], axis=0)) == 3


def test_every_episode_has_a_target_of_its_own():
    env = copy.copy(make(configure("mamujoco/reacher_2x1", backend="spring", max_steps=2)))
    env.brax = SimpleNamespace(step=lambda state, action: state, reset=jax.jit(env.brax.reset))
    vec = VecEnv(env, 1)
    state, observation = jax.jit(vec.reset)(jax.random.key(0))
    targets = [observation.obs[0, 0, -2:]]
    step = jax.jit(vec.step)
    for _ in range(6):
        state, out = step(state, jnp.zeros((1, 2, 1)))
        assert out.truncated[0] == (out.metrics["episode_length"][0] == 2)
        if out.truncated[0]:
            targets.append(out.observation.obs[0, 0, -2:])
    assert len(targets) == 4 and len({tuple(map(float, t)) for t in targets}) == 4


def test_the_swimmer_is_gymnasiums_and_its_fluid_slows_it():
    """The numbers of Gymnasium's model; in water what moves comes to rest, in a vacuum it would glide on."""
    model = Swimmer().sys.mj_model
    assert (model.opt.density, model.opt.viscosity) == (4000, 0.1)
    np.testing.assert_allclose(model.body_mass[1:], 1000 * np.pi * 0.1**2 * (1 + 4 / 3 * 0.1), rtol=1e-6)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 150)
    np.testing.assert_array_equal(model.dof_armature, 0.1)
    speeds = []
    for xml in (swimmer.model(2), swimmer.model(2).replace("4000", "0").replace('viscosity="0.1"', 'viscosity="0"')):
        model = mujoco.MjModel.from_xml_string(xml)
        data = mujoco.MjData(model)
        data.qvel[1] = 1.0  # sideways
        mujoco.mj_step(model, data, 100)
        speeds.append(data.qvel[1])
    assert speeds[0] < 0.5 < 0.99 < speeds[1]


def test_two_cheetahs_share_the_mass_of_one():
    """As in Gymnasium-Robotics; the gears are those of one alone, for each."""
    model = CoupledCheetahs().sys.mj_model
    np.testing.assert_allclose([model.body_mass[1:8].sum(), model.body_mass[8:].sum()], 7.0)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 2 * [120, 90, 60, 120, 60, 30])


@pytest.mark.long
@pytest.mark.parametrize("robot", [Swimmer, CoupledCheetahs])
def test_our_own_robots_move_as_mujoco_moves_them(robot):
    ours = robot()
    model = mujoco.MjModel.from_xml_string(swimmer.model(2) if robot is Swimmer else cheetahs.model())
    data = mujoco.MjData(model)
    state = jax.jit(ours.reset)(jax.random.key(0))
    data.qpos[:], data.qvel[:] = state.pipeline_state.q, state.pipeline_state.qd
    step = jax.jit(ours.step)
    for key in jax.random.split(jax.random.key(1), 5):
        action = jax.random.uniform(key, (model.nu,), minval=-1.0)
        before = data.qpos.copy()
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 4 if robot is Swimmer else 5)
        state = step(state, action)
        np.testing.assert_allclose(state.pipeline_state.q, data.qpos, atol=1e-4)
        speed = (data.qpos - before) / ours.dt
        cost = 1e-4 if robot is Swimmer else 0.05
        wanted = (speed[0] if robot is Swimmer else (speed[0] + speed[9]) / 2) - cost * np.sum(np.square(action))
        np.testing.assert_allclose(state.reward, wanted, atol=1e-2)


def gap_after_a_pull(model):
    """How far apart MuJoCo has two cheetahs that were started further apart than their tendon reaches."""
    data = mujoco.MjData(model)
    data.qpos[0], data.qpos[9] = 2.0, -2.0
    mujoco.mj_step(model, data, 100)
    return data.qpos[0] - data.qpos[9]


def test_the_tendon_holds_the_cheetahs_together():
    """Without it they stay where they are."""
    loose = cheetahs.model().replace("<tendon>", "<!--").replace("</tendon>", "-->")
    assert gap_after_a_pull(CoupledCheetahs().sys.mj_model) < 3.5
    assert gap_after_a_pull(mujoco.MjModel.from_xml_string(loose)) > 3.8


@pytest.mark.long
def test_the_tendon_pulls_on_the_device_as_in_mujoco():
    ours = CoupledCheetahs()
    q = ours.sys.init_q.at[0].set(2.0).at[9].set(-2.0)
    state = State(jax.jit(ours.pipeline_init)(q, jnp.zeros(18)), jnp.zeros(0), jnp.zeros(()), jnp.zeros(()), {})
    step = jax.jit(ours.step)
    for _ in range(20):
        state = step(state, jnp.zeros(12))
    q = state.pipeline_state.q
    np.testing.assert_allclose(q[0] - q[9], gap_after_a_pull(ours.sys.mj_model), atol=0.15)


@pytest.mark.long
@pytest.mark.parametrize("clamped", [False, True])
def test_a_hopper_learns_and_does_not_where_everybody_sees_a_constant(clamped):
    """An earlier library's mistake, planted: indices past the end of what there is to see, which JAX clamps in silence."""
    env = configure("mamujoco/hopper_3x1", backend="spring")
    settings = {"num_envs": 32, "num_steps": 64, "total_timesteps": 2e5, "num_evals": 0}
    learner = {"actor_lr": 1e-3, "critic_lr": 1e-3, "ent_coef": 0.0, "num_minibatches": 4, "critic_minibatches": 4}
    config = hamljax.config("happo", env, hidden_sizes=(32, 32), **settings, **learner)
    robot = make(env)
    if clamped:
        robot._gather = np.full_like(robot._gather, 999)
    learner = hamljax.make_learner(config, robot)
    state = jax.jit(learner.init)(jax.random.key(0))
    run = jax.jit(learner.run_updates, static_argnums=2).lower(state, config.num_updates, config.num_updates)
    # It runs long enough for good code to be worth its compilation.
    _, metrics = run.compile(compiler_options={"xla_backend_optimization_level": 3})(state, config.num_updates)
    assert (metrics["train/episode_return"][-10:].mean() > 340) != clamped
