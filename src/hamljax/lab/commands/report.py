"""``hamljax report``: one page of HTML about finished runs, or about a study."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError
from ..configuration.arguments import read_several
from ..storage.files import write_text
from ..storage.paths import as_typed, existing, output_file, writing
from ..studies import leaderboard
from ..studies.comparison import groups_of
from ..studies.report import answer, primary_of, report
from ..studies.study import Study, file_of, read_file, study_of

NAME = "report.html"
read_out = functools.partial(output_file, suffixes=(".html", ".htm"))


class Request(NamedTuple):
    """What to report: folders, or leaderboards. ``out`` None: ``report.html`` in the first of them."""

    paths: list[Path]
    out: Path | None = None


def read(words: Sequence[str]) -> Request:
    """``FOLDER... [out=FILE.html]`` of the command line. Raises ConfigError for anything else."""
    places, values = read_several("report", words, {"out": read_out}, "a folder of runs or of a study")
    return Request([existing(place) for place in places], **values)


def write_report(paths: Iterable[Path], out: Path | None = None) -> str:
    """Write the page.

    Args:
        paths: folders of runs, or of one study. out: the file; None: ``report.html`` in the first.

    Returns:
        A line that says where it is.

    Raises:
        ConfigError: there is nothing to report, or several studies.
    """
    paths = list(paths)
    study, budget = study_at(paths)
    lines = leaderboard.lines_at([str(path) for path in paths], every=True)
    page = report(lines, study, budget, ", ".join(path.name or str(path) for path in paths))
    first = paths[0] if paths[0].is_dir() else paths[0].parent
    file = out or first / NAME
    with writing(file):
        write_text(file, str(page))
    return f"report: {as_typed(file)}"


def study_at(paths: Sequence[Path]) -> tuple[Study | None, str]:
    """The study of a folder, and its budget; None where it is of none."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    files = [file for folder in folders for file in [file_of(folder)] if file.is_file()]
    if not files:
        return None, ""
    if len(folders) > 1:
        raise ConfigError("a report is of one study; name one folder")
    values = read_file(files[0])
    budgets = values.get("budgets") if isinstance(values, dict) else None
    if not isinstance(budgets, dict) or len(budgets) != 1:
        raise ConfigError(f"'{files[0]}' is not what a study writes")
    try:
        return study_of(str(values.pop("name", "")), values), next(iter(budgets))
    except ConfigError as error:
        raise ConfigError(f"{files[0]}: {error}") from None


def answers(paths: Sequence[Path]) -> list[str]:
    """What the primary comparison of a study says so far; empty of other runs, or before it is measured."""
    study, budget = study_at(paths)
    measured = leaderboard.lines_at([str(path) for path in paths])
    measured = [line for line in measured if study and line.is_whole(study.metric)]
    if study is None or not measured:
        return []
    metric, groups = groups_of(measured, study.metric)
    found = primary_of(groups, metric, study)
    return [answer(found, study, study.budget(budget).tasks)] if found else []
