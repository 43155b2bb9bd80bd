"""Two half-cheetahs tied together by an elastic tendon, on MJX: Brax's other back ends load a tendon but do not simulate it."""

import copy
from importlib import resources
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
from brax.envs.base import PipelineEnv, State
from brax.io import mjcf
from jaxtyping import Array, Float, Key

SIZE = 9  # entries of q (and of qd) per cheetah
MASS, APART, REACH = 7.0, 2.0, 3.5  # kg of one cheetah, m between their tracks, m that the tendon reaches
# How far a unit impulse of the tendon at its full length parts the two (1/kg). MuJoCo computes it where they start, side
# by side, where the tendon pulls on no joint: it finds 0, a limit of infinite hardness, which single precision cannot solve.
_YIELD = 2 / MASS * (1 - (APART / REACH) ** 2)
_TENDON = """
<tendon>
  <spatial limited="true" name="tendon" range="1.5 3.5" stiffness="0.1" width="0.05">
    <site site="tie0"/><site site="tie1"/>
  </spatial>
</tendon>"""


def model() -> str:
    """MJCF: Brax's half-cheetah twice, side by side, every name with the number of its cheetah, and the tendon.

    As in the original, the two share the mass of one (14 kg).
    """
    root = ElementTree.fromstring(resources.files("brax").joinpath("envs/assets/half_cheetah.xml").read_text("utf-8"))
    for settings in root.findall("custom"):  # of the back ends that are not used
        root.remove(settings)
    world, motors = _part(root, "worldbody"), _part(root, "actuator")
    body, single = _part(world, "body"), list(motors)
    world.remove(body)
    for motor in single:
        motors.remove(motor)
    for number in (0, 1):
        cheetah = _renamed(body, number)
        x, _, z = cheetah.attrib["pos"].split()
        cheetah.set("pos", f"{x} {2 * number - 1} {z}")
        cheetah.insert(0, ElementTree.Element("site", name=f"tie{number}", size="0.1"))
        world.append(cheetah)
        motors.extend(_renamed(motor, number) for motor in single)
    root.append(ElementTree.fromstring(_TENDON))
    return ElementTree.tostring(root, encoding="unicode")


def _part(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(tag)
    assert found is not None
    return found


def _renamed(element: ElementTree.Element, number: int) -> ElementTree.Element:
    """A copy whose names, and those of the joints that it speaks of, end with ``number``."""
    element = copy.deepcopy(element)
    for part in element.iter():
        for attribute in ("name", "joint"):
            if part.get(attribute):
                part.set(attribute, f"{part.get(attribute)}{number}")
    return element


class CoupledCheetahs(PipelineEnv):
    """Reward: mean forward speed of the two minus 0.05 times the squared action; it never terminates."""

    def __init__(self) -> None:
        sys = mjcf.loads(model())
        super().__init__(sys.replace(tendon_invweight0=jnp.full_like(sys.tendon_invweight0, _YIELD)), "mjx", n_frames=5)

    def reset(self, rng: Key[Array, ""]) -> State:
        q_key, qd_key = jax.random.split(rng)
        q = self.sys.init_q + jax.random.uniform(q_key, (self.sys.q_size(),), minval=-0.1, maxval=0.1)
        qd = 0.1 * jax.random.normal(qd_key, (self.sys.qd_size(),))
        zero = jnp.zeros(())
        return State(self.pipeline_init(q, qd), jnp.zeros(0), zero, zero, {})

    def step(self, state: State, action: Float[Array, " A"]) -> State:
        before = state.pipeline_state
        after = self.pipeline_step(before, action)
        speed = (after.q[::SIZE] - before.q[::SIZE]) / self.dt
        reward = jnp.mean(speed) - 0.05 * jnp.sum(action**2)
        return state.replace(pipeline_state=after, reward=reward)
