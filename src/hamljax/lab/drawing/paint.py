"""What moving pictures share: colours that tell agents apart, and a GIF written frame by frame."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configuration.variables import without

with without("MPLBACKEND") as _backend:  # the windows of others; one that is not there is no reason to draw nothing
    import matplotlib
    import matplotlib.colors
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
if _backend:
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend

Rgb = tuple[float, float, float]
DPI = 80
NOBODY = "#a6a6a6"  # what no agent drives


def palette(count: int) -> list[Rgb]:
    """``count`` different colours, none of them grey."""
    for name, greys in (("tab10", (7,)), ("tab20", (14, 15))):
        listed = matplotlib.colormaps[name]
        assert isinstance(listed, matplotlib.colors.ListedColormap)
        colours = [rgb(tuple(c)) for i, c in enumerate(np.asarray(listed.colors)) if i not in greys]
        if count <= len(colours):
            return colours[:count]
    return [rgb(tuple(c)) for c in matplotlib.colormaps["hsv"](np.arange(count) / count)]


def rgb(colour: Any) -> Rgb:
    """Any colour of matplotlib's as red, green and blue."""
    return matplotlib.colors.to_rgb(colour)


def plain(text: str) -> str:
    """``text`` as matplotlib shows it letter by letter, not as mathematics."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float) -> "Figure":
    """A figure of panels that keep clear of one another, in inches, made without a display."""
    from matplotlib.figure import Figure  # not pyplot, whose state and windows belong to the user

    return Figure(figsize=(width, height), layout="constrained")


def figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure and its only axes, in inches, made without a display."""
    from matplotlib.figure import Figure  # not pyplot, whose state and windows belong to the user

    made = Figure(figsize=(width, height), dpi=DPI)
    return made, made.subplots()


def write_gif(out: Path, made: "Figure", draw: Callable[[int], None], frames: int, seconds: float) -> None:
    """Write a moving picture.

    Args:
        out: the file.
        made: the figure.
        draw: changes the figure into that of a frame, by its number from 0.
        frames: how many.
        seconds: how long a frame is shown, to the hundredth.
    """
    from matplotlib.animation import PillowWriter

    hundredths = max(2, round(100 * seconds))
    fps = 1000 / (10 * hundredths + 0.5)  # the writer rounds milliseconds down, and GIF hundredths too
    writer = PillowWriter(fps=fps)  # type: ignore[arg-type]  # it takes fractions
    with writer.saving(made, str(out), DPI):
        for frame in range(frames):
            draw(frame)
            writer.grab_frame()
