"""Branch and bound: f - c (r - 1) >= 0 on whole boxes of (ratio, M A, ...), by interval arithmetic.

Three rules, each of which proves a box: *direct*, the lower bound is at least 0; *slope*, nothing jumps, and the derivative
leads upwards, away from ratio 1; *convex*, the second derivative is at least 0 all the way from ratio 1, and nothing has a
kink. By the second one a box is as good as its edge towards ratio 1, which is another box's or 1 itself: it proves something
where all boxes are proved. The last two need that the value is not below 0 at ratio 1, and the last one that the slope is c
there, which is proved for all else in the box; they are for drifts that ask for no divergence of a policy.
"""

import dataclasses
import time
from typing import Any

import numpy as np

from .interpreter import Run, run
from .intervals import Interval, add, magnitude, multiply, negative, point, subtract
from .jets import ONE, Jet
from .samples import complete, contexts, spots
from .scale import degree
from .search import asks_of_policies
from .subject import POLICIES, Subject

BATCH = 256  # boxes that are looked at together
SLACK = 1e-12  # of a slope, times 1 + abs(M A): what rounding may take from it
RATIOS, GAINS = (4e-18, 2e17), (1e-6, 1e6)
BOUNDS = {
    "m": (0.0, 1e6),
    "old_prob": (0.0, 1.0),
    "kl": (0.0, np.inf),
    "reverse_kl": (0.0, np.inf),
    "progress": (0.0, 1 - 1e-9),  # of at most 1e9 updates
    "num_updates": (1.0, 1e9),
    "num_agents": (1.0, 1e4),
    "obs": (-np.inf, np.inf),
    "world_state": (-np.inf, np.inf),
}
SPLIT = ("ratio", "m_advantage", "m", "old_prob", "advantage")  # what is numbers of a sample, and divided where need be


@dataclasses.dataclass(frozen=True)
class Proof:
    """What branch and bound found: boxes proved by each rule, and ``undecided`` ones, of which some are shown.

    negative: a place (by name) around which the cost is below 0 for sure, if one was met.
    """

    rules: dict[str, int]
    undecided: int
    shown: list[dict[str, tuple[float, float]]]
    boxes: int
    seconds: float
    negative: dict[str, float] | None = None

    @property
    def complete(self) -> bool:
        return self.undecided == 0 and self.negative is None


def prove(subject: Subject, c: float, seconds: float, most: int = 20_000) -> Proof:
    """Prove f - c (r - 1) >= 0 for ratios of RATIOS, M A of GAINS with either sign and 0, and all else of BOUNDS.

    Where the program shows that f is homogeneous in M A, for every M A. Gives up after so many seconds or boxes.
    """
    begun, task = time.monotonic(), _Task(subject, c)
    boxes, rules, count = _first_boxes(subject, task.one_gain), {"direct": 0, "slope": 0, "convex": 0}, 0
    while len(boxes["ratio"]) and count < most and time.monotonic() - begun < seconds:
        now, boxes = _cut(boxes, slice(0, BATCH)), _cut(boxes, slice(BATCH, None))
        count += len(now["ratio"])
        proved, below = task.decide(now)
        for rule, places in proved.items():
            rules[rule] += int(places.sum())
        if below.any():
            at = int(np.argmax(below))
            place = {name: float(_middle(x[at])) for name, x in now.items()}
            return Proof(rules, 1, [], count, time.monotonic() - begun, place)
        left = ~np.logical_or.reduce(list(proved.values()))
        boxes = _joined(boxes, _halves(_cut(now, left), task))
    some = range(min(5, len(boxes["ratio"])))
    shown = [{name: (float(x[at, 0]), float(x[at, 1])) for name, x in boxes.items()} for at in some]
    return Proof(rules, len(boxes["ratio"]), shown, count, time.monotonic() - begun)


Boxes = dict[str, np.ndarray]  # by name (k, 2): low and high


def one_gain_is_enough(subject: Subject, c: float) -> bool:
    """Whether f - c (r - 1) is homogeneous in M A, so that 1, 0 and -1 stand for all of them."""
    return c == 0 and "advantage" not in subject.asks and degree(subject) is not None


def _first_boxes(subject: Subject, one_gain: bool) -> Boxes:
    """On either side of ratio 1, for both signs of M A and for 0."""
    names = [name for name in SPLIT if name in subject.names]
    gains = [(-1.0, -1.0), (0.0, 0.0), (1.0, 1.0)] if one_gain else [(-GAINS[1], -GAINS[0]), (0.0, 0.0), GAINS]
    whole = [(ratio, gain) for ratio in ((RATIOS[0], 1.0), (1.0, RATIOS[1])) for gain in gains]
    found: Boxes = {
        "ratio": np.array([ratio for ratio, _ in whole]),
        "m_advantage": np.array([gain for _, gain in whole]),
    }
    if "advantage" in names:  # of the sign of M A; anything where that is 0, because M may be
        signed = {1: (1e-12, 1e12), 0: (-1e12, 1e12), -1: (-1e12, -1e-12)}
        found["advantage"] = np.array([signed[int(np.sign(gain[0]))] for _, gain in whole])
    return found | {name: np.tile(BOUNDS[name], (len(whole), 1)) for name in names if name in BOUNDS}


def _cut(boxes: Boxes, places: np.ndarray | slice) -> Boxes:
    return {name: x[places] for name, x in boxes.items()}


def _joined(x: Boxes, y: Boxes) -> Boxes:
    return {name: np.concatenate([x[name], y[name]]) for name in x}


def _middle(x: np.ndarray) -> np.ndarray:
    """Between the ends (..., 2): geometrically where they have one sign; far smaller than the other end where one is 0."""
    low, high = x[..., 0], x[..., 1]
    same = low * high > 0
    between = np.sign(low + high) * np.sqrt(np.abs(low)) * np.sqrt(np.abs(high))
    return np.where(same, between, np.where((low < 0) & (high > 0), 0.0, np.where(low == 0, high, low) * 1e-2))


def _width(x: np.ndarray) -> np.ndarray:
    """How wide (k, 2) is, on a logarithmic scale; numbers that reach to 0 count as wide."""
    low, high = np.abs(x[:, 0]), np.abs(x[:, 1])
    width = np.abs(np.log(np.maximum(high, 1e-9)) - np.log(np.maximum(low, 1e-9)))
    return np.where(x[:, 0] == x[:, 1], 0.0, width)


def _halves(boxes: Boxes, task: "_Task") -> Boxes:
    """Each box in two, across where it is widest; ratios preferably where the drift may change."""
    names = list(boxes)
    widest = np.argmax([task.matters[name] * _width(boxes[name]) for name in names], axis=0)
    low, high = ({name: x.copy() for name, x in boxes.items()} for _ in range(2))
    for number, name in enumerate(names):
        at = widest == number
        middle = _middle(boxes[name][at])
        middle = _at_a_cut(boxes[name][at], middle, task.cuts) if name == "ratio" else middle
        low[name][at, 1] = high[name][at, 0] = middle
    return _joined(low, high)


def _at_a_cut(x: np.ndarray, middle: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The cut nearest to the middle of those inside of x (k, 2); the middle itself where there is none."""
    inside = (cuts > x[:, :1]) & (cuts < x[:, 1:])
    far = np.where(inside, np.abs(np.log(cuts) - np.log(middle)[:, None]), np.inf)
    return np.where(inside.any(1), cuts[far.argmin(1)], middle)


def _matters(subject: Subject, name: str) -> float:
    """How much is to be won by dividing what is called so: little where no cost changes with it."""
    if name == "ratio" or name not in subject.names:
        return 1.0
    rng = np.random.default_rng(0)
    samples = complete(subject, np.exp(rng.normal(size=500)), rng.normal(size=500), contexts(subject, rng, 1)[0], rng)
    other = subject.costs({**samples, name: samples[name] * rng.random(500)})
    return 0.5 if (other != subject.costs(samples)).any() else 1e-3


class _Task:
    """``decide`` for one drift."""

    def __init__(self, subject: Subject, c: float):
        self.subject, self.c = subject, c
        self.program = subject.program_of(BATCH)
        self.one_gain = one_gain_is_enough(subject, c)
        self.by_derivatives = not asks_of_policies(subject)
        found = spots(subject)
        self.cuts = np.append(found[(found > RATIOS[0]) & (found < RATIOS[1])], 1.0)
        self.matters = {name: _matters(subject, name) for name in SPLIT}

    def decide(self, boxes: Boxes) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """(by which rule each box is proved, which boxes are below 0 for sure)."""
        count = len(boxes["ratio"])
        full = {name: np.concatenate([x, np.repeat(x[-1:], BATCH - count, axis=0)]) for name, x in boxes.items()}
        over = self._run(full, derivatives=False)
        value = over.jet.value
        if self.c:
            value = subtract(value, multiply(point(self.c), subtract(_interval(full["ratio"]), point(1.0))))
        known = ~np.broadcast_to(over.jet.bad, value.lo.shape)
        proved = {"direct": known & (value.lo >= 0)}
        below = known & (value.hi < 0) & ~asks_of_policies(self.subject)
        if self.by_derivatives and not proved["direct"][:count].all():
            proved |= self._by_derivatives(full, proved["direct"])
        return {rule: places[:count] for rule, places in proved.items()}, below[:count]

    def _by_derivatives(self, boxes: Boxes, done: np.ndarray) -> dict[str, np.ndarray]:
        """The slope rule, and the convex one on the boxes stretched as far as ratio 1."""
        zero = Interval(np.zeros(BATCH), np.zeros(BATCH))
        ratio = boxes["ratio"]
        over = self._run(boxes, derivatives=True)
        slope = add(over.jet.slope or zero, negative(point(self.c)))
        outward = np.where(ratio[:, 1] <= 1, -slope.hi, slope.lo)
        slack = SLACK * (1 + magnitude(_interval(boxes["m_advantage"])).lo)
        starts, level = self._at_one(boxes, slack)
        by_slope = starts & (outward >= -slack)
        by_slope &= ~np.broadcast_to(over.jet.bad, done.shape) & ~over.jumped & ~done
        around = np.stack([np.minimum(ratio[:, 0], 1.0), np.maximum(ratio[:, 1], 1.0)], -1)
        over = self._run({**boxes, "ratio": around}, derivatives=True)
        convex = level & ((over.jet.bend or zero).lo >= 0) & ~over.kinked & ~over.jumped
        return {"slope": by_slope, "convex": convex & ~np.broadcast_to(over.jet.bad, done.shape) & ~done & ~by_slope}

    def _at_one(self, boxes: Boxes, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the value at ratio 1 is not below 0, and the slope c too, for all else in each box."""
        jet = self._run({**boxes, "ratio": np.ones((BATCH, 2))}, derivatives=True).jet
        slope = add(jet.slope or point(np.zeros(BATCH)), negative(point(self.c)))
        starts = ~np.broadcast_to(jet.bad, slack.shape) & (jet.value.lo >= -slack)
        return starts, starts & (magnitude(slope).hi <= slack)

    def _run(self, boxes: Boxes, derivatives: bool) -> Run:
        return run(self.program, [self._argument(name, boxes, derivatives) for name in self.subject.names], BATCH)

    def _argument(self, name: str, boxes: Boxes, derivatives: bool) -> Jet:
        if name == "ratio":
            return Jet(_interval(boxes[name]), ONE if derivatives else None, None, True)
        if name in boxes:
            return Jet(_interval(boxes[name]))
        low, high = (0.0, _most_agents(self.subject) - 1.0) if name == "agent" else BOUNDS[name]
        shape = self.subject.shape(name, BATCH)
        return Jet(Interval(np.full(shape, low), np.full(shape, high)), None, None, name in POLICIES)


def _most_agents(subject: Subject) -> int:
    return subject.team or int(BOUNDS["num_agents"][1])


def _interval(x: np.ndarray) -> Interval:
    return Interval(x[:, 0], x[:, 1])


def box_in_words(subject: Subject, c: float) -> dict[str, Any]:
    """Where a proof holds, by name."""
    gains = [0.0, np.inf] if one_gain_is_enough(subject, c) else list(GAINS)
    found: dict[str, Any] = {"ratio": list(RATIOS), "abs(m_advantage)": gains, "m_advantage": 0.0}
    others = {name: list(BOUNDS[name]) for name in subject.asks if name in BOUNDS}
    agents = {"agent": [0, _most_agents(subject) - 1]} if "agent" in subject.asks else {}
    return found | others | agents | ({"advantage": [-1e12, 1e12]} if "advantage" in subject.asks else {})
