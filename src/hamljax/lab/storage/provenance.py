"""What made a run: versions, source, device, command."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from ... import __version__
from .files import as_json, read_json

COMMAND = "HAMLJAX_COMMAND"  # the environment variable by which a process that was begun for a job knows what was typed
PACKAGES = "hamljax jax jaxlib flax optax chex distrax brax mujoco mujoco-mjx jaxmarl hydra-core orbax-checkpoint numpy".split()
# Of these a change may change numbers; they are compared when a run goes on.
COMPARED = (*PACKAGES, "python", "device", "devices", "source", "plugin_sha256")


def source(folder: Path) -> dict[str, Any] | None:
    """The git commit of the repository around ``folder`` and whether its files were as committed; None without one."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True)

    try:
        commit = git("rev-parse", "HEAD").stdout.strip()
        return {"commit": commit, "clean": not git("status", "--porcelain").stdout.strip()}
    except (OSError, subprocess.SubprocessError):
        return None


def version(package: str) -> str | None:
    """Of an installed package; None where it is not installed."""
    if package == "hamljax":
        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(resolved: dict[str, Any]) -> dict[str, Any]:
    """Everything that ``versions.json`` says of one start of a run."""
    import jax

    plugin = Path(resolved["plugin"])
    text = as_json(resolved, sort_keys=True, default=str)
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "device": str(jax.devices()[0].device_kind),
        "devices": len(jax.devices()),
        "source": source(Path(__file__).parent),
        "working_directory": source(Path()),
        "began": time.strftime("%Y-%m-%d %H:%M"),
        "command": os.environ.get(COMMAND) or shlex.join(["hamljax", *sys.argv[1:]]),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "plugin_sha256": hashlib.sha256(plugin.read_bytes()).hexdigest() if plugin.is_file() else None,
    }


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In what two starts of a run differ that may change its numbers, such as ``jax was 0.10.1 and is 0.10.2``.

    Args:
        before: ``versions`` of the first start.
        now: of this one.
    """

    def short(value: Any) -> str:
        if isinstance(value, dict):
            return value["commit"][:10] + ("" if value["clean"] else " with changes")
        return str(value)[:40]

    return [
        f"{name} was {short(before.get(name))} and is {short(now.get(name))}"
        for name in COMPARED
        if before.get(name) != now.get(name)
    ]


def devices_of(runs: list[Path]) -> int | None:
    """How many devices runs were begun with, if those of ``runs`` that say so agree."""
    found = set()
    for run in runs:
        try:
            found.add(int(read_json(run / "versions.json")["devices"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found.pop() if len(found) == 1 else None
