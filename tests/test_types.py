"""What a signature tells its reader: the types of all that is public, and what the arguments are."""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator

import pytest

ROOMS = ("hamljax", "hamljax.haml", "hamljax.envs", "hamljax.algorithms")  # whose ``__all__`` is what is public


def is_record(kind: type) -> bool:
    """Whether a class is made of fields, which say what they are where they stand."""
    return dataclasses.is_dataclass(kind) or issubclass(kind, tuple)


def methods(kind: type) -> Iterator[tuple[str, Callable, int]]:
    """Public methods and properties that a class has of its own: name, function, and how many parameters come unasked."""
    for name, found in vars(kind).items():
        bare = isinstance(found, staticmethod)
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        ours = inspect.isfunction(function) and function.__module__.startswith("hamljax")
        if ours and (not name.startswith("_") or name == "__init__" and not is_record(kind)):
            yield name, function, 0 if bare else 1


def public(room: str) -> Iterator[tuple[str, Callable, int, bool]]:
    """All functions that a room exports, and the methods of its classes; of each whether it is an exported name itself."""
    module = importlib.import_module(room)
    for name in module.__all__:
        exported = getattr(module, name)
        if inspect.isfunction(exported):
            yield f"{room}.{name}", exported, 0, True
        elif inspect.isclass(exported) and exported.__module__.startswith("hamljax"):
            for method, function, unasked in methods(exported):
                yield f"{room}.{name}.{method}", function, unasked, method != "__init__"


def unhinted(function: Callable, unasked: int = 0) -> list[str]:
    """The parameters of a function, and its ``return``, that have no type."""
    signature = inspect.signature(function)
    hints = {p.name: p.annotation for p in list(signature.parameters.values())[unasked:]}
    hints["return"] = signature.return_annotation
    if function.__name__ == "__init__":
        del hints["return"]
    return [name for name, hint in hints.items() if hint is inspect.Parameter.empty]


def explains(function: Callable, doc: str, unasked: int = 0) -> bool:
    """Whether a docstring says what several arguments are."""
    return len(inspect.signature(function).parameters) - unasked < 2 or "\nArgs:\n" in doc


@pytest.mark.parametrize("room", ROOMS)
def test_public_signatures_have_types(room):
    found = {name: unhinted(function, unasked) for name, function, unasked, _ in public(room)}
    assert len(found) > 1 and {name: missing for name, missing in found.items() if missing} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_say_what_their_arguments_are(room):
    module = importlib.import_module(room)
    functions = [(n, f) for n in module.__all__ if inspect.isfunction(f := getattr(module, n))]
    assert [name for name, f in functions if not explains(f, inspect.getdoc(f) or "")] == []


def test_protocols_say_what_their_arguments_are():
    from hamljax.algorithms import base
    from hamljax.haml import Solve
    from hamljax.nn.protocols import Distribution, ReplayDistribution, RolloutDistribution

    protocols = [base.ActingPolicy, base.ReadablePolicy, base.TeamPolicy, base.Critic, base.Learner]
    protocols += [Distribution, RolloutDistribution, ReplayDistribution]
    asked = [(kind, name, f, n) for kind in protocols for name, f, n in methods(kind)] + [
        (Solve, "__call__", Solve.__call__, 1)
    ]
    assert len(asked) > 30
    assert [(kind, name) for kind, name, f, n in asked if not explains(f, inspect.getdoc(f) or "", n)] == []
    assert [(kind, name) for kind, name, f, n in asked if unhinted(f, n)] == []


def test_what_has_no_types_and_says_nothing_is_found():
    def planted(x, y: int):
        """One line."""

    class Planted:
        __module__ = "hamljax.planted"

        def method(self, x) -> int:
            """One line."""

        method.__module__ = __module__

    assert unhinted(planted) == ["x", "return"] and not explains(planted, "One line.")
    ((name, method, unasked),) = methods(Planted)
    assert name == "method" and unhinted(method, unasked) == ["x"] and explains(method, "One line.", unasked)
