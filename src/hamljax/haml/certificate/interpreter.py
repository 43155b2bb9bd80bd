"""A JAX program run on jets: bounds on its values over many boxes at once, sound for every primitive.

A primitive that is not in the tables below is known by nothing but its shape: it may be anything, no number included.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var

from . import jets
from .intervals import ULP, Interval, is_point, numbers_in, outward, point, program_in, where
from .jets import Flags, Jet
from .rules import RULES, bound_to, compared, laid_out, shape_of, shaped, type_of


class Run(NamedTuple):
    """What became of a program: ``jet`` of its output; over which boxes it may have a kink or a jump in the ratio.

    blind: whether bounds are wide because something is not known, and not because of rounding.
    """

    jet: Jet
    kinked: np.ndarray
    jumped: np.ndarray
    blind: bool


UNARY: dict[str, Callable[[Jet], Jet]] = {
    "neg": jets.minus,
    "log": jets.logarithm,
    "log1p": jets.logarithm_of_one_more,
    "exp": jets.exponential,
    "exp2": jets.exponential_of_two,
    "expm1": jets.exponential_less_one,
    "sqrt": jets.root,
    "rsqrt": jets.inverse_root,
    "tanh": jets.hyperbolic_tangent,
    "logistic": jets.logistic,
    "sin": jets.sinus,
    "cos": jets.cosinus,
    "erf": jets.error_function,
    "atan": jets.arc_tangent,
    "asinh": jets.area_sine,
    "sinh": jets.hyperbolic_sine,
    "cosh": jets.hyperbolic_cosine,
    "square": lambda x: jets.to_a_whole_power(x, 2),
}
SAME = {"stop_gradient", "copy", "copy_p", "real", "convert_element_type", "optimization_barrier"}
LAYOUT = {"broadcast_in_dim", "reshape", "squeeze", "transpose", "expand_dims", "slice", "rev", "concatenate"}
LAYOUT |= {"stack"}
SUMS = {"reduce_sum", "dot_general"}  # whose rounding is bounded in double precision alone
COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}
ACCURATE = {"erf_inv", "erfc", "lgamma", "digamma", "tan", "asin", "acos", "acosh", "atanh", "cbrt", "atan2"}


def run(program: ClosedJaxpr, arguments: Sequence[Jet], size: int) -> Run:
    """``program`` on ``arguments``, jets over ``size`` boxes (the first axis, where there is one)."""
    machine = _Machine(size)
    (found,) = machine.run(program, arguments)
    return Run(found, machine.kinked, machine.jumped, machine.blind)


class _Machine:
    def __init__(self, size: int):
        self.kinked, self.jumped, self.blind = np.zeros(size, bool), np.zeros(size, bool), False

    def run(self, program: ClosedJaxpr, arguments: Sequence[Jet]) -> list[Jet]:
        known: dict[Var, Jet] = {}
        known.update(zip(program.jaxpr.constvars, map(_constant, program.consts), strict=True))
        known.update(zip(program.jaxpr.invars, arguments, strict=True))

        def read(x: Var | Literal) -> Jet:
            return _constant(x.val) if isinstance(x, Literal) else known[x]

        for equation in program.jaxpr.eqns:
            found = self.step(equation, [read(x) for x in equation.invars])
            for variable, jet in zip(equation.outvars, found, strict=True):
                known[variable] = shaped(jet, shape_of(variable))
        return [read(x) for x in program.jaxpr.outvars]

    def step(self, equation: JaxprEqn, given: list[Jet]) -> list[Jet]:
        if (inner := program_in(equation)) is not None and len(inner.jaxpr.invars) == len(given):
            return self.run(inner, given)
        found = self.known(equation, given)
        return self.unknown(equation, given) if found is None else [found]

    def known(self, equation: JaxprEqn, given: list[Jet]) -> Jet | None:
        """What the tables make of an equation; None where it is in none of them, or leaves the numbers of its type."""
        name, kind = equation.primitive.name, type_of(equation.outvars[0])
        if name in SUMS and _is_short(kind):
            return None
        if name in RULES:
            found = RULES[name](self, equation, *given)
        elif name in UNARY:
            found = UNARY[name](given[0])
        elif name in SAME:
            found = self.converted(type_of(equation.invars[0]), kind, given[0])
        elif name in LAYOUT:
            found = laid_out(equation, given)
        elif name in COMPARE:
            found = compared(equation, name, given[0], given[1])
        else:
            return None
        return self.rounded(found, kind) if _fits(found, kind) else None

    def note(self, flags: np.ndarray, where: Flags) -> None:
        """Set the boxes of ``where`` in ``flags``; all of them, where its first axis is not theirs."""
        where = np.asarray(where)
        if where.ndim and where.shape[0] == len(flags):
            flags |= where.reshape(len(flags), -1).any(1)
        elif where.any():
            flags[:] = True

    def converted(self, source: np.dtype, kind: np.dtype, x: Jet) -> Jet:
        """The same number in another type; one that becomes a whole number jumps."""
        if source == kind or jnp.issubdtype(kind, jnp.floating):
            return x
        if jnp.issubdtype(kind, jnp.bool_):
            zero, apart = (x.value.lo == 0) & (x.value.hi == 0), (x.value.lo > 0) | (x.value.hi < 0)
            return Jet(Interval(apart.astype(float), (~zero).astype(float)), None, None, x.moves, x.bad)
        return self.stepped(x, Interval(np.trunc(x.value.lo), np.trunc(x.value.hi)))

    def rounded(self, x: Jet, kind: np.dtype) -> Jet:
        """``x`` as a type of fewer digits than double precision holds it: in steps, but for numbers that it has."""
        if not _is_short(kind):
            return x
        limits = jnp.finfo(kind)
        least, most, (low, high) = float(limits.tiny), float(limits.max), x.value
        wide = outward(low, high, 8 * float(limits.eps) / ULP)  # as exactly as functions are computed in it
        below, above = wide.lo - least, wide.hi + least
        below = np.where(low >= 0, np.maximum(below, 0.0), np.where(below < -most, -np.inf, below))
        above = np.where(high <= 0, np.minimum(above, 0.0), np.where(above > most, np.inf, above))
        exact = is_point(x.value) & (low.astype(kind).astype(float) == low)
        return self.stepped(x, where(exact, x.value, Interval(below, above)))

    def stepped(self, x: Jet, value: Interval) -> Jet:
        """A function of ``x`` with flat pieces, which jumps where ``value`` is open."""
        if x.moves:
            self.note(self.jumped, ~is_point(value))
        return Jet(value, None, None, x.moves, x.bad)

    def unknown(self, equation: JaxprEqn, given: list[Jet]) -> list[Jet]:
        """Anything; but a function of exact numbers that JAX computes well is known to some digits."""
        moves = any(x.moves for x in given)
        exact = all(is_point(x.value).all() and not np.any(x.bad) for x in given)
        if exact and equation.primitive.name in ACCURATE:
            value = bound_to(equation, [x.value.lo for x in given])
            return [jets.unknown(value.shape, moves)._replace(value=outward(value, value, 1e4), bad=np.isnan(value))]
        self.blind = True
        if moves:
            self.kinked[:] = self.jumped[:] = True
        return [jets.unknown(shape_of(x), moves) for x in equation.outvars]


def _is_short(kind: np.dtype) -> bool:
    """Whether its numbers have fewer digits than those of double precision."""
    return jnp.issubdtype(kind, jnp.floating) and kind != np.float64


def _fits(jet: Jet, kind: np.dtype) -> bool:
    """Whether whole numbers stay among those of their type, so that none wraps around, and others are real."""
    if not jnp.issubdtype(kind, jnp.integer):
        return not jnp.issubdtype(kind, jnp.complexfloating)
    return bool(np.all(jet.value.lo >= np.iinfo(kind).min) and np.all(jet.value.hi <= np.iinfo(kind).max))


def _constant(x: Any) -> Jet:
    numbers = numbers_in(x)
    if np.isnan(numbers).any():
        return jets.unknown(numbers.shape, False)
    return Jet(point(numbers))
