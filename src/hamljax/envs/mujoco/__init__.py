"""Multi-Agent MuJoCo on Brax: the robot's joints are shared out among agents."""

from ..registry import register_environment
from .environment import MultiAgentMujoco
from .partitions import SKELETONS

SWIMMERS = {"swimmer_2x1": (2, "2x1"), "swimmer_10x2": (20, "10x2"), "swimmer_5x4": (20, "5x4")}


for _robot, _skeleton in SKELETONS.items():
    for _task, _partition in _skeleton.partitions.items():
        register_environment(
            f"mujoco/{_robot}_{_task}",
            MultiAgentMujoco,
            summary=f"{_robot}: {sum(map(len, _partition))} joints, {len(_partition)} agents",
            robot=_robot,
            task=_task,
        )
for _name, (_joints, _task) in SWIMMERS.items():
    register_environment(
        f"mujoco/{_name}",
        MultiAgentMujoco,
        summary=f"swimmer: {_joints} joints, {_task.split('x')[0]} agents",
        robot=f"swimmer{_joints}",
        task=_task,
    )
