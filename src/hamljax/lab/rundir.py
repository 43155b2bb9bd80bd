"""A run's directory: what it holds, how it is written (atomically), to whom it belongs, how it is found again."""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import itertools
import os
import re
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ..errors import ConfigError, nearest, one_line
from ..kinds import typed
from .files import read_json, read_text, replaced, write_json, write_text
from .provenance import changes, versions

if TYPE_CHECKING:  # imported where it is used: ``hamljax info`` does without
    import pandas as pd

# Settings that leave the numbers of a run as they are, so that it may go on with other ones.
AROUND = (
    "log_every checkpoint_every checkpoint_replay absolute_metric on_nan nan_patience run_dir plugin logger".split()
)
AROUND += ["env.python"]
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # of some network file systems
WHOLE = "total_timesteps num_envs num_steps seed num_seeds".split()


class _Reader(yaml.SafeLoader):
    """YAML whose numbers are those of YAML 1.2: 1e6 and 5e-4 are numbers, which PyYAML takes for texts."""


class _Writer(yaml.SafeDumper):
    """The other way about: a text that looks like such a number stands in quotes."""


for _each in (_Reader, _Writer):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def read_yaml(text: str):
    """Plain data. Raises whatever a damaged text makes the reader raise."""
    return yaml.load(text, _Reader)


def write_yaml(data) -> str:
    """Plain data as ``read_yaml`` reads it back."""
    return yaml.dump(data, Dumper=_Writer, sort_keys=False)


def flatten(settings: dict, without=(), prefix: str = "") -> dict[str, str]:
    """Dotted settings as text, leaving out those of ``without``."""
    flat = {}
    for key, value in settings.items():
        if prefix + key not in without:
            flat |= (
                flatten(value, without, f"{prefix}{key}.")
                if isinstance(value, dict)
                else {prefix + key: _as_text(value)}
            )
    return flat


def _as_text(value) -> str:
    """Equal numbers give equal texts, however they were written."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def differences(there: dict, here: dict) -> list[str]:
    """In what two configurations differ that matters to the numbers, such as ``gamma (0.99 there, 0.9 here)``.

    A setting that is not in ``there`` is younger than that run, and had its default; but what a user's own function is
    given (``algo.drift_params.weight``) has a default that only the function knows.
    """
    there, here = flatten(there, AROUND), flatten(here, AROUND)
    return [
        f"{key} ({there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here)"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and (key in there or "_params." in key)
    ]


@contextlib.contextmanager
def writing(path: Path):
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


@contextlib.contextmanager
def locked(path: Path):
    """Hold a run directory for this process alone; the system lets go of it however the process ends."""
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


def _lock(file, path: Path) -> bool:
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

    begun: it held this run already when it was opened. notes: what a person should know about going on with it.
    """

    def __init__(self, path: Path, resolved: dict, begun: bool):
        self.path, self.resolved, self.begun = path, resolved, begun
        self.notes: list[str] = []
        self.rows: list[pd.DataFrame] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, resolved: dict, resume: str = "auto", longer: bool = False):
        """The directory of the run that ``resolved`` configures, new or begun before; nobody else can open it meanwhile.

        resume: ``auto`` goes on with a run of this configuration, ``never`` refuses one, ``must`` refuses a new one.
        longer: ``total_timesteps`` may have grown. Raises ConfigError, and leaves everything as it was, where the folder
        holds anything else.
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

    def sign(self) -> None:
        """Write down what is known before training. What a longer run replaces goes."""
        with writing(self.path):
            write_text(self.path / "config.yaml", write_yaml(self.resolved))
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
        import pandas as pd

        self.rows = [pd.concat(self.rows, ignore_index=True)]
        return self.rows[0]

    def write_summary(self, summary: dict) -> None:
        with writing(self.path):
            write_json(self.path / "summary.json", summary)


def holds_this_run(path: Path, resolved: dict, resume: str, longer: bool = False) -> bool:
    """Whether ``path`` holds a run of this configuration already. Raises ConfigError where it may not be used."""
    if path.exists() and not path.is_dir():
        raise ConfigError(f"run_dir={path} is a file; choose another")
    if above := next((p for p in path.parents if p.exists() and not p.is_dir()), None):
        raise ConfigError(f"run_dir={path} is below '{above}', which is a file; choose another")
    # Names with a dot are our own, of files that a killed process did not finish.
    there = {name for name in names_in(path) if not name.startswith(".")}
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


def read_config(path: Path) -> dict:
    """A run's configuration as plain data. Raises ConfigError where there is none or it is damaged."""
    file = path / "config.yaml"
    if not file.is_file():
        raise ConfigError(f"'{path}' is not a run directory (no config.yaml in it)")
    try:
        values = read_yaml(read_text(file))
        for group in ("algo", "network", "env", "logger"):
            values[group]["kind" if group == "logger" else "name"]
        whole = {name: typed(name, values[name], int) for name in WHOLE}
        if min(x for name, x in whole.items() if name != "seed") < 1:
            raise ConfigError("a size is below 1")
        return values | whole | {"algo": _as_today(values["algo"])}
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"cannot read '{file}': {one_line(error)}") from None


def _as_today(algo: dict) -> dict:
    """The settings of a row as an earlier version wrote them, in the words of this one."""
    order = "fixed" if typed("algo.fixed_order", algo.get("fixed_order", False), bool) else "uniform"
    said = {name: value for name, value in algo.items() if name != "fixed_order"}
    if said.get("coordination") == "shared":
        said |= {"coordination": "simultaneous", "sharing": "all"}
    return {"order": order, "sharing": "own", "update_epochs": 1} | said


def is_foreign(path: Path) -> bool:
    """Whether the ``config.yaml`` at ``path`` is whole, and of something else; one that is damaged may be a run's."""
    try:
        values = read_yaml(read_text(path / "config.yaml"))
    except Exception:  # a damaged file can break its reader in any way
        return False
    return isinstance(values, dict) and bool(values) and not {"algo", "network", "env", "logger"} & values.keys()


def path_of(text: str) -> Path:
    """``text`` as a path, of something that is there or may be made. Raises ConfigError where it cannot be one."""
    try:
        if not text.isprintable() and text != text.encode(errors="replace").decode():
            raise ValueError("its letters are not UTF-8 (in another language of the machine? PYTHONUTF8=1 reads them)")
        path = Path(text).expanduser()
        path.stat() if "\0" in text else path.exists()  # which passes over a text that no system takes
        return path
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"'{text[:60]}' cannot be a path: {getattr(error, 'strerror', None) or error}") from None


def names_in(folder: Path) -> list[str]:
    """What is in ``folder``; nothing where it is none. Raises ConfigError where it may not be read."""
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
    """``given`` as a path. Raises ConfigError, with the nearest name beside it, where there is nothing."""
    path = path_of(given)
    if not path.exists():
        close = difflib.get_close_matches(path.name, names_in(path.parent), n=1)
        hint = f"; did you mean '{Path(given).parent / close[0]}'?" if close else ""
        raise ConfigError(f"'{given}' does not exist{hint}")
    return path


def output_file(setting: str, text: str, suffixes: tuple[str, ...]) -> Path:
    """``text`` as a file to write, of one of ``suffixes`` and in a folder that is there. Raises ConfigError otherwise."""
    path = path_of(text)
    if path.suffix not in suffixes:
        raise ConfigError(f"{setting}={text} must end in {' or '.join(suffixes)}{nearest(path.suffix, suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{setting}={text}: there is no folder '{path.parent}'")
    return path


def find_runs(paths: list[str]) -> list[Path]:
    """Every run directory at or below ``paths``. Raises ConfigError where there is none."""
    runs = []
    for given in paths:
        path = existing(given)
        here = sorted(p.parent for p in path.rglob("metrics.parquet")) if path.is_dir() else []
        if not here:
            raise ConfigError(f"'{given}' holds no run (no metrics.parquet at or below it)")
        runs += here
    return list(dict.fromkeys(runs))


def read_run(path: Path) -> tuple[dict, pd.DataFrame]:
    """Configuration and metrics of a run. Raises ConfigError for a damaged file."""
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
