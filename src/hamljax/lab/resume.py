"""``hamljax resume``: go on with runs, from their directories alone."""

from pathlib import Path

from omegaconf import OmegaConf

from ..errors import ConfigError, nearest
from .configuration import Job, job_of, load_plugin, parse
from .rundir import AROUND, existing, read_config

MAY_CHANGE = ("total_timesteps", *(key for key in AROUND if key != "run_dir"))


def read(arguments: list[str]) -> list[Job]:
    """``RUN... key=value...`` -> what is to go on: every run at or below the paths. Raises ConfigError."""
    words = [a for a in arguments if "=" in a and not Path(a).exists()]
    paths = [existing(a) for a in arguments if a not in words]
    if not paths:
        raise ConfigError("resume needs a run directory, such as: hamljax resume runs/demo/happo")
    changes = {}
    for override in parse(words):
        key = override.key_or_group
        if key not in MAY_CHANGE and key.split(".")[0] != "logger":
            raise ConfigError(f"resume cannot change '{key}', that would be another run{nearest(key, MAY_CHANGE)}")
        OmegaConf.update(changes := OmegaConf.create(changes), key, override.value())
    changes = OmegaConf.to_container(OmegaConf.create(changes))
    runs = [run for path in paths for run in _runs(path)]
    return [_job(run, changes) for run in runs]


def _runs(path: Path) -> list[Path]:
    found = sorted(p.parent for p in path.rglob("config.yaml")) if path.is_dir() else []
    if not found:
        raise ConfigError(f"'{path}' holds no run (no config.yaml at or below it)")
    return found


def _job(run: Path, changes: dict) -> Job:
    values = read_config(run)
    if plugin := values.get("plugin"):
        load_plugin(plugin)
    before = job_of(values)
    logger = values["logger"] | (changes.get("logger", {}) if isinstance(changes.get("logger"), dict) else {})
    if isinstance(changes.get("logger"), str):
        logger = values["logger"] | {"kind": changes["logger"]}
    job = job_of(values | changes | {"logger": logger, "run_dir": str(run), "resume": "must"})
    if job.config.num_updates < before.config.num_updates:
        raise ConfigError(
            f"total_timesteps={job.config.total_timesteps} is less than the {before.config.total_timesteps} of '{run}'"
        )
    return job
