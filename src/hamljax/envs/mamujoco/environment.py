"""A Brax robot shared out among agents, on the environment protocol."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ...errors import ConfigError, one_of
from ..protocol import Action, Environment, Observation, Step, Team
from ..silence import import_mujoco, silence
from .partitions import SKELETONS, Partition, Skeleton, check_partition, hops, limb, swimmer_skeleton

BACKENDS = ("generalized", "spring", "positional", "mjx")
EPISODE_LENGTH = {"reacher": 50}  # 1000 for the others
VELOCITY_CLIP = {"hopper": 10.0}
ANGLES_AS_SIN_COS = ("reacher",)
MJX_ONLY = {"swimmer": "swimmers need a fluid", "coupled": "the two cheetahs need a tendon"}


class RobotState(NamedTuple):
    """Brax's state and the number of steps taken."""

    brax: Any
    time: Int[Array, ""]


class Joints(NamedTuple):
    """Where the joints of a model stand, by name: position in q, in qd, and among the actuators (actuated ones only)."""

    q: dict[str, int]
    qd: dict[str, int]
    actuator: dict[str, int]
    root_q: tuple[int, ...]
    root_qd: tuple[int, ...]

    @classmethod
    def of(cls, model: Any) -> "Joints":
        """Read them from a compiled MuJoCo model: every joint that no actuator drives belongs to the root."""
        actuator = {model.joint(int(model.actuator_trnid[i, 0])).name: i for i in range(model.nu)}
        address = {model.joint(i).name: (model.jnt_qposadr[i], model.jnt_dofadr[i]) for i in range(model.njnt)}
        driven = {int(address[name][0]) for name in actuator}, {int(address[name][1]) for name in actuator}
        return cls(
            {name: int(q) for name, (q, _) in address.items()},
            {name: int(qd) for name, (_, qd) in address.items()},
            actuator,
            tuple(i for i in range(model.nq) if i not in driven[0]),
            tuple(i for i in range(model.nv) if i not in driven[1]),
        )


class Features:
    """The numbers an agent may see, as one vector of which every agent gets some: q, qd, and sin and cos of q."""

    def __init__(self, robot: str, num_q: int, num_qd: int):
        self.num_q, self.num_qd = num_q, num_qd
        self.clip = VELOCITY_CLIP.get(robot, np.inf)
        self.sin_cos = robot in ANGLES_AS_SIN_COS

    def __call__(self, q: Float[Array, " Q"], qd: Float[Array, " D"]) -> Float[Array, " 3*Q+D"]:
        return jnp.concatenate([q, jnp.clip(qd, -self.clip, self.clip), jnp.sin(q), jnp.cos(q)])

    def position(self, slot: int) -> list[int]:
        """Where a joint's position stands: one entry, or its sine and cosine."""
        if not self.sin_cos:
            return [slot]
        return [self.num_q + self.num_qd + slot, 2 * self.num_q + self.num_qd + slot]

    def velocity(self, slot: int) -> list[int]:
        """Where a joint's velocity stands."""
        return [self.num_q + slot]


def observation_map(
    own: tuple[str, ...], skeleton: Skeleton, joints: Joints, features: Features, depth: int, velocities: bool
) -> list[int]:
    """Which features one agent sees: per ring of hops the joints by name, position then velocity; then the root's.

    Args:
        own: the agent's joints, by name.
        skeleton: the robot's joint graph, and what of its root is hidden.
        joints: where they stand in the model.
        features: all that can be seen.
        depth: to how many hops the agent sees.
        velocities: whether it sees its neighbours' velocities, as it does its own.
    """
    seen: list[int] = []
    for distance, ring in enumerate(hops(own, skeleton.edges, depth)):
        for joint in ring:
            seen += features.position(joints.q[joint])
            if distance == 0 or velocities:
                seen += features.velocity(joints.qd[joint])
    seen += [slot for slot in joints.root_q if slot not in skeleton.hidden_q]
    if not features.sin_cos:  # the reacher's root is its target, which does not move
        seen += [features.velocity(slot)[0] for slot in joints.root_qd if slot not in skeleton.hidden_qd]
    return seen


@functools.cache
def _brax(robot: str, backend: str) -> Any:
    """Brax's environment of that name, or one of our own; built once."""
    with silence():
        mujoco = import_mujoco()
        # MuJoCo dislikes an attribute of Brax's models; it would say so on the terminal and in a file where it stands.
        mujoco.set_mju_user_warning(lambda message: None)
        try:
            return _build(robot, backend)
        finally:
            mujoco.set_mju_user_warning(None)


def _build(robot: str, backend: str) -> Any:
    if robot.startswith("swimmer"):
        from .swimmer import Swimmer

        return Swimmer(int(robot.removeprefix("swimmer")))
    if robot == "coupled_halfcheetah":
        from .cheetahs import CoupledCheetahs

        return CoupledCheetahs()
    from brax import envs

    return envs.get_environment(robot, backend=backend)


class MultiAgentMujoco(Environment):
    """A robot whose joints are shared out among agents; each sees its own joints and those within k hops.

    The reward is the robot's. Falling terminates, ``max_steps`` truncates. A state that stops being finite ends the
    episode with reward 0 and counts in the metric ``non_finite``.

    Args:
        robot: a name of ``SKELETONS``, or ``swimmer`` with its number of joints.
        task: the name of one of its partitions.
        partition: another one, the joints of every agent by name; empty: that of the task.
        agent_obsk: to how many hops in the joint graph an agent sees other joints, or ``all``.
        neighbour_velocities: whether it sees their velocities too.
        backend: of Brax; empty: ``generalized``, or ``mjx`` where only that has what the robot needs.
        max_steps: the time limit; 0: the task's own.

    Raises:
        ConfigError: a setting is none of these, or a joint is driven by nobody or twice.

    References:
        Peng et al., 2021, arXiv:2003.06709, section 4.
    """

    needs_obs_norm = True

    def __init__(
        self,
        robot: str,
        task: str,
        partition: tuple[tuple[str, ...], ...] = (),
        agent_obsk: str = "1",
        neighbour_velocities: bool = False,
        backend: str = "",
        max_steps: int = 0,
    ):
        needs_mjx = next((why for start, why in MJX_ONLY.items() if robot.startswith(start)), None)
        backend = backend or ("mjx" if needs_mjx else "generalized")
        one_of("env.backend", backend, BACKENDS)
        if needs_mjx and backend != "mjx":
            raise ConfigError(f"env.backend={backend}: {needs_mjx}, which only mjx has here")
        if max_steps < 0:
            raise ConfigError(f"env.max_steps must be at least 1 (or 0 for the task's own), not {max_steps}")
        self.max_episode_length = max_steps or EPISODE_LENGTH.get(robot, 1000)
        self.brax = _brax(robot, backend)
        self.joints = Joints.of(self.brax.sys.mj_model)
        if robot.startswith("swimmer"):
            skeleton = swimmer_skeleton(len(self.joints.actuator), int(task.split("x")[0]))
        else:
            skeleton = SKELETONS[robot]
        self.partition: Partition = partition or skeleton.partitions[task]
        check_partition(self.partition, tuple(self.joints.actuator))

        agent_obsk = str(agent_obsk)  # a number, from Python
        if agent_obsk == "all":
            skeleton = dataclasses.replace(skeleton, edges=(tuple(self.joints.actuator),))
        self.features = Features(robot, self.brax.sys.q_size(), self.brax.sys.qd_size())
        see = functools.partial(
            observation_map,
            skeleton=skeleton,
            joints=self.joints,
            features=self.features,
            depth=self._depth(agent_obsk),
            velocities=neighbour_velocities or agent_obsk == "all",
        )
        self.maps = [see(own) for own in self.partition]
        # The critic judges speed, so it sees every rate, also those of the swimmer's root that no agent does.
        whole = dataclasses.replace(skeleton, hidden_qd=())
        self._state_map = np.array(see(tuple(self.joints.actuator), skeleton=whole))
        self.team = Team(
            obs_sizes=tuple(map(len, self.maps)),
            action_sizes=tuple(map(len, self.partition)),
            world_state_size=len(self._state_map),
            discrete=False,
            kinds=tuple("+".join(map(limb, own)) for own in self.partition),
        )
        self._gather = np.array([np.pad(seen, (0, self.team.obs_size - len(seen))) for seen in self.maps])
        owner = {joint: (i, j) for i, own in enumerate(self.partition) for j, joint in enumerate(own)}
        self._drivers = np.array([owner[joint] for joint in self.joints.actuator])  # (actuators, 2): agent, slot

    def _depth(self, agent_obsk: str) -> int:
        if agent_obsk == "all":
            return 1  # everybody is everybody's neighbour then
        if not agent_obsk.isdecimal():
            raise ConfigError(f"env.agent_obsk must be a number of hops (0, 1, 2, ...) or all, not '{agent_obsk}'")
        return int(agent_obsk)

    def reset(self, key: Key[Array, ""]) -> tuple[RobotState, Observation]:
        brax = self.brax.reset(key)
        return RobotState(brax, jnp.zeros((), jnp.int32)), self._observe(brax.pipeline_state)

    def step(self, key: Key[Array, ""], state: RobotState, action: Action) -> tuple[RobotState, Step]:
        before = state.brax.replace(metrics=dict(state.brax.metrics))  # Brax writes into the dictionary it is given
        brax = self.brax.step(before, self.joint_action(action))
        pipeline, time = brax.pipeline_state, state.time + 1
        finite = jnp.isfinite(pipeline.q).all() & jnp.isfinite(pipeline.qd).all() & jnp.isfinite(brax.reward)
        terminated = ~finite | (brax.done > 0)
        truncated = (time >= self.max_episode_length) & ~terminated
        observation = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), self._observe(pipeline))
        observation = observation._replace(**self._fixed())
        metrics = {"non_finite": 1.0 - finite}
        state = RobotState(brax, time)
        return state, Step(observation, jnp.where(finite, brax.reward, 0.0), terminated, truncated, metrics)

    def joint_action(self, action: Float[Array, "N A"]) -> Float[Array, " actuators"]:
        """The agents' actions in the order of the actuators of the robot's model."""
        return action[self._drivers[:, 0], self._drivers[:, 1]]

    def _fixed(self) -> dict[str, Array]:
        """What never changes in an observation: everybody lives, and acts with all its joints."""
        return {"avail_actions": jnp.asarray(self.team.action_mask), "alive": jnp.ones(self.team.num_agents, bool)}

    def _observe(self, pipeline: Any) -> Observation:
        features = self.features(pipeline.q, pipeline.qd)
        obs = jnp.where(self.team.obs_mask, features[self._gather], 0.0)
        return Observation(obs, features[self._state_map], **self._fixed())
