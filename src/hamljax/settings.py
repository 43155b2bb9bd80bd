"""What settings are made of: frozen dataclasses whose floats are pytree leaves, and which check themselves.

A field annotated ``float`` is a leaf, so it may be traced: ``jax.vmap`` over a configuration trains one run per value. Every
other field is static. What a field may hold stands in its metadata (``setting``); None is what was not set.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Self, TypeVar, dataclass_transform

import jax

from .coercion import typed
from .errors import ConfigError, nearest

PerAgent = float | tuple[float, ...]  # one number for all agents, or one for each
LEAVES = (float, float | None, PerAgent, dict[str, PerAgent])
S = TypeVar("S", bound="Settings")


@dataclasses.dataclass(frozen=True)
class Interval:
    """The numbers from ``low`` to ``high``, with or without these."""

    low: float
    high: float = math.inf
    low_in: bool = True
    high_in: bool = False

    def __contains__(self, x: float) -> bool:
        above = x >= self.low if self.low_in else x > self.low
        return above and (x <= self.high if self.high_in else x < self.high)

    def __str__(self) -> str:
        return f"{'[' if self.low_in else '('}{self.low}, {self.high}{']' if self.high_in else ')'}"


POSITIVE = Interval(0, low_in=False)
NOT_NEGATIVE = Interval(0)
SHARE = Interval(0, 1, high_in=True)


def setting(
    default: Any = dataclasses.MISSING,
    within: Interval | None = None,
    at_least: int | None = None,
    choices: Iterable[str] = (),
    **more: Any,
) -> Any:
    """A field of settings, and what it may hold.

    Args:
        default: what it holds where nothing is said; None: nothing was set.
        within: of a float: the interval. at_least: of a whole number. choices: of a text.
        more: of ``dataclasses.field``.
    """
    said = {"within": within, "at_least": at_least, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata={k: v for k, v in said.items() if v not in (None, ())}, **more)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def config_dataclass(cls: type[S]) -> type[S]:
    """A frozen dataclass registered as a pytree whose leaves are its floats (and those of nested configurations)."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    fields = dataclasses.fields(cls)
    kinds = {f.name: getattr(f.type, "__bound__", f.type) for f in fields}  # of a type variable, what it stands for
    data = [n for n, kind in kinds.items() if kind in LEAVES or isinstance(kind, type) and issubclass(kind, Settings)]
    meta = [f.name for f in fields if f.name not in data]

    def unflatten(static, leaves):
        made = object.__new__(
            cls
        )  # not by __init__, which checks: while JAX handles a pytree its leaves may be anything
        for name, value in zip(data + meta, (*leaves, *static), strict=True):
            object.__setattr__(made, name, value)
        return made

    def flatten_with_keys(config):
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(config, name)) for name in data]
        return leaves, tuple(getattr(config, name) for name in meta)

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of settings: fields become what their annotations say, and ``check_fields`` holds them to their metadata."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, typed(f.name, getattr(self, f.name), f.type))

    def check_fields(self, prefix: str = "") -> None:
        """Hold every field to its metadata; traced floats are trusted.

        Raises:
            ConfigError: a field may not hold what it does; it is named with ``prefix``.
        """
        for f in dataclasses.fields(self):
            check_value(prefix + f.name, getattr(self, f.name), f)

    def replace_flat(self, **changes: Any) -> Self:
        """A copy with some fields replaced; a field of a nested configuration is named by itself (``actor_lr=1e-3``).

        Raises:
            ConfigError: there is no such field, or several have its name, or it cannot hold the value.
        """
        own = [f.name for f in dataclasses.fields(self)]
        nested = {name: getattr(self, name) for name in own if isinstance(getattr(self, name), Settings)}
        direct: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            if name in own:
                direct[name] = value
                continue
            owners = [n for n, c in nested.items() if name in {f.name for f in dataclasses.fields(c)}]
            if not owners:
                choices = [*own, *(f.name for c in nested.values() for f in dataclasses.fields(c))]
                raise ConfigError(f"unknown setting '{name}'{nearest(name, choices)}")
            if len(owners) > 1:
                raise ConfigError(
                    f"'{name}' is a setting of each of {', '.join(owners)}; replace the one you mean as a whole"
                )
            inner.setdefault(owners[0], {})[name] = value
        for owner, values in inner.items():
            direct[owner] = dataclasses.replace(direct.get(owner, nested[owner]), **values)
        return dataclasses.replace(self, **direct)

    replace = replace_flat


def check_value(name: str, value: Any, field: dataclasses.Field) -> None:
    """Hold a value to the metadata of a field.

    Args:
        name: how an error calls it. value: of the field's type already; None is what was not set. field: what it is for.

    Raises:
        ConfigError: it is not one of the choices, too small, or outside of the interval.
    """
    limits = field.metadata
    if value is None:
        return
    if "choices" in limits and value not in limits["choices"]:
        raise ConfigError(f"unknown {name} '{value}'{nearest(value, limits['choices'])}")
    if "at_least" in limits and int(value) < limits["at_least"]:
        wanted = f"be at least {limits['at_least']}" if limits["at_least"] else "not be negative"
        raise ConfigError(f"{name} must {wanted}, not {value}")
    if "within" in limits:
        _check_within(name, value, limits["within"])


def _check_within(name: str, value: Any, interval: Interval) -> None:
    for i, each in enumerate(value if isinstance(value, tuple) else ()):
        _check_within(f"{name}[{i}]", each, interval)
    if isinstance(value, int | float) and value not in interval:
        raise ConfigError(f"{name} must be in {interval}, not {value}")
