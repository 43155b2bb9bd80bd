"""Curves with a band over seeds."""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..statistics.intervals import half_width
from ..storage.files import replaced
from ..storage.rundir import read_run
from ..storage.saved_config import RESUMABLE, flatten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".pdf", ".svg", ".jpg")

PANELS = {
    "eval/won": "win rate (greedy)",
    "eval/return": "return (greedy)",
    "train/episode_return": "return (training)",
    "exact/return": "J of the policies (exact)",
}
BESIDE = {"eval/won": "eval_sampled/won", "eval/return": "eval_sampled/return"}  # drawn with dashes in the same panel
BANDS = {"ci": "Student's t, 95 %", "minmax": "lowest to highest seed", "std": "one standard deviation"}
LONGEST = 24  # letters of a value in a label
MEASURED = ("eval/won", "eval/return")  # of which the table shows the last
APART = (*RESUMABLE, "seed", "num_seeds")  # settings that may differ within a curve


def labels(configs: list[dict[str, Any]]) -> list[str]:
    """Algorithm, environment and network of each, and whatever else tells it from others of that name."""
    names = [f"{c['algo']['name']} · {c['env']['name']} · {c['network']['name']}" for c in configs]
    return told_apart(names, configs)


def told_apart(names: list[str], configs: list[dict]) -> list[str]:
    """Each name, and whatever settings of its configuration tell it from others of that name."""
    flats = [flatten(config, APART) for config in configs]

    def telling(name: str, flat: dict[str, str]) -> list[str]:
        """What of ``flat`` differs among the runs called ``name``."""
        alike = [other for other_name, other in zip(names, flats, strict=True) if other_name == name]
        return sorted(key for key, value in flat.items() if any(value != other.get(key) for other in alike))

    return [
        " ".join([name, *(f"{key.split('.')[-1]}={_short(flat[key])}" for key in telling(name, flat))])
        for name, flat in zip(names, flats, strict=True)
    ]


def told_apart_by_task(names: list[str], configs: list[dict], tasks: list[str]) -> list[str]:
    """``told_apart`` within each task: what differs from task to task is the task's, as where a preset has settings for each."""
    found = list(names)
    for task in set(tasks):
        here = [place for place, other in enumerate(tasks) if other == task]
        told = told_apart([names[place] for place in here], [configs[place] for place in here])
        for place, name in zip(here, told, strict=True):
            found[place] = name
    return found


def _short(value: str) -> str:
    """A long one, such as a list, by its beginning and a number that others do not have."""
    return value if len(value) <= LONGEST else f"{value[:12]}...{zlib.crc32(value.encode()):08x}"


def gather(paths: list[Path]) -> dict[str, pd.DataFrame]:
    """Metrics by label; runs of the same settings are pooled as more seeds, and a seed trained twice counts once."""
    runs = [read_run(path) for path in paths]
    groups: dict[str, dict[int, pd.DataFrame]] = {}
    for name, (_, metrics) in zip(labels([config for config, _ in runs]), runs, strict=True):
        groups.setdefault(name, {}).update(
            {int(seed): rows.assign(curve=str(seed)) for seed, rows in metrics.groupby("seed")}
        )
    return {name: pd.concat(frames.values(), ignore_index=True) for name, frames in groups.items()}


def _curves(metrics: pd.DataFrame, column: str) -> pd.DataFrame:
    """(steps x seeds) of the steps that all seeds have, training curves smoothed over a fiftieth of them.

    Where some seeds went on further, a mean of these alone would look like a change in what is learnt.
    """
    table = metrics.dropna(subset=[column]).pivot_table(index="step", columns="curve", values=column)
    table = table.interpolate(limit_area="inside").dropna()
    window = max(1, len(table) // 50) if column.startswith("train/") else 1
    return table.rolling(window, min_periods=1).mean()


def _without_what_all_share(groups: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], str]:
    """Labels without the environment and network that all have, which become the title."""
    tails = {name.partition(" · ")[2] for name in groups}
    if len(groups) < 2 or len(tails) > 1:
        return groups, ""
    return {name.partition(" · ")[0]: metrics for name, metrics in groups.items()}, tails.pop()


def band_of(values: np.ndarray, band: str) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the upper edge of a band.

    Args:
        values: (seeds, steps), two seeds or more. band: of ``BANDS``.
    """
    if band == "minmax":
        return values.min(axis=0), values.max(axis=0)
    half = values.std(axis=0, ddof=1) if band == "std" else half_width(values)
    return values.mean(axis=0) - half, values.mean(axis=0) + half


def draw_runs(paths: list[Path], out: Path, band: str = "ci") -> None:
    """A panel per metric, a line per label: the mean over seeds, with a band; of sampled actions with dashes.

    Args:
        paths: run directories.
        out: the file; its suffix says of which format.
        band: of ``BANDS``.

    Raises:
        ConfigError: a run cannot be read.
    """
    from .paint import new_figure, plain  # first, because it imports matplotlib whatever its environment variable says

    groups, title = _without_what_all_share(gather(paths))
    panels = [c for c in PANELS if any(c in m and m[c].notna().any() for m in groups.values())]
    figure = new_figure(5.2 * max(len(panels), 1), 3.8)
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)
    for axis, column in zip(axes[0], panels, strict=False):
        for name, metrics in groups.items():
            if column in metrics:
                _draw_line(axis, metrics, column, band, plain(name))
        _finish_panel(axis, column)
    if panels:
        axes[0][0].legend(fontsize=8, title=f"bands: {BANDS[band]}", title_fontsize=7)
    figure.suptitle(plain(title))
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=120)


def _draw_line(axis: "Axes", metrics: pd.DataFrame, column: str, band: str, name: str) -> None:
    table = _curves(metrics, column)
    count = table.shape[1]
    label = f"{name} ({count} seed{'s' if count > 1 else ''})"
    line = axis.plot(table.index, table.mean(axis=1), lw=2, label=label)[0]
    if count > 1:
        edges = band_of(table.to_numpy().T, band)
        axis.fill_between(table.index, *edges, color=line.get_color(), alpha=0.2, lw=0)
    if (sampled := BESIDE.get(column)) in metrics:
        beside = _curves(metrics, str(sampled))
        axis.plot(beside.index, beside.mean(axis=1), "--", color=line.get_color(), label=f"{name}, sampled")


def _finish_panel(axis: "Axes", column: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set(xlabel="environment steps", title=PANELS[column])
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.grid(alpha=0.3)
    if column == "eval/won":
        axis.set_ylim(-0.02, 1.02)


def table(paths: list[Path]) -> list[tuple[str, ...]]:
    """Rows (label, seeds, steps, win rate, return) of the last evaluations that all seeds of a label had.

    ± is the sample standard deviation over seeds. steps: of that evaluation, and how far the furthest seed has come.
    """
    return [
        (name, str(m["curve"].nunique()), _steps(m, at), *(_spread(at, c) for c in MEASURED))
        for name, m in gather(paths).items()
        for at in [_last_evaluations(m)]
    ]


def _last_evaluations(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row for each seed, of the last step at which all were evaluated; none where there is no such step."""
    evaluated = metrics[metrics.reindex(columns=MEASURED).notna().any(axis=1)]
    seeds = evaluated.groupby("step")["curve"].nunique()
    return evaluated[evaluated["step"] == seeds[seeds == metrics["curve"].nunique()].index.max()]


def _steps(metrics: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Of the rows that are compared, or that all seeds have come to; and how far a seed has come since."""
    ends = metrics.groupby("curve")["step"].max()
    at = compared["step"].max() if len(compared) else ends.min()
    return f"{at:,}" + (f" (trained to {ends.max():,})" if ends.max() > at else "")


def _spread(compared: pd.DataFrame, column: str) -> str:
    """Mean and sample standard deviation of a column, which one number does not have."""
    numbers = compared[column].dropna() if column in compared else compared[:0]
    if not len(numbers):
        return "-"
    return f"{numbers.mean():.3f} ± " + (f"{numbers.std(ddof=1):.3f}" if len(numbers) > 1 else "-")
