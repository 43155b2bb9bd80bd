"""What a check is asked and what it answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...haml import COORDINATIONS, DRIFTS, NEIGHBOURHOODS, ORDERS, BoundDrift, bind_drift
from ..closed_forms import has_closed_form
from ..exact import Sweep, check_drift
from ..within import chooser

NASH = 1e-6  # a gap below it is none


class Request(NamedTuple):
    """games: of every random family. drifts: by name. values: hyper-parameters of drifts and neighbourhood, by name.

    Everything else as ``algo`` names it.
    """

    drifts: Sequence[str]
    values: Mapping[str, Any]
    games: int = 1000
    coordination: str = "sequential"
    order: str = "uniform"
    neighbourhood: str = "everywhere"
    seed: int = 0
    num_states: int = 4
    actions: tuple[int, ...] = (2, 3, 4)
    sweeps: int = 30

    def drift(self, name: str) -> BoundDrift:
        drift = bind_drift(DRIFTS[name], self.values)
        check_drift(drift)
        return drift

    def sweep(self, name: str) -> Sweep:
        """The sweep with a drift of that name."""
        choose = chooser(NEIGHBOURHOODS[self.neighbourhood], self.values)
        return Sweep(self.drift(name), COORDINATIONS[self.coordination], ORDERS[self.order], choose)

    def share(self, name: str) -> float:
        """Of the work that a check would do, how much of it with this drift: a tenth where every maximiser is a search."""
        closed = self.neighbourhood == "everywhere" and has_closed_form(DRIFTS[name])
        return 1.0 if closed else 0.1


class Claim(NamedTuple):
    """``value`` must be at most (``<=``) or at least (``>=``) ``threshold``."""

    what: str
    value: float
    relation: str
    threshold: float

    @property
    def holds(self) -> bool:
        return self.value <= self.threshold if self.relation == "<=" else self.value >= self.threshold


class Curve(NamedTuple):
    """A line of the picture."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Report(NamedTuple):
    """A table, what is claimed of it, and a picture. axes: of x and y; a y that begins with "log " is on a logarithmic scale."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    claims: list[Claim]
    curves: list[Curve] = []
    axes: tuple[str, str] = ("", "")
    notes: list[str] = []

    @property
    def holds(self) -> bool:
        return all(claim.holds for claim in self.claims)


Progress = Callable[[str], Any]  # is told what is being computed, and how far
