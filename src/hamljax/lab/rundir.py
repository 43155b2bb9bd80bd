"""A run's directory: what it holds, how it is written (atomically), how it is found again."""

import json
import os
import platform
import time
from importlib import metadata
from pathlib import Path

import pandas as pd
import yaml

from ..errors import ConfigError, nearest

PACKAGES = "hamljax jax jaxlib flax optax chex distrax brax jaxmarl hydra-core numpy".split()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


class RunDir:
    """``config.yaml versions.json metrics.parquet summary.json curves.png`` under one folder."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[pd.DataFrame] = []

    @classmethod
    def create(cls, run_dir: str, resolved: dict) -> "RunDir":
        """Make the folder and write what is known before training. Raises ConfigError if a run is there already."""
        default = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{resolved['algo']['name']}_{resolved['env']['name']}"
        path = Path(run_dir).expanduser() if run_dir else Path("runs") / default.replace("/", "-")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"run_dir={path} already holds something; choose another or remove it first")
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write(path / "config.yaml", yaml.safe_dump(resolved | {"run_dir": str(path)}, sort_keys=False))
        except OSError as error:
            raise ConfigError(f"cannot write to run_dir={path}: {error.strerror}") from None
        _write(path / "versions.json", json.dumps(versions(), indent=2))
        return cls(path)

    def append(self, rows: pd.DataFrame) -> None:
        """Add metrics and replace the file whole, so that a killed run keeps what it had."""
        self.rows.append(rows)
        temporary = self.path / ".metrics.parquet.tmp"
        self.metrics().to_parquet(temporary, index=False)
        os.replace(temporary, self.path / "metrics.parquet")

    def metrics(self) -> pd.DataFrame:
        return pd.concat(self.rows, ignore_index=True)

    def write_summary(self, summary: dict) -> None:
        _write(self.path / "summary.json", json.dumps(summary, indent=2))


def versions() -> dict:
    import jax

    found = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **found, "device": str(jax.devices()[0].device_kind)}


def existing(given: str) -> Path:
    """``given`` as a path. Raises ConfigError, with the nearest name beside it, where there is nothing."""
    path = Path(given).expanduser()
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(f"'{given}' does not exist" + (nearest(path.name, siblings) if len(siblings) < 20 else ""))
    return path


def output_file(setting: str, text: str, suffixes: tuple[str, ...]) -> Path:
    """``text`` as a file to write, of one of ``suffixes`` and in a folder that is there. Raises ConfigError otherwise."""
    path = Path(text).expanduser()
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
    try:
        return yaml.safe_load((path / "config.yaml").read_text()), pd.read_parquet(path / "metrics.parquet")
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"cannot read the run in '{path}': {' '.join(str(error).split())}") from None
