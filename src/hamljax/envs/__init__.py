"""Environments: the protocol, the registry, automatic resets, and the shipped families."""

from . import games, mamujoco, smax, tracking  # noqa: F401  (importing a family registers its names)
from .autoreset import VecEnv
from .check import check_environment
from .protocol import Environment, Observation, Step, Team
from .registry import ENVIRONMENTS, configure, make, register_environment, schema
from .vector import VectorEnv

__all__ = [
    "ENVIRONMENTS",
    "Environment",
    "Observation",
    "Step",
    "Team",
    "VecEnv",
    "VectorEnv",
    "check_environment",
    "configure",
    "make",
    "register_environment",
    "schema",
]
