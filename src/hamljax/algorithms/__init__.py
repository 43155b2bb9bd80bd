"""Learners and the table of their rows: an algorithm is a row of a family, and a family is a folder."""

from . import on_policy  # noqa: F401, I001  (importing a family registers its rows)
from . import off_policy  # noqa: F401
from .table import ALGORITHMS, FAMILIES, SHIPPED, register_algorithm, register_family

SHIPPED.update(ALGORITHMS)

__all__ = ["ALGORITHMS", "FAMILIES", "register_algorithm", "register_family"]
