"""The on-policy family: rollouts, advantages, a sweep by the mirror objective, a critic of states."""

from ..table import register_family
from .learner import OnPolicy
from .probe import check_kernel
from .rows import ROWS, Algorithm
from .settings import Algo

register_family(
    "on-policy",
    settings=Algo,
    row=Algorithm,
    learner=OnPolicy.create,
    rows=ROWS,
    check=check_kernel,
    summary="learns from rollouts",
)
