"""The names of environments in host processes."""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..envs import smax as on_device
from ..envs.registry import register_environment
from ..errors import ConfigError, lookup, one_of
from .environment import HostEnvironment
from .maps import MAPS
from .process import Launch
from .worker.hosts.mamujoco import EXTRA, TASKS

SMAC_PYTHON = Path(".venv-smac/bin/python")  # what ``make smac-env`` makes; SMAC's workers use it where it is
LAYOUTS = ("smax", "smac")  # of actions
RACES = {  # the units of SMACv2's scenarios; the last one never makes up a whole team
    "terran": ("marine", "marauder", "medivac"),
    "protoss": ("stalker", "zealot", "colossus"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}

# How its authors play it: agents see all around themselves and where they are, and shoot as far as their kind does.
SMACV2 = {"conic_fov": False, "obs_own_pos": True, "use_unit_ranges": True, "min_attack_range": 2}


def common(
    python: str = "", timeout: float = 60.0, max_restarts: int = 100, front_end: str = "loop", envs_per_worker: int = 1
) -> dict[str, Any]:
    """The settings that all have, by name.

    Args:
        python: the interpreter of the workers; empty: our own.
        timeout: seconds that a reset or a step may take.
        max_restarts: how many lost workers are replaced.
        front_end: who steps the workers: ``loop``, the host, or ``callback``, one compiled program.
        envs_per_worker: environments in one process, which moves them in turn and loses them together; 0: as many as make
            one process for each processor.
    """
    return locals()


def in_workers(**defaults: Any) -> Callable[[Callable[..., Launch]], Callable[..., HostEnvironment]]:
    """Decorator: a function that says how to start a worker, as the factory of an environment.

    Args:
        defaults: of settings of ``common``, which the factory has too.
    """
    shared = inspect.signature(functools.partial(common, **defaults)).parameters

    def decorate(launch: Callable[..., Launch]) -> Callable[..., HostEnvironment]:
        own = inspect.signature(launch).parameters

        @functools.wraps(launch)
        def factory(**settings: Any) -> HostEnvironment:
            how = launch(**{name: settings.pop(name) for name in own if name in settings})
            chosen = common(**(defaults | settings))
            front_end, python = chosen.pop("front_end"), chosen.pop("python") or how.python
            return HostEnvironment(dataclasses.replace(how, python=python, **chosen), front_end)

        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own.values(), *shared.values())]
        factory.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which only ``inspect`` knows
        return factory

    return decorate


@in_workers(envs_per_worker=0)
def smax(map_name: str = "3m", layout: str = "smax", max_steps: int = 100) -> Launch:
    """SMAX behind SMAC's interface

    Args:
        map_name: of the scenario.
        layout: of actions: ``smax``, as on the device, or ``smac``, in SMAC's order and with one to do nothing.
        max_steps: the time limit of a battle.
    """
    one_of("env.layout", layout, LAYOUTS)
    return Launch("smax", {"map_name": map_name, "layout": layout, "max_steps": _steps(max_steps)})


@in_workers(envs_per_worker=0)
def mamujoco(task: str = "halfcheetah_6x1", agent_obsk: str = "1", max_steps: int = 0) -> Launch:
    """Multi-Agent MuJoCo on MuJoCo itself, by Gymnasium-Robotics

    Args:
        task: a robot and how its joints are shared out.
        agent_obsk: to how many hops an agent sees other joints, or ``all``.
        max_steps: the time limit; 0: the task's own.
    """
    return Launch("mamujoco", {"task": task, "agent_obsk": agent_obsk, "max_steps": _steps(max_steps, least=0)})


@in_workers()
def pettingzoo(path: str = "", options: tuple[str, ...] = (), max_steps: int = 500, reward: str = "mean") -> Launch:
    """any parallel environment of PettingZoo, by import path: env.path=pettingzoo.sisl.multiwalker_v9

    Args:
        path: of the module that has ``parallel_env``.
        options: of ``parallel_env``, each ``name:value``.
        max_steps: when an episode is truncated, if it is not over before.
        reward: what the team gets, the ``mean`` of the agents' rewards or their ``sum``.
    """
    if not path:
        raise ConfigError("bridge/pettingzoo needs an import path, such as env.path=pettingzoo.sisl.multiwalker_v9")
    one_of("env.reward", reward, ("mean", "sum"))
    named = dict(map(_option, options))
    return Launch("pettingzoo", {"path": path, "options": named, "max_steps": _steps(max_steps), "reward": reward})


def _steps(count: int, least: int = 1) -> int:
    if count < least:
        raise ConfigError(f"env.max_steps must be at least {least}, not {count}")
    return count


def _option(text: str) -> tuple[str, Any]:
    """``name:value``, the value as JSON has it; what is none is a text."""
    name, colon, value = text.partition(":")
    if not (name.isidentifier() and colon and value):
        raise ConfigError(
            f"cannot read '{text}' in env.options; it wants name:value, such as env.options=[n_walkers:2]"
        )
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@in_workers()
def smac(map: str = "3m") -> Launch:
    """StarCraft II itself, by SMAC"""
    expected = lookup("env.map", map, MAPS).spec
    return Launch("smac", {"map_name": map}, _smac_python(), expected=expected)


@in_workers()
def smacv2(race: str = "terran", num_allies: int = 5, num_enemies: int = 5) -> Launch:
    """StarCraft II with random teams and places, by SMACv2

    Args:
        race: of both sides, a key of RACES.
        num_allies: N.
        num_enemies: whom they fight.
    """
    units = lookup("env.race", race, RACES)
    capabilities = {
        "n_units": num_allies,
        "n_enemies": num_enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(units),
            "weights": [0.45, 0.45, 0.1],
            "exception_unit_types": [units[-1]],
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": 0.5,
            "n_enemies": num_enemies,
            "map_x": 32,
            "map_y": 32,
        },
    }
    settings = {"map_name": f"10gen_{race}", "capabilities": capabilities, **SMACV2}
    return Launch("smacv2", settings, _smac_python())


def _smac_python() -> str:
    return str(SMAC_PYTHON.absolute()) if SMAC_PYTHON.is_file() else ""


@in_workers()
def host(path: str = "", options: tuple[str, ...] = ()) -> Launch:
    """a host of your own: env.path=module.Class, its settings env.options=[name:value]

    Args:
        path: of the class.
        options: its settings, each ``name:value``.
    """
    if "." not in path:
        raise ConfigError("bridge/host needs a class, such as env.path=my_module.MyHost")
    return Launch(path, dict(map(_option, options)))


for _map in on_device.MAPS:
    register_environment(f"bridge/smax_{_map}", smax, map_name=_map)
for _task in TASKS | EXTRA:
    register_environment(f"bridge/mamujoco_{_task}", mamujoco, task=_task)
for _factory in (smac, smacv2, pettingzoo, host):
    register_environment(f"bridge/{_factory.__name__}", _factory)
