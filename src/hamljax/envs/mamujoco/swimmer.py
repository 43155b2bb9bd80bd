"""Swimmers of any number of segments on MJX.

Brax's own swimmer class runs on its generalized back end alone, whose fluid model does not work with the pinned JAX.
"""

import jax
import jax.numpy as jnp
from brax.envs.base import PipelineEnv, State
from brax.io import mjcf
from jaxtyping import Array, Float, Key

_HEAD = """
<mujoco model="swimmer">
  <compiler angle="degree" inertiafromgeom="true"/>
  <option density="4000" timestep="0.01" viscosity="0.1"/>
  <default>
    <geom conaffinity="0" condim="3" contype="0" density="1000" rgba="0.8 0.6 0.4 1" size="0.1" type="capsule"/>
    <joint armature="0.1" type="hinge"/>
    <motor ctrllimited="true" ctrlrange="-1 1" gear="150"/>
  </default>
  <worldbody>
    <light cutoff="100" dir="0 0 -1.3" directional="true" pos="0 0 1.3"/>
    <geom conaffinity="1" name="floor" pos="0 0 -0.1" rgba="0.8 0.9 0.8 1" size="40 40 0.1" type="plane"/>
    <body name="torso">
      <geom fromto="1.5 0 0 0.5 0 0"/>
      <joint axis="1 0 0" name="slider1" type="slide"/>
      <joint axis="0 1 0" name="slider2" type="slide"/>
      <joint axis="0 0 1" name="rot"/>
"""


def model(num_joints: int) -> str:
    """MJCF of a chain of ``num_joints + 1`` rods of length 1, joined by hinges ``rot0``, ``rot1``, ..."""
    rods = [
        f'<body name="rod{i}" pos="{0.5 if i == 0 else -1} 0 0"><geom fromto="0 0 0 -1 0 0"/>'
        f'<joint axis="0 0 1" limited="true" name="rot{i}" range="-100 100"/>'
        for i in range(num_joints)
    ]
    motors = [f'<motor joint="rot{i}"/>' for i in range(num_joints)]
    end = "</body>" * (num_joints + 1) + f"</worldbody><actuator>{''.join(motors)}</actuator></mujoco>"
    return _HEAD + "".join(rods) + end


class Swimmer(PipelineEnv):
    """Reward: forward speed minus ``1e-4`` times the squared action, as in Gymnasium; it never terminates."""

    def __init__(self, num_joints: int = 2):
        super().__init__(mjcf.loads(model(num_joints)), backend="mjx", n_frames=4)

    def reset(self, rng: Key[Array, ""]) -> State:
        q_key, qd_key = jax.random.split(rng)
        q = self.sys.init_q + jax.random.uniform(q_key, (self.sys.q_size(),), minval=-0.1, maxval=0.1)
        qd = jax.random.uniform(qd_key, (self.sys.qd_size(),), minval=-0.1, maxval=0.1)
        zero = jnp.zeros(())
        return State(self.pipeline_init(q, qd), jnp.zeros(0), zero, zero, {})

    def step(self, state: State, action: Float[Array, " A"]) -> State:
        before = state.pipeline_state
        after = self.pipeline_step(before, action)
        reward = (after.q[0] - before.q[0]) / self.dt - 1e-4 * jnp.sum(action**2)
        return state.replace(pipeline_state=after, reward=reward)
