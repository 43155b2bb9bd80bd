"""What primitives make of jets, beyond those of one argument. ``machine`` notes kinks and jumps, and knows what is unknown."""

from collections.abc import Callable

import jax
import numpy as np

from . import jets
from .intervals import ULP, Interval, add, divide, is_point, magnitude, multiply, negative, outward, point, where
from .jets import Jet


def shaped(jet: Jet, shape) -> Jet:
    """Every part of ``jet`` with ``shape``."""

    def wide(part):
        return None if part is None else Interval(*(np.broadcast_to(x, shape) for x in part))

    return Jet(wide(jet.value), wide(jet.slope), wide(jet.bend), jet.moves, np.broadcast_to(jet.bad, shape))


def bound_to(equation, arrays) -> np.ndarray:
    """What the primitive itself makes of ``arrays``."""
    kinds = [x.aval.dtype for x in equation.invars]
    operands = [jax.numpy.asarray(x, kind) for x, kind in zip(arrays, kinds, strict=True)]
    return np.asarray(equation.primitive.bind(*operands, **equation.params))


def laid_out(equation, given: list[Jet]) -> Jet:
    """Numbers that change their places alone."""

    def moved(arrays):
        wide = [np.broadcast_to(x, variable.aval.shape) for x, variable in zip(arrays, equation.invars, strict=True)]
        return bound_to(equation, wide).astype(float)

    def part(name):
        own = [getattr(x, name) for x in given]
        if all(one is None for one in own):
            return None
        own = [one or point(0.0) for one in own]
        return Interval(moved([one.lo for one in own]), moved([one.hi for one in own]))

    bad = moved([np.asarray(x.bad, float) for x in given]) > 0
    return Jet(part("value"), part("slope"), part("bend"), any(x.moves for x in given), bad)


def compared(equation, name: str, x: Jet, y: Jet) -> Jet:
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


def _with_kinks(function) -> Callable:
    def rule(machine, equation, *given: Jet) -> Jet:
        found, kinked = function(*given)
        machine.note(machine.kinked, kinked)
        return found

    return rule


def _chosen(machine, equation, which: Jet, *cases: Jet) -> Jet:
    found, jumped = jets.choose(which, cases)
    machine.note(machine.jumped, jumped)
    return found._replace(bad=np.logical_or(found.bad, which.bad))


def _clamped(machine, equation, low: Jet, x: Jet, high: Jet) -> Jet:
    above, first = jets.greater(x, low)
    found, second = jets.lesser(above, high)
    machine.note(machine.kinked, first)
    machine.note(machine.kinked, second)
    return found


def _multiplied(machine, equation, x: Jet, y: Jet) -> Jet:
    return jets.to_a_whole_power(x, 2) if equation.invars[0] is equation.invars[1] else jets.times(x, y)


def _divided(machine, equation, x: Jet, y: Jet) -> Jet:
    if equation.outvars[0].aval.dtype.kind in "iu":  # of whole numbers, which drops the rest
        return machine.unknown(equation, [x, y])[0]
    found = jets.times(x, jets.inverse(y))
    return found._replace(value=divide(x.value, y.value))


def _looked_up(machine, equation, table: Jet, *places: Jet) -> Jet:
    """Some entry of a table, wherever it may be."""
    shape = equation.outvars[0].aval.shape
    if any(x.moves for x in places) or np.any(table.bad):
        return machine.unknown(equation, [table, *places])[0]
    parts = [None if p is None else Interval(p.lo.min(), p.hi.max()) for p in (table.value, table.slope, table.bend)]
    return shaped(Jet(*parts, table.moves, False), shape)


def _logical(function) -> Callable:
    def rule(machine, equation, *given: Jet) -> Jet:
        if equation.outvars[0].aval.dtype != bool:
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


def _summed(machine, equation, x: Jet) -> Jet:
    axes = tuple(equation.params["axes"])
    count = int(np.prod([x.value.lo.shape[axis] for axis in axes]))

    def part(one):
        if one is None:
            return None
        low, high = (np.abs(end).sum(axes) * count * ULP for end in one)
        return outward(one.lo.sum(axes) - low, one.hi.sum(axes) + high)

    return Jet(
        part(x.value), part(x.slope), part(x.bend), x.moves, np.any(np.broadcast_to(x.bad, x.value.lo.shape), axes)
    )


def _matrix_product(machine, equation, x: Jet, y: Jet) -> Jet:
    """Sums of products, where one side is exact and moves nothing; anything otherwise."""
    if not (is_point(x.value).all() and not x.moves or is_point(y.value).all() and not y.moves):
        return machine.unknown(equation, [x, y])[0]
    turned = is_point(x.value).all() and not x.moves
    fixed, other = (x, y) if turned else (y, x)

    def product(a, b):
        return bound_to(equation, (a, b) if turned else (b, a))

    def part(one):
        if one is None:
            return None
        weight, size = fixed.value.lo, magnitude(one).hi
        slack = product(np.abs(weight), size) * fixed.value.lo.size * 2.0**-51
        low = product(np.maximum(weight, 0), one.lo) + product(np.minimum(weight, 0), one.hi)
        high = product(np.maximum(weight, 0), one.hi) + product(np.minimum(weight, 0), one.lo)
        return outward(low - slack, high + slack)

    bad = product(np.ones(fixed.value.lo.shape), np.broadcast_to(other.bad, other.value.lo.shape).astype(float)) > 0
    return Jet(part(other.value), part(other.slope), part(other.bend), other.moves, bad)


def _remainder(machine, equation, x: Jet, y: Jet) -> Jet:
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


def _rounded(machine, equation, x: Jet) -> Jet:
    """To the nearest whole number, whichever way halves go."""
    return machine.stepped(x, Interval(np.ceil(x.value.lo - 0.5), np.floor(x.value.hi + 0.5)))


def _step(function) -> Callable:
    def rule(machine, equation, x: Jet) -> Jet:
        return machine.stepped(x, Interval(function(x.value.lo), function(x.value.hi)))

    return rule


def _extreme(largest: bool) -> Callable:
    def rule(machine, equation, x: Jet) -> Jet:
        axes = tuple(equation.params["axes"])
        pick = np.max if largest else np.min
        if x.moves:
            machine.note(machine.kinked, True)

        def around(one):
            return None if one is None else Interval(one.lo.min(axes), one.hi.max(axes))

        value = Interval(pick(x.value.lo, axes), pick(x.value.hi, axes))
        bad = np.any(np.broadcast_to(x.bad, x.value.lo.shape), axes)
        return Jet(value, around(x.slope), around(x.bend), x.moves, bad)

    return rule


def _powered(machine, equation, x: Jet, y: Jet) -> Jet:
    return jets.to_a_power(x, y)


def _is_finite(machine, equation, x: Jet) -> Jet:
    sure = np.isfinite(x.value.lo) & np.isfinite(x.value.hi)
    return Jet(Interval(sure.astype(float), np.ones(sure.shape)), None, None, x.moves, x.bad)


RULES: dict[str, Callable[..., Jet]] = {
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
