"""Whether a drift is homogeneous in M A, read off its program: f(r, t MA) = t^k f(r, MA) for every t > 0.

Such a drift needs a proof for M A = 1, 0 and -1 alone. Nothing is tried with numbers here: a primitive that is not known to
keep the rule ends it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from .intervals import numbers_in, program_in
from .subject import Subject

ANY = "any"  # the degree of 0, which goes with all
KEEP = {
    "neg",
    "abs",
    "stop_gradient",
    "copy",
    "convert_element_type",
    "broadcast_in_dim",
    "reshape",
    "squeeze",
    "transpose",
}
KEEP |= {"expand_dims", "slice", "reduce_sum", "reduce_max", "reduce_min"}
ALIKE = {"add", "sub", "max", "min", "concatenate", "stack", "clamp", "add_any"}
COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}

Degree = float | str | None  # None: not homogeneous, or not known to be


def degree(subject: Subject) -> float | None:
    """The degree in M A; None where the program does not show one."""
    program = subject.program_of(1)
    given = [1.0 if name in ("m_advantage", "advantage") else 0.0 for name in subject.names]
    (found,) = _run(program, given)
    return found if isinstance(found, float) else None


def _run(program: ClosedJaxpr, given: list[Degree]) -> list[Degree]:
    known: dict[Any, Degree] = dict(zip(program.jaxpr.constvars, map(_of_number, program.consts), strict=True))
    known.update(zip(program.jaxpr.invars, given, strict=True))

    def read(x) -> Degree:
        return _of_number(x.val) if isinstance(x, Literal) else known[x]

    for equation in program.jaxpr.eqns:
        degrees = [read(x) for x in equation.invars]
        inner = program_in(equation)
        calls = inner is not None and len(inner.jaxpr.invars) == len(degrees)
        found = _run(inner, degrees) if calls else [_of(equation, degrees)] * len(equation.outvars)
        known.update(zip(equation.outvars, found, strict=True))
    return [read(x) for x in program.jaxpr.outvars]


def _of_number(x) -> Degree:
    return 0.0 if np.any(numbers_in(x) != 0) else ANY


def _of(equation, degrees: list[Degree]) -> Degree:
    if None in degrees:
        return None
    if all(d in (0.0, ANY) for d in degrees):
        return 0.0
    name = equation.primitive.name
    rule = RULES.get(name)
    return rule(equation, degrees) if rule is not None else None


def _common(degrees: list[Degree]) -> Degree:
    """The one degree that all have."""
    found = {d for d in degrees if d != ANY}
    return found.pop() if len(found) == 1 else ANY if not found else None


def _product(equation, degrees: list[Degree]) -> Degree:
    return ANY if ANY in degrees else sum(degrees)


def _quotient(equation, degrees: list[Degree]) -> Degree:
    over, under = degrees
    return None if under == ANY else ANY if over == ANY else over - under


def _power(equation, degrees: list[Degree]) -> Degree:
    return degrees[0] if degrees[0] == ANY else degrees[0] * equation.params["y"]


def _converted(equation, degrees: list[Degree]) -> Degree:
    """The same number in another type, unless it becomes a whole one."""
    return degrees[0] if np.dtype(equation.params["new_dtype"]).kind == "f" else None


def _chosen(equation, degrees: list[Degree]) -> Degree:
    """Of cases that have one degree, by a choice that does not depend on the scale."""
    return _common(degrees[1:]) if degrees[0] in (0.0, ANY) else None


RULES: dict[str, Callable[[Any, list[Degree]], Degree]] = {
    **{name: lambda equation, degrees: degrees[0] for name in KEEP},
    **{name: lambda equation, degrees: _common(degrees) for name in ALIKE},
    **{name: lambda equation, degrees: 0.0 if _common(degrees) is not None else None for name in COMPARE},
    "sign": lambda equation, degrees: 0.0,
    "convert_element_type": _converted,
    "mul": _product,
    "div": _quotient,
    "integer_pow": _power,
    "square": lambda equation, degrees: degrees[0] if degrees[0] == ANY else 2 * degrees[0],
    "sqrt": lambda equation, degrees: degrees[0] if degrees[0] == ANY else degrees[0] / 2,
    "select_n": _chosen,
}
