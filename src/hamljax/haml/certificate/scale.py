"""Whether a drift is homogeneous in M A, read off its program: f(r, t MA) = t^k f(r, MA) for every t > 0.

Such a drift needs a proof for M A = 1, 0 and -1 alone. Nothing is tried with numbers here: a primitive that is not known to
keep the rule ends it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from .intervals import numbers_in, program_in
from .subject import Subject

ANY = math.inf  # the degree of 0, which goes with all
KEEP = {
    "neg",
    "abs",
    "stop_gradient",
    "copy",
    "broadcast_in_dim",
    "reshape",
    "squeeze",
    "transpose",
}
KEEP |= {"expand_dims", "slice", "reduce_sum", "reduce_max", "reduce_min"}
ALIKE = {"add", "sub", "max", "min", "concatenate", "stack", "clamp", "add_any"}
COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}

Degree = float | None  # None: not homogeneous, or not known to be


def degree(subject: Subject) -> float | None:
    """The degree in M A; None where the program does not show one."""
    program = subject.program_of(1)
    given = [1.0 if name in ("m_advantage", "advantage") else 0.0 for name in subject.names]
    (found,) = _run(program, given)
    return None if found == ANY else found


def _run(program: ClosedJaxpr, given: Sequence[Degree]) -> list[Degree]:
    known: dict[Var, Degree] = dict(zip(program.jaxpr.constvars, map(_of_number, program.consts), strict=True))
    known.update(zip(program.jaxpr.invars, given, strict=True))

    def read(x: Var | Literal) -> Degree:
        return _of_number(x.val) if isinstance(x, Literal) else known[x]

    for equation in program.jaxpr.eqns:
        degrees = [read(x) for x in equation.invars]
        if (inner := program_in(equation)) is not None and len(inner.jaxpr.invars) == len(degrees):
            found = _run(inner, degrees)
        else:
            found = [_of(equation, degrees)] * len(equation.outvars)
        known.update(zip(equation.outvars, found, strict=True))
    return [read(x) for x in program.jaxpr.outvars]


def _of_number(x: Any) -> Degree:
    return 0.0 if np.any(numbers_in(x) != 0) else ANY


def _of(equation: JaxprEqn, given: list[Degree]) -> Degree:
    degrees = [d for d in given if d is not None]
    if len(degrees) < len(given):
        return None
    if all(d in (0.0, ANY) for d in degrees):
        return 0.0
    rule = RULES.get(equation.primitive.name)
    return rule(equation, degrees) if rule is not None else None


def _common(degrees: list[float]) -> Degree:
    """The one degree that all have."""
    found = {d for d in degrees if d != ANY}
    return found.pop() if len(found) == 1 else ANY if not found else None


def _product(equation: JaxprEqn, degrees: list[float]) -> Degree:
    return ANY if ANY in degrees else sum(degrees)


def _quotient(equation: JaxprEqn, degrees: list[float]) -> Degree:
    over, under = degrees
    return None if under == ANY else ANY if over == ANY else over - under


def _power(equation: JaxprEqn, degrees: list[float]) -> Degree:
    return degrees[0] if degrees[0] == ANY else degrees[0] * equation.params["y"]


def _converted(equation: JaxprEqn, degrees: list[float]) -> Degree:
    """The same number in double precision; any other type has steps."""
    return degrees[0] if equation.params["new_dtype"] == np.float64 else None


def _chosen(equation: JaxprEqn, degrees: list[float]) -> Degree:
    """Of cases that have one degree, by a choice that does not depend on the scale."""
    return _common(degrees[1:]) if degrees[0] in (0.0, ANY) else None


RULES: dict[str, Callable[[JaxprEqn, list[float]], Degree]] = {
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
