"""What primitives make of jets, beyond those of one argument. ``machine`` notes kinks and jumps, and knows what is unknown."""

from collections.abc import Callable, Iterable
from typing import Protocol

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal, Var
from jax.lax import GatherScatterMode

from . import jets
from .intervals import ULP, Interval, add, divide, hull, is_point, magnitude, multiply, negative, outward, point, where
from .jets import Flags, Jet


class Machine(Protocol):
    """What runs a program: it notes over which boxes something has a ``kinked`` or ``jumped`` place."""

    kinked: np.ndarray
    jumped: np.ndarray

    def note(self, flags: np.ndarray, where: Flags) -> None: ...

    def stepped(self, x: Jet, value: Interval) -> Jet: ...

    def unknown(self, equation: JaxprEqn, given: list[Jet]) -> list[Jet]: ...


Rule = Callable[..., Jet]  # of the machine, the equation, and a jet for each of its arguments


def shaped(jet: Jet, shape: tuple[int, ...]) -> Jet:
    """Every part of ``jet`` with ``shape``."""

    def wide(part: Interval) -> Interval:
        return Interval(np.broadcast_to(part.lo, shape), np.broadcast_to(part.hi, shape))

    return jets.linear(wide, jet, bad=np.broadcast_to(jet.bad, shape))


def type_of(variable: Var | Literal) -> np.dtype:
    """Of the numbers in it."""
    return variable.aval.dtype  # type: ignore[attr-defined]  # all values but tokens have one


def shape_of(variable: Var | Literal) -> tuple[int, ...]:
    """Of the array that it is."""
    return variable.aval.shape  # type: ignore[attr-defined]  # likewise


def bound_to(equation: JaxprEqn, arrays: Iterable[np.ndarray]) -> np.ndarray:
    """What the primitive itself makes of ``arrays``."""
    kinds = [type_of(x) for x in equation.invars]
    operands = [jax.numpy.asarray(x, kind) for x, kind in zip(arrays, kinds, strict=True)]
    return np.asarray(equation.primitive.bind(*operands, **equation.params))


def laid_out(equation: JaxprEqn, given: list[Jet]) -> Jet:
    """Numbers that change their places alone."""

    def moved(arrays: list[np.ndarray]) -> np.ndarray:
        wide = [np.broadcast_to(x, shape_of(variable)) for x, variable in zip(arrays, equation.invars, strict=True)]
        return bound_to(equation, wide).astype(float)

    def part(*own: Interval) -> Interval:
        return Interval(moved([one.lo for one in own]), moved([one.hi for one in own]))

    return jets.linear(part, *given, bad=moved([np.asarray(x.bad, float) for x in given]) > 0)


def compared(equation: JaxprEqn, name: str, x: Jet, y: Jet) -> Jet:
    """0, 1, or either, where the bounds leave it open; what is no number is told by ``bad``, not by x != x."""
    (a, b), (c, d) = x.value, y.value
    if equation.invars[0] is equation.invars[1]:
        true = np.full(a.shape, name in ("le", "ge", "eq"))
        return Jet(point(true), None, None, False, x.bad)
    surely = {
        "lt": (b < c, a >= d),
        "le": (b <= c, a > d),
        "gt": (a > d, b <= c),
        "ge": (a >= d, b < c),
        "eq": ((a == b) & (c == d) & (a == c), (b < c) | (a > d)),
    }
    yes, no = surely.get(name) or surely["eq"][::-1]
    return Jet(
        Interval(yes.astype(float), (~no).astype(float)), None, None, x.moves or y.moves, np.logical_or(x.bad, y.bad)
    )


def _with_kinks(function: Callable[..., tuple[Jet, Flags]]) -> Rule:
    def rule(machine: Machine, equation: JaxprEqn, *given: Jet) -> Jet:
        found, kinked = function(*given)
        machine.note(machine.kinked, kinked)
        return found

    return rule


def _chosen(machine: Machine, equation: JaxprEqn, which: Jet, *cases: Jet) -> Jet:
    found, jumped = jets.choose(which, cases)
    machine.note(machine.jumped, jumped)
    return found._replace(bad=np.logical_or(found.bad, which.bad))


def _clamped(machine: Machine, equation: JaxprEqn, low: Jet, x: Jet, high: Jet) -> Jet:
    above, first = jets.greater(x, low)
    found, second = jets.lesser(above, high)
    machine.note(machine.kinked, first)
    machine.note(machine.kinked, second)
    return found


def _multiplied(machine: Machine, equation: JaxprEqn, x: Jet, y: Jet) -> Jet:
    return jets.to_a_whole_power(x, 2) if equation.invars[0] is equation.invars[1] else jets.times(x, y)


def _divided(machine: Machine, equation: JaxprEqn, x: Jet, y: Jet) -> Jet:
    if type_of(equation.outvars[0]).kind in "iu":  # of whole numbers, which drops the rest
        return machine.unknown(equation, [x, y])[0]
    found = jets.times(x, jets.inverse(y))
    return found._replace(value=divide(x.value, y.value))


def _looked_up(machine: Machine, equation: JaxprEqn, table: Jet, *places: Jet) -> Jet:
    """The entries of a table; any of them where it is not known which, or what stands for those beyond its ends."""
    shape = shape_of(equation.outvars[0])
    if any(x.moves for x in places) or np.any(table.bad):
        return machine.unknown(equation, [table, *places])[0]
    fills = equation.params.get("mode") == GatherScatterMode.FILL_OR_DROP
    beyond = fills and not _is_inside(equation, table, places[0])
    if not beyond and all(is_point(x.value).all() for x in places):
        where = [np.broadcast_to(x.value.lo, shape_of(v)) for x, v in zip(places, equation.invars[1:], strict=True)]

        def entries(end: np.ndarray) -> np.ndarray:
            wide = np.broadcast_to(end, shape_of(equation.invars[0]))
            return bound_to(equation, [wide, *where]).astype(float)

        return jets.linear(lambda part: Interval(entries(part.lo), entries(part.hi)), table, bad=False)
    found = jets.linear(lambda part: Interval(part.lo.min(), part.hi.max()), table, bad=False)
    if beyond:
        if (fill := equation.params["fill_value"]) is None or np.isnan(fill):
            return machine.unknown(equation, [table, *places])[0]
        found = jets.linear(hull, found, Jet(point(fill)))
    return shaped(found, shape)


def _is_inside(equation: JaxprEqn, table: Jet, places: Jet) -> bool:
    """Whether a table has an entry at every one of the ``places`` (..., axes) of a gather."""
    axes = equation.params["dimension_numbers"].start_index_map
    last = [table.value.lo.shape[axis] - equation.params["slice_sizes"][axis] for axis in axes]
    return bool((places.value.lo >= 0).all() and (places.value.hi <= np.array(last)).all())


def _logical(function: Callable[..., np.ndarray]) -> Rule:
    def rule(machine: Machine, equation: JaxprEqn, *given: Jet) -> Jet:
        if type_of(equation.outvars[0]).kind != "b":
            return machine.unknown(equation, list(given))[0]
        low, high = function(*(x.value.lo > 0 for x in given)), function(*(x.value.hi > 0 for x in given))
        bad = jets.either(*(x.bad for x in given))
        return Jet(
            Interval((low & high).astype(float), (low | high).astype(float)),
            None,
            None,
            any(x.moves for x in given),
            bad,
        )

    return rule


def _summed(machine: Machine, equation: JaxprEqn, x: Jet) -> Jet:
    axes = tuple(equation.params["axes"])
    count = int(np.prod([x.value.lo.shape[axis] for axis in axes]))

    def part(one: Interval) -> Interval:
        low, high = (np.abs(end).sum(axes) * count * ULP for end in one)
        return outward(one.lo.sum(axes) - low, one.hi.sum(axes) + high)

    return jets.linear(part, x, bad=np.any(np.broadcast_to(x.bad, x.value.lo.shape), axes))


def _matrix_product(machine: Machine, equation: JaxprEqn, x: Jet, y: Jet) -> Jet:
    """Sums of products, where one side is exact and moves nothing; anything otherwise."""
    if not (is_point(x.value).all() and not x.moves or is_point(y.value).all() and not y.moves):
        return machine.unknown(equation, [x, y])[0]
    turned = is_point(x.value).all() and not x.moves
    fixed, other = (x, y) if turned else (y, x)

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return bound_to(equation, (a, b) if turned else (b, a))

    def part(one: Interval) -> Interval:
        weight, size = fixed.value.lo, magnitude(one).hi
        slack = product(np.abs(weight), size) * fixed.value.lo.size * 2.0**-51
        low = product(np.maximum(weight, 0), one.lo) + product(np.minimum(weight, 0), one.hi)
        high = product(np.maximum(weight, 0), one.hi) + product(np.minimum(weight, 0), one.lo)
        return outward(low - slack, high + slack)

    bad = product(np.ones(fixed.value.lo.shape), np.broadcast_to(other.bad, other.value.lo.shape).astype(float)) > 0
    return jets.linear(part, other, bad=bad)


def _remainder(machine: Machine, equation: JaxprEqn, x: Jet, y: Jet) -> Jet:
    """x - y trunc(x / y), which jumps where the quotient passes a whole number."""
    quotient = divide(x.value, y.value)
    turns = Interval(np.trunc(quotient.lo), np.trunc(quotient.hi))
    size = magnitude(y.value).hi
    inside = add(x.value, negative(multiply(turns, y.value)))
    whole = Interval(np.where(x.value.lo >= 0, 0.0, -size), np.where(x.value.hi <= 0, 0.0, size))
    value = where(is_point(turns), inside, whole)
    if x.moves or y.moves:
        machine.note(machine.jumped, ~is_point(turns))
    if y.moves:
        machine.note(machine.kinked, True)
    bad = jets.either(x.bad, y.bad, (y.value.lo <= 0) & (y.value.hi >= 0))
    slope = x.slope if not y.moves else jets.unknown(value.lo.shape, True).slope
    return Jet(value, slope, x.bend if not y.moves else slope, x.moves or y.moves, bad)


def _rounded(machine: Machine, equation: JaxprEqn, x: Jet) -> Jet:
    """To the nearest whole number, whichever way halves go."""
    return machine.stepped(x, Interval(np.ceil(x.value.lo - 0.5), np.floor(x.value.hi + 0.5)))


def _step(function: Callable[[np.ndarray], np.ndarray]) -> Rule:
    def rule(machine: Machine, equation: JaxprEqn, x: Jet) -> Jet:
        return machine.stepped(x, Interval(function(x.value.lo), function(x.value.hi)))

    return rule


def _extreme(largest: bool) -> Rule:
    def rule(machine: Machine, equation: JaxprEqn, x: Jet) -> Jet:
        axes = tuple(equation.params["axes"])
        pick = np.max if largest else np.min
        if x.moves:
            machine.note(machine.kinked, True)

        bad = np.any(np.broadcast_to(x.bad, x.value.lo.shape), axes)
        around = jets.linear(lambda one: Interval(one.lo.min(axes), one.hi.max(axes)), x, bad=bad)
        return around._replace(value=Interval(pick(x.value.lo, axes), pick(x.value.hi, axes)))

    return rule


def _powered(machine: Machine, equation: JaxprEqn, x: Jet, y: Jet) -> Jet:
    return jets.to_a_power(x, y)


def _is_finite(machine: Machine, equation: JaxprEqn, x: Jet) -> Jet:
    sure = np.isfinite(x.value.lo) & np.isfinite(x.value.hi)
    return Jet(Interval(sure.astype(float), np.ones(sure.shape)), None, None, x.moves, x.bad)


RULES: dict[str, Rule] = {
    "add": lambda machine, equation, x, y: jets.plus(x, y),
    "add_any": lambda machine, equation, x, y: jets.plus(x, y),
    "sub": lambda machine, equation, x, y: jets.plus(x, jets.minus(y)),
    "mul": _multiplied,
    "div": _divided,
    "pow": _powered,
    "rem": _remainder,
    "integer_pow": lambda machine, equation, x: jets.to_a_whole_power(x, equation.params["y"]),
    "max": _with_kinks(jets.greater),
    "min": _with_kinks(jets.lesser),
    "abs": _with_kinks(jets.absolute),
    "clamp": _clamped,
    "select_n": _chosen,
    "sign": _step(np.sign),
    "floor": _step(np.floor),
    "ceil": _step(np.ceil),
    "round": _rounded,
    "is_finite": _is_finite,
    "and": _logical(np.logical_and),
    "or": _logical(np.logical_or),
    "not": _logical(np.logical_not),
    "gather": _looked_up,
    "dynamic_slice": _looked_up,
    "reduce_sum": _summed,
    "reduce_max": _extreme(True),
    "reduce_min": _extreme(False),
    "dot_general": _matrix_product,
}
