"""A leaderboard: a line of JSON for every finished run, with all that a table or a curve needs of it."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import ConfigError, lookup, one_line
from ..runs.scores import BySeed, absolute_of, curve_of
from ..storage.files import as_json, read_json, read_text, write_text
from ..storage.paths import as_typed, existing, writing
from ..storage.rundir import find_runs, runs_below
from ..storage.saved_config import RESUMABLE, flatten, read_config

Score = float | None  # None: no finite number
FILE = "leaderboard.jsonl"
DIGITS = 6  # of scores: they are means of at most thousands of episodes


@dataclasses.dataclass(frozen=True)
class Line:
    """A finished run.

    study, stage, task, arm, draws: of the cell of a study that it was; empty elsewhere. row, environment: ``algo.name`` and
    ``env.name``. settings_sha256: of all settings that matter to its numbers. seeds: in order. steps: of each seed.
    absolute: by metric, the best team over fresh episodes, for each seed. at: steps of the evaluations. curves: by metric,
    (seeds, evaluations). seconds: by what they were spent on. command: what trains it again.
    """

    row: str
    environment: str
    settings: dict[str, Any]
    settings_sha256: str
    seeds: list[int]
    steps: int
    absolute: dict[str, list[Score]]
    at: list[int]
    curves: dict[str, list[list[Score]]]
    seconds: dict[str, float]
    version: str
    commit: str
    device: str
    command: str
    study: str = ""
    stage: str = ""
    task: str = ""
    arm: str = ""
    draws: list[int] = dataclasses.field(default_factory=list)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What no two lines of a study have in common."""
        return (self.study, self.stage, self.task, self.arm, tuple(self.draws), self.seeds[0])

    def is_whole(self, metric: str) -> bool:
        """Whether every seed has a finite score."""
        return None not in self.absolute.get(metric, [None])

    def curve(self, metric: str) -> list[list[Score]]:
        """(seeds, evaluations) of a metric. Raises ConfigError where there is none."""
        return lookup(f"metric of {self.environment}", metric, self.curves)

    def scores(self, metric: str) -> list[float]:
        """Of each seed, those that are numbers."""
        return [score for score in self.absolute[metric] if score is not None]


def fingerprint(settings: dict[str, Any]) -> str:
    """SHA-256 of the settings that matter to the numbers of a run, its seeds among them."""
    return hashlib.sha256(as_json(flatten(settings, RESUMABLE), sort_keys=True).encode()).hexdigest()


def line_of(run: Path, command: str = "", **cell: Any) -> Line:
    """The line of a finished run.

    Args:
        run: its directory. command: what trains it again; empty: as it was typed. cell: of a study, the last fields of ``Line``.

    Raises:
        ConfigError: it is not finished, or damaged.
    """
    settings = read_config(run)
    if not (run / "summary.json").is_file():
        raise ConfigError(f"the run in '{run}' is not finished; hamljax resume {as_typed(run)}")
    try:
        versions, summary = read_json(run / "versions.json"), read_json(run / "summary.json")
        absolute = absolute_of(run) if summary.get("absolute") else {}
        return _line(settings, versions, summary, absolute, curve_of(run), command, cell)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"cannot read the run in '{run}': {one_line(error)}") from None


def _line(
    settings: dict[str, Any],
    versions: dict[str, Any],
    summary: dict[str, Any],
    absolute: dict[str, BySeed],
    curves: dict[str, BySeed],
    command: str,
    cell: dict[str, Any],
) -> Line:
    seeds = [int(seed) for seed in summary["seeds"]]
    at = sorted({step for by_seed in curves.values() for scores in by_seed.values() for step in scores})
    return Line(
        row=settings["algo"]["name"],
        environment=settings["env"]["name"],
        settings={key: value for key, value in settings.items() if key not in ("run_dir", "plugin", "logger")},
        settings_sha256=fingerprint(settings),
        seeds=seeds,
        steps=int(summary["steps_per_seed"]),
        absolute={name: [_short(by_seed[seed][0]) for seed in seeds] for name, by_seed in absolute.items()},
        at=at,
        curves={
            name: [[_short(by_seed[seed].get(step)) for step in at] for seed in seeds]
            for name, by_seed in curves.items()
        },
        seconds=summary["seconds"],
        version=versions["hamljax"],
        commit=(versions.get("source") or {}).get("commit", "")[:12],
        device=versions["device"],
        command=command or versions["command"],
        **cell,
    )


def _short(score: Score) -> Score:
    return float(f"{score:.{DIGITS}g}") if score is not None and math.isfinite(score) else None


def read_lines(file: Path) -> list[Line]:
    """The lines of a leaderboard; none where there is no file.

    Raises:
        ConfigError: a line is no line of a leaderboard.
    """
    if not file.is_file():
        return []
    try:
        texts = read_text(file).splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read '{file}': {one_line(error)}") from None
    found, names = [], {field.name for field in dataclasses.fields(Line)}
    for number, text in enumerate(texts, start=1):
        try:
            line = Line(**{name: x for name, x in json.loads(text).items() if name in names})
            _check(line)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise ConfigError(f"line {number} of '{file}' is none of a leaderboard: {one_line(error)}") from None
        found.append(line)
    return found


def _check(line: Line) -> None:
    """Raise ValueError or TypeError unless its parts have the sizes of one another."""
    seeds = len([int(seed) for seed in line.seeds])
    rows = [*line.absolute.values(), *(row for curve in line.curves.values() for row in curve)]
    sizes = [(len(scores), seeds) for scores in line.absolute.values()]
    sizes += [(len(curve), seeds) for curve in line.curves.values()]
    sizes += [(len(row), len(line.at)) for curve in line.curves.values() for row in curve]
    if not seeds or any(size != wanted for size, wanted in sizes):
        raise ValueError("its scores are not one for each seed and evaluation")
    if not all(score is None or math.isfinite(score) for row in rows for score in row):
        raise ValueError("a score is no finite number, and not null")
    if line.draws and seeds % len(line.draws) or line.steps < 1:
        raise ValueError("its seeds are not those of its draws")
    texts = (
        line.row,
        line.environment,
        line.task,
        line.arm,
        line.stage,
        line.study,
        line.command,
        line.device,
        line.version,
    )
    if not all(isinstance(text, str) for text in texts) or not isinstance(line.settings["algo"], dict):
        raise TypeError("a name is no text, or its settings are none")
    float(line.seconds["compiling"]) + sum(map(float, line.seconds.values()))


def write_lines(file: Path, lines: Iterable[Line]) -> None:
    """Replace a leaderboard; a line stands where its run stands among them."""
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        texts = [json.dumps(dataclasses.asdict(line), allow_nan=False, separators=(", ", ": ")) for line in lines]
        write_text(file, "".join(f"{text}\n" for text in texts))


def lines_at(paths: Iterable[str], stage: str = "", every: bool = False) -> list[Line]:
    """The lines of all finished runs at or below some folders, and of leaderboards: there, or named themselves.

    Args:
        paths: folders, or files that end in ``.jsonl``. stage: of a study, of which runs alone are wanted; empty: of studies
            those that were tuned. every: those of all stages.

    Raises:
        ConfigError: there is nothing, or it is damaged.
    """
    found: dict[Any, Line] = {}
    for given in paths:
        path = existing(given)
        boards = [path] if path.is_file() else sorted(path.rglob(FILE))
        lines = [line for board in boards for line in read_lines(board)]
        if path.is_dir():
            run = [run for run in runs_below(path) if not any(board.parent in run.parents for board in boards)]
            if not run and not boards:
                find_runs([given])  # which says what is missing
            lines += [line_of(each) for each in run if (each / "summary.json").is_file()]
        for line in lines:
            if every or not line.study or line.stage == (stage or "tuned"):
                found[line.identity if line.study else (line.settings_sha256, line.seeds[0])] = line
    return list(found.values())
