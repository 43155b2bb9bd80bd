"""Multi-Agent MuJoCo on Brax: the robot's joints are shared out among agents."""

from ...errors import ConfigError
from ..registry import register_environment
from .environment import MultiAgentMujoco
from .partitions import SKELETONS

SWIMMERS = {"swimmer_2x1": (2, 1), "swimmer_10x2": (10, 2), "swimmer_5x4": (5, 4)}


def any_swimmer(
    num_agents: int = 10,
    joints_per_agent: int = 2,
    partition: tuple[tuple[str, ...], ...] = (),
    agent_obsk: str = "1",
    neighbour_velocities: bool = False,
    backend: str = "",
    max_steps: int = 0,
) -> MultiAgentMujoco:
    """swimmer of any length: num_agents with joints_per_agent joints each

    Args:
        num_agents: N.
        joints_per_agent: how many neighbouring joints each drives; the other settings are those of ``MultiAgentMujoco``.

    Raises:
        ConfigError: a number is below 1, or as of ``MultiAgentMujoco``.
    """
    if num_agents < 1 or joints_per_agent < 1:
        raise ConfigError("env.num_agents and env.joints_per_agent must be at least 1")
    robot, task = f"swimmer{num_agents * joints_per_agent}", f"{num_agents}x{joints_per_agent}"
    return MultiAgentMujoco(robot, task, partition, agent_obsk, neighbour_velocities, backend, max_steps)


for _robot, _skeleton in SKELETONS.items():
    for _task, _partition in _skeleton.partitions.items():
        register_environment(
            f"mamujoco/{_robot}_{_task}",
            MultiAgentMujoco,
            summary=f"{_robot}: {sum(map(len, _partition))} joints, {len(_partition)} agents",
            robot=_robot,
            task=_task,
        )
for _name, (_agents, _each) in SWIMMERS.items():
    register_environment(
        f"mamujoco/{_name}",
        any_swimmer,
        summary=f"swimmer: {_agents * _each} joints, {_agents} agents",
        num_agents=_agents,
        joints_per_agent=_each,
    )
register_environment("mamujoco/swimmer_nxm", any_swimmer)
