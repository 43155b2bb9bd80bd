"""Values as the annotation of a setting wants them, wherever they come from: a command line, a file, Python."""

import collections.abc
import numbers
import operator
import os
import types
import typing
from typing import Any

from .errors import ConfigError

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
UNFIT = (TypeError, ValueError, OverflowError, KeyError)


def typed(name: str, value: Any, kind: Any) -> Any:
    """``value`` as ``kind``, an annotation.

    Numbers may be texts (``"1e6"``, as YAML 1.2 writes them), a whole number may be written as a float, lists become tuples,
    and an array, traced it may be, stands for a float. Kinds that are none of Python's own are taken on trust.

    Args:
        name: of the setting. value: as it was typed, read or given. kind: such as ``int`` or ``tuple[float, ...]``.

    Raises:
        ConfigError: it cannot be that; the setting is named, and what it must be.
    """
    if typing.get_origin(kind) is dict and isinstance(value, collections.abc.Mapping):
        return {str(key): typed(f"{name}.{key}", x, typing.get_args(kind)[1]) for key, x in value.items()}
    try:
        return _read(value, kind)
    except UNFIT:
        shown = "empty" if value is None else f"'{' '.join(str(value).split())[:60]}'"
        raise ConfigError(f"{name} must be {_in_words(kind)}, not {shown}") from None


def _read(value: Any, kind: Any) -> Any:
    """As ``typed``; raises one of UNFIT."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _first(value, inner)
    if origin is typing.Literal:
        return {str(choice): choice for choice in inner}[str(value)]
    if origin in (tuple, list):
        return _sequence(value, inner[0] if inner else Any)
    if origin is dict:
        key_kind, value_kind = inner or (Any, Any)
        return {_read(key, key_kind): _read(x, value_kind) for key, x in dict(value).items()}
    return READERS.get(origin, lambda x: x)(value)


def _first(value: Any, kinds: tuple[Any, ...]) -> Any:
    """``value`` as the first of ``kinds`` that it can be; nothing, or an empty text, may be nothing."""
    if type(None) in kinds and (value is None or isinstance(value, str) and not value):
        return None
    for kind in (k for k in kinds if k is not type(None)):
        try:
            return _read(value, kind)
        except UNFIT:
            continue
    raise TypeError


def _sequence(value: Any, kind: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | collections.abc.Mapping):
        raise TypeError
    return tuple(_read(x, kind) for x in value)


def _whole(value: Any) -> int:
    if isinstance(value, str):
        value = _digits(value)
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return operator.index(value)


def _digits(text: str) -> int | float:
    """A number as written, without rounding a long whole one."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _number(value: Any) -> Any:
    if isinstance(value, str | numbers.Real) and not isinstance(value, bool):
        return float(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")  # of an array, traced perhaps
    if kind in ("i", "u"):
        return value.astype(float)
    if kind not in ("f", "V"):  # V: bfloat16
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    return BOOLEANS[str(value).lower()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, numbers.Real) else os.fspath(value)


READERS = {int: _whole, float: _number, bool: _boolean, str: _text}


def _in_words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (tuple, list):
        return f"a list of which each is {_in_words(inner[0])}" if inner else "a list"
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(k) for k in inner if k is not type(None))
    return (
        "a dictionary of numbers by name" if origin is dict else WORDS.get(origin, getattr(kind, "__name__", str(kind)))
    )
