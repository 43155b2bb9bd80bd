"""The floats of a learner as arguments of its programs, so that settings which differ in floats alone have one program."""

from typing import Any, TypeVar

import jax
import numpy as np

from ..algorithms.base import Learner

L = TypeVar("L", bound=Learner)


def floats_of(learner: Learner) -> list[Any]:
    """The leaves of a learner that are floats or arrays: its hyper-parameters, and what its policies and critics hold.

    Args:
        learner: of any family. One that is no pytree has none.
    """
    return [x for x in jax.tree.leaves(learner) if _is_argument(x)]


def with_floats(learner: L, floats: list[Any]) -> L:
    """The learner with others, which may be traced.

    Args:
        learner: whose structure it has. floats: in the order of ``floats_of``.
    """
    others = iter(floats)
    return jax.tree.map(lambda x: next(others) if _is_argument(x) else x, learner)


def _is_argument(leaf: Any) -> bool:
    return isinstance(leaf, float | np.ndarray | jax.Array)
