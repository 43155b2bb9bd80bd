"""Propositions 1 and 2: what one policy for all costs, and what a simultaneous step costs."""

import math

import numpy as np

from ..families import crowding, matrix_game
from ..follow import changes_of_j
from ..game import Game, in_float64
from ..values import evaluate
from .report import Claim, Curve, Progress, Report, Request

CROWDS = (2, 3, 4, 6, 8, 10)  # agents of the game in which the fall grows with them


def halves(num_agents: int) -> Game:
    """1 if the first half (rounded down) plays 0 and the rest 1, or the reverse; else 0."""
    payoff = np.zeros((2,) * num_agents)
    half = num_agents // 2
    payoff[(0,) * half + (1,) * (num_agents - half)] = 1
    payoff[(1,) * half + (0,) * (num_agents - half)] = 1
    return matrix_game(payoff)


def of_shared(game: Game, p: float) -> float:
    """J where every agent plays 1 with probability p."""
    policies = np.broadcast_to(np.array([1 - p, p]), (game.num_agents, 1, 2))
    return float(in_float64(evaluate)(game, policies).expected_return)


def prop1(request: Request, progress: Progress) -> Report:
    """The best shared policy against the best joint one: J_share / J* = 2 / 2^N, exponentially small in N."""
    grid = np.linspace(0, 1, 2001)
    rows, claims, counts, ratios = [], [], range(2, 11), []
    for n in counts:
        progress(f"{n} agents")
        game, half = halves(n), n // 2
        # Only the two rewarded joint actions count, so that the tables need not be summed at every point of the grid.
        by_count = grid**half * (1 - grid) ** (n - half) + grid ** (n - half) * (1 - grid) ** half
        at = float(grid[by_count.argmax()])
        ratios.append(of_shared(game, at) / float(game.reward.max()))
        rows.append((n, f"{ratios[-1]:.9f}", f"{2 / 2**n:.9f}", f"{at:.3f}"))
        claims.append(Claim(f"N = {n}: error of J_share / J* = 2 / 2^N", abs(ratios[-1] - 2 / 2**n), "<=", 1e-9))
    any_half = [math.comb(n, n // 2) / 2**n for n in counts]
    curves = [
        Curve("one policy, two rewarded joint actions", counts, ratios),
        Curve("... every split in halves", counts, any_half),
    ]
    notes = [
        "where every split in halves is rewarded the share is C(N, N/2) / 2^N: the trap is in how few joint actions pay"
    ]
    columns = ("agents", "J_share / J*", "2 / 2^N", "best probability")
    return Report(
        "prop1",
        "Proposition 1: one policy for all",
        columns,
        rows,
        claims,
        curves,
        ("agents", "log share of J*"),
        notes,
    )


def prop2(request: Request, progress: Progress) -> Report:
    """The fall of a greedy simultaneous step, in the paper's game and in one that grows with the number of agents."""
    rows, claims, curves = [], [], []
    game = matrix_game(np.array([[0.0, 2.0], [2.0, -1.0]]))
    simultaneous, sequential = (
        request._replace(coordination=name).sweep("none") for name in ("simultaneous", "sequential")
    )
    probabilities = np.array([0.61, 0.65, 0.7, 0.8, 0.9, 0.99])
    progress("the paper's game")
    for p, change in zip(probabilities, changes_of_j(simultaneous, game, 1 - probabilities, request.seed), strict=True):
        exact = 4 * p * (1 - p) - (1 - p) ** 2 + 1  # J of the old policy, and J = -1 after it
        rows.append((f"paper's game, Pr(0) = {p}", f"{change:+.4f}", f"{-exact:+.4f}", ""))
        claims.append(Claim(f"Pr(0) = {p}: error of the fall", abs(float(change) + float(exact)), "<=", 1e-9))
    falls, start = [], 1e-3
    for n in CROWDS:
        progress(f"crowding, {n} agents")
        place = crowding(n, 2.0, 1.0)
        fall, rise = (
            float(changes_of_j(sweep, place, np.array([start]), request.seed)[0])
            for sweep in (simultaneous, sequential)
        )
        falls.append(fall)
        exact = n - n * (n - 1) - (n * start - n * (n - 1) * start**2)
        rows.append((f"crowding, {n} agents", f"{fall:+.4f}", f"{exact:+.4f}", f"{rise:+.4f}"))
        claims.append(Claim(f"N = {n}: error of J = N t - N (N - 1) t^2", abs(fall - exact), "<=", 1e-9))
        claims.append(Claim(f"N = {n}: J' - J of the sequential sweep", rise, ">=", 0))
    curves.append(Curve("simultaneous", CROWDS, falls))
    columns = ("game", "simultaneous J' - J", "by formula", "sequential J' - J")
    notes = ["a simultaneous step of size t is worth N t - N (N - 1) t^2: it rises only for t < 1 / (N - 1)"]
    return Report(
        "prop2",
        "Proposition 2: a step that all take at once",
        columns,
        rows,
        claims,
        curves,
        ("agents", "J' - J"),
        notes,
    )
