"""Which checkpoints a run has, and whether they are as they were written. Quick: nothing here needs JAX."""

import hashlib
from pathlib import Path

from .files import read_json

DIGESTS = "digests.json"  # in every checkpoint: the SHA-256 of all its other files


def folder_of(run: Path) -> Path:
    """Where the checkpoints of a run are."""
    return run / "checkpoints"


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below ``folder``, by its place."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / DIGESTS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def kept(run: Path) -> list[int]:
    """After how many updates there are checkpoints, in order."""
    here = folder_of(run)
    return sorted(int(p.name) for p in here.iterdir() if p.name.isdecimal()) if here.is_dir() else []


def damage(run: Path, update: int) -> str:
    """What is wrong with a checkpoint: "" if every file is as it was written."""
    folder = folder_of(run) / str(update)
    try:
        written = read_json(folder / DIGESTS)
        found = digests(folder)
        names = sorted(written.keys() | found.keys())
    except (OSError, ValueError, AttributeError) as error:
        return f"{DIGESTS} cannot be read ({type(error).__name__})"
    wrong = [name for name in names if written.get(name) != found.get(name)]
    return f"{wrong[0]} is missing or was changed" if wrong else ""
