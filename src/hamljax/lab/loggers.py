"""Where metrics go besides the run directory."""

import os
import secrets
import time
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Stopped, lookup, one_line, one_of
from .files import read_json, write_json


def exit_code(error: BaseException | None) -> int:
    """With which code a process ends because of ``error``; None: it came to its end."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.code if isinstance(error, Stopped) else 2 if isinstance(error, ConfigError) else 1


class Nowhere:
    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One interval's means over seeds."""

    def close(self, code: int = 0) -> None:
        """The process is about to end with exit ``code``; 0: the run is finished."""


class Wandb(Nowhere):
    """One run there for all starts of a run here, with the id in ``RUN/wandb/run.json``.

    What a start logs W&B appends to what it has, and takes nothing back. So a step that was logged once, before the process
    was killed, is not logged again when it is made again: in all but what lies outside of this process it is the same.
    """

    MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")

    def __init__(self, settings: dict, run: Path, resolved: dict, step: int):
        import wandb

        mode = os.environ.get("WANDB_MODE") or settings.get("mode") or "offline"
        one_of("logger.mode (or WANDB_MODE)", mode, self.MODES)
        self.file = _note_of(run)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.known = {"id": secrets.token_hex(4), "step": -1} | _earlier(run) | {"run_dir": str(run.resolve())}
        write_json(self.file, self.known)
        wanted = {name: settings.get(name) or None for name in ("entity", "group", "tags", "name")}
        try:
            self.run = wandb.init(
                project=settings.get("project") or "hamljax",
                id=self.known["id"],
                resume="allow",
                dir=str(run),
                mode=mode,
                config=resolved,
                **wanted,
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"wandb: {one_line(error)[:200]}; logger.mode=offline needs no account") from None

    def log(self, step, metrics):
        if step > self.known["step"]:
            self.run.log(metrics, step=step, commit=True)
            self.known["step"] = step
            write_json(self.file, self.known)

    def close(self, code=0):
        self.run.finish(exit_code=code)


def _note_of(run: Path) -> Path:
    return run / "wandb" / "run.json"


def _earlier(run: Path) -> dict[str, Any]:
    """What an earlier start of ``run`` noted; nothing where it is a copy, because its original is the run with that id."""
    there = _read(_note_of(run))
    original = Path(there.get("run_dir", run))
    copied = original.resolve() != run.resolve() and _read(_note_of(original)).get("id") == there.get("id")
    return {} if copied else there


def _read(file: Path) -> dict[str, Any]:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Tensorboard(Nowhere):
    """One folder for all starts of a run; what was logged after ``step``, where this start begins, does not count any more."""

    def __init__(self, settings: dict, run: Path, resolved: dict, step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ConfigError(
                "logger=tensorboard needs tensorboardX; run: pip install 'hamljax[tensorboard]'"
            ) from None
        # A name of its own, because one made from the second would be that of a start in the same second.
        suffix = f".{time.time_ns()}"
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1, filename_suffix=suffix)

    def log(self, step, metrics):
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self, code=0):
        self.writer.close()


LOGGERS = {"files": lambda *_: Nowhere(), "wandb": Wandb, "tensorboard": Tensorboard}


def make_logger(settings: dict, run: Path, resolved: dict, step: int = -1) -> Nowhere:
    """The logger of one start of the run in ``run``, which goes on from ``step``; -1: it begins. Raises ConfigError."""
    return lookup("logger", settings.get("kind", "files"), LOGGERS)(settings, run, resolved, step)
