"""Tables and pictures of ``drift_search.py``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hamljax.lab.statistics import Estimate, student_t
from hamljax.lab.storage.files import replaced, write_text

SETTINGS = ("uniform, 1", "uniform, 4", "skewed, 1", "skewed, 4")
SEARCHED = ("hinges", "powers")
INVERSE = "1 / "  # how the name of a radius begins that is shown as the coefficient that it is
Result = Mapping[str, Any]


def over_games(scores: np.ndarray) -> Estimate:
    """The mean over games of (G, T, L) scores; settings of one game are not independent, so they are averaged first."""
    found = student_t(scores.mean((1, 2))[:, None])
    return Estimate(*(float(x[0]) for x in (found.value, found.low, found.high)), found.runs, found.level, found.method)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([row(head), "|" + "---|" * len(head), *map(row, rows)])


def number(x: float) -> str:
    return f"{x:.3f}"


def signed(x: Estimate) -> str:
    return f"{x.value:+.3f} [{x.low:+.3f}, {x.high:+.3f}]"


def parameters(result: Result) -> str:
    """What was chosen, as few words as a cell holds."""
    values = zip(result["family"].names, np.exp(result["theta"]), strict=True)
    shown = [f"{name.removeprefix(INVERSE)} {1 / x if INVERSE in name else x:.2g}" for name, x in values if name]
    rate = [f"rate {result['rate']:.2g}"] if result["rate"] else []
    return "; ".join((shown if len(shown) <= 2 else ["below"]) + rate) + (
        " (edge of the grid)" if result["edge"] else ""
    )


def score_table(results: Mapping[str, Result]) -> str:
    """Held-out scores after the last sweep, mean and by setting, and their mean over the sweeps."""
    rows = []
    for name, x in results.items():
        cells = [number(v) for v in (*x["final"].mean(0).ravel(), x["area"].mean())]
        rows.append([name, parameters(x), str(over_games(x["final"])), *cells])
    return table(["drift", "chosen", "mean [95 %]", *SETTINGS, "over the sweeps"], rows)


def difference_table(results: Mapping[str, Result], name: str, others: Sequence[str]) -> str:
    """A member minus others on the same games: as chosen, and against one tuned for each setting."""
    mine = results[name]
    rows = []
    for other in others:
        rows.append([other, *(signed(over_games(mine["final"] - results[other][x])) for x in ("final", "tuned"))])
    return table([f"{name} minus", "as chosen", "tuned for each setting"], rows)


def member_table(results: Mapping[str, Result]) -> str:
    """All parameters of members of one family, side by side."""
    first, *_ = results.values()
    values = np.array([[*np.exp(x["theta"]), x["rate"]] for x in results.values()]).T
    names = [*first["family"].names, "rate"]
    rows = [[name, *(f"{x:.3g}" for x in row)] for name, row in zip(names, values, strict=True)]
    return table(["parameter", *results], rows)


def verdict(results: Mapping[str, Result], shipped: Sequence[str]) -> tuple[str, bool]:
    """The member that the games of the choice prefer, and whether it is above every shipped drift on those held out."""
    found = [name for name in results if name.startswith(SEARCHED)]
    best = max(found, key=lambda name: results[name]["choice"])
    lows = [over_games(results[best]["final"] - results[name]["final"]).low for name in shipped]
    return best, min(lows) > 0


def shapes(axis: Any, result: Result, title: str) -> None:
    """The cost of a member against the ratio, for both signs of the advantage, at the start and the end of a run."""
    ratio = np.linspace(0.2, 2.2, 401)
    for sign, colour in ((1.0, "tab:blue"), (-1.0, "tab:red")):
        for progress, style in ((0.0, "-"), (1.0, "--")) if result["rate"] else ((0.0, "-"),):
            cost = result["family"].cost(result["theta"], -result["rate"] * progress, ratio, np.full_like(ratio, sign))
            end = ", at the end" if progress else ""
            axis.plot(ratio, np.asarray(cost), colour, ls=style, label=f"M A = {sign:+.0f}{end}")
    axis.set(title=title, xlabel="ratio", ylabel="drift", ylim=(0, 1.0))
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)


def draw_shapes(results: Mapping[str, Result], out: Path) -> None:
    """The drifts as functions of the ratio: clip, spo, and what was found."""
    names = [name for name in results if name.split(",")[0] in ("clip", "spo", *SEARCHED)]
    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(2, len(names) // 2, sharex=True, sharey=True).T.ravel()
    for axis, name in zip(axes, names, strict=True):
        shapes(axis, results[name], name)
    save(figure, out)


def draw_scores(results: Mapping[str, Result], out: Path) -> None:
    """Held-out scores of all drifts with their intervals; what was found in another colour."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    for place, (name, result) in enumerate(results.items()):
        found = over_games(result["final"])
        colour = "tab:red" if name.startswith(SEARCHED) else "tab:blue"
        axis.errorbar(
            found.value, place, xerr=[[found.value - found.low], [found.high - found.value]], fmt="o", c=colour
        )
    axis.set(yticks=range(len(results)), yticklabels=list(results), xlabel="held-out score, 95 % interval")
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    save(figure, out)


def save(figure: Figure, out: Path) -> None:
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=110)


def write(results: Mapping[str, Result], shipped: Sequence[str], out: Path) -> None:
    """``tables.md``, ``scores.png`` and ``shapes.png`` in the folder."""
    best, above = verdict(results, shipped)
    others = [name for name in results if name != best]
    parts = [score_table(results), f"Best on the games of the choice: {best}. Above every shipped drift: {above}."]
    parts += [difference_table(results, best, others)]
    for family in SEARCHED:
        parts.append(member_table({name: x for name, x in results.items() if name.startswith(family)}))
    write_text(out / "tables.md", "\n\n".join(parts) + "\n")
    draw_scores(results, out / "scores.png")
    draw_shapes(results, out / "shapes.png")
