"""A drift as a picture: what a sample costs, and what that adds up to in a game of two actions."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..storage.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"cost": "cost of the first action", "drift": "D, of both actions"}
SIGNS = {"+1": "M A = +1", "-1": "M A = -1"}
COLOURS = {"+1": "#0072B2", "-1": "#D55E00"}  # of Okabe and Ito, told apart with any colour vision
ACROSS = "ratio of the first action, which had probability 1/4"
HIGHEST = 2.0  # cost that small multiples show, so that all of them have one scale
COLUMNS = 4


def draw(name: str, verdicts: str, curve: dict[str, Any], out: Path) -> None:
    """``curve`` of a certificate: by ratio, for both signs of M A. The title says what the certificate does."""
    from .paint import new_figure, plain

    figure = new_figure(10.4, 3.8)
    for axis, (what, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for sign, label in SIGNS.items():
            axis.plot(curve["ratio"], curve[sign][what], lw=2, color=COLOURS[sign], label=label)
        _lines(axis)
        axis.set(xlabel=ACROSS, title=title)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(plain(f"{name}: {verdicts}"))
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=120)


def draw_all(curves: Mapping[str, dict[str, Any]], notes: Mapping[str, str], out: Path) -> None:
    """Small multiples of one scale: a panel for every drift, with D and the cost of a sample for both signs of M A.

    Args:
        curves: of certificates, by the drift's name. notes: what stands below a name. out: the file; as PNG it holds the names.
    """
    from .paint import new_figure, plain

    count, columns = len(curves), min(COLUMNS, len(curves))
    rows = math.ceil(count / columns)
    figure = new_figure(2.5 * columns, 2.3 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    low = 0.0
    for axis, (name, curve) in zip(panels, curves.items(), strict=False):
        for sign in SIGNS:
            own, width = curve[sign], 4.5 if sign == "+1" else 2.0  # both are seen where they are one
            axis.plot(curve["ratio"], own["drift"], lw=width, color=COLOURS[sign], alpha=0.9)
            axis.plot(curve["ratio"], own["cost"], lw=width / 2, ls="--", color=COLOURS[sign])
            low = min(low, *(np.min(own[what], initial=0.0, where=np.isfinite(own[what])) for what in PANELS))
        _lines(axis)
        axis.set_title(plain(f"{name}\n{notes[name]}"), fontsize=9)
    panels[0].set(xlim=(0, 4), ylim=(max(low, -HIGHEST) - 0.1, HIGHEST))
    for axis in panels[count:]:
        axis.set_visible(False)
    for number in range(count):
        panels[number].tick_params(labelbottom=number + columns >= count)
    figure.supxlabel(ACROSS, fontsize=9)
    figure.legend(handles=_key(), loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=100, metadata={"Description": " ".join(curves)})


def _lines(axis: "Axes") -> None:
    """Cost 0 and ratio 1."""
    axis.axhline(0, color="black", lw=0.8)
    axis.axvline(1, color="black", lw=0.8, ls=":")
    axis.grid(alpha=0.3)


def _key() -> list[Any]:
    """What the lines of ``draw_all`` are."""
    from matplotlib.lines import Line2D

    colours = [Line2D([], [], lw=3, color=COLOURS[sign], label=label) for sign, label in SIGNS.items()]
    styles = {"-": "D, of both actions", "--": "cost of a sample of the first"}
    return colours + [Line2D([], [], color="black", ls=style, label=label) for style, label in styles.items()]
