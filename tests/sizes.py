"""Which cases of a test are large."""

import pytest


def long(*cases) -> list:
    """Cases of ``make test-long`` alone: tuples of values, or single ones."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]
