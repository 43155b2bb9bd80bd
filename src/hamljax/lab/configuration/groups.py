"""What can be chosen: YAML files, rows, environments, and what a user's plugin adds."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override

from ...algorithms import ALGORITHMS, FAMILIES
from ...algorithms.table import family_of
from ...envs import ENVIRONMENTS, schema
from ...nn.networks import Network
from .overrides import quote, values_of

GROUPS = ("algo", "network", "env", "logger", "experiment")


def conf_dir() -> Path:
    """The YAML files: beside the package in a wheel, two levels up in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("hamljax's conf/ folder is missing: the installation is damaged")


_more: list[str] = []  # folders of a user's own YAML files


@contextlib.contextmanager
def searching(folders: list[str]) -> Iterator[None]:
    """Meanwhile what is in these folders can be chosen too."""
    _more[:] = folders
    try:
        yield
    finally:
        _more.clear()


def search_path() -> list[str]:
    """The folders of ``searching`` as an override of Hydra's."""
    return (
        [f"hydra.searchpath=[{','.join(quote(Path(folder).resolve().as_uri()) for folder in _more)}]"] if _more else []
    )


def choices(group: str) -> list[str]:
    """Valid values of a group; a file whose name begins with ``_`` is a part of others."""
    folders = [folder / group for folder in (conf_dir(), *map(Path, _more))]
    files = [(folder, p) for folder in folders for p in folder.rglob("*.yaml") if not p.name.startswith("_")]
    names = {p.relative_to(folder).with_suffix("").as_posix() for folder, p in files}
    registered: dict[str, set[str]] = {"algo": set(ALGORITHMS), "env": set(ENVIRONMENTS)}
    return sorted(names | registered.get(group, set()))


def values_once(override: Override) -> list[str]:
    """The values of one word of a sweep, as words, each once. Raises ConfigError as ``values_of``."""
    key = override.key_or_group
    return list(dict.fromkeys(values_of(override, choices(key) if key in GROUPS else ())))


def register_groups() -> None:
    """What has no YAML file: the defaults of networks, and families, rows and environments that are a user's own."""
    families = {name: (family.settings, tuple(family.elsewhere.items())) for name, family in FAMILIES.items()}
    rows = tuple((name, family_of(name).name) for name in ALGORITHMS)
    environments = tuple((name, schema(name)) for name in ENVIRONMENTS)
    _store_groups(ConfigStore.instance(), tuple(families.items()), rows, environments)


def base_of(family: str) -> str:
    """The file (conf/algo) with the settings of a family's rows."""
    return "_" + family.replace("-", "_")


@functools.lru_cache(1)  # a hundred environments take longer than all else that is done for a job
def _store_groups(
    store: ConfigStore,
    families: tuple[tuple[str, tuple[type, tuple[tuple[str, Any], ...]]], ...],
    rows: tuple[tuple[str, str], ...],
    environments: tuple[tuple[str, type], ...],
) -> None:
    def has_file(name: str) -> bool:
        return (conf_dir() / "algo" / f"{name}.yaml").is_file()

    network = dataclasses.asdict(Network()) | {"hidden_sizes": list(Network().hidden_sizes)}
    store.store(name="dataclass_defaults", node={"network": network}, package="_global_")
    for name, (settings, elsewhere) in families:
        if not has_file(base_of(name)):
            node = {"algo": plain(dataclasses.asdict(settings()))} | dict(elsewhere)
            store.store(group="algo", name=base_of(name), node=node, package="_global_")
    for name, family in rows:
        if not has_file(name):
            store.store(group="algo", name=name, node={"defaults": [base_of(family), "_self_"], "name": name})
    for name, settings in environments:
        folder, _, leaf = f"env/{name}".rpartition("/")
        fields = {f.name: f.default for f in dataclasses.fields(settings)}
        store.store(group=folder, name=leaf, node=fields, package="env")


def plain(value: Any) -> Any:
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: plain(x) for key, x in value.items()}
    return list(map(plain, value)) if isinstance(value, list | tuple) else value
