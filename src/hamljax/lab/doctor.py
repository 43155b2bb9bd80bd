"""``hamljax doctor``: what this machine can run, and for what it cannot, the next step."""

import importlib.metadata
import os
import platform
import sys

import numpy as np

from ..bridge import make
from ..bridge.families import SMAC_PYTHON
from ..bridge.needs import examine, missing
from ..bridge.pool import Launch, Pool, WorkerBug
from ..errors import ConfigError, Stopped, one_line

PACKAGES = ("jax", "jaxlib", "flax", "optax", "brax", "jaxmarl", "numpy")


def trial(host: str, python: str) -> str:
    """Three steps of one worker, in words."""
    settings = {
        "smax": {"map_name": "3m"},
        "mamujoco": {"task": "halfcheetah_6x1"},
        "pettingzoo": {"path": "pettingzoo.sisl.pursuit_v5"},
        "smacv2": make("bridge/smacv2").launch.settings,
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
