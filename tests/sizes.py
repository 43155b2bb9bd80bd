"""Which cases of a test are large, and which rows need other sizes."""

import pytest

from hamljax.algorithms.table import family_of

# Of ``jax.jit``, where two programs are to be equal to the last bit: at level 0, which the tests have for its quick compilation,
# equal formulas in different programs may round differently.
EXACT = {"xla_backend_optimization_level": 1}


def long(*cases) -> list:
    """Cases of ``make test-long`` alone: tuples of values, or single ones."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long) for case in cases]


def is_off_policy(algo: str) -> bool:
    return family_of(algo).name == "off-policy"
