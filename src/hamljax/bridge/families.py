"""The names of environments in host processes. Four settings are common to all:

python: the interpreter of the workers; empty for our own. timeout: seconds that a step may take. max_restarts: how many lost
workers are replaced. front_end: ``loop``, or ``callback`` for one compiled program.
"""

from pathlib import Path

from ..envs.registry import register_environment
from ..envs.smax import MAPS
from ..errors import ConfigError, nearest
from .environment import HostEnvironment
from .pool import Launch
from .worker.hosts.mamujoco import EXTRA, TASKS

SMAC_PYTHON = Path(".venv-smac/bin/python")  # what ``make smac-env`` makes; SMAC's workers use it where it is
RACES = {  # the units of SMACv2's scenarios; the last one never makes up a whole team
    "terran": ("marine", "marauder", "medivac"),
    "protoss": ("stalker", "zealot", "colossus"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}


def smax(
    map_name: str = "3m",
    layout: str = "smax",
    max_steps: int = 100,
    timeout: float = 60.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """SMAX behind SMAC's interface"""
    settings = {"map_name": map_name, "layout": layout, "max_steps": max_steps}
    return HostEnvironment(Launch("smax", settings, "", timeout, max_restarts), front_end)


def mamujoco(
    task: str = "halfcheetah_6x1",
    agent_obsk: str = "1",
    max_steps: int = 0,
    python: str = "",
    timeout: float = 60.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """Multi-Agent MuJoCo on MuJoCo itself, by Gymnasium-Robotics"""
    settings = {"task": task, "agent_obsk": agent_obsk, "max_steps": max_steps}
    return HostEnvironment(Launch("mamujoco", settings, python, timeout, max_restarts), front_end)


def pettingzoo(
    path: str = "",
    max_steps: int = 500,
    reward: str = "mean",
    python: str = "",
    timeout: float = 60.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """any parallel environment of PettingZoo, by import path: env.path=pettingzoo.sisl.multiwalker_v9"""
    if not path:
        raise ConfigError("bridge/pettingzoo needs an import path, such as env.path=pettingzoo.sisl.multiwalker_v9")
    settings = {"path": path, "max_steps": max_steps, "reward": reward}
    return HostEnvironment(Launch("pettingzoo", settings, python, timeout, max_restarts), front_end)


def smac(
    map: str = "3m",
    python: str = "",
    timeout: float = 120.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """StarCraft II itself, by SMAC"""
    return HostEnvironment(Launch("smac", {"map_name": map}, _smac_python(python), timeout, max_restarts), front_end)


def smacv2(
    race: str = "terran",
    num_allies: int = 5,
    num_enemies: int = 5,
    python: str = "",
    timeout: float = 120.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """StarCraft II with random teams and places, by SMACv2"""
    if race not in RACES:
        raise ConfigError(f"unknown env.race '{race}'{nearest(race, RACES)}")
    settings = {
        "map_name": f"10gen_{race}",
        "capabilities": {
            "n_units": num_allies,
            "n_enemies": num_enemies,
            "team_gen": {
                "dist_type": "weighted_teams",
                "unit_types": list(RACES[race]),
                "weights": [0.45, 0.45, 0.1],
                "exception_unit_types": [RACES[race][-1]],
                "observe": True,
            },
            "start_positions": {
                "dist_type": "surrounded_and_reflect",
                "p": 0.5,
                "n_enemies": num_enemies,
                "map_x": 32,
                "map_y": 32,
            },
        },
    }
    return HostEnvironment(Launch("smacv2", settings, _smac_python(python), timeout, max_restarts), front_end)


def _smac_python(python: str) -> str:
    return python or (str(SMAC_PYTHON.absolute()) if SMAC_PYTHON.is_file() else "")


def host(
    path: str = "",
    python: str = "",
    timeout: float = 60.0,
    max_restarts: int = 100,
    front_end: str = "loop",
) -> HostEnvironment:
    """a host of your own: env.path=module.Class"""
    if "." not in path:
        raise ConfigError("bridge/host needs a class, such as env.path=my_module.MyHost")
    return HostEnvironment(Launch(path, {}, python, timeout, max_restarts), front_end)


for _map in MAPS:
    register_environment(f"bridge/smax_{_map}", smax, map_name=_map)
for _task in TASKS | EXTRA:
    register_environment(f"bridge/mamujoco_{_task}", mamujoco, task=_task)
for _factory in (smac, smacv2, pettingzoo, host):
    register_environment(f"bridge/{_factory.__name__}", _factory)
