"""Set before JAX starts: two devices, so that seeds are spread as on a user's machine, and quick compilation."""

import atexit
import gc
import os
import shutil
import tempfile

import pytest

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"  # as on the command line, so that both have the same programs

# JAX makes millions of small objects while it traces, and each collection looks at all that are alive: a tenth of the time.
gc.set_threshold(50_000, 20, 20)

# Programs that several tests compile are compiled once; kept no longer than the tests run, so that they always start cold.
# The workers of pytest-xdist have the environment of the process that starts them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="hamljax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# A tenth of compiling is carrying about where every operation was written.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"

from hamljax.lab.configuration.machine import xla_flags  # noqa: E402  it imports JAX, which reads the lines above then

# Level 0 compiles in half the time of level 1 (see ``sizes.EXACT``).
os.environ["XLA_FLAGS"] = xla_flags(f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip())

from hamljax.lab.configuration.plugins import TABLES  # noqa: E402  likewise
from hamljax.lab.runs.programs import compiled  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _what_a_module_registers_goes_with_it():
    """No test is to find the drifts, rows or environments of another file's."""
    before = [dict(table) for table in TABLES]
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture
def monkeypatch(monkeypatch):
    """pytest's; whatever is put in another's place is not to be met in a program that was compiled without it, or with it."""
    patch, patched = monkeypatch.setattr, []

    def setattr_and_forget(*arguments, **more):
        patched.append(compiled.forget())
        patch(*arguments, **more)

    monkeypatch.setattr = setattr_and_forget
    yield monkeypatch
    if patched:
        compiled.forget()


@pytest.fixture(autouse=True, scope="module")
def _old_objects_are_not_looked_at_again():
    """What earlier modules left in JAX's caches is millions of objects, which every full collection would go through."""
    yield
    gc.freeze()


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.long)], ids=["small", "large"])
def large(request) -> bool:
    """A test that asks for it has two sizes: a small one in ``make test``, a large one in ``make test-long``."""
    return request.param
