"""Environments by name. The signature of a factory is the schema of its settings, for Python and the command line alike."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError, lookup, nearest
from .check import check_environment
from .protocol import Environment


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered environment: how to build it and which parameters its name already fixes."""

    factory: Callable[..., Environment]
    fixed: dict[str, Any]
    summary: str


ENVIRONMENTS: dict[str, Entry] = {}


def register_environment(name: str, factory: Callable[..., Environment], summary: str = "", **fixed) -> None:
    """Make ``env=name`` known. ``fixed`` parameters belong to the name; the others of ``factory`` are its settings.

    Raises ConfigError for a parameter without annotation or default.
    """
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.name not in fixed and parameter.empty in (parameter.annotation, parameter.default):
            raise ConfigError(
                f"environment '{name}': parameter '{parameter.name}' needs a type annotation and a default"
            )
    ENVIRONMENTS[name] = Entry(factory, fixed, summary or (inspect.getdoc(factory) or "").split("\n")[0])
    schema.cache_clear()


@functools.cache
def schema(name: str) -> type:
    """The frozen dataclass of an environment's settings: ``name`` and every parameter that the name leaves free."""
    entry = lookup("environment", name, ENVIRONMENTS)
    fields = [("name", str, name)]
    for parameter in inspect.signature(entry.factory).parameters.values():
        if parameter.name not in entry.fixed:
            fields.append((parameter.name, parameter.annotation, parameter.default))
    return dataclasses.make_dataclass("EnvSettings", fields, frozen=True)


def configure(name: str, **parameters) -> Any:
    """The settings of environment ``name``: hashable, for ``Config.env`` and ``make``."""
    kind = schema(name)
    known = {f.name for f in dataclasses.fields(kind)} - {"name"}
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"environment '{name}' has no setting '{parameter}'{nearest(parameter, known)}")
    return kind(**{parameter: _frozen(value) for parameter, value in parameters.items()})


def _frozen(value):
    """Lists as tuples, however deep, so that settings can be hashed."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def make(env: Any) -> Environment:
    """Build an environment from ``configure(...)`` or, with its default settings, from a name."""
    if isinstance(env, str):
        env = configure(env)
    entry = lookup("environment", env.name, ENVIRONMENTS)
    settings = {f.name: getattr(env, f.name) for f in dataclasses.fields(env) if f.name != "name"}
    made = entry.factory(**entry.fixed, **settings)
    if not entry.factory.__module__.startswith("hamljax."):  # shipped ones are held by tests
        check_environment(made, env.name)
    return made
