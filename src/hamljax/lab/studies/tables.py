"""Comparisons as tables: on a terminal, in Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Sequence

import numpy as np

from ..statistics import Estimate
from .comparison import Pair, Row, runs_to_decide, verdict

COLUMNS = ("X", "Y", "task", "X scores", "Y scores", "X - Y", "P(X > Y)", "p", "X is", "more seeds")
Cells = tuple[str, ...]


def rows_of(pairs: Sequence[Pair]) -> list[Cells]:
    """A row of ``COLUMNS`` for every task of every pair, and one for all of them where there are several."""
    found = []
    for pair in pairs:
        found += [_cells(pair, row) for row in pair.rows]
        if len(pair.rows) > 1:
            found.append(_of_all(pair))
    return found


def _cells(pair: Pair, row: Row) -> Cells:
    scores = (shown(row.x), shown(row.y), shown(row.difference, "+"), f"{row.improvement:.2f}", _p(row.p))
    return (pair.x, pair.y, row.task, *scores, row.verdict, _more(row.more))


def _of_all(pair: Pair) -> Cells:
    decides = pair.decides
    gap, probability = f"iqm {shown(pair.difference, '+')}", shown(pair.probability, digits=2)
    more = _more(runs_to_decide(decides))
    return (pair.x, pair.y, "all", "", "", gap, probability, "", verdict(decides), more)


def shown(found: Estimate, sign: str = "", digits: int | None = None) -> str:
    """``0.152 [0.090, 0.214]``, with as many digits as its size is worth."""
    size = max(abs(found.low), abs(found.high), abs(found.value))
    places = (5 if 0 < size < 0.01 else 3 if size < 10 else 1 if size < 1000 else 0) if digits is None else digits
    value, low, high = (
        f"{x:{sign}.{places}f}" if np.isfinite(x) else "-" for x in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") or "0"


def _more(count: float) -> str:
    return "-" if count == 0 else f"{count:,.0f}" if np.isfinite(count) and count < 10_000 else "no number"


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def as_latex(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A ``tabular`` for the package booktabs."""
    body = "".join(" & ".join(map(_tex, row)) + " \\\\\n" for row in rows)
    head = " & ".join(map(_tex, columns)) + " \\\\\n"
    return f"\\begin{{tabular}}{{{'l' * len(columns)}}}\n\\toprule\n{head}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n"


TEX = {
    "\\": r"\textbackslash{}",
    "<": r"$<$",
    ">": r"$>$",
    "-": "-",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
TEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}


def _tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Comma-separated values, with a heading."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([columns, *rows])
    return out.getvalue()


FORMATS: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], str]] = {
    ".md": as_markdown,
    ".tex": as_latex,
    ".csv": as_csv,
}
