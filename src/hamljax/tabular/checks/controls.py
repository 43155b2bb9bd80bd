"""Ways to be wrong, each of which must be caught by the check that can see it.

Four detectors: falls of J on random games, the change of J on the decisive game (``families.crowding`` from just below its top),
the Nash gap, and the telescope of Lemma 2 (gains that do not add up to E_new[A]). Random games alone do not see all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...haml import COORDINATIONS, ORDERS, BoundDrift, bind_drift
from ...haml.drifts import Drift
from ...haml.parameters import Parameters
from .. import simplex
from ..exact import Surrogate, Sweep, maximise
from ..families import crowding, random_games, random_policies
from ..follow import Path, changes_of_j, falls, follow_all
from ..game import Game, batched
from ..simplex import Solution
from ..values import evaluate, joint_policy
from .report import NASH, Claim, Progress, Report, Request

SWEEPS = 30
DECISIVE = np.array([0.99 / 6])  # Pr(1) just below the top of J, which is at 1 / (congestion (N - 1))
THOROUGH = 200
HYPER_PARAMETERS = {"clip_eps": 0.2, "kl_coef": 1.0}  # of which the recorded rates are
RIGHT_TELESCOPE = 1e-11  # what rounding leaves of a right one


class Family(NamedTuple):
    num_states: int
    actions: tuple[int, ...]


A, B = Family(4, (3, 3)), Family(3, (2, 2, 2))


def own_ratio(drift: BoundDrift, seen: Surrogate, beta: jax.Array) -> Solution:
    """One's own ratio inside M: sum of pi r^2 q, whose maximum is at a corner."""
    worth = jnp.where(seen.old > 0, seen.q / seen.divisor, -jnp.inf)  # without support there is no ratio
    stay = jnp.sum(seen.old * seen.worth, -1, keepdims=True)
    corner = jax.nn.one_hot(jnp.argmax(worth, -1), worth.shape[-1], dtype=worth.dtype)
    return Solution.exact(jnp.where(jnp.max(worth, -1, keepdims=True) > stay + 1e-12, corner, seen.old))


def tied(drift: BoundDrift, seen: Surrogate, beta: jax.Array) -> Solution:
    """One policy for all states: the mean of q over the states decides."""
    mean = jnp.broadcast_to(jnp.where(seen.mask, beta @ seen.worth, -jnp.inf), seen.q.shape)
    return Solution.exact(simplex.greedy(mean, seen.old))


def slope(drift: BoundDrift, seen: Surrogate, beta: jax.Array) -> Solution:
    """Reverse KL and, beside it, 0.5 sum_a a (x_a - pi_a): a slope at the old policy."""
    q = seen.q - 0.5 * jnp.arange(seen.q.shape[-1])
    return Solution.exact(jnp.exp(simplex.log_reverse_kl(q, seen.log_old, jnp.ones(()))))


def repelled(drift: BoundDrift, seen: Surrogate, beta: jax.Array) -> Solution:
    """-1/2 sum (x - pi)^2: convex, so that the best is a corner."""
    q, old = seen.worth, seen.old
    corners = jnp.eye(old.shape[-1])
    distance = jnp.sum((corners - old[:, None]) ** 2, -1)
    worth = jnp.where(seen.mask, q - jnp.sum(old * q, -1, keepdims=True) + distance / 2, -jnp.inf)
    return Solution.exact(jax.nn.one_hot(jnp.argmax(worth, -1), old.shape[-1], dtype=old.dtype))


def unvisited(drift: BoundDrift, seen: Surrogate, beta: jax.Array) -> Solution:
    """beta is 0 in the first state, so that any policy maximises there: the one that prefers what is worst."""
    right = maximise(drift, seen).policy
    worst = simplex.greedy(jnp.where(seen.mask, -seen.q, -jnp.inf), seen.old)
    return Solution.exact(right.at[0].set(worst[0]))


KINK = bind_drift(Drift(lambda ratio, m_advantage: 0.5 * jnp.abs(ratio - 1), Parameters((), {}), (), "a kink"), {})


class Control(NamedTuple):
    """A mistake. rule: ``sweep -> sweep`` with it made. seen_by: the detector that must see it. recorded: its rate as known.

    family: the random games; drift: the one with which it is made; start_tied: from policies that are the same in all states;
    late: with the advantage of the sweep before.
    """

    rule: Callable[[Sweep], Sweep]
    seen_by: str
    recorded: str
    drift: str = "none"
    family: Family = A
    start_tied: bool = False
    late: bool = False


def _with(**changes: Any) -> Callable[[Sweep], Sweep]:
    return lambda sweep: sweep._replace(**changes)


def _inverted(log_m: jax.Array, moved: jax.Array) -> jax.Array:
    return log_m - moved


def _clipped(log_m: jax.Array, moved: jax.Array) -> jax.Array:
    return jnp.clip(log_m + moved, jnp.log(0.8), jnp.log(1.2))


CONTROLS = {
    "M omitted (simultaneous)": Control(_with(coordination=COORDINATIONS["simultaneous"]), "falls", "77 %"),
    "M omitted, with clip": Control(_with(coordination=COORDINATIONS["simultaneous"]), "decisive", "0.4 %", "clip"),
    "M omitted, with kl": Control(_with(coordination=COORDINATIONS["simultaneous"]), "decisive", "0 %", "kl"),
    "M of the last predecessor only": Control(_with(compound=lambda log_m, moved: moved), "falls", "22 %", family=B),
    "M clipped to 1 +- 0.2": Control(_with(compound=_clipped), "falls", "57 %", family=B),
    "M inverted, with clip": Control(_with(compound=_inverted), "falls", "26 %", "clip"),
    "M inverted, with kl": Control(_with(compound=_inverted), "telescope", "1 %", "kl"),
    "M squared": Control(_with(compound=lambda log_m, moved: log_m + 2 * moved), "telescope", "0 %"),
    "square root of M": Control(_with(compound=lambda log_m, moved: log_m + moved / 2), "telescope", "0 %"),
    "one's own ratio in M": Control(_with(choose=own_ratio), "nash", "0 %"),
    "advantage of the sweep before": Control(_with(), "falls", "12 %", late=True),
    "one policy for all states": Control(_with(choose=tied), "falls", "31 %", start_tied=True),
    "a drift of the wrong sign": Control(_with(choose=repelled), "falls", "100 %"),
    "a drift with a slope": Control(_with(choose=slope), "falls", "47 %"),
    "a drift with a kink": Control(_with(drift=KINK), "nash", "0 %"),
    "a state that is not visited": Control(_with(choose=unvisited), "falls", "100 %"),
}


def path_of(request: Request, control: Control, sweep: Sweep, games: Game) -> Path:
    start = random_policies(games, request.seed + 1)
    if control.start_tied:
        start = np.broadcast_to(start[:, :, :1], start.shape)
    return follow_all(sweep, games, start, request.seed, SWEEPS, late=control.late)


def telescope(sweep: Sweep, games: Game, start: np.ndarray) -> float:
    """The largest error, over games, of Lemma 2 in one sweep that is made in the fixed order."""

    def error(game, log_policies):
        old = jnp.exp(log_policies)
        new, info = sweep._replace(order=ORDERS["fixed"])(game, log_policies, jax.random.key(0))
        advantage = evaluate(game, old).advantage
        return jnp.max(jnp.abs(jnp.sum(info.gain, 0) - jnp.sum(joint_policy(game, jnp.exp(new)) * advantage, -1)))

    return float(batched(error)(games, np.log(start)).max())


def _measure(request: Request, control: Control, right: Sweep, detectors: Sequence[str]) -> dict[str, float]:
    """What each of ``detectors`` says."""
    family = control.family
    games = random_games(request.seed, min(request.games, 1000), family.num_states, family.actions)
    wrong, found = control.rule(right), {}
    if {"falls", "nash"} & set(detectors):
        path = path_of(request, control, wrong, games)
        found = {"falls": float(falls(path).mean()), "nash": float((path.nash_gap[:, -1] >= NASH).mean())}
    if "decisive" in detectors:
        found["decisive"] = float(changes_of_j(wrong, crowding(), DECISIVE, request.seed)[0])
    if "telescope" in detectors:
        found["telescope"] = telescope(wrong, games, random_policies(games, request.seed + 1))
    return found


CAUGHT = {
    "falls": ("share of games with a fall", ">=", 0.02),
    "decisive": ("J' - J on the decisive game", "<=", -0.01),
    "nash": ("share of games not at Nash", ">=", 0.2),
    "telescope": ("error of the telescope", ">=", 1e-3),
}


def _row(name: str, control: Control, found: dict[str, float], by: str) -> tuple:
    shown = (
        _shown(found, "falls", ".1%"),
        control.recorded,
        _shown(found, "decisive", "+.3g"),
        _shown(found, "nash", ".0%"),
    )
    return (name, control.drift, *shown, _shown(found, "telescope", ".1e"), by)


def _shown(found: dict[str, float], name: str, form: str) -> str:
    return format(found[name], form) if name in found else "-"


def controls(request: Request, progress: Progress) -> Report:
    """Every mistake with the detector that must see it, and the right sweep beside it, which none may see.

    Of fewer than ``THOROUGH`` games only that detector is asked.
    """
    request = Request(
        (), HYPER_PARAMETERS, request.games, seed=request.seed
    )  # whatever else was asked: as the rates are known
    rows, claims = [], []
    for name, control in CONTROLS.items():
        progress(name)
        asked = tuple(CAUGHT) if request.games >= THOROUGH else (control.seen_by,)
        found = _measure(request, control, request.sweep(control.drift), asked)
        what, relation, threshold = CAUGHT[control.seen_by]
        claims.append(Claim(f"{name}: {what}", found[control.seen_by], relation, threshold))
        rows.append(_row(name, control, found, control.seen_by))
    for drift in ("none", "clip", "kl") if request.games >= THOROUGH else ("clip",):
        progress(f"right, {drift}")
        control = Control(_with(), "nobody", "0 %", drift)
        found = _measure(request, control, request.sweep(drift), tuple(CAUGHT))
        claims += [
            Claim(f"right, {drift}: share of games with a fall", found["falls"], "<=", 0),
            Claim(f"right, {drift}: J' - J on the decisive game", found["decisive"], ">=", 0),
            Claim(f"right, {drift}: error of the telescope", found["telescope"], "<=", RIGHT_TELESCOPE),
        ]
        rows.append(_row("right", control, found, control.seen_by))
    columns = (
        "mistake",
        "drift",
        "falls",
        "recorded",
        "decisive J' - J",
        "not at Nash",
        "telescope",
        "must be seen by",
    )
    title = f"{len(CONTROLS)} mistakes on {min(request.games, 1000)} random games, {SWEEPS} sweeps"
    return Report("controls", title, columns, rows, claims)
