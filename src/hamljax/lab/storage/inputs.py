"""The files that a configuration names (a plugin, a payoff, the module of a host), of which a run keeps copies.

``RUN/inputs/`` holds the copies, and ``inputs.json``: for every setting that names a file where that was, where its copy is
(in ``inputs/``) and its SHA-256. A run is read with a file as it was: its original, or the copy where the original is gone
or was changed. Nothing here needs JAX.
"""

import hashlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigError
from .files import read_json, replaced, write_json

LARGEST = 64 << 20  # bytes of a file that is copied
PROGRAMS = ("env.python",)  # belong to a machine: where they are is kept, and no copy
MODULE = "env.path"  # of a host: not a file's name but an import path
INDEX = "inputs.json"


class Input(NamedTuple):
    """A file that a configuration names."""

    file: str  # its absolute name
    copy: str = ""  # the name of its copy in ``inputs/``; empty: there is none
    sha256: str = ""  # empty: it has not been read


def folder_of(run: Path) -> Path:
    """Where the copies of a run are."""
    return run / "inputs"


def kept(run: Path) -> dict[str, Input]:
    """What a run keeps, by setting; nothing of a run that is older than this."""
    try:
        return {name: Input(**values) for name, values in read_json(folder_of(run) / INDEX).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def named(settings: dict[str, Any]) -> dict[str, Path]:
    """The files that dotted ``settings`` name, by setting. A word names a file if one is there and it looks like a name."""
    words = {name: value for name, value in settings.items() if isinstance(value, str) and value}
    files = {name: (_module(value) if name == MODULE else None) or _file(value) for name, value in words.items()}
    return {name: file for name, file in files.items() if file}


def _file(word: str) -> Path | None:
    try:
        path = Path(word).expanduser()
        return path if (path.suffix or "/" in word) and path.is_file() else None
    except (OSError, RuntimeError, ValueError):  # it cannot be a path
        return None


def _module(word: str) -> Path | None:
    """Of ``module`` or ``module.Class``, where we were started: there workers look for it."""
    names = [word, word.rpartition(".")[0]]
    return next((file for name in names if name and (file := _file(f"./{name.replace('.', '/')}.py"))), None)


def keep(run: Path, settings: dict[str, Any]) -> None:
    """Copy the files that settings name, if that was not done before; what changes no number may be another each time.

    Args:
        run: its directory.
        settings: those that may name files, by dotted name.
    """
    before, now = kept(run), dict[str, Input]()
    for name, file in named(settings).items():
        is_copy = file.parent.resolve() == folder_of(run).resolve()
        if name not in before or (name in (*PROGRAMS, "plugin") and not is_copy):
            now[name] = _keep(run, name, file)
    if now:
        write_json(folder_of(run) / INDEX, {name: x._asdict() for name, x in (before | now).items()})


def _keep(run: Path, name: str, file: Path) -> Input:
    folder_of(run).mkdir(exist_ok=True)
    place = os.path.abspath(file)
    if name in PROGRAMS or file.stat().st_size > LARGEST:
        return Input(place)
    # A module is imported by its own name, everything else is told apart by the setting's.
    copy = folder_of(run) / (file if name == MODULE and not file.is_absolute() else f"{name}{file.suffix}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    with replaced(copy) as unfinished:
        shutil.copyfile(file, unfinished)
    return Input(place, copy.relative_to(folder_of(run)).as_posix(), sha256(copy))


def stamps(settings: dict[str, Any]) -> tuple[tuple[str, int, int], ...]:
    """Of each file that settings name: where it is, when it was written, and its bytes; in a process that tells it apart."""
    found = [(str(file), file.stat()) for file in named(settings).values()]
    return tuple((name, about.st_mtime_ns, about.st_size) for name, about in found)


def sha256(file: Path) -> str:
    """Of what a file holds, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check_unchanged(run: Path, settings: dict[str, Any]) -> None:
    """Check that the files which settings name hold what they held when a run began.

    A plugin may change, as the rest of the program may: that is noted, and no other run.

    Args:
        run: its directory.
        settings: those that may name files, by dotted name.

    Raises:
        ConfigError: a file holds something else.
    """
    before = kept(run)
    for name, file in named(settings).items():
        if name != "plugin" and name in before and before[name].sha256 not in ("", sha256(file)):
            raise ConfigError(
                f"run_dir={run} already holds a run whose {name} '{before[name].file}' held something else; choose "
                f"another, or go on with that one as it was: hamljax resume {shlex.quote(str(run))}"
            )


def located(run: Path) -> dict[str, Path]:
    """Where to read every file that ``run`` keeps, by setting; says so where that is a copy. A folder for a module."""
    return {name: _located(run, name, one) for name, one in kept(run).items()}


def _located(run: Path, name: str, one: Input) -> Path:
    file, copy = Path(one.file), folder_of(run) / one.copy
    use_copy = bool(one.copy) and copy.is_file() and not (file.is_file() and sha256(file) == one.sha256)
    if use_copy:
        what = "was changed" if file.is_file() else "is gone"
        print(f"note: {name} '{file}' {what}; using the copy in '{folder_of(run)}'", file=sys.stderr)
    if name == MODULE and not one.copy.startswith(name):
        return folder_of(run) if use_copy else Path(one.file.removesuffix(one.copy))
    return copy if use_copy else file
