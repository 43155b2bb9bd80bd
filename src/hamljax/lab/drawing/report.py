"""Pictures of a report: curves with intervals over seeds, performance profiles, differences."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import Scores, performance_profile, student_t
from .paint import new_figure, palette, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[int], np.ndarray]  # steps, and scores (seeds, evaluations)
COLUMNS = 3  # of panels


def curves(by_task: Mapping[str, Mapping[str, Curve]], label: str) -> str:
    """A panel for each task, a line for each arm: means over seeds with Student's t intervals. Returns a picture as text."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    colours = _colours(by_task)
    figure, axes = _panels(len(by_task))
    for axis, (task, arms) in zip(axes, by_task.items(), strict=False):
        for name, (steps, scores) in arms.items():
            shown = np.isfinite(scores).all(axis=0)
            at, values = np.asarray(steps)[shown], scores[:, shown]
            axis.plot(at, values.mean(axis=0), lw=2, color=colours[name], label=plain(f"{name} ({len(values)})"))
            if len(values) > 1:
                band = student_t(values)
                axis.fill_between(at, band.low, band.high, color=colours[name], alpha=0.2, lw=0)
        axis.set(title=plain(task), xlabel="environment steps of each seed")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel(plain(label))
    return _as_text(figure)


def profiles(scores: Mapping[str, Scores], label: str) -> str:
    """The share of runs above each score, an arm a line, with bootstrap bands. Returns a picture as text."""
    colours = dict(zip(scores, palette(len(scores)), strict=True))
    figure = new_figure(5.6, 3.6)
    axis, taus = figure.subplots(), np.linspace(0, 1, 101)
    for name, values in scores.items():
        band = performance_profile(values, taus)
        axis.step(taus, band.value, where="post", lw=2, color=colours[name], label=plain(name))
        axis.fill_between(taus, band.low, band.high, step="post", color=colours[name], alpha=0.15, lw=0)
    axis.set(xlabel=plain(label), ylabel="share of runs above it", ylim=(-0.02, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    return _as_text(figure)


def differences(rows: Sequence[tuple[str, float, float, float]], label: str) -> str:
    """Differences with their intervals, one below the other, and a line at 0.

    Args:
        rows: (what, value, low, high). label: of the axis.

    Returns:
        A picture as text.
    """
    figure = new_figure(6.4, 0.7 + 0.34 * len(rows))
    axis, places = figure.subplots(), np.arange(len(rows))[::-1]
    for place, (_, value, low, high) in zip(places, rows, strict=True):
        colour = "#2a7f3f" if low > 0 else "#b3392f" if high < 0 else "#666666"
        axis.plot([low, high], [place, place], lw=3, color=colour, alpha=0.6, solid_capstyle="butt")
        axis.plot([value], [place], "o", color=colour)
    axis.axvline(0, color="black", lw=0.8)
    axis.set(yticks=places, yticklabels=[plain(what) for what, *_ in rows], xlabel=plain(label))
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.grid(axis="x", alpha=0.3)
    return _as_text(figure)


def _colours(by_task: Mapping[str, Mapping[str, Curve]]) -> dict[str, tuple[float, float, float]]:
    names = list(dict.fromkeys(name for arms in by_task.values() for name in arms))
    return dict(zip(names, palette(len(names)), strict=True))


def _panels(count: int) -> "tuple[Figure, Any]":
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure = new_figure(4.6 * columns, 3.4 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


def _as_text(figure: "Figure") -> str:
    """A picture as ``data:``, which a page holds without another file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
