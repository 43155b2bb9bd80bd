"""A drift as a picture: what a sample costs, and what that adds up to in a game of two actions."""

from pathlib import Path
from typing import Any

from ..storage.files import replaced

PANELS = {"cost": "cost of the first action", "drift": "D, of both actions"}
SIGNS = {"+1": "M A = +1", "-1": "M A = -1"}


def draw(name: str, verdicts: str, curve: dict[str, Any], out: Path) -> None:
    """``curve`` of a certificate: by ratio, for both signs of M A. The title says what the certificate does."""
    from .paint import plain  # first, because it imports matplotlib whatever its environment variable says

    from matplotlib.figure import Figure  # not pyplot, whose state and windows belong to the user  # isort: skip

    figure = Figure(figsize=(10.4, 3.8), layout="constrained")
    for axis, (what, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for sign, label in SIGNS.items():
            axis.plot(curve["ratio"], curve[sign][what], lw=2, label=label)
        axis.axhline(0, color="black", lw=0.8)
        axis.axvline(1, color="black", lw=0.8, ls=":")
        axis.set(xlabel="ratio of the first action, which had probability 1/4", title=title)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(plain(f"{name}: {verdicts}"))
    with replaced(out) as unfinished:
        figure.savefig(unfinished, dpi=120)
