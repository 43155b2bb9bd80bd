"""Multi-Agent MuJoCo: who drives and who sees what, against Gymnasium-Robotics (frozen in fixtures/) and by pushing joints."""

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.envs import ENVIRONMENTS, configure, make
from hamljax.envs.mujoco.partitions import hops
from hamljax.errors import ConfigError

REFERENCE = json.loads((Path(__file__).parent / "fixtures/mujoco_reference.json").read_text())
TASKS = sorted(name for name in ENVIRONMENTS if name.startswith("mujoco/"))
OUR_NAMES = {"motor1_rot": "rot0", "motor2_rot": "rot1"}
# Gymnasium-Robotics shows these more: a rate of the swimmer's root each, and the fingertip to the reacher's second agent.
THEY_SHOW_MORE = ("swimmer_2x1", "reacher_2x1")


def ours(names):
    return [OUR_NAMES.get(name, name) for name in names]


def observe(env, q, qd):
    """Real observation entries per agent in a given state, and the state of the world."""
    seen = env._observe(SimpleNamespace(q=jnp.asarray(q, jnp.float32), qd=jnp.asarray(qd, jnp.float32)))
    return [np.asarray(o[:n]) for o, n in zip(seen.obs, env.team.obs_sizes, strict=True)], np.asarray(seen.world_state)


def edges(env, task):
    from hamljax.envs.mujoco.partitions import SKELETONS, swimmer_skeleton

    robot = task.split("_")[0]
    return swimmer_skeleton(2, 2).edges if robot == "swimmer" else SKELETONS[robot].edges


@pytest.mark.parametrize("task", sorted(REFERENCE))
def test_joints_and_hops_are_those_of_gymnasium_robotics(task):
    env = make(f"mujoco/{task}")
    wanted = [ours(agent) for agent in REFERENCE[task]["actions"]]
    got = [list(agent) for agent in env.partition]
    assert got == wanted
    for agent, rings in zip(env.partition, REFERENCE[task]["rings"], strict=True):
        for ring, wanted in zip(hops(agent, edges(env, task), 2), rings, strict=True):
            assert sorted(ring) == sorted(ours(wanted))


@pytest.mark.parametrize("task", sorted(REFERENCE))
@pytest.mark.parametrize("depth", ["0", "1", "2"])
def test_observations_are_those_of_gymnasium_robotics(task, depth):
    env = make(configure(f"mujoco/{task}", agent_obsk=depth))
    for (q, qd), wanted in zip(REFERENCE[task]["states"], REFERENCE[task]["observations"][depth], strict=False):
        if "humanoid" in task:  # its abdomen_y reads abdomen_z and the other way round
            q, qd = [*q[:7], q[8], q[7], *q[9:]], [*qd[:6], qd[7], qd[6], *qd[8:]]
        for got, theirs in zip(observe(env, q, qd)[0], wanted, strict=True):
            if task in THEY_SHOW_MORE:
                assert all(np.abs(np.array(theirs) - x).min() < 1e-5 for x in got)
                assert len(theirs) - len(got) in (0, 1, 3)
            else:
                np.testing.assert_allclose(np.sort(got), np.sort(theirs), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_push_moves_the_actuator_that_the_partition_names(task):
    env = make(task)
    model = env.brax.sys.mj_model
    names = [model.joint(int(model.actuator_trnid[i, 0])).name for i in range(model.nu)]
    pushed = []
    for i, own in enumerate(env.partition):
        for j, joint in enumerate(own):
            ctrl = env.joint_action(jnp.zeros((env.team.num_agents, env.team.action_size)).at[i, j].set(1.0))
            np.testing.assert_array_equal(ctrl, np.array(names) == joint)
            pushed.append(joint)
    assert sorted(pushed) == sorted(names)


def seers_by_bumping(env, slot, of_q):
    """The agents whose observation changes when one entry of q (or qd) does."""
    model = env.brax.sys.mj_model
    q, qd = np.full(model.nq, 0.1), np.full(model.nv, 0.1)
    before, _ = observe(env, q, qd)
    (q if of_q else qd)[slot] += 0.3
    after, _ = observe(env, q, qd)
    return {i for i, (x, y) in enumerate(zip(before, after, strict=True)) if not np.array_equal(x, y)}


def blind(env):
    """Agents that miss a bump of one of their own joints, as (agent, joint)."""
    return [
        (i, joint)
        for i, own in enumerate(env.partition)
        for joint in own
        if i not in seers_by_bumping(env, env.joints.q[joint], True)
        or i not in seers_by_bumping(env, env.joints.qd[joint], False)
    ]


@pytest.mark.parametrize("task", sorted(REFERENCE))
def test_a_bump_is_seen_by_exactly_those_within_a_hop(task):
    env = make(f"mujoco/{task}")
    assert not blind(env)
    for joint in env.joints.actuator:
        near = {i for i, own in enumerate(env.partition) if any(joint in r for r in hops(own, edges(env, task), 1))}
        owner = {i for i, own in enumerate(env.partition) if joint in own}
        assert seers_by_bumping(env, env.joints.q[joint], True) == near
        assert seers_by_bumping(env, env.joints.qd[joint], False) == owner


def test_the_bump_test_finds_an_agent_that_watches_another_leg():
    """The mistake of an earlier library, planted: agent i of ant_4x2 is shown the leg of agent i + 1."""
    env = make("mujoco/ant_4x2")
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
        make(configure("mujoco/halfcheetah_2x3", partition=partition))


ONE_OF_EACH = "reacher_2x1 swimmer_2x1 swimmer_10x2 hopper_3x1 walker2d_2x3 halfcheetah_2x3 ant_4x2 humanoid_9_8".split()


@pytest.mark.parametrize("task", ONE_OF_EACH)  # how the joints are shared out does not touch the physics
def test_a_thousand_steps_pay_and_end_as_the_robot_of_brax_does(task):
    """Random and bang-bang play on the default back end: finite or counted, and rewards and ends are Brax's own."""
    env = make(f"mujoco/{task}")
    shape = (env.team.num_agents, env.team.action_size)

    def play(key, bang):
        def step(state, key):
            action = jax.random.uniform(key, shape, minval=-1.0)
            state, out = env.step(key, state, jnp.where(bang, jnp.sign(action), action))
            return state, (out, state.brax.reward, state.brax.done)

        return jax.lax.scan(step, env.reset(key)[0], jax.random.split(key, 1000))[1]

    keys = jax.random.split(jax.random.key(0))
    out, reward, done = jax.jit(jax.vmap(play))(keys, jnp.array([False, True]))
    counted = out.metrics["non_finite"] == 1
    np.testing.assert_allclose(out.reward, jnp.where(counted, 0.0, reward), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(out.terminated, counted | (done > 0))
    last = jnp.arange(1000) == env.max_episode_length - 1
    np.testing.assert_array_equal(out.truncated[:, last], ~out.terminated[:, last])
    assert not out.truncated[:, ~last & (jnp.arange(1000) < env.max_episode_length)].any()
    assert jnp.isfinite(out.observation.obs).all() and jnp.isfinite(out.observation.world_state).all()
    assert jnp.abs(out.reward).max() > 1e-3


def test_one_agent_that_sees_and_drives_everything_is_a_single_agent_task():
    """Its observation is the world state, and its sequential update is the simultaneous one: plain PPO."""
    joints = tuple(make("mujoco/halfcheetah_2x3").joints.actuator)
    env = configure("mujoco/halfcheetah_2x3", partition=(joints,), agent_obsk="all", backend="spring")
    small = {"num_envs": 2, "num_steps": 4, "total_timesteps": 8, "num_evals": 0}
    algorithms = [hamljax.make_learner(hamljax.config(a, env, **small)).algorithm for a in ("happo", "mappo_ns")]
    state, traj = jax.jit(algorithms[0].collect)(jax.jit(algorithms[0].init)(jax.random.key(0)))
    seen = traj.transitions.observation
    np.testing.assert_array_equal(seen.obs[:, :, 0], seen.world_state)
    assert seen.obs.shape[-1] == 17  # as the original's single agent
    after = [jax.jit(algorithm.learn)(state, traj)[0].agents.params for algorithm in algorithms]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), *after)


def test_a_state_that_is_not_finite_ends_the_episode_with_no_reward():
    env = make(configure("mujoco/hopper_3x1", backend="spring"))
    state, _ = jax.jit(env.reset)(jax.random.key(0))
    pipeline = state.brax.pipeline_state
    broken = state._replace(brax=state.brax.replace(pipeline_state=pipeline.replace(q=pipeline.q * jnp.nan)))
    env.brax = SimpleNamespace(step=lambda state, action: state)
    _, step = env.step(jax.random.key(0), broken, jnp.zeros((3, 1)))
    assert step.terminated and not step.truncated and step.reward == 0 and step.metrics["non_finite"] == 1
    assert jnp.isfinite(step.observation.obs).all()
