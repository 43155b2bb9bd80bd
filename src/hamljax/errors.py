"""Exceptions that are no bug: the user asked for something impossible, or training was stopped."""

import difflib
import traceback
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """Bad input from a user: its message is one line that names the mistake and the nearest valid choice.

    The command line prints it and exits with code 2; a notebook sees an ordinary exception.
    """


class Stopped(Exception):
    """Training ended early and in order; the command line prints the message, one line, and exits with ``code``."""

    def __init__(self, message: str, code: int):
        super().__init__(message, code)  # both, so that it can be sent to another process
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


def one_line(error: Exception) -> str:
    """The message of ``error`` without its line breaks."""
    return " ".join(str(error).split())


def in_line(error: Exception, file: str) -> str:
    """`` in line 3: ValueError: ...``: where in a user's file an error came from, and what it is.

    Args:
        error: as it was caught; of many lines of its message the first is shown.
        file: as its code knows itself by name.
    """
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" in line {lines[-1]}" if lines else ""
    said, *_ = [*str(error).strip().splitlines(), ""]
    return f"{where}: {type(error).__name__}: {said}"


# Settings and values of earlier versions, and what says the same now.
RENAMED = {"fixed_order": "algo.order=fixed", "shared": "algo.coordination=simultaneous algo.sharing=all"}


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'happo'?``, or the list of choices when nothing is near.

    Args:
        name: what was given. choices: all that there is.
    """
    if (now := RENAMED.get(str(name).split(".")[-1])) is not None:
        return f"; it is {now} now"
    choices = sorted(choices)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    if len(", ".join(choices)) > 300:
        return "; hamljax list and conf/config.yaml show what there is"
    return f"; choose one of: {', '.join(choices)}" if choices else ""


def one_of(kind: str, name: str, choices: Iterable[str]) -> str:
    """``name``, where it is one of ``choices``.

    Raises:
        ConfigError: it is not; the nearest of them is named. ``kind`` says what they are.
    """
    if name not in choices:
        raise ConfigError(f"unknown {kind} '{name}'{nearest(name, choices)}")
    return name


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """``table[name]``.

    Raises:
        ConfigError: there is no such entry; the nearest is named. ``kind`` says what they are.
    """
    return table[one_of(kind, name, table)]
