"""Who drives which joints of a robot, and who sees which: partitions and joint graphs, by joint name.

A partition gives every actuated joint to exactly one agent. The joint graph is a list of hyperedges: joints that share
one are adjacent. An agent sees its own joints, and those within k hops of any of them (Peng et al., 2021, section 4).
"""

import dataclasses
import re

from ...errors import ConfigError, nearest

Partition = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A robot's joint graph and its named partitions.

    edges: hyperedges of actuated joints. partitions: ``{"6x1": ((joint, ...) per agent, ...)}``; an agent's action
    follows the order of its joints. hidden_q, hidden_qd: root coordinates that no agent sees, as positions in q and qd.
    """

    edges: tuple[tuple[str, ...], ...]
    partitions: dict[str, Partition]
    hidden_q: tuple[int, ...] = ()
    hidden_qd: tuple[int, ...] = ()


def _each(*joints: str) -> Partition:
    return tuple((joint,) for joint in joints)


def _chain(*joints: str) -> tuple[tuple[str, ...], ...]:
    return tuple(zip(joints, joints[1:], strict=False))


_CHEETAH = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
_CHAIN = ("bfoot", "bshin", "bthigh", "fthigh", "fshin", "ffoot")
_RIGHT = ("foot_joint", "leg_joint", "thigh_joint")
_LEFT = ("foot_left_joint", "leg_left_joint", "thigh_left_joint")
_LEGS = tuple((f"hip_{i}", f"ankle_{i}") for i in (1, 2, 3, 4))
_ABDOMEN = ("abdomen_x", "abdomen_y", "abdomen_z")
_R_HIP, _L_HIP = (tuple(f"{side}_hip_{axis}" for axis in "xyz") for side in ("right", "left"))
_R_SHOULDER, _L_SHOULDER = (tuple(f"{side}_shoulder{i}" for i in (1, 2)) for side in ("right", "left"))

SKELETONS = {
    "reacher": Skeleton((("joint0", "joint1"),), {"2x1": _each("joint0", "joint1")}),
    "hopper": Skeleton(
        (("foot_joint", "leg_joint"), ("leg_joint", "thigh_joint")),
        {"3x1": _each("thigh_joint", "leg_joint", "foot_joint")},
        hidden_q=(0,),
    ),
    "walker2d": Skeleton(
        (*_chain(*_RIGHT), *_chain(*_LEFT), ("thigh_joint", "thigh_left_joint")),
        {
            "2x3": (_RIGHT, _LEFT),
            "3x2": (_RIGHT[:2], (_RIGHT[2], _LEFT[0]), _LEFT[1:]),
            "6x1": _each(*_RIGHT, *_LEFT),
        },
        hidden_q=(0,),
    ),
    "halfcheetah": Skeleton(
        _chain(*_CHAIN),
        {
            "2x3": (_CHEETAH[:3], _CHEETAH[3:]),
            "3x2": (("bfoot", "bshin"), ("bthigh", "ffoot"), ("fshin", "fthigh")),
            "6x1": _each(*_CHEETAH),
        },
        hidden_q=(0,),
    ),
    "coupled_halfcheetah": Skeleton(
        tuple(edge for number in "01" for edge in _chain(*(joint + number for joint in _CHAIN))),
        {"1p1": tuple(tuple(joint + number for joint in _CHEETAH) for number in "01")},
        hidden_q=(0, 9),
    ),
    "ant": Skeleton(
        (*((ankle, hip) for hip, ankle in _LEGS), tuple(hip for hip, _ in _LEGS)),
        {
            "2x4": (_LEGS[0] + _LEGS[1], _LEGS[2] + _LEGS[3]),
            # Opposite legs, as the name says. Gymnasium-Robotics pairs legs of one side under the same name: 2x4d_gr.
            "2x4d": (_LEGS[0] + _LEGS[2], _LEGS[1] + _LEGS[3]),
            "2x4d_gr": (_LEGS[0] + _LEGS[3], _LEGS[1] + _LEGS[2]),
            "4x2": _LEGS,
            "8x1": _each(*(joint for leg in _LEGS for joint in leg)),
        },
        hidden_q=(0, 1),
    ),
    "humanoid": Skeleton(
        (
            _ABDOMEN,
            _R_HIP,
            _L_HIP,
            (*_L_SHOULDER, "left_elbow"),
            (*_R_SHOULDER, "right_elbow"),
            (*_L_HIP, "left_knee"),
            (*_R_HIP, "right_knee"),
            (*_L_SHOULDER, *_ABDOMEN),
            (*_R_SHOULDER, *_ABDOMEN),
            (*_ABDOMEN, *_L_HIP),
            (*_ABDOMEN, *_R_HIP),
        ),
        {
            "9_8": (
                (*_ABDOMEN, *_R_SHOULDER, "right_elbow", *_L_SHOULDER, "left_elbow"),
                (*_R_HIP, "right_knee", *_L_HIP, "left_knee"),
            ),
            "17x1": _each(
                *_L_SHOULDER, *_ABDOMEN, *_R_SHOULDER, "right_elbow", "left_elbow",
                "left_hip_x", "left_hip_y", "left_hip_z", "right_hip_x", "right_hip_y", "right_hip_z",
                "right_knee", "left_knee",
            ),
        },
        hidden_q=(0, 1),
    ),
}  # fmt: skip


def limb(joint: str) -> str:
    """What a joint's name says without side, end and number: ``hip_3`` is a hip, ``bthigh`` and ``thigh_left_joint`` thighs."""
    name = re.sub(r"^(right|left)_|_left(?=_)|_joint$|_?\d+$", "", joint)
    return re.sub(r"^[bf](?=thigh|shin|foot)", "", name)


def swimmer_skeleton(num_joints: int, agents: int) -> Skeleton:
    """A chain of ``num_joints`` rotors shared out among ``agents`` in equal runs; the root's place is hidden, not its heading."""
    joints = tuple(f"rot{i}" for i in range(num_joints))
    size = num_joints // agents
    parts = tuple(joints[i : i + size] for i in range(0, num_joints, size))
    return Skeleton(_chain(*joints), {f"{agents}x{size}": parts}, hidden_q=(0, 1), hidden_qd=(0, 1))


def check_partition(partition: Partition, joints: tuple[str, ...]) -> None:
    """Check that every one of ``joints`` belongs to exactly one agent and every agent has some.

    Raises:
        ConfigError: it is not so.
    """
    seen: set[str] = set()
    for agent in partition:
        if not agent:
            raise ConfigError("env.partition has an agent without joints")
        for joint in agent:
            if joint not in joints:
                raise ConfigError(f"env.partition: no joint '{joint}'{nearest(joint, joints)}")
            if joint in seen:
                raise ConfigError(f"env.partition: joint '{joint}' is given to two agents, or twice to one")
            seen.add(joint)
    if missing := [joint for joint in joints if joint not in seen]:
        raise ConfigError(f"env.partition: no agent drives {', '.join(missing)}")


def hops(own: tuple[str, ...], edges: tuple[tuple[str, ...], ...], depth: int) -> list[tuple[str, ...]]:
    """Joints at distance 0, 1, ..., ``depth`` from an agent's joints, each sorted by name; distance counts joints.

    Args:
        own: the agent's joints.
        edges: the hyperedges of the joint graph.
        depth: the largest distance.
    """
    rings, seen = [tuple(sorted(own))], set(own)
    for _ in range(depth):
        ring = {joint for edge in edges if set(edge) & set(rings[-1]) for joint in edge} - seen
        seen |= ring
        rings.append(tuple(sorted(ring)))
    return rings
