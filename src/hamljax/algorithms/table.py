"""The table: an algorithm is a row of a family, and a family is how its rows are learnt.

A baseline differs from its heterogeneous-agent twin by one word, and that word is the paper.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..envs.protocol import Environment
from ..errors import ConfigError, lookup, nearest, one_of
from ..haml import COORDINATIONS, ORDERS, Parameters
from .base import Learner
from .config import SHARING, AnyAlgo, Sharing


@dataclasses.dataclass(frozen=True)
class Family:
    """Rows that are learnt alike; ``register_family`` says what the fields are."""

    name: str
    settings: type[AnyAlgo]
    row: type[Any]
    learner: Callable[[Any, Environment], Learner]
    check: Callable[[Any], None]
    elsewhere: Mapping[str, Any]
    summary: str


FAMILIES: dict[str, Family] = {}
ALGORITHMS: dict[str, Any] = {}  # rows by name
SHIPPED: set[str] = set()  # filled once all families of hamljax are here


def register_family(
    name: str,
    *,
    settings: type[AnyAlgo],
    row: type[Any],
    learner: Callable[[Any, Environment], Learner],
    rows: Mapping[str, Any],
    check: Callable[[Any], None] = lambda algo: None,
    elsewhere: Mapping[str, Any] = MappingProxyType({}),
    summary: str = "",
) -> None:
    """Make a family and its rows known, so that ``algo=ROW`` trains with its learner.

    Args:
        name: of the family.
        settings: the dataclass (an ``AnyAlgo``) of what may be said of its rows; its ``check(config)`` refuses sizes that do
            not go together.
        row: the dataclass of its rows' columns, of which a setting of the same name is another choice; ``summary``, a text,
            is for people.
        learner: ``(config, env) -> Learner``, which refuses teams that it is not for.
        rows: by name.
        check: ``(settings)``, raises ConfigError where they name what there is not.
        elsewhere: defaults outside of ``algo`` that suit it. summary: for people.

    Raises:
        ConfigError: for a name that hamljax ships, and for settings or rows that are none.
    """
    if name in FAMILIES and FAMILIES[name].settings.__module__.startswith("hamljax."):
        raise ConfigError(f"'{name}' is a family that hamljax ships; choose another name")
    if not (isinstance(settings, type) and issubclass(settings, AnyAlgo) and dataclasses.is_dataclass(settings)):
        raise ConfigError(f"family '{name}': settings must be a config_dataclass that extends hamljax.AnyAlgo")
    if any(family.row is row for other, family in FAMILIES.items() if other != name):
        raise ConfigError(f"family '{name}': its rows need a dataclass of their own")
    FAMILIES[name] = Family(name, settings, row, learner, check, dict(elsewhere), summary)
    for row_name, columns in rows.items():
        register_algorithm(row_name, columns)


def register_algorithm(name: str, row: Any) -> None:
    """Add a row of any family, so that ``algo=name`` and ``hamljax.config(name, ...)`` know it.

    What it names may be registered later.

    Args:
        name: as on the command line, without a slash. row: the columns, such as an ``Algorithm``.

    Raises:
        ConfigError: for the name of a shipped row and for what is no row.
    """
    if name in SHIPPED:
        raise ConfigError(f"'{name}' is an algorithm that hamljax ships; choose another name")
    if not (isinstance(name, str) and name) or "/" in name:
        raise ConfigError(f"an algorithm is registered with a name, without a slash, not {name!r}")
    if type(row) not in {family.row for family in FAMILIES.values()}:
        known = " or ".join(f"an {family.row.__name__}" for family in FAMILIES.values())
        raise ConfigError(f"algorithm '{name}' must be {known}, not a {type(row).__name__}")
    for f in dataclasses.fields(row):
        value, least = getattr(row, f.name), f.metadata.get("at_least")
        kinds: Any = {float: (int, float), Sharing: (str, tuple)}.get(f.type, f.type)
        if not isinstance(value, kinds) or (least is not None and value < least):
            wanted = getattr(f.type, "__name__", "str or a tuple of groups") + (
                "" if least is None else f" of at least {least}"
            )
            raise ConfigError(f"algorithm '{name}': {f.name} must be a {wanted}, not {value!r}")
    ALGORITHMS[name] = row


def family_of(name: str) -> Family:
    """The family of the row ``name``.

    Raises:
        ConfigError: there is no such row.
    """
    row = lookup("algorithm", name, ALGORITHMS)
    return next(family for family in FAMILIES.values() if family.row is type(row))


def resolve(algo: AnyAlgo) -> Any:
    """The row that ``algo`` names, with its overrides: what of its columns the settings say otherwise, and do not leave None.

    Raises:
        ConfigError: for a coordination, an order or a sharing that there is not.
    """
    row = lookup("algorithm", algo.name, ALGORITHMS)
    said = {f.name: getattr(algo, f.name, None) for f in dataclasses.fields(row)}
    row = dataclasses.replace(row, **{name: value for name, value in said.items() if value is not None})
    for name, table in (("coordination", COORDINATIONS), ("order", ORDERS)):
        if (chosen := getattr(row, name, getattr(algo, name, None))) is not None:
            lookup(name, chosen, table)
    if isinstance(sharing := getattr(row, "sharing", None), str):
        one_of("algo.sharing", sharing, SHARING)
    return row


def check_row(algo: AnyAlgo) -> None:
    """Hold a row to its settings.

    Raises:
        ConfigError: it cannot be trained with them.
    """
    resolve(algo)
    family_of(algo.name).check(algo)


def hyper_parameters(algo: AnyAlgo, own: str) -> dict[str, Any]:
    """All that a drift or a neighbourhood may ask for by name: the numbers among the settings, and over them its own.

    Args:
        algo: the settings. own: their field for what is its own: drift_params or neighbourhood_params.
    """
    return {f.name: getattr(algo, f.name) for f in numbers_of(algo)} | getattr(algo, own)


def numbers_of(algo: AnyAlgo) -> list[dataclasses.Field]:
    """The fields of ``algo`` that hold numbers."""
    return [f for f in dataclasses.fields(algo) if f.type is int or float in (f.type, *typing.get_args(f.type))]


def check_parameters(what: str, parameters: Parameters, algo: AnyAlgo, own: str) -> None:
    """Every parameter has a value, and every value of ``own`` a parameter; no default hides behind a setting's.

    Args:
        what: asks for them, as an error calls it. parameters: that it asks for. algo, own: as of ``hyper_parameters``.

    Raises:
        ConfigError: it is not so.
    """
    for name in getattr(algo, own):
        if name not in parameters.names:
            raise ConfigError(f"{what} has no parameter '{name}'{nearest(name, parameters.names)}")
        if name in {f.name for f in numbers_of(algo) if f.type is int}:
            raise ConfigError(f"algo.{own} holds fractions; '{name}' is a whole number: say algo.{name}=VALUE")
    for name in parameters.required:
        if name not in hyper_parameters(algo, own):
            raise ConfigError(f"{what} needs '{name}'; add +algo.{own}.{name}=VALUE")
    settings = {f.name: f.default for f in numbers_of(algo)}
    for name, default in parameters.defaults.items():
        if name in settings and default is not settings[name] and default != settings[name]:
            raise ConfigError(
                f"{what}: its parameter '{name}' is {default} by default, but algo.{name}, which it stands for, is "
                f"{settings[name]}; leave the default out, or choose another name"
            )
