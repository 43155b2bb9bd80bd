"""Which cases of a test are large, and which rows need other sizes."""

import pytest

from hamljax.algorithms.table import family_of


def long(*cases) -> list:
    """Cases of ``make test-long`` alone: tuples of values, or single ones."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def is_off_policy(algo: str) -> bool:
    return family_of(algo).name == "off-policy"
