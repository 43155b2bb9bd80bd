"""Theorem 1, 1: no sweep lowers J, nor V in any state; and the bound that the proof gives."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..families import random_games, random_policies
from ..follow import Path, falls, follow_all
from .report import Claim, Curve, Progress, Report, Request

RISE, HAMO, SLACK = -1e-11, -1e-12, -1e-11


def row(name: str, path: Path) -> tuple:
    count = int(falls(path).sum())
    worst = (np.diff(path.expected_return, axis=-1).min(), path.rise_of_v.min(), path.hamo.min(), path.slack.min())
    return (name, path.hamo.shape[1], count, *(f"{x:.1e}" for x in worst), f"{path.missed.max():.1e}")


def claims_of(name: str, path: Path) -> list[Claim]:
    return [
        Claim(f"{name}: games with a fall of J", float(falls(path).sum()), "<=", 0),
        Claim(f"{name}: smallest V' - V of a state", float(path.rise_of_v.min()), ">=", RISE),
        Claim(f"{name}: smallest HAMO", float(path.hamo.min()), ">=", HAMO),
        Claim(f"{name}: smallest V' - V - sum of HAMO", float(path.slack.min()), ">=", SLACK),
    ]


def monotone(request: Request, progress: Progress) -> Report:
    """Every drift on random games from random policies, in the interior of the simplex."""
    games = random_games(request.seed, request.games, request.num_states, request.actions)
    start = random_policies(games, request.seed + 1)
    rows, claims, curves = [], [], []
    for name in request.drifts:
        say = progress_of(progress, name, request.games)
        sweeps = max(1, round(request.share(name) * request.sweeps))
        path = follow_all(request.sweep(name), games, start, request.seed, sweeps, report=say)
        rows.append(row(name, path))
        claims += claims_of(name, path)
        curves.append(Curve(name, range(sweeps + 1), path.expected_return.mean(0).tolist()))
    title = f"{request.games} random games, S = {request.num_states}, actions {request.actions}"
    columns = (
        "drift",
        "sweeps",
        "games with a fall",
        "J' - J",
        "V' - V",
        "HAMO",
        "V' - V - sum HAMO",
        "missed at most",
    )
    limits = ("allowed", "", "0", f"{RISE:.0e}", f"{RISE:.0e}", f"{HAMO:.0e}", f"{SLACK:.0e}", "")
    return Report("monotone", title, columns, [*rows, limits], claims, curves, ("sweep", "mean J"))


def progress_of(progress: Progress, name: str, count: int) -> Callable[[int], Any]:
    """A report of ``follow_all`` for one drift."""
    return lambda done: progress(f"{name}: {done} of {count} games")
