"""Theorem 1, 4: how near the sweeps come to a Nash equilibrium, and what those have in common that stick."""

import jax
import jax.numpy as jnp
import numpy as np

from ..exact import surrogate_of
from ..families import random_games, random_policies
from ..follow import follow_all
from ..game import Game, batched
from ..values import evaluate
from .monotone import progress_of
from .report import NASH, Claim, Curve, Progress, Report, Request

ACTIONS = (3, 3)


def improving_without_support(game: Game, policies: jax.Array) -> jax.Array:
    """() whether some agent has an action of probability exactly 0 that is worth more than what it plays."""
    values = evaluate(game, policies)

    def of(agent):
        given = {"progress": 0.0, "num_updates": 1.0}
        seen = surrogate_of(game, jnp.log(policies), values.advantage, jnp.zeros_like(values.q), agent, given)
        return jnp.any((seen.old == 0) & seen.mask & (seen.q > NASH))

    return jnp.any(jax.vmap(of)(jnp.arange(game.num_agents)))


def nash(request: Request, progress: Progress) -> Report:
    """The Nash gap after every ten of a hundred sweeps. Nothing is claimed of it but that no drift climbs to a negative one."""
    count, sweeps = min(request.games, 1000), 100
    all_games = random_games(request.seed, count, request.num_states, ACTIONS)
    all_starts = random_policies(all_games, request.seed + 1)
    rows, claims, curves = [], [], []
    for name in request.drifts:
        some = max(1, round(request.share(name) * count))
        games, start = jax.tree.map(lambda x, some=some: x[:some], (all_games, all_starts))
        say = progress_of(progress, name, some)
        path = follow_all(request.sweep(name), games, start, request.seed, sweeps, every=10, report=say)
        arrived = path.nash_gap < NASH
        lost = batched(improving_without_support)(games, np.exp(path.log_policies))
        stuck = ~arrived[:, -1]
        share = f"{lost[stuck].mean():.0%}" if stuck.any() else "-"
        others = f"{lost[~stuck].mean():.0%}" if (~stuck).any() else "-"
        gaps = path.nash_gap[:, -1]
        rows.append(
            (name, some, f"{arrived[:, -1].mean():.1%}", f"{np.median(gaps):.1e}", f"{gaps.max():.2g}", share, others)
        )
        curves.append(Curve(name, range(10, sweeps + 1, 10), (1 - arrived.mean(0)).tolist()))
        claims.append(Claim(f"{name}: smallest Nash gap", float(path.nash_gap.min()), ">=", -1e-9))
    title = f"random games, S = {request.num_states}, actions {ACTIONS}, {sweeps} sweeps; Nash: a gap below {NASH:.0e}"
    columns = (
        "drift",
        "games",
        "at Nash",
        "median gap",
        "largest gap",
        "of the others: a better action at 0",
        "of those at Nash",
    )
    notes = ["a better action at 0: some agent has an action of probability exactly 0 that would earn more"]
    return Report("nash", title, columns, rows, claims, curves, ("sweep", "share of games not at Nash"), notes)
