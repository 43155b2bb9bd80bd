"""Python files of a user's own, and the tables that they add to."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ... import haml
from ...algorithms import ALGORITHMS, FAMILIES
from ...algorithms.on_policy.registry import CRITICS, POLICIES
from ...envs import ENVIRONMENTS
from ...errors import ConfigError, in_line
from ..storage.paths import path_of

# What a name of a configuration means.
TABLES: tuple[dict[str, Any], ...] = (ALGORITHMS, FAMILIES, CRITICS, POLICIES, ENVIRONMENTS, haml.COORDINATIONS)
TABLES += (haml.DRIFTS, haml.NEIGHBOURHOODS, haml.ORDERS, haml.SOLVERS)


class Loaded(NamedTuple):
    """A file that was run: what it said, its module, and what it added to each of ``TABLES``."""

    source: bytes
    module: ModuleType
    added: list[dict[str, Any]]


_loaded: dict[Path, Loaded] = {}


def load_plugin(path: str) -> None:
    """Import a user's Python file, so that what it registers is known; it may import what lies beside it.

    A file is run once as long as it says the same: what it registers stays what it was, and so do programs that are made of it.

    Raises:
        ConfigError: there is no such file, or its code failed.
    """
    file = path_of(path)
    if not file.is_file():
        raise ConfigError(f"plugin '{path}' does not exist")
    place, source = file.resolve(), file.read_bytes()
    found = _loaded.get(place)
    if found is None or found.source != source:
        before = [dict(table) for table in TABLES]
        module = _run(path, file)
        added = [
            {name: entry for name, entry in table.items() if old.get(name) is not entry}
            for table, old in zip(TABLES, before, strict=True)
        ]
        found = _loaded[place] = Loaded(source, module, added)
    sys.modules[found.module.__name__] = found.module
    for table, entries in zip(TABLES, found.added, strict=True):
        table.update(entries)  # another file may have taken a name


def _run(path: str, file: Path) -> ModuleType:
    """The module of a file; errors as of ``load_plugin``. ``path``: as typed."""
    spec = importlib.util.spec_from_file_location(f"hamljax_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin '{path}' is not a Python file")
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"plugin '{path}' is not Python: {error.msg} in line {error.lineno}") from None
    except (Exception, SystemExit) as error:
        where = in_line(error, str(file))  # type: ignore[arg-type]  # of an exit it asks nothing that is not there
        raise ConfigError(f"plugin '{path}' failed{where}") from error
    return module
