"""A leaderboard: a line of JSON for every finished run, with all that a table or a curve needs of it."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import ConfigError, one_line
from ..runs.scores import absolute_of, curve_of
from ..storage.files import as_json, read_json, read_text, write_text
from ..storage.paths import existing, writing
from ..storage.rundir import find_runs
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
    settings, versions, summary = read_config(run), read_json(run / "versions.json"), read_json(run / "summary.json")
    absolute = absolute_of(run) if summary.get("absolute") else {}
    seeds, curves = [int(seed) for seed in summary["seeds"]], curve_of(run)
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
    found, names = [], {field.name: field for field in dataclasses.fields(Line)}
    for number, text in enumerate(read_text(file).splitlines(), start=1):
        try:
            values = json.loads(text)
            found.append(Line(**{name: x for name, x in values.items() if name in names}))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"line {number} of '{file}' is none of a leaderboard: {one_line(error)}") from None
    return found


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
    found: dict[str, Line] = {}
    for given in paths:
        path = existing(given)
        boards = [path] if path.is_file() else sorted(path.rglob(FILE))
        for board in boards:
            found |= {line.settings_sha256: line for line in read_lines(board)}
        if path.is_dir() and not boards:
            finished = [run for run in find_runs([given]) if (run / "summary.json").is_file()]
            found |= {line.settings_sha256: line for line in map(line_of, finished)}
    return [line for line in found.values() if every or not line.study or line.stage == (stage or "tuned")]
