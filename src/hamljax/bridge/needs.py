"""What the hosts need of an interpreter and of the machine, and what to type where it is not there."""

import json
import subprocess
import sys
from typing import Any

NOT_SMAC = "the package 'smac' there is a hyper-parameter optimiser of the same name"

MODULES = "numpy,pysc2,smac,smac.env,smac.facade,smacv2,gymnasium_robotics,pettingzoo"
DISTRIBUTIONS = "pysc2,smac,smacv2,gymnasium-robotics,pettingzoo"
GAME = "https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
MAPS = {  # one of them, and where all of them are
    "smac": ("3m.SC2Map", "https://github.com/oxwhirl/smac/releases/download/v0.1-beta1/SMAC_Maps.zip"),
    "smacv2": ("10gen_terran.SC2Map", "https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip"),
}

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
    "maps": [map for map in sys.argv[3].split(",") if os.path.isfile(os.path.join(game, "Maps", "SMAC_Maps", map))],
}))
"""


def probe_interpreter(python: str) -> dict[str, Any] | None:
    """What the interpreter ``python`` has; None if it cannot be run."""
    try:
        words = [MODULES, DISTRIBUTIONS, ",".join(map for map, _ in MAPS.values())]
        done = subprocess.run([python, "-c", ASK, *words], capture_output=True, encoding="utf-8", timeout=60)
        return json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return None


def missing(host: str, found: dict[str, Any], python: str) -> str:
    """What to type next for a host that an interpreter cannot run.

    Args:
        host: its name.
        found: what ``probe_interpreter`` says of the interpreter.
        python: the interpreter, as it is to be typed.

    Returns:
        A command, or what to do in words; empty if nothing is seen to be missing.
    """
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
            return f"{NOT_SMAC}: {python} -m pip uninstall -y smac; {step}" if wrong else step
        if not found["game found"]:
            where = found["game"].rpartition("/")[0] or "."
            return (
                f"unzip -q -P iagreetotheeula SC2.4.10.zip -d {where}  (StarCraft II 4.10, which is at {GAME}; "
                f"or set SC2PATH to where it is)"
            )
        a_map, address = MAPS[host]
        if a_map not in found["maps"]:
            return f"unzip -q SMAC_Maps.zip -d {found['game']}/Maps  (the maps, which are at {address})"
    return ""


def next_step(host: str, python: str = "") -> str:
    """``missing`` of the interpreter ``python`` (empty: our own) as it is now."""
    found = probe_interpreter(python or sys.executable)
    if found is None:
        return f"another env.python, because '{python}' is no Python that runs"
    return missing(host, found, python or sys.executable)
