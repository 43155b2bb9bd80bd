"""Paths that a user names: read, made, found to be impossible. Nothing here needs JAX."""

import contextlib
import difflib
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path

from ...errors import ConfigError, nearest


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around everything that writes into a run directory: a full or forbidden disk is one line."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write to '{path}': {error.strerror or error}; what was saved before is as it was"
        ) from None


def claim(path: Path) -> Path:
    """Make the folder ``path``, or ``path-2``, ``path-3`` ... where somebody has made it already: it is nobody else's."""
    for number in itertools.count(1):
        mine = path if number == 1 else path.with_name(f"{path.name}-{number}")
        with writing(mine), contextlib.suppress(FileExistsError):
            mine.mkdir(parents=True)
            return mine
    raise AssertionError("numbers do not end")


def path_of(text: str) -> Path:
    """``text`` as a path, of something that is there or may be made.

    Raises:
        ConfigError: it cannot be a path.
    """
    try:
        if not text.isprintable() and text != text.encode(errors="replace").decode():
            raise ValueError("its letters are not UTF-8 (in another language of the machine? PYTHONUTF8=1 reads them)")
        path = Path(text).expanduser()
        path.stat() if "\0" in text else path.exists()  # which passes over a text that no system takes
        return path
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"'{text[:60]}' cannot be a path: {getattr(error, 'strerror', None) or error}") from None


def names_in(folder: Path) -> list[str]:
    """What is in ``folder``; nothing where it is none.

    Raises:
        ConfigError: it may not be read.
    """
    try:
        return [p.name for p in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise ConfigError(f"cannot read '{folder}': {error.strerror or error}") from None


def as_typed(path: Path) -> str:
    """``path`` as a shell reads it, in lines that are there to be copied."""
    return shlex.quote(str(path))


def is_there(text: str) -> bool:
    """Whether ``text`` names something that exists."""
    try:
        return path_of(text).exists()
    except ConfigError:
        return False


def existing(given: str) -> Path:
    """``given`` as a path of something that exists.

    Raises:
        ConfigError: there is nothing; with the nearest name beside it.
    """
    path = path_of(given)
    if not path.exists():
        close = difflib.get_close_matches(path.name, names_in(path.parent), n=1)
        hint = f"; did you mean '{Path(given).parent / close[0]}'?" if close else ""
        raise ConfigError(f"'{given}' does not exist{hint}")
    return path


def output_file(setting: str, text: str, suffixes: tuple[str, ...]) -> Path:
    """``text`` as a file to write.

    Args:
        setting: what a message calls it.
        text: the name, as typed.
        suffixes: of which it must have one.

    Raises:
        ConfigError: it has none of these, or its folder is not there.
    """
    path = path_of(text)
    if path.suffix not in suffixes:
        raise ConfigError(f"{setting}={text} must end in {' or '.join(suffixes)}{nearest(path.suffix, suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{setting}={text}: there is no folder '{path.parent}'")
    return path
