"""The hyper-parameters that a registered function asks for by name."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp


class Parameters(NamedTuple):
    """``names`` in the order of the signature; ``defaults`` of those that have one."""

    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    @property
    def required(self) -> tuple[str, ...]:
        """Those without a default."""
        return tuple(name for name in self.names if name not in self.defaults)

    def __or__(self, other: "Parameters") -> "Parameters":
        """What two functions ask for together."""
        return Parameters(tuple(dict.fromkeys(self.names + other.names)), {**other.defaults, **self.defaults})

    def chosen(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``values`` that are asked for; what is missing keeps its default."""
        return {name: values[name] for name in self.names if name in values}


def parameters_of(function: Callable, positional: tuple[str, ...]) -> dict[str, inspect.Parameter]:
    """What may be given to ``function`` by name, once ``positional`` arguments are given by place.

    Raises ValueError for a function that cannot be called so.
    """
    try:
        signature = inspect.signature(function)
        given = signature.bind_partial(*positional).arguments
    except (TypeError, ValueError):
        raise ValueError(f"it must be a function of ({', '.join([*positional, '*, its hyper-parameters'])})") from None
    rest = [p for p in signature.parameters.values() if p.name not in given]
    for p in rest:
        if p.kind is p.POSITIONAL_ONLY and p.default is p.empty:
            raise ValueError(f"it must take '{p.name}' by name")
    return {p.name: p for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def parameters(named: Mapping[str, inspect.Parameter], without: tuple[str, ...]) -> Parameters:
    """The hyper-parameters among ``named``: all but those that are filled in from elsewhere."""
    own = {name: p for name, p in named.items() if name not in without}
    return Parameters(tuple(own), {name: p.default for name, p in own.items() if p.default is not p.empty})


def asked_by(
    kind: str, name: str, function: Callable, positional: tuple[str, ...], offered: Collection[str]
) -> tuple[Parameters, tuple[str, ...]]:
    """The hyper-parameters of a function that is registered as ``name``, and what of ``offered`` it asks for by name."""
    try:
        named = parameters_of(function, positional)
    except ValueError as error:
        raise ValueError(f"{kind} '{name}': {error}") from None
    return parameters(named, tuple(offered)), tuple(offer for offer in offered if offer in named)


def of_agent(value: Any, given: Mapping[str, Any]) -> Any:
    """A hyper-parameter; where it is a tuple of one number per agent, that of ``given["agent"]`` (an index, or several)."""
    return jnp.asarray(value, jnp.float32)[given["agent"]] if isinstance(value, tuple) else value


def check_name(kind: str, name: Any, shipped: Collection[str]) -> None:
    """Raise ValueError for what no function can be registered as."""
    if not (isinstance(name, str) and name):  # such as the function itself, decorated without a name
        raise ValueError(f"each {kind} is registered with a name: @hamljax.register_{kind}('mine')")
    if name in shipped:
        raise ValueError(f"'{name}' is among the {kind}s that hamljax ships; choose another name")


def summary(function: Callable) -> str:
    """The first line of its documentation."""
    return (inspect.getdoc(function) or "").split("\n")[0]
