"""Set before JAX starts: two devices, so that seeds are spread as on a user's machine, and quick compilation."""

import os

import pytest

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"  # as on the command line, so that both have the same programs

from hamljax.lab.machine import xla_flags  # noqa: E402  it imports JAX, which reads the lines above then

# Level 0 would be a little quicker, but with the generator of code that lab.machine chooses it is wrong: a gradient whose
# value is finite became NaN.
os.environ["XLA_FLAGS"] = xla_flags(f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=1".strip())


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.long)], ids=["small", "large"])
def large(request) -> bool:
    """A test that asks for it has two sizes: a small one in ``make test``, a large one in ``make test-long``."""
    return request.param
