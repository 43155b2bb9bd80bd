"""``hamljax resume``: go on with runs, from their directories alone."""

import dataclasses
import sys
from pathlib import Path

from ..bridge.pool import MODULE_FOLDERS
from ..errors import ConfigError, nearest
from . import inputs
from .configuration import LOGGER_SETTINGS, Job, job_of, load_plugin, parse
from .rundir import AROUND, existing, is_foreign, is_there, read_config

MAY_CHANGE = ("total_timesteps", *(key for key in AROUND if key != "run_dir"))


def read(arguments: list[str]) -> list[Job]:
    """``RUN... key=value...`` -> what is to go on: every run at or below the paths. Raises ConfigError."""
    words = [a for a in arguments if "=" in a and not is_there(a)]
    paths = [existing(a) for a in arguments if a not in words]
    if not paths:
        raise ConfigError("resume needs a run directory, such as: hamljax resume runs/demo/happo")
    changes = {}
    for override in parse(words):
        key = override.key_or_group
        if override.is_sweep_override() or override.is_delete() or override.is_add():
            raise ConfigError(f"'{override.input_line}': resume takes key=value, with one value")
        if key not in (*MAY_CHANGE, *LOGGER_SETTINGS):
            raise ConfigError(f"resume cannot change '{key}', that would be another run{nearest(key, MAY_CHANGE)}")
        changes[key] = override.value()
    runs = [run for path in paths for run in _runs(path)]
    return [_job(run, changes) for run in runs]


def _runs(path: Path) -> list[Path]:
    found = sorted(_below(path)) if path.is_dir() else []
    if not found:
        raise ConfigError(f"'{path}' holds no run (no config.yaml at or below it)")
    return found


def _below(folder: Path) -> list[Path]:
    """The run at ``folder``, or those below it; what is inside a run (a logger's files) is none."""
    if (folder / "config.yaml").is_file():
        if is_foreign(folder):
            print(f"note: '{folder}' is no run: its config.yaml is not hamljax's", file=sys.stderr)
            return []
        return [folder]
    return [run for child in folder.iterdir() if child.is_dir() for run in _below(child)]


def read_job(run: Path, changes: dict) -> tuple[Job, Job]:
    """What a run was told, and the same with ``changes`` and with every file that it names where that is now.

    changes: by dotted name, as ``read`` takes them. Raises ConfigError.
    """
    values, places = read_config(run), inputs.located(run)
    MODULE_FOLDERS[:] = [str(places.pop(name)) for name, place in [*places.items()] if place.is_dir()]
    if plugin := str(changes.get("plugin") or places.get("plugin") or values.get("plugin") or ""):
        if "plugin" not in changes and not is_there(plugin):
            raise ConfigError(f"plugin '{plugin}' of '{run}' is gone; say where it is now: plugin=PATH")
        load_plugin(plugin)
    before, there = job_of(values), {key: dict(x) if isinstance(x, dict) else x for key, x in values.items()}
    for key, value in ({name: str(place) for name, place in places.items()} | changes).items():
        group, dot, name = key.partition(".")
        if dot:
            there[group][name] = value
        else:
            there[key] = {**there["logger"], "kind": value} if key == "logger" else value
    job = job_of(there | {"plugin": plugin, "run_dir": str(run), "resume": "must"})
    # What it was told stays as it was told: a file that is elsewhere now makes no other run.
    said = {key.removeprefix("env."): x for key, x in changes.items() if key.startswith("env.")}
    return before, dataclasses.replace(job, resolved=job.resolved | {"env": before.resolved["env"] | said})


def _job(run: Path, changes: dict) -> Job:
    before, job = read_job(run, changes)
    if job.config.algo.anneal_lr and job.config.num_updates > before.config.num_updates:
        print(f"note: anneal_lr: the learning rates of '{run}' will fall to 0 at its new end, and rise to do so")
    if job.config.num_updates < before.config.num_updates:
        raise ConfigError(
            f"total_timesteps={job.config.total_timesteps} is less than the {before.config.total_timesteps} of '{run}'"
        )
    return job
