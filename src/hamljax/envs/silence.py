"""Quiet imports of libraries that greet or complain on the terminal."""

import contextlib
import io
import sys
import warnings
from unittest import mock


@contextlib.contextmanager
def silence():
    """Discard prints and warnings, also of libraries that put the original standard output back to greet on it."""
    sink = io.StringIO()
    streams = mock.patch.multiple(sys, stdout=sink, __stdout__=sink, stderr=sys.stderr, __stderr__=sys.stderr)
    with streams, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
