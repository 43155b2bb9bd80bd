"""The painter of robots: rods as thick lines on a page that follows the root, above a ground that stands still.

Shapes: F frames, R rods.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from ...envs.mamujoco.environment import MultiAgentMujoco
from . import paint as gif

if TYPE_CHECKING:
    from .robots import Rod

EDGE = 0.35  # how dark the rim of a rod is, as a share of its colour
MARGIN = 0.06  # around the robot, as a share of the page
ASPECT = 1.3  # of the page, width to height
STEPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # distances between marks on the ground, in metres


@dataclasses.dataclass(frozen=True)
class View:
    """How the world is laid on the page: rows ``across`` and ``up`` of the page, and ``near``, towards the reader.

    follow: the world coordinates in which the page follows the robot.
    """

    across: tuple[float, float, float]
    up: tuple[float, float, float]
    near: tuple[float, float, float]
    follow: tuple[int, ...]

    def __call__(self, points: Any) -> Float[np.ndarray, "... 2"]:
        """Where points of the world (..., 3) are on the page."""
        return np.asarray(points) @ np.array([self.across, self.up]).T


def _oblique(azimuth: float, elevation: float) -> View:
    a, e = np.radians(azimuth), np.radians(elevation)
    ca, sa, ce, se = np.cos(a), np.sin(a), np.cos(e), np.sin(e)
    return View((-sa, ca, 0), (-ca * se, -sa * se, ce), (ca * ce, sa * ce, se), (0, 1))


SIDE = View((1, 0, 0), (0, 0, 1), (0, -1, 0), (0,))
TOP = View((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1))
STILL = dataclasses.replace(TOP, follow=())
OBLIQUE = _oblique(-60, 25)


def view_of(model: mujoco.MjModel) -> View:
    """From the side for a robot that slides in x and z, from above in x and y.

    Obliquely where its root is free, or where two robots stand side by side.
    """
    first = [j for j in range(model.njnt) if model.jnt_bodyid[j] == 1]
    driven = model.jnt_bodyid[model.actuator_trnid[:, 0]]
    if any(model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE for j in first) or len(set(model.body_rootid[driven])) > 1:
        return OBLIQUE
    slides = [model.jnt_axis[j] for j in first if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE]
    if not slides:
        return STILL
    return SIDE if any(abs(axis[2]) > 0.5 for axis in slides) else TOP


def centres(view: View, ends: Float[np.ndarray, "F R 2 3"]) -> Float[np.ndarray, "F 3"]:
    """Where the page looks, for the ``ends`` of rods: the robot's middle in the coordinates that ``view`` follows."""
    middle = np.zeros((len(ends), 3))
    middle[:, view.follow] = ends.mean((1, 2))[:, view.follow]
    return middle


def paint(
    env: MultiAgentMujoco,
    name: str,
    pieces: "list[Rod]",
    ends: Float[np.ndarray, "F R 2 3"],
    times: Float[np.ndarray, " F"],
    returns: Float[np.ndarray, " F"],
    legend: Sequence[tuple[Any, str]],
    out: Path,
) -> None:
    """Write the GIF.

    Args:
        env: the robot's.
        name: the environment's, for the title.
        pieces: R rods.
        ends: of the rods in the world, in metres.
        times: of the frames, in seconds.
        returns: up to each frame.
        legend: (colour, words).
        out: the file.
    """
    view = view_of(env.brax.sys.mj_model)
    radii = np.array([rod.radius for rod in pieces])
    middle = centres(view, ends)
    page, looks = view(ends), view(middle)
    low, high = _window(view, page - looks[:, None, None], radii)
    width, height = high - low
    figure, axes = gif.figure(8.0, 4.8)
    figure.subplots_adjust(left=0.06, right=0.06 + 0.82 * ASPECT * 4.8 / 8.0, top=0.92, bottom=0.1)
    handles = [Line2D([], [], color=c, lw=6, solid_capstyle="round", label=words) for c, words in legend]
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.7, 0.5), fontsize=7, frameon=False)
    axes.set_aspect("equal", adjustable="box")
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.apply_aspect()  # fixes how long a metre is on the page
    points = axes.get_window_extent().width / width * 72 / gif.DPI
    axes.tick_params(labelsize=7)
    step = next((s for s in STEPS if width / s <= 9), STEPS[-1])
    ground = _Ground(axes, view, step, max(width, height))
    robot = axes.add_collection(LineCollection([], capstyle="round", snap=False, zorder=3))
    rim = [tuple(EDGE * np.array(gif.rgb(rod.colour))) for rod in pieces]
    fill = [gif.rgb(rod.colour) for rod in pieces]

    def draw(frame: int) -> None:
        order = np.argsort((ends[frame] @ view.near).mean(-1), kind="stable")  # the nearest last
        lines = np.repeat(page[frame][order], 2, axis=0)
        lines[:, 1, 0] += np.where((lines[:, 0] == lines[:, 1]).all(-1), 0.1 / points, 0)  # a ball: a dot is not drawn
        widths = np.maximum(2 * points * radii[order], 4.0)  # a long swimmer is thin
        rims = np.minimum(1.0, 0.15 * widths)
        robot.set(segments=lines, linewidths=np.stack([widths, widths - 2 * rims], 1).reshape(-1))
        robot.set_color([shade for rod in order for shade in (rim[rod], fill[rod])])
        axes.set(xlim=looks[frame][0] + [low[0], high[0]], ylim=looks[frame][1] + [low[1], high[1]])
        ground.move(middle[frame])
        axes.set_title(f"{name}    t = {times[frame]:.2f} s    return {returns[frame]:.2f}", fontsize=9)

    gif.write_gif(out, figure, draw, len(ends), times[1] - times[0] if len(times) > 1 else 1.0)


def _window(
    view: View, page: Float[np.ndarray, "F R 2 2"], radii: Float[np.ndarray, " R"]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Corners of the page around where it looks: all that the rods ever cover, and some air."""
    reach = radii[:, None, None]
    low, high = (page - reach).min((0, 1, 2)), (page + reach).max((0, 1, 2))
    if view is SIDE or view is OBLIQUE:
        low[1] = min(low[1], -0.1)
    low, high = low - MARGIN * (high - low).max(), high + MARGIN * (high - low).max()
    size = high - low
    fill = np.maximum(size, [ASPECT * size[1], size[0] / ASPECT]) - size  # the page is full, whatever the robot's shape
    return low - fill / 2, high + fill / 2


class _Ground:
    """Marks that stand still: a line with ticks, or a grid seen from above or obliquely."""

    def __init__(self, axes: Axes, view: View, step: float, reach: float):
        self.axes, self.view, self.step, self.reach = axes, view, step, reach
        self.lines: LineCollection | None = None
        self.words: list[Any] = []
        if view is OBLIQUE:
            axes.set(xticks=[], yticks=[])
            self.lines = LineCollection([], colors="#d9d9d9", linewidths=0.8, zorder=1)
            axes.add_collection(self.lines)
            return
        axes.xaxis.set_major_locator(MultipleLocator(step))
        axes.yaxis.set_major_locator(MultipleLocator(step))
        axes.grid(axis="x" if view is SIDE else "both", color="#d9d9d9", lw=0.8, zorder=0)
        axes.set_axisbelow(True)
        if view is SIDE:
            axes.axhspan(-1e3, 0, color="#e9e4da", zorder=0.5)
            axes.axhline(0, color="#6b5d45", lw=1.5, zorder=1)

    def move(self, middle: Float[np.ndarray, " 3"]) -> None:
        """Draw the grid again around ``middle``; a grid of the axes moves by itself."""
        if self.lines is None:
            return
        for word in self.words:
            word.remove()
        count = int(np.ceil(self.reach / self.step))
        marks = np.round(middle[:2] / self.step)[:, None] * self.step + self.step * np.arange(-count, count + 1)
        (left, right), (near, far) = (marks[0, 0], marks[0, -1]), (marks[1, 0], marks[1, -1])
        grid = [[(x, near, 0), (x, far, 0)] for x in marks[0]] + [[(left, y, 0), (right, y, 0)] for y in marks[1]]
        self.lines.set_segments(list(self.view(grid)))
        beside = np.round((middle[1] - 0.2 * self.reach) / self.step) * self.step
        here = self.view([(x, beside, 0) for x in marks[0]])
        self.words = [
            self.axes.text(spot[0], spot[1], f"x={x:g}", fontsize=6, color="#9a9a9a", clip_on=True, zorder=2)
            for spot, x in zip(here, np.round(marks[0], 6), strict=True)
        ]
