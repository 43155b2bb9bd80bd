"""Games of one state in which a drift can be added up by hand: D = sum over w(b) pi(a) f(x(a) / pi(a), M(b) A(a, b), ...).

a is what the agent does, b what those before it did: w(b) is its old probability, M(b) the new one over the old.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .interpreter import run
from .intervals import ULP, Interval, add, multiply, outward, point, whole_power
from .jets import ONE, Jet
from .samples import Context
from .subject import NUMBERS, VECTORS, Subject


class Game(NamedTuple):
    """Games of one shape: ``old`` and ``new`` (n, A) policies, ``advantage`` (n, B, A), ``m`` and ``weight`` (n, B)."""

    old: np.ndarray
    new: np.ndarray
    advantage: np.ndarray
    m: np.ndarray
    weight: np.ndarray
    context: Context

    def at(self, places: np.ndarray | slice) -> "Game":
        """The games at ``places``."""
        old, new, advantage, m, weight = (x[places] for x in self[:-1])
        return Game(old, new, advantage, m, weight, self.context)

    def only(self, number: int) -> "Game":
        """The game of that number, alone."""
        return self.at(slice(number, number + 1))

    def or_else(self, other: "Game", chosen: np.ndarray) -> "Game":
        """Those of ``other`` where ``chosen`` (n,), and these elsewhere."""
        pairs = zip(self[:-1], other[:-1], strict=True)
        old, new, advantage, m, weight = (np.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in pairs)
        return Game(old, new, advantage, m, weight, self.context)


def divergences(old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) KL(old || new) and KL(new || old), with full precision where the two are close."""
    far = (new - old) / old
    with np.errstate(all="ignore"):
        log = np.where(np.abs(far) < 0.5, np.log1p(far), np.log(new / old))
        forward = np.where(new > 0, old * (far - log), np.inf).sum(-1)
        backward = np.where(new > 0, new * log - old * far, old).sum(-1)
    return np.maximum(forward, 0.0), np.maximum(backward, 0.0)


def samples_of(game: Game) -> dict[str, Any]:
    """Every sample of every game, in a row."""
    count, rows, actions = game.advantage.shape
    forward, backward = divergences(game.old, game.new)

    def wide(x: ArrayLike) -> np.ndarray:
        return np.broadcast_to(x, (count, rows, actions)).reshape(-1)

    found: dict[str, Any] = {
        "ratio": wide((game.new / game.old)[:, None]),
        "m_advantage": wide(game.m[..., None] * game.advantage),
        "advantage": wide(game.advantage),
        "m": wide(game.m[..., None]),
        "old_prob": wide(game.old[:, None]),
        "kl": wide(forward[:, None, None]),
        "reverse_kl": wide(backward[:, None, None]),
    }
    context = game.context
    found |= {name: np.float64(context[name]) for name in NUMBERS if name in context}
    found |= {name: np.tile(context[name], (count * rows * actions, 1)) for name in VECTORS if name in context}
    return found | ({"agent": wide(context["agent"])} if "agent" in context else {})


def play(subject: Subject, game: Game) -> tuple[np.ndarray, np.ndarray]:
    """(n,) drifts and (n, B, A) costs."""
    costs = subject.costs(samples_of(game)).reshape(game.advantage.shape)
    share = game.weight[..., None] * game.old[:, None]
    return np.where(share > 0, share * costs, 0.0).sum((1, 2)), costs


def is_negative(subject: Subject, game: Game) -> bool:
    """Whether the drift of one game is below 0 beyond rounding: by interval arithmetic, or by far where that says nothing."""
    drift, costs = play(subject, game)
    if not -np.inf < drift[0] < 0:
        return False
    bounds, blind = _bounds(subject, samples_of(game), game)
    if bounds.hi < 0 or bounds.hi < np.inf and not blind:
        return bool(bounds.hi < 0)
    share = game.weight[..., None] * game.old[:, None]
    size = np.where(share > 0, share * (np.abs(costs) + np.abs(game.advantage) * game.m[..., None] + 1), 0.0).sum()
    return bool(drift[0] < -1e-9 * size)


def _bounds(subject: Subject, samples: dict[str, Any], game: Game) -> tuple[Interval, bool]:
    """Of the drift of one game, whatever rounding did to its probabilities; and whether they are wide for other reasons."""
    count, rows = len(samples["ratio"]), len(game.m[0])
    slack = {
        "ratio": np.tile(_slack_of_ratios(game), rows),
        "m_advantage": np.abs(samples["m_advantage"]) * (0.0 if (game.m == 1).all() else ULP),
        "kl": 1e-12 * samples["kl"],
        "reverse_kl": 1e-12 * samples["reverse_kl"],
    }
    jets = {name: _jet(name, samples[name], slack.get(name, 0.0)) for name in subject.names}
    over = run(subject.program_of(count), list(jets.values()), count)
    found = over.jet
    if np.any(found.bad):
        return Interval(np.array(-np.inf), np.array(np.inf)), over.blind
    value = _close_to_one(subject, jets, game, found.value) if game.old.shape[1] == 2 else found.value
    share = (game.weight[..., None] * game.old[:, None]).reshape(-1)
    terms = multiply(outward(share, share, 32), value)
    total = point(0.0)
    for low, high, part in zip(terms.lo, terms.hi, share, strict=True):
        total = add(total, Interval(low, high)) if part > 0 else total
    return total, over.blind


def _close_to_one(subject: Subject, jets: dict[str, Jet], game: Game, value: Interval) -> Interval:
    """Bounds on costs, by Taylor's formula about ratio 1 for the second action where no float tells its ratio from 1."""
    count, move = len(value.lo), game.new[0, 0] - game.old[0, 0]
    far = np.tile([1.0, -move / game.old[0, 1]], len(game.m[0]))
    if abs(far[1]) > 1e-8:
        return value
    step = outward(far, far, 8)
    around = Interval(np.minimum(1.0, 1 + far) - ULP, np.maximum(1.0, 1 + far) + ULP)
    program, zero = subject.program_of(count), Interval(np.zeros(count), np.zeros(count))
    at_one, nearby = (
        run(program, list((jets | {"ratio": Jet(x, ONE, None, True)}).values()), count)
        for x in (Interval(np.ones(count), np.ones(count)), around)
    )
    bend = multiply(point(0.5), multiply(nearby.jet.bend or zero, whole_power(step, 2)))
    bound = add(add(at_one.jet.value, multiply(at_one.jet.slope or zero, step)), bend)
    smooth = ~(nearby.kinked | nearby.jumped | np.broadcast_to(nearby.jet.bad, count)) & (np.arange(count) % 2 == 1)
    return Interval(value.lo, np.where(smooth, np.minimum(value.hi, bound.hi), value.hi))


def _slack_of_ratios(game: Game) -> np.ndarray:
    """(A,) how far the ratios may be from those of policies that add up to 1: none where a division by a power of two is exact.

    The last action of two has what the first one leaves; of more, the likeliest has what the sum lacks.
    """
    old, new = game.old[0], game.new[0]
    slack = np.where(np.frexp(old)[0] == 0.5, 0.0, 2 * ULP * new / old)
    takes = 1 if len(old) == 2 else int(np.argmax(old))
    slack[takes] += (ULP if len(old) == 2 else 8 * ULP) / old[takes]
    return slack


def _jet(name: str, value: np.ndarray, slack: np.ndarray | float) -> Jet:
    moving = name in ("ratio", "kl", "reverse_kl")
    bounds = Interval(value - slack, value + slack)
    bounds = Interval(np.maximum(bounds.lo, 0.0), bounds.hi) if moving else bounds
    return Jet(bounds, ONE if name == "ratio" else None, None, moving)


def as_data(subject: Subject, game: Game) -> dict[str, Any]:
    """One game with its costs and its drift, as plain numbers."""
    drift, costs = play(subject, game)
    forward, backward = divergences(game.old, game.new)
    found = {name: getattr(game, name)[0].tolist() for name in ("old", "new", "advantage", "m", "weight")}
    found |= {name: np.asarray(value).tolist() for name, value in game.context.items() if name != "m"}
    found |= {"kl": float(forward[0]), "reverse_kl": float(backward[0])}
    return found | {"cost": costs[0].tolist(), "drift": float(drift[0])}


def two_actions(
    old: ArrayLike,
    new: ArrayLike,
    advantage: ArrayLike,
    context: Context,
    m: ArrayLike = 1.0,
    other: ArrayLike = 0.0,
) -> Game:
    """Games of two actions, of which ``old``, ``new`` and ``advantage`` (n,) are the first's; each row's are centred.

    m: where it is not 1, those before the agent did what has this ratio with probability 1 / (2 max(m, 1)), and otherwise
    something that makes M 1 on average, and by which the advantages are ``other`` times as large.
    """
    old, new, advantage, m, other = (np.asarray(x, float) for x in np.broadcast_arrays(old, new, advantage, m, other))
    row = np.stack([advantage, 0.0 - old * advantage / (1 - old)], -1)
    policies = np.stack([old, 1 - old], -1), np.stack([new, 1 - new], -1)
    if (m == 1).all():
        ones = np.ones((len(old), 1))
        return Game(*policies, row[:, None], ones, ones, without_m(context))
    weight = 1 / (2 * np.maximum(m, 1))
    ms = np.stack([m, (1 - weight * m) / (1 - weight)], -1)
    rows = np.stack([row, row * other[:, None]], 1)
    return Game(*policies, rows, ms, np.stack([weight, 1 - weight], -1), without_m(context))


def others_decide(gain: float, context: Context) -> Game:
    """Nobody but those before the agent matters: what they choose from now on has M A = ``gain``, whatever the agent does."""
    half, row = np.full((1, 2), 0.5), np.full((1, 2), gain / 2)
    return Game(half, half, np.stack([row, -row], 1), np.array([[2.0, 0.0]]), half, without_m(context))


def without_m(context: Context) -> Context:
    return {name: value for name, value in context.items() if name != "m"}
