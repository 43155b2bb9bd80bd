"""A run's directory: what it holds, how it is written (atomically), to whom it belongs, how it is found again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ...errors import ConfigError, one_line
from .files import read_json, replaced, write_json, write_text
from .paths import as_typed, claim, existing, names_in, path_of, writing
from .provenance import changes, versions
from .saved_config import differences, read_config, write_yaml

if TYPE_CHECKING:  # imported where it is used: ``hamljax info`` does without
    import pandas as pd

HYDRAS_LOG = "hamljax.log"  # which Hydra writes into the folder of a run where hydra/job_logging=default
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # of some network file systems


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for this process alone; the system lets go of it however the process ends.

    Raises:
        ConfigError: another process holds it, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with writing(path):
            file = stack.enter_context((path / ".lock").open("a+", encoding="utf-8"))
            if not _lock(file, path):
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise ConfigError(f"another process ({owner}) is training in '{path}'; wait for it, or stop it")
            file.truncate(0)
            file.write(f"pid {os.getpid()}")
            file.flush()
        yield


def _lock(file: TextIO, path: Path) -> bool:
    """Take the lock, or give up after a second: ``hamljax info`` holds it for a moment to see whether it is free."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"note: the file system of '{path}' has no locks: that nobody else trains there is yours to see to")
            return True
    return False


class RunDir:
    """``config.yaml versions.json metrics.parquet summary.json curves.png checkpoints/`` under one folder.

    Args:
        path: the folder.
        resolved: the configuration, as written to ``config.yaml``.
        begun: whether it held this run already when it was opened.
    """

    def __init__(self, path: Path, resolved: dict[str, Any], begun: bool):
        self.path, self.resolved, self.begun = path, resolved, begun
        self.notes: list[str] = []  # what a person should know about going on with it
        self.remark = ""  # the first line of config.yaml
        self.rows: list[pd.DataFrame] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, resolved: dict[str, Any], resume: str = "auto", longer: bool = False) -> Iterator[RunDir]:
        """The directory of a run, new or begun before; nobody else can open it meanwhile.

        Args:
            resolved: the run's configuration; an empty ``run_dir`` in it gets a name of its own.
            resume: ``auto`` goes on with a run of this configuration, ``never`` refuses one, ``must`` refuses a new one.
            longer: whether ``total_timesteps`` may have grown.

        Raises:
            ConfigError: the folder holds anything else; everything is left as it was.
        """
        name = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{resolved['algo']['name']}_{resolved['env']['name']}"
        given = resolved["run_dir"]
        path = path_of(given) if given else Path("runs") / name.replace("/", "-")
        if given or resume == "must":
            holds_this_run(path, resolved, resume, longer)
        if not given:
            path = claim(path)
        resolved = resolved | {"run_dir": str(path)}
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            run = cls(path, resolved, begun=holds_this_run(path, resolved, resume, longer))
            run._compare()
            yield run

    def _compare(self) -> None:
        """Note what is not as it was when the run began."""
        self.versions, file = versions(self.resolved), self.path / "versions.json"
        if self.begun and file.is_file():
            try:
                first = read_json(file)
                self.notes = changes(first, self.versions)
                self.versions = first | {"continued": [*first.get("continued", []), self.versions]}
            except (ValueError, AttributeError, KeyError, TypeError):
                self.notes = ["versions.json was damaged, and is written anew"]

    def write_metadata(self) -> None:
        """Write down what is known before training. What a longer run replaces goes."""
        with writing(self.path):
            remark = f"# {self.remark}\n" if self.remark else ""
            write_text(self.path / "config.yaml", remark + write_yaml(self.resolved))
            write_json(self.path / "versions.json", self.versions)
            (self.path / "summary.json").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all that a run wrote that could not begin."""
        for path in self.path.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()

    def start_with(self, record: pd.DataFrame | None) -> None:
        """Begin with the rows of ``record``: the file keeps no others, whatever a killed process wrote after them."""
        self.rows = []
        if record is not None:
            self.append(record)
        else:
            (self.path / "metrics.parquet").unlink(missing_ok=True)

    def append(self, rows: pd.DataFrame) -> None:
        """Add metrics and replace the file whole, so that a killed run keeps what it had."""
        self.rows.append(rows)
        with writing(self.path), replaced(self.path / "metrics.parquet") as temporary:
            self.metrics().to_parquet(temporary, index=False, write_page_checksum=True)

    def metrics(self) -> pd.DataFrame:
        """All rows so far."""
        import pandas as pd

        self.rows = [pd.concat(self.rows, ignore_index=True)]
        return self.rows[0]

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace ``summary.json``."""
        with writing(self.path):
            write_json(self.path / "summary.json", summary)


def holds_this_run(path: Path, resolved: dict[str, Any], resume: str, longer: bool = False) -> bool:
    """Whether a folder holds the run of a configuration already.

    Args:
        path: the folder, which need not exist.
        resolved: the configuration.
        resume: as of ``RunDir.open``, and so is ``longer``.

    Raises:
        ConfigError: the folder may not be used for it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"run_dir={path} is a file; choose another")
    if above := next((p for p in path.parents if p.exists() and not p.is_dir()), None):
        raise ConfigError(f"run_dir={path} is below '{above}', which is a file; choose another")
    # Names with a dot are our own, of files that a killed process did not finish.
    there = {name for name in names_in(path) if not name.startswith(".")} - {HYDRAS_LOG}
    if "config.yaml" not in there:
        if there:
            raise ConfigError(f"run_dir={path} already holds something that is not a run; choose another")
        if resume == "must":
            raise ConfigError(f"resume=must: run_dir={path} holds no run to go on with")
        return False
    if resume == "never":
        raise ConfigError(f"run_dir={path} already holds a run; choose another, or go on with it: resume=auto")
    before = read_config(path)
    if longer and int(before["total_timesteps"]) <= int(resolved["total_timesteps"]):
        before = before | {"total_timesteps": resolved["total_timesteps"]}
    if other := differences(before, resolved):
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ConfigError(
            f"run_dir={path} already holds a run that differs in {', '.join(other[:3])}{more}; choose another, or go on "
            f"with that one: hamljax resume {as_typed(path)}"
        )
    return True


def runs_below(folder: Path) -> list[Path]:
    """Every run directory at or below a folder, in order."""
    return sorted(file.parent for file in folder.rglob("metrics.parquet"))


def find_runs(paths: list[str]) -> list[Path]:
    """Every run directory at or below ``paths``.

    Raises:
        ConfigError: there is none.
    """
    runs: list[Path] = []
    for given in paths:
        path = existing(given)
        here = runs_below(path) if path.is_dir() else []
        if not here:
            raise ConfigError(f"'{given}' holds no run (no metrics.parquet at or below it)")
        runs += here
    return list(dict.fromkeys(runs))


def read_run(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Configuration and metrics of a run.

    Raises:
        ConfigError: a file is damaged.
    """
    import numpy as np
    import pandas as pd

    config = read_config(path)
    try:
        metrics = pd.read_parquet(path / "metrics.parquet", page_checksum_verification=True)
        metrics[["seed", "update", "step"]].astype(np.int64)
        if not len(metrics) or {x.kind for x in metrics.dtypes} - set("biuf"):
            raise ValueError("metrics.parquet is no record of training")
        return config, metrics
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"cannot read the run in '{path}': {one_line(error)}") from None
