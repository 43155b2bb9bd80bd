"""``hamljax doctor``: what this machine can run, and for what it cannot, the next step."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys

import numpy as np

from ..bridge.families import SMAC_PYTHON, smacv2
from ..bridge.pool import Launch, Pool, WorkerBug
from ..errors import ConfigError, Stopped, one_line

PACKAGES = ("jax", "jaxlib", "flax", "optax", "brax", "jaxmarl", "numpy")
NOT_SMAC = "the package 'smac' there is a hyper-parameter optimiser of the same name"

MODULES = "numpy,pysc2,smac,smac.env,smac.facade,smacv2,gymnasium_robotics,pettingzoo"
DISTRIBUTIONS = "pysc2,smac,smacv2,gymnasium-robotics,pettingzoo"

# What an interpreter has; it runs there, so it is Python 3.8.
ASK = """
import importlib.util, json, os, sys
def has(name):
    try: return importlib.util.find_spec(name) is not None
    except Exception: return False
def version(name):
    try:
        from importlib.metadata import version
        return version(name)
    except Exception: return ""
game = os.path.expanduser(os.environ.get("SC2PATH", "~/StarCraftII"))
print(json.dumps({
    "python": sys.version.split()[0],
    "modules": [n for n in sys.argv[1].split(",") if has(n)],
    "versions": {n: version(n) for n in sys.argv[2].split(",")},
    "game": game,
    "game found": os.path.isdir(os.path.join(game, "Versions")),
    "maps found": os.path.isdir(os.path.join(game, "Maps", "SMAC_Maps")),
}))
"""


def examine(python: str) -> dict | None:
    """What the interpreter ``python`` has; None if it cannot be run."""
    try:
        done = subprocess.run([python, "-c", ASK, MODULES, DISTRIBUTIONS], capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None


def missing(host: str, found: dict, python: str) -> str:
    """The exact next step for a host that ``found`` (an interpreter) cannot run; empty if nothing is seen to be missing."""
    modules = found["modules"]
    if "numpy" not in modules:
        return f"{python} -m pip install numpy"
    if host == "mamujoco" and "gymnasium_robotics" not in modules:
        return f"{python} -m pip install gymnasium-robotics 'gymnasium[mujoco]'"
    if host == "pettingzoo" and "pettingzoo" not in modules:
        return f"{python} -m pip install 'pettingzoo[sisl]', or the family that you want"
    if host in ("smac", "smacv2"):
        package = {"smac": "smac.env", "smacv2": "smacv2"}[host]
        if "pysc2" not in modules:
            return "make smac-env, which makes .venv-smac with pysc2 and the protobuf that it needs"
        if package not in modules:
            step = f"{python} -m pip install git+https://github.com/oxwhirl/{host}.git"
            wrong = host == "smac" and "smac.facade" in modules
            return f"{NOT_SMAC}: {python} -m pip uninstall smac; {step}" if wrong else step
        if not found["game found"]:
            return f"install StarCraft II (Linux, 4.10) in {found['game']}, or set SC2PATH to where it is"
        if not found["maps found"]:
            return f"put SMAC's maps into {found['game']}/Maps/SMAC_Maps"
    return ""


def trial(host: str, python: str) -> str:
    """Three steps of one worker, in words."""
    settings = {
        "smax": {"map_name": "3m"},
        "mamujoco": {"task": "halfcheetah_6x1"},
        "pettingzoo": {"path": "pettingzoo.sisl.pursuit_v5"},
        "smacv2": smacv2().launch.settings,
    }.get(host, {})
    try:
        pool = Pool(Launch(host, settings, python, timeout=120.0, max_restarts=0), 1)
    except ConfigError as error:
        return str(error)
    try:
        keys = np.zeros((1, 2), np.uint32)
        seen = pool.reset(keys)
        for _ in range(3):
            action = (
                seen["avail_actions"].argmax(-1) if pool.spec["discrete"] else np.zeros(seen["avail_actions"].shape)
            )
            seen = pool.step(action, keys, keys).seen
        agents, name = len(pool.spec["obs_sizes"]), next(iter(settings.values()), "")
        return (
            f"three steps of {name} with {agents} agents: fine" if name else f"three steps with {agents} agents: fine"
        )
    except (Stopped, WorkerBug) as error:
        return f"three steps: {one_line(error)}"
    finally:
        pool.close()


def rows(python: str = "") -> list[tuple[str, str, str]]:
    """(what, where, how it is) of the host environments. ``python``: an interpreter to look at besides our own."""
    table = []
    for host in ("smax", "mamujoco", "pettingzoo", "smac", "smacv2"):
        named = python if host != "smax" else ""
        named = named or (str(SMAC_PYTHON) if host.startswith("smac") and SMAC_PYTHON.is_file() else "")
        found = examine(named or sys.executable)
        if found is None:
            table.append((host, named, "this is no Python that runs"))
            continue
        step = missing(host, found, named or sys.executable)
        package = {"mamujoco": "gymnasium-robotics"}.get(host, host)
        where = " ".join(filter(None, (named or "our own Python", found["python"], found["versions"].get(package, ""))))
        table.append((host, where, f"next: {step}" if step else trial(host, named)))
    return table


def machine() -> list[tuple[str, str]]:
    """What this machine is, for ``print_facts``."""
    import jax

    devices = jax.devices()
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return [
        ("device", f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()}), {os.cpu_count()} CPU cores"),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("packages", packages),
        ("on the device", "smax/..., mamujoco/..., game/...: always there (hamljax list)"),
    ]
