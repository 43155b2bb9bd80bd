"""Pictures of ``hamljax theory``."""

from pathlib import Path

from ...tabular.checks import Report
from ..storage.files import replaced


def draw(report: Report, out: Path) -> None:
    """The curves of a report; without any, its claims, as how much of what is allowed was used."""
    from .paint import new_figure, plain

    figure = new_figure(7.2, 4.2)
    axis = figure.subplots()
    if report.curves:
        across, up = report.axes
        for number, curve in enumerate(report.curves):
            axis.plot(curve.x, curve.y, lw=2, ls=("-", "--", ":")[number // 10 % 3], label=plain(curve.label))
        axis.set(xlabel=across, ylabel=up.removeprefix("log "), yscale="log" if up.startswith("log ") else "linear")
        axis.legend(fontsize=8, ncols=1 + len(report.curves) // 7)
    else:
        names = [plain(claim.what) for claim in report.claims]
        ends = [abs(claim.value) for claim in report.claims]
        limits = [abs(claim.threshold) for claim in report.claims]
        colours = ["tab:blue" if claim.holds else "tab:red" for claim in report.claims]
        axis.barh(names, [max(x, 1e-17) for x in ends], color=colours, log=True)
        axis.plot([max(x, 1e-17) for x in limits], range(len(names)), "k|", ms=14, label="threshold")
        axis.invert_yaxis()
        axis.tick_params(axis="y", labelsize=7)
        axis.set(xlabel="size of what was measured (red: the claim does not hold)")
        axis.legend(fontsize=8)
        figure.set_size_inches(9, max(3.0, 0.26 * len(names) + 1))
    axis.grid(alpha=0.3)
    figure.suptitle(plain(report.title), fontsize=10)
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=110)
