"""Where the runs of a sweep go: names after what varies, the same by Hydra and without."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from ...errors import ConfigError

LONGEST = 200  # bytes; a file system takes few more


def name_of(varying: Sequence[str]) -> str:
    """A folder's name.

    Args:
        varying: the words, ``key=value``, that are not the same in all jobs.
    """
    name = ",".join(varying).replace("/", "-").replace("'", "") or "0"
    if len(whole := name.encode(errors="replace")) > LONGEST:
        return f"{whole[:180].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:8]}"
    return name


def names_of(combinations: Sequence[Sequence[str]]) -> list[str]:
    """The folders' names of a sweep's jobs, each given as its words.

    Raises:
        ConfigError: two of them would have one.
    """
    varying = [i for i, words in enumerate(zip(*combinations, strict=True)) if len(set(words)) > 1]
    found: dict[str, Sequence[str]] = {}
    for words in combinations:
        name = name_of([words[i] for i in varying])
        if (other := found.setdefault(name, words)) is not words:
            first, second = (" ".join(job[i] for i in varying if other[i] != words[i]) for job in (other, words))
            raise ConfigError(
                f"'{first}' and '{second}' would have one folder, {name}: rename a file, or sweep them apart"
            )
    return list(found)


def by_hydra(overrides: Sequence[str], excluded: Sequence[str]) -> str:
    """The name of a job, of its words and the keys that are the same in all jobs."""
    words = [word.lstrip("+") for word in overrides]
    return name_of([word for word in words if word.partition("=")[0] not in excluded])


def register_resolvers() -> None:
    """Make ``${hamljax_folder:...}`` known, of which conf/config.yaml makes ``hydra.sweep.subdir``."""
    OmegaConf.register_new_resolver("hamljax_folder", by_hydra, replace=True)


def from_here(path: Path) -> str:
    """A path as somebody here would type it."""
    here = Path(os.getcwd())
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)
