"""What moving pictures share: colours that tell agents apart, and a GIF written frame by frame."""

import contextlib
from pathlib import Path

import numpy as np

from ..configuration.variables import without

with without("MPLBACKEND") as _backend:  # the windows of others; one that is not there is no reason to draw nothing
    import matplotlib
    import matplotlib.colors
if _backend:
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend

DPI = 80
NOBODY = "#a6a6a6"  # what no agent drives


def palette(count: int) -> list[tuple[float, float, float]]:
    """``count`` different colours (r, g, b), none of them grey."""
    for name, greys in (("tab10", (7,)), ("tab20", (14, 15))):
        colours = [c[:3] for i, c in enumerate(matplotlib.colormaps[name].colors) if i not in greys]
        if count <= len(colours):
            return colours[:count]
    return [tuple(map(float, c[:3])) for c in matplotlib.colormaps["hsv"](np.arange(count) / count)]


def rgb(colour) -> tuple[float, float, float]:
    """Any colour of matplotlib's as (r, g, b)."""
    return matplotlib.colors.to_rgb(colour)


def plain(text: str) -> str:
    """``text`` as matplotlib shows it letter by letter, not as mathematics."""
    return text.replace("$", r"\$")


def figure(width: float, height: float):
    """A figure and its only axes, in inches, made without a display."""
    from matplotlib.figure import Figure  # not pyplot, whose state and windows belong to the user

    made = Figure(figsize=(width, height), dpi=DPI)
    return made, made.subplots()


def write_gif(out: Path, made, draw, frames: int, seconds: float) -> None:
    """Call ``draw(0)`` to ``draw(frames - 1)``, each of which changes the figure ``made``.

    seconds: how long a frame is shown, to the hundredth.
    """
    from matplotlib.animation import PillowWriter

    hundredths = max(2, round(100 * seconds))
    writer = PillowWriter(fps=1000 / (10 * hundredths + 0.5))  # it rounds milliseconds down, and GIF hundredths too
    with writer.saving(made, str(out), DPI):
        for frame in range(frames):
            draw(frame)
            writer.grab_frame()
