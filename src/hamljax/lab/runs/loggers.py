"""Where metrics go besides the run directory."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import ConfigError, Stopped, lookup, one_line, one_of
from ..configuration.variables import CHOICES
from ..storage.files import as_json, read_text, write_json


def exit_code(error: BaseException | None) -> int:
    """With which code a process ends because of ``error``; None: it came to its end."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.code if isinstance(error, Stopped) else 2 if isinstance(error, ConfigError) else 1


class NullLogger:
    """No logger beside the run directory, and the base of those that there are."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Log one interval.

        Args:
            step: environment steps of each seed so far.
            metrics: means over the interval and the seeds, by name.
        """

    def close(self, code: int = 0) -> None:
        """The process is about to end with exit ``code``; 0: the run is finished."""


class Wandb(NullLogger):
    """One run there for all starts of a run here; ``RUN/wandb/run.json`` has its id and what it was told.

    W&B appends what a start logs to what it has, and takes nothing back. So a step that was logged is not logged again
    where it is made again, after a kill: it is the same in all but what lies outside of this process. Offline a killed start
    leaves a folder without its end, which is then filled anew from ``RUN/wandb/history.jsonl``. Arguments are those of
    ``make_logger``.
    """

    def __init__(self, settings: dict[str, Any], run: Path, resolved: dict[str, Any], step: int):
        import wandb

        mode = os.environ.get("WANDB_MODE") or settings.get("mode") or "offline"
        one_of("logger.mode (or WANDB_MODE)", mode, CHOICES["WANDB_MODE"])
        self.folder = run / "wandb"
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh: dict[str, Any] = {"id": secrets.token_hex(4), "began": -1, "step": -1, "closed": True}
        self.known = fresh | _earlier(run) | {"run_dir": str(run.resolve())}
        lost = self._without_end()
        if lost:
            shutil.rmtree(lost)
            self.known["step"] = self.known["began"]
        self._note(began=self.known["step"], closed=False)
        wanted: dict[str, Any] = {name: settings.get(name) or None for name in ("entity", "group", "tags", "name")}
        wanted["mode"] = mode
        try:
            self.run = wandb.init(
                project=settings.get("project") or "hamljax",
                id=self.known["id"],
                resume="allow",
                dir=str(run),
                config=resolved,
                **wanted,
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"wandb: {one_line(error)[:200]}; logger.mode=offline needs no account") from None
        for row in self._history():  # what this run has there already is passed over
            if row["step"] <= step:
                self.log(**row)

    def _without_end(self) -> Path | None:
        """The folder of an offline start that was killed: W&B had part of it in memory."""
        folders = sorted(self.folder.glob(f"offline-run-*-{self.known['id']}"))
        return folders[-1] if folders and not self.known["closed"] else None

    def _history(self) -> list[dict[str, Any]]:
        """What was logged so far, in order; the last line may be torn."""
        try:
            lines = read_text(self.folder / "history.jsonl").splitlines()
        except OSError:
            return []
        rows = [row for line in lines if (row := parsed(line))]
        return sorted({row["step"]: row for row in rows}.values(), key=lambda row: row["step"])

    def _note(self, **news: Any) -> None:
        self.known |= news
        write_json(_note_of(self.folder.parent), self.known)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        if step <= self.known["step"]:
            return
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(as_json({"step": step, "metrics": metrics}) + "\n")
        self.run.log(metrics, step=step, commit=True)
        self._note(step=step)

    def close(self, code: int = 0) -> None:
        self.run.finish(exit_code=code)
        self._note(closed=True)


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
        return parsed(read_text(file))
    except OSError:
        return {}


def parsed(text: str) -> dict[str, Any]:
    """A JSON object, or an empty one where ``text`` is none: a kill may have torn it."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Tensorboard(NullLogger):
    """One folder for all starts of a run; what was logged after ``step``, where this start begins, does not count any more.

    Arguments are those of ``make_logger``.
    """

    def __init__(self, settings: dict[str, Any], run: Path, resolved: dict[str, Any], step: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ConfigError(
                "logger=tensorboard needs tensorboardX; run: pip install 'hamljax[tensorboard]'"
            ) from None
        # A name of its own, because one made from the second would be that of a start in the same second.
        suffix = f".{time.time_ns()}"
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1, filename_suffix=suffix)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()  # it would keep two minutes in memory

    def close(self, code: int = 0) -> None:
        self.writer.close()


LOGGERS: dict[str, Callable[..., NullLogger]] = {
    "files": lambda *_: NullLogger(),
    "wandb": Wandb,
    "tensorboard": Tensorboard,
}


def make_logger(settings: dict[str, Any], run: Path, resolved: dict[str, Any], step: int = -1) -> NullLogger:
    """The logger of one start of a run.

    Args:
        settings: of the logger, by name.
        run: the run's directory.
        resolved: its configuration.
        step: from which it goes on; -1: it begins.

    Raises:
        ConfigError: there is no such logger, or it does not start.
    """
    kind = settings.get("kind", "files")
    start = lookup("logger", kind, LOGGERS)
    try:
        return start(settings, run, resolved, step)
    except (ConfigError, OSError):
        raise
    except Exception as error:  # of its library: about an account, a variable of its own, a home that it wants
        raise ConfigError(
            f"logger={kind} does not start: {one_line(error)[:200]}; logger=files needs nothing"
        ) from error
