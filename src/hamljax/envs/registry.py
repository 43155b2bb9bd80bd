"""Environments by name. The signature of a factory is the schema of its settings, for Python and the command line alike."""

import dataclasses
import functools
import inspect
import re
import traceback
from collections.abc import Callable
from typing import Any

import jax

from ..coercion import typed
from ..errors import ConfigError, in_line, lookup, nearest
from .check import checked
from .protocol import Environment


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered environment: how to build it and which parameters its name already fixes."""

    factory: Callable[..., Environment]
    fixed: dict[str, Any]
    summary: str


ENVIRONMENTS: dict[str, Entry] = {}
NAME = r"[A-Za-z_][\w.+-]*(/[\w.+-]+)*"  # what a command line reads as one word, and as a place among others
NOT_NAMES = ("null", "true", "false", "nan", "inf")
RESERVED = ("name", "defaults")  # what a group of a configuration says of itself


def register_environment(name: str, factory: Callable[..., Environment], summary: str = "", **fixed: Any) -> None:
    """Make an environment known as ``env=name``.

    Args:
        name: letters, digits and ``_ . + -``, with ``/`` between a family and its members, such as ``my/game``.
        factory: a class or function whose parameters, annotated and with defaults, are the environment's settings.
        summary: what ``hamljax list`` says of it; empty: the first line of the factory's docstring.
        fixed: parameters that belong to the name; the others are its settings.

    Raises:
        ConfigError: the name cannot be typed, or a parameter can be no setting: it has no annotation or default, a default
            that is no plain value, or a name that a configuration uses itself.
    """
    if not re.fullmatch(NAME, str(name), re.ASCII) or str(name).lower() in NOT_NAMES:
        raise ConfigError(
            f"environment '{name}': a name has letters, digits, _, ., +, - and /, such as my/game; true is none"
        )
    parameters = _parameters(name, factory)
    for given in fixed:
        if given not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise ConfigError(f"environment '{name}' has no parameter '{given}'{nearest(given, parameters)}")
    for parameter in parameters.values():
        if parameter.name not in fixed:
            _check_setting(name, parameter)
    ENVIRONMENTS[name] = Entry(factory, fixed, summary or (inspect.getdoc(factory) or "").split("\n")[0])
    schema.cache_clear()


def _parameters(name: str, factory: Callable[..., Environment]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(factory, eval_str=True).parameters)
    except NameError as error:  # an annotation that is a text
        raise ConfigError(f"environment '{name}': an annotation cannot be read: {error}") from None


def _check_setting(name: str, parameter: inspect.Parameter) -> None:
    """Raise ConfigError unless ``parameter`` can be a setting of environment ``name``."""
    said = f"environment '{name}': parameter '{parameter.name}'"
    if parameter.name in RESERVED or parameter.name.startswith("__"):
        raise ConfigError(f"{said} cannot be a setting, because a configuration uses that word itself; rename it")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ConfigError(f"{said} is positional-only, and settings are given by name")
    if parameter.empty in (parameter.annotation, parameter.default):
        raise ConfigError(f"{said} needs a type annotation and a default")
    try:
        hash(_frozen(parameter.default))
    except TypeError:
        raise ConfigError(
            f"{said} has a {type(parameter.default).__name__} as its default; a setting is a number, a text, True or "
            f"False, or a tuple of such"
        ) from None


@functools.cache
def schema(name: str) -> type:
    """The frozen dataclass of an environment's settings: ``name`` and every parameter that the name leaves free.

    Raises:
        ConfigError: there is no environment of that name.
    """
    entry = lookup("environment", name, ENVIRONMENTS)
    fields: list[tuple[str, Any, Any]] = [("name", str, name)]
    for parameter in _parameters(name, entry.factory).values():
        if parameter.name not in entry.fixed:
            fields.append((parameter.name, parameter.annotation, _frozen(parameter.default)))
    return dataclasses.make_dataclass("EnvSettings", fields, frozen=True)


def configure(name: str, **parameters: Any) -> Any:
    """The settings of environment ``name``, for ``Config.env`` and ``make``.

    Args:
        name: of a registered environment.
        parameters: settings that are not to have their defaults.

    Returns:
        A frozen dataclass with ``name`` and all settings; it can be hashed.

    Raises:
        ConfigError: there is no such name or setting, or a value is not of the setting's kind.
    """
    kind = schema(name)
    kinds = {f.name: f.type for f in dataclasses.fields(kind) if f.name != "name"}
    for parameter in parameters:
        if parameter not in kinds:
            raise ConfigError(f"environment '{name}' has no setting '{parameter}'{nearest(parameter, kinds)}")
    return kind(**{key: _frozen(typed(f"env.{key}", value, kinds[key])) for key, value in parameters.items()})


def _frozen(value: Any) -> Any:
    """Lists as tuples, however deep, so that settings can be hashed."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def make(env: Any) -> Environment:
    """Build an environment.

    Args:
        env: what ``configure(...)`` returned, or the name of an environment that is to have its default settings.

    Raises:
        ConfigError: there is no such environment, its own code failed, or it does not keep the protocol.
    """
    if isinstance(env, str):
        env = configure(env)
    if not dataclasses.is_dataclass(env):
        raise ConfigError(f"an environment is a name or what configure(name, ...) returns, not {env!r}")
    settings = {f.name: getattr(env, f.name) for f in dataclasses.fields(env)}
    name = settings.pop("name")
    entry = lookup("environment", name, ENVIRONMENTS)
    try:
        with jax.enable_x64(False):  # as it will be used: see ``Environment.reset_many``
            return checked(entry.factory(**entry.fixed, **settings), name)
    except Exception as error:  # of the user's own code, because of what it was asked for perhaps
        if isinstance(error, ConfigError) or entry.factory.__module__.startswith("hamljax."):
            raise
        file = traceback.extract_tb(error.__traceback__)[-1].filename
        raise ConfigError(f"environment '{name}' failed in '{file}'{in_line(error, file)}") from error
