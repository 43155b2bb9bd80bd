"""Exact HAML on finite games: values, multi-agent advantages, exact updates, the Nash gap."""

from .exact import Surrogate, Sweep, Update, general, maximise
from .families import (
    FAMILIES,
    crowding,
    gridworld,
    matrix_game,
    pure_policies,
    random_games,
    random_policies,
    uniform_policies,
)
from .follow import Path, falls, follow_all
from .game import Game, batched, from_environment, in_float64, load_game, make_game, stack
from .simplex import Solution
from .values import (
    Values,
    best_response,
    episode_return,
    evaluate,
    joint_policy,
    multi_agent_advantage,
    nash_gap,
    occupancy,
    optimum,
    subset_q,
)
from .within import chooser, everywhere

__all__ = [
    "FAMILIES",
    "Game",
    "Path",
    "Solution",
    "Surrogate",
    "Sweep",
    "Update",
    "Values",
    "batched",
    "best_response",
    "chooser",
    "crowding",
    "episode_return",
    "evaluate",
    "everywhere",
    "falls",
    "follow_all",
    "from_environment",
    "general",
    "gridworld",
    "in_float64",
    "joint_policy",
    "load_game",
    "make_game",
    "matrix_game",
    "maximise",
    "multi_agent_advantage",
    "nash_gap",
    "occupancy",
    "optimum",
    "pure_policies",
    "random_games",
    "random_policies",
    "stack",
    "subset_q",
    "uniform_policies",
]
