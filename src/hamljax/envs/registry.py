"""Environments by name. The signature of a factory is the schema of its settings, for Python and the command line alike."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError, in_a_line, lookup, nearest
from ..kinds import typed
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
    for parameter in inspect.signature(entry.factory, eval_str=True).parameters.values():
        if parameter.name not in entry.fixed:
            fields.append((parameter.name, parameter.annotation, parameter.default))
    return dataclasses.make_dataclass("EnvSettings", fields, frozen=True)


def configure(name: str, **parameters) -> Any:
    """The settings of environment ``name``: hashable, for ``Config.env`` and ``make``.

    Raises ConfigError for a name or setting that there is not, and for a value that is not of the setting's kind.
    """
    kind = schema(name)
    kinds = {f.name: f.type for f in dataclasses.fields(kind) if f.name != "name"}
    for parameter in parameters:
        if parameter not in kinds:
            raise ConfigError(f"environment '{name}' has no setting '{parameter}'{nearest(parameter, kinds)}")
    return kind(**{key: _frozen(typed(f"env.{key}", value, kinds[key])) for key, value in parameters.items()})


def _frozen(value):
    """Lists as tuples, however deep, so that settings can be hashed."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def make(env: Any) -> Environment:
    """Build an environment from ``configure(...)`` or, with its default settings, from a name."""
    if isinstance(env, str):
        env = configure(env)
    if not dataclasses.is_dataclass(env):
        raise ConfigError(f"an environment is a name or what configure(name, ...) returns, not {env!r}")
    entry = lookup("environment", env.name, ENVIRONMENTS)
    settings = {f.name: getattr(env, f.name) for f in dataclasses.fields(env) if f.name != "name"}
    if entry.factory.__module__.startswith("hamljax."):  # held by tests
        return entry.factory(**entry.fixed, **settings)
    try:
        made = entry.factory(**entry.fixed, **settings)
        check_environment(made, env.name)
        return made
    except ConfigError:
        raise
    except Exception as error:  # of the user's own code, or of what it was asked for
        raise ConfigError(f"environment '{env.name}' does not run: {in_a_line(error)}") from error
