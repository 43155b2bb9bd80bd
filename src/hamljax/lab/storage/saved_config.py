"""``config.yaml`` of a run: written, read back, compared. Nothing here needs JAX."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ...coercion import typed
from ...errors import ConfigError, one_line
from .files import read_text

# Settings that leave the numbers of a run as they are, so that it may go on with other ones.
RESUMABLE = "log_every checkpoint_every checkpoint_replay absolute_metric on_nan nan_patience".split()
RESUMABLE += "run_dir plugin objective devices_per_seed certify logger env.python env.envs_per_worker".split()
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


def read_yaml(text: str) -> Any:
    """Plain data. Raises whatever a damaged text makes the reader raise."""
    return yaml.load(text, _Reader)


def write_yaml(data: Any) -> str:
    """Plain data as ``read_yaml`` reads it back."""
    return yaml.dump(data, Dumper=_Writer, sort_keys=False)


def flatten(settings: dict[str, Any], without: Collection[str] = (), prefix: str = "") -> dict[str, str]:
    """Settings as texts by dotted name.

    Args:
        settings: nested.
        without: dotted names that are left out, with all that is below them.
        prefix: of all names.
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if prefix + key not in without:
            flat |= (
                flatten(value, without, f"{prefix}{key}.")
                if isinstance(value, dict)
                else {prefix + key: _as_text(value)}
            )
    return flat


def _as_text(value: Any) -> str:
    """Equal numbers give equal texts, however they were written."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """In what two configurations differ that matters to the numbers, such as ``gamma (0.99 there, 0.9 here)``.

    A setting that is not in ``there`` is younger than that run, and had its default; but what a user's own function is
    given (``algo.drift_params.weight``) has a default that only the function knows.

    Args:
        there: as a run was configured.
        here: as it would be now.
    """
    there, here = flatten(there, RESUMABLE), flatten(here, RESUMABLE)
    return [
        f"{key} ({there.get(key, 'nothing')} there, {here.get(key, 'nothing')} here)"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and (key in there or "_params." in key)
    ]


def read_config(path: Path) -> dict[str, Any]:
    """A run's configuration as plain data.

    Args:
        path: the run's directory.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
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


def _as_today(algo: dict[str, Any]) -> dict[str, Any]:
    """The settings of a row as an earlier version wrote them, in the words of this one; those of other families as they are."""
    if "coordination" not in algo or "critic_lr" not in algo:
        return algo
    order = "fixed" if typed("algo.fixed_order", algo.get("fixed_order", False), bool) else "uniform"
    said = {name: value for name, value in algo.items() if name != "fixed_order"}
    if said.get("coordination") == "shared":
        said |= {"coordination": "simultaneous", "sharing": "all"}
    if said.get("target_every") == 0:
        said["target_every"] = None
    missing = {"update_epochs": 1} if "gradient_steps" in algo else {}
    return {"order": order, "sharing": "own"} | missing | said


def is_foreign(path: Path) -> bool:
    """Whether the ``config.yaml`` at ``path`` is whole, and of something else; one that is damaged may be a run's."""
    try:
        values = read_yaml(read_text(path / "config.yaml"))
    except Exception:  # a damaged file can break its reader in any way
        return False
    return isinstance(values, dict) and bool(values) and not {"algo", "network", "env", "logger"} & values.keys()
