"""How much the limit depends on the order, and what a fixed order may do where there are ties."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ...haml import BoundDrift
from ..exact import Surrogate
from ..families import alternation, random_games, random_policies
from ..follow import follow_all
from ..game import stack
from ..simplex import Solution
from .monotone import progress_of
from .report import NASH, Claim, Curve, Progress, Report, Request

GAMES, STARTS, SWEEPS = 50, 20, 60


def leave_on_ties(drift: BoundDrift, surrogate: Surrogate, beta: jax.Array) -> Solution:
    """The first of the best actions, whether it is better than what is played or not: greedy without staying.

    Of two equally good actions it takes the one that is not played, which a rule that "takes any" may do.
    """
    q = surrogate.q
    best = q >= jnp.max(q, -1, keepdims=True) - 1e-12
    fresh = best & (surrogate.old < 0.5)
    chosen = jnp.where(jnp.any(fresh, -1, keepdims=True), fresh, best)
    policy = jax.nn.one_hot(jnp.argmax(chosen, -1), q.shape[-1], dtype=q.dtype)
    return Solution.exact(policy)


def cycle(request: Request, order: str, choose: Callable | None = None) -> np.ndarray:
    """(G,) the Nash gap of the game of ties after every sweep, (G, K), of ``GAMES`` runs from (0, 0, 0)."""
    game = stack([alternation()] * GAMES)
    start = np.zeros((GAMES, 3, 1, 2))
    start[..., 0] = 1.0
    sweep = request._replace(coordination="sequential", order=order).sweep("none")
    rule = sweep._replace(choose=choose or sweep.choose)
    return np.asarray(follow_all(rule, game, start, request.seed, 20, every=1).nash_gap)


def orders(request: Request, progress: Progress) -> Report:
    """The spread of J at the end over random orders from one start, and the game of ties under both orders."""
    every = random_games(request.seed, GAMES, request.num_states, (3, 3))
    policies = random_policies(every, request.seed + 1)
    rows, claims, curves = [], [], []
    for name in request.drifts:
        some = max(1, round(request.share(name) * GAMES))
        games, start = jax.tree.map(lambda x, some=some: np.repeat(x[:some], STARTS, 0), (every, policies))
        path = follow_all(
            request.sweep(name), games, start, request.seed, SWEEPS, report=progress_of(progress, name, len(start))
        )
        ends = path.expected_return[:, -1].reshape(some, STARTS)
        spread = np.ptp(ends, axis=1)
        rows.append((name, some, f"{(spread > 1e-3).mean():.0%}", f"{np.median(spread):.2g}", f"{spread.max():.2g}"))
        curves.append(Curve(name, np.linspace(0, 1, some).tolist(), np.sort(spread).tolist()))
    progress("ties")
    ties = {
        "ties left, fixed order": cycle(request, "fixed", leave_on_ties),
        "ties left, random order": cycle(request, "uniform", leave_on_ties),
        "ties kept, fixed order": cycle(request, "fixed"),
    }
    stuck, *others = ties
    for name, gaps in ties.items():
        away = float((gaps[:, -1] > NASH).mean())
        rows.append((name, GAMES, f"{away:.0%} not at Nash", "", f"{gaps[:, -1].max():.2g}"))
        if name in others:
            claims.append(Claim(f"{name}: share not at Nash after 20 sweeps", away, "<=", 0))
    claims.append(Claim(f"{stuck}: smallest Nash gap after any sweep", float(ties[stuck].min()), ">=", 0.5))
    title = f"random games, {STARTS} sequences of orders each from one start, {SWEEPS} sweeps"
    columns = ("drift", "games", "games with more than one limit", "median spread of J", "largest")
    return Report("orders", title, columns, rows, claims, curves, ("share of games", "spread of J at the end"))
