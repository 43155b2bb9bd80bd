"""A study under way: which of its runs are there, which are to be made, and in what order."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...errors import ConfigError, Stopped
from ..configuration.folders import name_of
from ..configuration.groups import plain
from ..configuration.overrides import quote
from ..storage.files import write_text
from ..storage.paths import writing
from ..storage.saved_config import differences, read_config, write_yaml
from . import leaderboard
from .choice import chosen
from .leaderboard import Line, fingerprint, line_of
from .plan import STAGES, Cell, Draw, draws_of, job_of_cell, measuring, pairs, tuning, write_preset
from .study import Budget, Study, file_of, read_file

PROSE = ("title", "question", "scope")  # of a study, which may be put better while it runs
Train = Callable[[list[str]], None]  # of the words of ``hamljax train``


class Conduct:
    """A study in its folder.

    ``study.yaml`` is what was asked, ``leaderboard.jsonl`` has a line for every finished run, ``presets/`` is what each run
    trains, ``runs/`` are the runs; without these the lines are enough to go on.

    Args:
        study: what is asked. name: of its budget. budget: the same with what was chosen of its tasks and arms. folder: of it.
        seeds: of every arm on every task, where they are more than the budget's; 0: those.
    """

    def __init__(self, study: Study, name: str, budget: Budget, folder: Path, seeds: int = 0):
        self.study, self.name, self.budget, self.folder, self.seeds = study, name, budget, folder, seeds
        self.file = folder / leaderboard.FILE
        self.draws = draws_of(study, budget)
        self.lines = {line.identity: line for line in leaderboard.read_lines(self.file)}

    def asked(self) -> dict[str, Any]:
        """What ``study.yaml`` holds: all that decides what a run is compared with."""
        asked = dataclasses.asdict(self.study)
        asked["budgets"] = {self.name: asked["budgets"][self.name]}
        return plain(asked)

    def claim(self) -> None:
        """Make the folder, and write down what is asked before anything runs.

        Raises:
            ConfigError: it holds another study.
        """
        asked, file = self.asked(), file_of(self.folder)
        if file.is_file():
            there = read_file(file)
            if not isinstance(there, dict) or any(there.get(key) != x for key, x in asked.items() if key not in PROSE):
                raise ConfigError(
                    f"'{self.folder}' holds a study that asks something else (study.yaml); choose another run_dir"
                )
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise ConfigError(f"'{self.folder}' holds something that is no study; choose another run_dir")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(file, f"# Written on {time.strftime('%Y-%m-%d')}, before the first run.\n{write_yaml(asked)}")

    def line(self, cell: Cell) -> Line | None:
        """The line of a cell, if its run is finished; not that of one with other settings."""
        job = job_of_cell(cell)
        found = self.lines.get((self.study.name, cell.stage, cell.task, cell.arm, cell.draws, job.run.seed))
        return found if found and not differences(found.settings, job.resolved) else None

    def tuning_of(self, task: str, arm: str) -> list[Cell]:
        """The runs in which an arm is tuned on a task."""
        return tuning(self.study, self.budget, task, arm)

    def draw_of(self, task: str, arm: str) -> Draw | None:
        """What tuning chose; None while it is not finished."""
        lines = [self.line(cell) for cell in self.tuning_of(task, arm)]
        found = [line for line in lines if line is not None]
        return chosen(found, self.study.metric, self.draws) if len(found) == len(lines) else None

    def measured(self, stage: str, task: str, arm: str, draw: Draw) -> list[Cell]:
        """The runs in which an arm is measured on a task with what tuning chose."""
        return measuring(self.study, self.budget, stage, task, arm, draw, self.seeds)

    def wanted(self, stage: str, some: Iterable[tuple[str, str]], guess: bool = False) -> list[Cell]:
        """The runs of a stage that are still to be made.

        Args:
            stage: of ``STAGES``. some: (task, arm). guess: take what tuning has yet to choose to be the preset, which takes as
                long; otherwise these runs are left out. A preset that tuning chose is not measured again.
        """
        cells = list[Cell]()
        for pair in some:
            draw = None if stage == "tune" else self.draw_of(*pair)
            if stage == "tune":
                cells += self.tuning_of(*pair)
            elif draw is None and not guess:
                continue
            elif stage == "tuned" or draw != {}:
                cells += self.measured(stage, *pair, (draw or {}) if stage == "tuned" else {})
        return [cell for cell in cells if self.line(cell) is None]

    def stages(self) -> list[str]:
        """Those that it has, in order."""
        return [stage for stage in STAGES if stage != "preset" or self.budget.presets]

    def to_come(self) -> list[Cell]:
        """All runs that are to be made, as far as can be said."""
        every = list(pairs(self.study, self.budget))
        return [cell for stage in self.stages() for cell in self.wanted(stage, every, guess=True)]

    def conduct(self, train: Train, launcher: list[str], announce: Callable[[list[Cell]], None]) -> None:
        """Make all of its runs.

        Args:
            train: trains what the words of a command line say. launcher: words about Hydra for them; empty: one run after
                another, and each has its line as soon as it is finished. announce: is told which runs begin.

        Raises:
            Stopped: a signal came, or some failed; the others are made.
        """
        self.failed, self.announce = 0, announce
        every = list(pairs(self.study, self.budget))
        batches = [every] if launcher else [[pair] for pair in every]
        for batch in batches:
            for stage in ("tune", "tuned"):
                self._make(self.wanted(stage, batch), train, launcher)
        for batch in batches if self.budget.presets else []:
            self._make(self.wanted("preset", batch), train, launcher)
        if self.failed:
            raise Stopped(f"{self.failed} run(s) failed; the same command tries them again", 1)

    def _make(self, cells: list[Cell], train: Train, launcher: list[str]) -> None:
        for some in [cells] if launcher else [[cell] for cell in cells]:
            if not some:
                continue
            self.announce(some)
            presets, runs = self.folder / "presets", self.folder / "runs"
            names = [write_preset(cell, presets, self.study.title) for cell in some]
            words = ["--config-dir", str(presets), f"experiment={','.join(names)}", "logger=files"]
            words += ["-m", *launcher] if len(some) > 1 else []
            where = runs if len(some) > 1 else self.run_of(some[0])
            try:
                train([*words, f"run_dir={quote(str(where))}"])
            except (ConfigError, Stopped) as error:
                if getattr(error, "code", 0) > 128:  # a signal means all of them
                    raise
                print(f"hamljax: {error}", file=sys.stderr)
            finally:
                self.collect(some)
            lines = [self.line(cell) for cell in some]
            self.failed += lines.count(None)
            for line in filter(None, lines):
                line.curve(self.study.metric)  # before more is trained for a metric that is not there

    def run_of(self, cell: Cell) -> Path:
        """Where a run is, as a sweep names it."""
        return self.folder / "runs" / name_of([f"experiment={cell.name.replace('/', '-')}"])

    def collect(self, cells: Iterable[Cell]) -> None:
        """Give every one of these runs that is finished its line."""
        for cell in cells:
            about = {"study": self.study.name, "stage": cell.stage, "task": cell.task, "arm": cell.arm}
            run, job = self.run_of(cell), job_of_cell(cell)
            with contextlib.suppress(ConfigError):  # it is not finished
                if not differences(read_config(run), job.resolved):
                    line = line_of(run, cell.command, **about, draws=list(cell.draws))
                    self.lines[line.identity] = dataclasses.replace(line, settings_sha256=fingerprint(job.resolved))
        leaderboard.write_lines(self.file, self.lines.values())
