"""``hamljax resume``: go on with runs, from their directories alone."""

import sys
from pathlib import Path
from typing import Any

from ...errors import ConfigError, nearest
from ..configuration.jobs import Job, parse
from ..configuration.run_settings import LOGGER_SETTINGS
from ..configuration.saved import read_job
from ..storage.paths import existing, is_there
from ..storage.saved_config import RESUMABLE, is_foreign

MAY_CHANGE = ("total_timesteps", *(key for key in RESUMABLE if key != "run_dir"))


def read(arguments: list[str]) -> list[Job]:
    """``RUN... key=value...`` -> what is to go on: every run at or below the paths. Raises ConfigError."""
    words = [a for a in arguments if "=" in a and not is_there(a)]
    paths = [existing(a) for a in arguments if a not in words]
    if not paths:
        raise ConfigError("resume needs a run directory, such as: hamljax resume runs/demo/happo")
    changes: dict[str, Any] = {}
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


def _job(run: Path, changes: dict[str, Any]) -> Job:
    before, job = read_job(run, changes)
    if job.config.algo.anneal_lr and job.config.num_updates > before.config.num_updates:
        print(f"note: anneal_lr: the learning rates of '{run}' will fall to 0 at its new end, and rise to do so")
    if job.config.num_updates < before.config.num_updates:
        raise ConfigError(
            f"total_timesteps={job.config.total_timesteps} is less than the {before.config.total_timesteps} of '{run}'"
        )
    return job
