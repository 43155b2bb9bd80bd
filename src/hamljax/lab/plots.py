"""Curves with a band over seeds."""

from pathlib import Path

import pandas as pd

from .files import replaced
from .rundir import AROUND, flatten, read_run

SUFFIXES = (".png", ".pdf", ".svg", ".jpg")

PANELS = {
    "eval/won": "win rate (greedy)",
    "eval/return": "return (greedy)",
    "train/episode_return": "return (training)",
}


APART = (*AROUND, "seed", "num_seeds")  # settings that may differ within a curve


def labels(configs: list[dict]) -> list[str]:
    """Algorithm, environment and network of each, and whatever else tells it from others of that name."""
    names = [f"{c['algo']['name']} · {c['env']['name']} · {c['network']['name']}" for c in configs]
    flats = [flatten(config, APART) for config in configs]

    def telling(name, flat):
        """What of ``flat`` differs among the runs called ``name``."""
        alike = [other for other_name, other in zip(names, flats, strict=True) if other_name == name]
        return sorted(key for key, value in flat.items() if any(value != other.get(key) for other in alike))

    return [
        " ".join([name, *(f"{key.split('.')[-1]}={flat[key]}" for key in telling(name, flat))])
        for name, flat in zip(names, flats, strict=True)
    ]


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
    """(steps x seeds), training curves smoothed over a fiftieth of the run."""
    table = metrics.dropna(subset=[column]).pivot_table(index="step", columns="curve", values=column)
    window = max(1, len(table) // 50) if column.startswith("train/") else 1
    return table.interpolate(limit_area="inside").rolling(window, min_periods=1).mean()


def _without_what_all_share(groups: dict[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], str]:
    """Labels without the environment and network that all have, which become the title."""
    tails = {name.partition(" · ")[2] for name in groups}
    if len(groups) < 2 or len(tails) > 1:
        return groups, ""
    return {name.partition(" · ")[0]: metrics for name, metrics in groups.items()}, tails.pop()


def draw_runs(paths: list[Path], out: Path) -> None:
    """A panel per metric, a line per label: mean over seeds, band from the lowest to the highest seed."""
    from .paint import plain  # first, because it imports matplotlib whatever its environment variable says

    from matplotlib.figure import Figure  # not pyplot, whose state and windows belong to the user  # isort: skip
    from matplotlib.ticker import EngFormatter, MaxNLocator

    groups, title = _without_what_all_share(gather(paths))
    panels = [c for c in PANELS if any(c in m and m[c].notna().any() for m in groups.values())]
    figure = Figure(figsize=(5.2 * max(len(panels), 1), 3.8), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)
    for axis, column in zip(axes[0], panels, strict=False):
        for name, metrics in groups.items():
            if column not in metrics:
                continue
            table = _curves(metrics, column)
            line = axis.plot(
                table.index,
                table.mean(axis=1),
                lw=2,
                label=f"{plain(name)} ({table.shape[1]} seed{'s' if table.shape[1] > 1 else ''})",
            )[0]
            axis.fill_between(
                table.index, table.min(axis=1), table.max(axis=1), color=line.get_color(), alpha=0.2, lw=0
            )
        axis.set(xlabel="environment steps", title=PANELS[column])
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.grid(alpha=0.3)
        if column == "eval/won":
            axis.set_ylim(-0.02, 1.02)
    if panels:
        axes[0][0].legend(fontsize=8)
    figure.suptitle(plain(title))
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=120)


def table(paths: list[Path]) -> list[tuple[str, ...]]:
    """Rows (label, seeds, steps, final win rate, final return) of the last evaluations; ± is the spread over seeds."""

    def final(metrics, column):
        if column not in metrics:
            return "-"
        last = metrics.groupby("curve")[column].last().dropna().to_numpy()
        return f"{last.mean():.3f} ± {last.std():.3f}" if len(last) else "-"

    return [
        (name, str(m["curve"].nunique()), f"{m['step'].max():,}", final(m, "eval/won"), final(m, "eval/return"))
        for name, m in gather(paths).items()
    ]
