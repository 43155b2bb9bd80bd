"""``hamljax compare``: groups of runs against each other, with intervals, as a paper's table."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import one_of
from ..configuration.arguments import any_text, boolean, read_several
from ..storage.files import write_text
from ..storage.paths import output_file, writing
from ..studies.comparison import Pair, compared, groups_of
from ..studies.leaderboard import Line, lines_at
from ..studies.plan import STAGES
from ..studies.report import acting
from ..studies.study import STATISTICS
from ..studies.tables import COLUMNS, FORMATS, rows_of


class Request(NamedTuple):
    """What to compare; see ``groups_of`` and ``compared``. ``out``: a file for the table, or None."""

    paths: list[str]
    by: str = ""
    metric: str = ""
    against: str = ""
    statistic: str = "iqm"
    paired: bool = False
    stage: str = ""
    out: Path | None = None


def _statistic(key: str, text: str) -> str:
    return one_of(key, text, STATISTICS)


def _stage(key: str, text: str) -> str:
    return one_of(key, text, STAGES)


READERS: dict[str, Callable[[str, str], Any]] = {
    "by": any_text,
    "metric": any_text,
    "against": any_text,
    "statistic": _statistic,
    "paired": boolean,
    "stage": _stage,
    "out": functools.partial(output_file, suffixes=tuple(FORMATS)),
}


def read(words: list[str]) -> Request:
    """``RUN... [key=value...]`` of the command line. Raises ConfigError for anything else."""
    paths, values = read_several("compare", words, READERS, "folders of runs")
    return Request(paths, **values)


def compare(request: Request) -> tuple[list[Line], list[Pair], str]:
    """What is compared, how it came out, and where it was written.

    Raises:
        ConfigError: these runs cannot be compared.
    """
    lines = lines_at(request.paths, request.stage)
    metric, groups = groups_of(lines, request.metric, request.by)
    pairs = compared(groups, metric, request.statistic, against=request.against, paired=request.paired)
    if request.out:
        with writing(request.out):
            write_text(request.out, FORMATS[request.out.suffix](COLUMNS, rows_of(pairs)))
    said = f"{len(lines)} run(s), {metric} of the best teams over fresh episodes, {acting(metric)}; intervals of 95 %: "
    said += "Student's t for a task, a stratified bootstrap for all; p is Holm's over the tasks"
    for note in dict.fromkeys(each.difference.note for each in pairs if each.difference.note):
        said += f"\nnote: {note}"
    return lines, pairs, said + (f"\nwritten: {request.out}" if request.out else "")
