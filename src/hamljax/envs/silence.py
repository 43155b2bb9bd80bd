"""Quiet imports of libraries that greet or complain on the terminal, or want a display."""

import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from unittest import mock


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Discard prints and warnings, also of libraries that put the original standard output back to greet on it."""
    sink = io.StringIO()
    streams = mock.patch.multiple(sys, stdout=sink, __stdout__=sink, stderr=sys.stderr, __stderr__=sys.stderr)
    with streams, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def import_mujoco() -> ModuleType:
    """MuJoCo's module. Nothing here is rendered by it, so a MUJOCO_GL that this machine has not is no reason to stop."""
    try:
        return importlib.import_module("mujoco")
    except Exception:  # whatever the library that MUJOCO_GL names raises
        if "MUJOCO_GL" not in os.environ:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "mujoco"]:
            del sys.modules[name]  # what is left of it
        with mock.patch.dict(os.environ, {"MUJOCO_GL": "disable"}):
            return importlib.import_module("mujoco")
