"""How files are written and read: whole or not at all, as UTF-8, and JSON as the standard has it. Nothing here needs JAX."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

UNFINISHED = "unfinished"


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields the name under which to write what becomes ``path``, at once and whole, when the block ends without an error.

    The name ends as ``path`` does (writers tell the format from it), and is this process's own.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{UNFINISHED}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def forget_unfinished(folder: Path) -> None:
    """Remove what processes that are gone left unfinished in ``folder``."""
    for file in folder.glob(f".*.{UNFINISHED}*"):
        owner = file.name.rpartition(f".{UNFINISHED}")[0].rpartition(".")[2]
        if owner.isdecimal() and not _is_alive(int(owner)):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file whole."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def as_json(value: Any, **options: Any) -> str:
    """Plain data as JSON, with null for NaN and infinities, which JSON does not have.

    Args:
        value: the data.
        options: of ``json.dumps``.
    """
    return json.dumps(_strict(value), allow_nan=False, **options)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _strict(x) for key, x in value.items()}
    return list(map(_strict, value)) if isinstance(value, list | tuple) else value


def write_json(path: Path, value: Any) -> None:
    """Replace a file whole by ``as_json`` of ``value``."""
    write_text(path, as_json(value, indent=2))


def read_json(path: Path) -> Any:
    """What a JSON file holds; None for the NaN that was written once.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    return json.loads(read_text(path), parse_constant=lambda _: None)


def number(value: float | None, form: str = ".3f") -> str:
    """``value`` for a person to read, in Python's format ``form``; a dash where there is no number."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)
