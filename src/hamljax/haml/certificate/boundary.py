"""The closed simplex: what a drift asks for an action that had no probability, s(g) = lim f~(r, g) / r for r to infinity.

Where s is 0 the drift meets Definition 1 on the boundary too. Where it is a number above 0, the derivative at a policy without
that action is s instead of 0, and an advantage below s is not worth the way back: *lock*. Where it is infinite: *barrier*.
"""

import dataclasses
from typing import Any

import numpy as np

from .findings import Finding
from .games import as_data, play, two_actions
from .interpreter import run
from .intervals import Interval
from .jets import Jet
from .prover import GAINS
from .questions import FLAT
from .samples import complete, contexts
from .search import asks_of_policies
from .subject import Subject

GAINS_SHOWN = (1.0, -1.0, 0.0, 10.0, -10.0)
MASSES = np.array([2.0**-10, 2.0**-20])  # that the new policy gives to the action
SHARES = 2.0 ** -np.array([40.0, 80.0, 120.0])  # of it, that the old policy gave


@dataclasses.dataclass(frozen=True)
class Boundary:
    """``kinds``: free, lock or barrier by M A. ``rates``: D over the new mass. ``at_zero``: f(0, M A) by M A."""

    kinds: dict[float, str]
    rates: dict[float, float]
    at_zero: dict[float, float]
    finding: Finding | None


def classify(subject: Subject, rng: np.random.Generator) -> Boundary:
    """What an action of (next to) no probability costs on its way back."""
    kinds, rates, finding = {}, {}, None
    context = contexts(subject, rng, 1)[0]
    for gain in GAINS_SHOWN:
        old, new = (x.ravel() for x in np.broadcast_arrays(MASSES[:, None] * SHARES, MASSES[:, None]))
        game = two_actions(old, new, gain, context)
        drift, costs = play(subject, game)
        terms = (game.weight[..., None] * game.old[:, None] * np.abs(costs)).sum((1, 2))
        drift = np.where(np.abs(drift) < 1e-6 * terms, 0.0, drift)  # terms that cancel, but for rounding
        found = (drift / new).reshape(len(MASSES), len(SHARES))
        kinds[gain], rates[gain] = _kind(found), float(found[-1, -1])
        if kinds[gain] != "free" and finding is None:
            games = [as_data(subject, game.only(number)) for number in (2, 5)]
            data = {"games": games, "t": MASSES.tolist(), "rates": found[:, -1].tolist(), "class": kinds[gain]}
            finding = Finding("boundary", _reason(kinds[gain], rates[gain], gain), data)
    gains = np.array(GAINS_SHOWN)
    at_zero = subject.costs(complete(subject, np.zeros(len(gains)), gains, context, rng))
    return Boundary(kinds, rates, dict(zip(GAINS_SHOWN, map(float, at_zero), strict=True)), finding)


def _kind(rates: np.ndarray) -> str:
    """Of D / x by new mass x (from larger to smaller) and by the old share (likewise)."""
    first, second, third = np.abs(rates[-1])
    if not np.isfinite(third) or third - second > max(0.5 * (second - first), 1e-6 * third):
        return "barrier"
    stays = third > 0 and third > FLAT * second and third > FLAT * np.abs(rates[0, -1])
    return "lock" if stays else "free"


def _reason(kind: str, rate: float, gain: float) -> str:
    if kind == "barrier":
        return f"an action that lost its probability never comes back: D / x grows without bound (M A = {gain:.3g})"
    return f"where pi(a) = 0, D / x(a) is {rate:.3g} for a new x(a) = 2^-20, and does not go to 0 with it (M A = {gain:.3g})"


def is_bounded(subject: Subject) -> bool:
    """Whether costs are proved to stay below a number for every ratio, which makes s = 0; for M A of the proof's size."""
    if asks_of_policies(subject) or "old_prob" in subject.asks or set(subject.asks) - {"m"}:
        return False
    gains = np.array([(-GAINS[1], -GAINS[0]), (0.0, 0.0), GAINS])
    ends: dict[str, Any] = {"ratio": (0.0, np.inf), "m": (0.0, 1e6)}
    jets = [
        Jet(Interval(gains[:, 0], gains[:, 1]) if name == "m_advantage" else _same(*ends[name]), moves=name == "ratio")
        for name in subject.names
    ]
    found = run(subject.program_of(3), jets, 3).jet
    return bool(np.isfinite(found.value.hi).all() and np.isfinite(found.value.lo).all() and not np.any(found.bad))


def _same(low: float, high: float) -> Interval:
    return Interval(np.full(3, low), np.full(3, high))
