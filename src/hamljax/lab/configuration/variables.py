"""Environment variables that libraries read, and end the process or a run on: what they refuse is one line, and said first."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from ...errors import ConfigError, one_line, one_of

CHOICES = {"WANDB_MODE": ("online", "offline", "disabled", "dryrun", "run", "shared")}
# XLA ends the process on an option that it does not know, so another process is asked first.
ASK_XLA = "from jaxlib import xla_client; xla_client.CompileOptions()"


def check_choices(*names: str) -> None:
    """Check that the environment variables ``names`` are not set, or to one of their CHOICES.

    Raises:
        ConfigError: one is set to something else.
    """
    for name in names:
        if given := os.environ.get(name):
            one_of(f"value of the environment variable {name}:", given, CHOICES[name])


def import_jax() -> None:
    """Import JAX, which reads its variables then, and XLA's soon after.

    Raises:
        ConfigError: one of them is refused.
    """
    if "jax" in sys.modules:
        return
    if flags := os.environ.get("XLA_FLAGS"):
        check_xla_flags(flags)
    try:
        import jax  # noqa: F401
    except ValueError as error:
        said = one_line(error)
        culprits = [n for n in os.environ if n.startswith("JAX_") and (n in said or n.lower() in said)]
        if not culprits:
            raise
        raise ConfigError(f"environment variable {culprits[0]}={os.environ[culprits[0]]}: {said}") from None


def check_xla_flags(flags: str) -> None:
    """Check that XLA takes ``flags``, for it would end the process.

    Raises:
        ConfigError: it does not.
    """
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(
            [sys.executable, "-c", ASK_XLA], capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
        said = re.search(r"^[EF]\d{4} .*?\] (.*)", asked.stderr, re.MULTILINE)
        if asked.returncode and said:
            raise ConfigError(f"environment variable XLA_FLAGS={flags}: {said[1]}")


@contextlib.contextmanager
def without(name: str) -> Iterator[str | None]:
    """The environment without one variable, which is given and put back afterwards."""
    given = os.environ.pop(name, None)
    try:
        yield given
    finally:
        if given is not None:
            os.environ[name] = given
