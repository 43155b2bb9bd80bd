"""The configuration of a run that is there, with the files that it was made with."""

import dataclasses
from pathlib import Path
from typing import Any

from ...bridge.pool import MODULE_FOLDERS
from ...errors import ConfigError
from ..storage import inputs
from ..storage.paths import is_there
from ..storage.saved_config import read_config
from .jobs import Job, job_of
from .plugins import load_plugin


def read_job(run: Path, changes: dict[str, Any]) -> tuple[Job, Job]:
    """What a run was told, and the same with changes and with every file that it names where that is now.

    Args:
        run: its directory.
        changes: values by dotted name.

    Raises:
        ConfigError: there is no run, it is damaged, or it cannot be as the changes want it.
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
