"""``hamljax.run``: what ``hamljax train`` does, for scripts and notebooks."""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...algorithms.config import Config
from ...errors import ConfigError, Stopped
from ..configuration import machine
from ..configuration.jobs import job_of
from ..configuration.plugins import load_plugin
from ..storage.files import read_json
from ..storage.paths import path_of
from ..storage.provenance import devices_of
from ..storage.rundir import read_run
from .pace import Signals
from .reporter import Reporter
from .run import train
from .trained import Trained, load

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, dict[str, float]], None]


class Run(NamedTuple):
    """A run directory after training."""

    path: Path

    @property
    def metrics(self) -> "pd.DataFrame":
        """``metrics.parquet``: a row for each seed and update."""
        return read_run(self.path)[1]

    @property
    def summary(self) -> dict[str, Any]:
        """``summary.json``: how it ended, and how good its best teams are."""
        return read_json(self.path / "summary.json")

    def load(self, checkpoint: str | int = "last") -> Trained:
        """Its teams, as ``hamljax.load`` has them.

        Args:
            checkpoint: ``last``, ``best``, or a number of updates that is kept.
        """
        return load(self.path, checkpoint)


def run(
    config: Config,
    run_dir: str | Path = "",
    *,
    plugin: str | Path = "",
    progress: bool | Progress = True,
    logger: str | dict[str, Any] = "files",
    **settings: Any,
) -> Run:
    """Train as ``hamljax train`` does: with a record, checkpoints, evaluations and the best team measured; or go on.

    The same call on the same folder goes on from the last checkpoint, or finds the run finished. An interrupt saves first;
    a second one does not wait.

    Args:
        config: what ``hamljax.config(...)`` returns.
        run_dir: the folder; empty: one of its own under ``runs/``.
        plugin: the file that registers what ``config`` names, so that ``hamljax evaluate`` and the like find it later.
        progress: whether to print how it goes; or what to call instead with the steps of each seed so far and the latest numbers.
        logger: ``files``, ``tensorboard`` or ``wandb``, or its settings: ``{"kind": "wandb", "project": ...}``.
        settings: around the run, as on the command line: ``seed``, ``num_seeds``, ``log_every``, ``checkpoint_every``,
            ``absolute_metric``, ``on_nan``, ``resume`` ...

    Returns:
        The run: its ``path``, ``metrics``, ``summary`` and ``load()``.

    Raises:
        ConfigError: it cannot be done; whatever the folder holds is as it was.
        Stopped: training ended early and in order, such as for numbers that are not finite.
        KeyboardInterrupt: it was interrupted, and saved.
    """
    if settings.get("dry_run"):
        raise ConfigError("dry_run is of the command line: hamljax train dry_run=true")
    if plugin:
        load_plugin(str(plugin))
    kind = {"kind": logger} if isinstance(logger, str) else logger
    around = {"run_dir": str(run_dir), "plugin": str(plugin), **settings}
    job = job_of({**dataclasses.asdict(config), "logger": kind, **around})
    devices = devices_of([path_of(job.run.run_dir)]) if run_dir else None
    reporter = Reporter if progress is True else _quiet(progress or None)
    try:
        with machine.settings_kept():
            machine.prepare(job.run.num_seeds, devices, job.run.devices_per_seed)
            return Run(train(job, reporter=reporter, listening=interruptible).path)
    except Stopped as error:
        if error.code == 128 + signal.SIGINT:
            raise KeyboardInterrupt(str(error)) from None
        raise


def _quiet(progress: Progress | None) -> Callable[[int, int], Reporter]:
    """A reporter that prints nothing, and tells a function instead."""

    class Told(Reporter):
        def __init__(self, total: int, seeds: int):
            del total, seeds

        def say(self, line: str) -> None: ...

        def started(self, step: int = 0) -> None: ...

        def busy(self, what: str) -> None: ...

        def tick(self, step: int, values: dict[str, float], left: float) -> None: ...

        def update(self, step: int, values: dict[str, float], left: float) -> None:
            if progress:
                progress(step, dict(values))

        def close(self) -> None: ...

    return Told


@contextlib.contextmanager
def interruptible(say: Callable[[str], None]) -> Iterator[Signals]:
    """An interrupt is noted, for training to save; a second one, and one while nothing can be lost, is as anywhere in Python."""
    signals = Signals(say)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def hear(number: int, frame: Any) -> None:
        if signals.caught or signals.nothing_to_lose:
            raise KeyboardInterrupt
        signals.caught = number
        say("stopping as soon as what goes on is done, and saving; a second interrupt does not wait")

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)  # none, where it was set outside of Python
