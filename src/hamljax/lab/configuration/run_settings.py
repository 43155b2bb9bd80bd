"""The settings around a run, which training never sees."""

import dataclasses

from ...errors import ConfigError, nearest, one_of
from .groups import choices


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What is around a run and training never sees; conf/config.yaml says what each means."""

    seed: int = 0
    num_seeds: int = 1
    per_seed: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    devices_per_seed: int = 1
    log_every: int = 0
    checkpoint_every: int = 0
    checkpoint_replay: bool = True
    absolute_metric: bool = True
    on_nan: str = "stop"
    nan_patience: int = 10
    objective: str = ""
    plugin: str = ""
    certify: bool = True
    run_dir: str = ""
    resume: str = "auto"
    dry_run: bool = False


@dataclasses.dataclass(frozen=True)
class LoggerSettings:
    """Where metrics go besides the run's directory; all but ``kind`` is for ``logger=wandb`` and means what it does there.

    Empty: as the service, or its own environment variables, have it.
    """

    kind: str = "files"
    project: str = "hamljax"
    mode: str = "offline"
    entity: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    name: str = ""


LOGGER_SETTINGS = tuple(f"logger.{f.name}" for f in dataclasses.fields(LoggerSettings))
LOGGER_MODES = ("offline", "online", "disabled")
NOT_IN_A_PROJECT = "/\\#?%:"  # the service takes none of these in its name
RUN_CHOICES = {"on_nan": ("stop", "skip", "raise"), "resume": ("auto", "never", "must")}
ONCE = ("resume", "dry_run")  # said of one start, not of a run


def validate_run(run: RunSettings) -> None:
    """Check the settings around a run.

    Raises:
        ConfigError: one holds what it may not.
    """
    for name, known in RUN_CHOICES.items():
        if getattr(run, name) not in known:
            raise ConfigError(f"unknown {name} '{getattr(run, name)}'{nearest(getattr(run, name), known)}")
    for name, least in {
        "seed": 0,
        "num_seeds": 1,
        "devices_per_seed": 1,
        "log_every": 0,
        "checkpoint_every": 0,
        "nan_patience": 1,
    }.items():
        if getattr(run, name) < least:
            raise ConfigError(f"{name} must be at least {least}, not {getattr(run, name)}")
    if run.seed + run.num_seeds > 2**31:
        raise ConfigError(f"seed={run.seed} is too large; the largest seed is {2**31 - 1}")


def validate_logger(logger: LoggerSettings) -> None:
    """Check the settings of a logger, as far as that is possible without it.

    Raises:
        ConfigError: one holds what it may not.
    """
    one_of("logger", logger.kind, choices("logger"))
    one_of("logger.mode", logger.mode, LOGGER_MODES)
    if wrong := set(logger.project) & set(NOT_IN_A_PROJECT):
        raise ConfigError(f"logger.project={logger.project} must be without {' '.join(sorted(wrong))}")
    for name, longest in (("project", 128), ("name", 128), ("group", 128), ("entity", 128)):
        if len(getattr(logger, name)) > longest:
            raise ConfigError(f"logger.{name} must be at most {longest} characters, not {len(getattr(logger, name))}")
    for tag in logger.tags:
        if not 1 <= len(tag) <= 64:
            raise ConfigError(f"logger.tags must be of 1 to 64 characters each, and '{tag[:40]}' has {len(tag)}")
