"""``hamljax doctor``: what this machine can run, and for what it cannot, the next step."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...bridge import HostEnvironment, configure, make
from ...bridge.families import SMAC_PYTHON
from ...bridge.needs import missing, probe_interpreter
from ...bridge.pool import Pool
from ...bridge.process import WorkerBug
from ...errors import ConfigError, Stopped, one_line
from ..configuration.machine import about_cache

PACKAGES = ("jax", "jaxlib", "flax", "optax", "brax", "jaxmarl", "numpy")
TRIALS: dict[str, tuple[str, dict[str, Any]]] = {  # host -> the environment, and settings, that show whether it runs
    "smax": ("bridge/smax_3m", {}),
    "mamujoco": ("bridge/mamujoco_halfcheetah_6x1", {}),
    "pettingzoo": ("bridge/pettingzoo", {"path": "pettingzoo.sisl.pursuit_v5"}),
    "smac": ("bridge/smac", {}),
    "smacv2": ("bridge/smacv2", {}),
}


def trial(host: str, python: str) -> str:
    """How three steps of one worker go, in words.

    Args:
        host: a key of TRIALS.
        python: the interpreter; empty: our own.
    """
    name, settings = TRIALS[host]
    env = make(configure(name, **settings))
    assert isinstance(env, HostEnvironment)
    launch = env.launch
    try:
        pool = Pool(dataclasses.replace(launch, python=python, max_restarts=0), 1)
    except ConfigError as error:
        return str(error)
    try:
        keys = np.zeros((1, 2), np.uint32)
        seen = pool.reset(keys)
        for _ in range(3):
            avail = seen["avail_actions"]
            seen = pool.step(avail.argmax(-1) if pool.spec["discrete"] else np.zeros(avail.shape), keys, keys).seen
        return f"three steps of {settings.get('path', name.removeprefix('bridge/'))} with {avail.shape[1]} agents: fine"
    except (Stopped, WorkerBug) as error:
        return f"three steps: {one_line(error)}"
    finally:
        pool.close()


def rows(python: str = "") -> list[tuple[str, str, str, str]]:
    """(what, where, how it is, the next step) of the host environments. ``python``: an interpreter to look at besides our own."""
    table = []
    for host in TRIALS:
        named = python if host != "smax" else ""
        named = named or (str(SMAC_PYTHON) if host.startswith("smac") and SMAC_PYTHON.is_file() else "")
        found = probe_interpreter(named or sys.executable)
        if found is None:
            table.append((host, named, "this is no Python that runs", ""))
            continue
        step = missing(host, found, named or sys.executable)
        package = {"mamujoco": "gymnasium-robotics"}.get(host, host)
        version = found["versions"].get(package, "")
        where = f"{named or 'our own Python'} {found['python']}" + (f", {package} {version}" if version else "")
        table.append((host, where, "something is missing" if step else trial(host, named), step))
    return table


def next_steps(table: Sequence[tuple[str, ...]]) -> list[str]:
    """What of ``rows`` is to be typed, each a line of its own that can be copied."""
    steps = dict.fromkeys(step for *_, step in table if step)
    return [f"next for {' and '.join(row[0] for row in table if row[-1] == step)}: {step}" for step in steps]


def machine() -> list[tuple[str, str]]:
    """What this machine is, for ``print_facts``."""
    import jax

    devices = jax.devices()
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return [
        ("device", f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()}), {os.cpu_count()} CPU cores"),
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("packages", packages),
        ("compiled programs", about_cache()),
        ("on the device", "smax/..., mamujoco/..., game/...: always there (hamljax list)"),
    ]
