"""Payoff arrays from files."""

import csv
import difflib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, nearest, one_line


def read_payoff(payoff: str) -> Any:
    """The array in a .npy, .json or .csv file, as it stands there.

    Args:
        payoff: the file's name.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    if not payoff:
        raise ConfigError("game/matrix needs payoff=PATH, a .npy, .json or .csv file")
    path = Path(os.path.expanduser(payoff))
    if path.suffix not in READERS:
        raise ConfigError(f"payoff file '{payoff}' has the wrong suffix '{path.suffix}'{nearest(path.suffix, READERS)}")
    try:
        there = path.is_file()
    except OSError as error:
        raise ConfigError(f"payoff file '{payoff[:60]}' cannot be a path: {error.strerror}") from None
    if not there:
        siblings = [p.name for p in path.parent.glob("*") if p.suffix in READERS]
        close = difflib.get_close_matches(path.name, siblings, n=1)
        raise ConfigError(f"payoff file '{payoff}' does not exist" + (f"; did you mean '{close[0]}'?" if close else ""))
    try:
        return READERS[path.suffix](path)
    except Exception as error:  # a damaged file can break its reader in any way
        reason = one_line(error) or type(error).__name__
        raise ConfigError(f"payoff file '{payoff}' is not a readable {path.suffix} file: {reason}") from error


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))


def _read_csv(path: Path) -> list[list[float]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[float(cell) for cell in row] for row in csv.reader(file) if row]


READERS: dict[str, Callable[[Path], Any]] = {".npy": _read_npy, ".json": _read_json, ".csv": _read_csv}
