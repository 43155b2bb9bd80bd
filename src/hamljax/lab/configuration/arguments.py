"""Arguments of the commands that work on a run: ``RUN key=value...``."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...errors import ConfigError, nearest
from ..storage.paths import existing, is_there


def whole(least: int) -> Callable[[str, str], int]:
    """A reader of whole numbers, at least ``least``.

    Returns:
        ``read(key, text)``; like every reader here it raises ConfigError, with the key, for another text.
    """

    def read(key: str, text: str) -> int:
        try:
            number = float(text)  # 1e3 is a whole number too
        except ValueError:
            number = math.nan
        if not number.is_integer() or not least <= number < 2**31:
            raise ConfigError(f"{key} must be a whole number, at least {least} and below 2^31, not '{text[:40]}'")
        return int(number)

    return read


def finite(what: str = "a finite number", least: float = -math.inf) -> Callable[[str, str], float]:
    """A reader of finite numbers, at least ``least``; ``what`` calls them so where it is none."""

    def read(key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < least:
            raise ConfigError(f"{key} must be {what}, not '{text[:40]}'")
        return value

    return read


def boolean(key: str, text: str) -> bool:
    """The value of ``key``, true or false in letters of any case."""
    if text.lower() not in ("true", "false"):
        raise ConfigError(f"{key} must be true or false, not '{text}'")
    return text.lower() == "true"


def checkpoint(key: str, text: str) -> str:
    """Which checkpoint ``key`` names: last, best or a number of updates."""
    if text not in ("last", "best") and not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{key} must be last, best or a number of updates, not '{text}'")
    return text


def any_text(key: str, text: str) -> str:
    """``text`` as it stands."""
    del key
    return text


def file(key: str, text: str) -> str:
    """The file that ``key`` names, which is there."""
    if not existing(text).is_file():
        raise ConfigError(f"{key}={text} is not a file")
    return text


def read_several(
    command: str, words: Iterable[str], readers: dict[str, Callable[[str, str], Any]], takes: str = "run directories"
) -> tuple[list[str], dict[str, Any]]:
    """The places and the values, by name, of a command's words.

    Args:
        command: its name, for messages.
        words: as typed: places, at least one, and ``key=value``.
        readers: ``read(key, text) -> value`` for every key that there is.
        takes: what the places are, for messages.

    Raises:
        ConfigError: there is anything else, or no place.
    """
    places: list[str] = []
    values: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if is_there(word) or not word.startswith("-") and ("/" in key or not equals):  # a path may hold a "="
            places.append(word)
        elif key not in readers:
            raise ConfigError(f"{command} knows no '{key}'{nearest(key, readers)}")
        else:
            values[key] = readers[key](key, text)
    if not places:
        raise ConfigError(f"{command} needs {takes}, such as: hamljax {command} runs/demo")
    return places, values


def read_arguments(
    command: str, words: Iterable[str], readers: dict[str, Callable[[str, str], Any]]
) -> tuple[Path, dict[str, Any]]:
    """The run and the values, by name, of the words of a command on one run; like ``read_several``.

    Raises:
        ConfigError: there is anything else, or the run does not exist.
    """
    runs, values = read_several(command, words, readers, "one run directory")
    if len(runs) != 1:
        raise ConfigError(f"{command} takes one run directory, not {len(runs)}; such as: hamljax {command} runs/demo")
    return existing(runs[0]), values
