"""Bounds on a function and on its first two derivatives in the ratio, carried through a program together.

The derivatives are those of the function itself: neither a stopped gradient nor one of a user's own stands in for them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .intervals import (
    Interval,
    add,
    everything,
    hull,
    is_point,
    largest,
    magnitude,
    multiply,
    negative,
    outward,
    point,
    power,
    reciprocal,
    rising,
    sine,
    smallest,
    subtract,
    where,
    whole_power,
)

ZERO, ONE, TWO = point(0.0), point(1.0), point(2.0)


Flags = np.ndarray | bool  # True where something is so; one for all, or one each


class Jet(NamedTuple):
    """``value``; ``slope`` and ``bend``, its derivatives (None: 0). ``moves``: whether it depends on the ratio.

    bad: where it may be no number at all.
    """

    value: Interval
    slope: Interval | None = None
    bend: Interval | None = None
    moves: bool = False
    bad: Flags = False


def unknown(shape: tuple[int, ...], moves: bool) -> Jet:
    """What may be anything, no number included."""
    whole = everything(shape)
    return Jet(whole, whole if moves else None, whole if moves else None, moves, np.ones(shape, bool))


def either(*flags: Flags) -> Flags:
    """Their disjunction, with shapes that broadcast."""
    found: Flags = False
    for flag in flags:
        found = np.logical_or(found, flag)
    return found


def linear(function: Callable[..., Interval], *given: Jet, bad: Flags | None = None) -> Jet:
    """A linear function of ``given``, which makes of their slopes and bends what it makes of their values."""

    def part(own: list[Interval | None]) -> Interval | None:
        return None if all(one is None for one in own) else function(*(one or ZERO for one in own))

    value, slope, bend = function(*(x.value for x in given)), [x.slope for x in given], [x.bend for x in given]
    bad = either(*(x.bad for x in given)) if bad is None else bad
    return Jet(value, part(slope), part(bend), any(x.moves for x in given), bad)


def _sum(x: Interval | None, y: Interval | None) -> Interval | None:
    return y if x is None else x if y is None else add(x, y)


def _product(x: Interval | None, y: Interval | None) -> Interval | None:
    return None if x is None or y is None else multiply(x, y)


def plus(x: Jet, y: Jet) -> Jet:
    return Jet(
        add(x.value, y.value),
        _sum(x.slope, y.slope),
        _sum(x.bend, y.bend),
        x.moves or y.moves,
        np.logical_or(x.bad, y.bad),
    )


def minus(x: Jet) -> Jet:
    return linear(negative, x)


def times(x: Jet, y: Jet) -> Jet:
    slope = _sum(_product(x.slope, y.value), _product(x.value, y.slope))
    twice = _product(TWO, _product(x.slope, y.slope))
    bend = _sum(_sum(_product(x.bend, y.value), _product(x.value, y.bend)), twice)
    return Jet(multiply(x.value, y.value), slope, bend, x.moves or y.moves, np.logical_or(x.bad, y.bad))


def chain(x: Jet, value: Interval, first: Interval, second: Interval, bad: Flags = False) -> Jet:
    """h(x), of which ``value``, ``first`` and ``second`` bound h, h' and h'' over x."""
    bend = _sum(_product(first, x.bend), None if x.slope is None else multiply(second, whole_power(x.slope, 2)))
    return Jet(value, _product(first, x.slope), bend, x.moves, np.logical_or(x.bad, bad))


def choose(which: Jet, cases: tuple[Jet, ...]) -> tuple[Jet, np.ndarray]:
    """The case that ``which`` (0, 1, ...) names; around all of them, and True in the second array, where that is open."""
    found, taken = cases[0], np.broadcast_to(which.value.lo, np.broadcast_shapes(*(c.value.lo.shape for c in cases)))
    for number, case in enumerate(cases[1:], 1):
        found = _select(taken >= number, case, found)
    open_ = np.broadcast_to(~is_point(which.value), taken.shape)
    found = _select(open_, linear(hull, *cases), found)
    moves = which.moves or any(case.moves for case in cases)
    return found._replace(moves=moves), open_ & which.moves


def _select(condition: np.ndarray, x: Jet, y: Jet) -> Jet:
    return linear(lambda a, b: where(condition, a, b), x, y, bad=np.where(condition, x.bad, y.bad))


def greater(x: Jet, y: Jet) -> tuple[Jet, np.ndarray]:
    """max(x, y), and where it may have a kink."""
    found = _select(x.value.lo >= y.value.hi, x, _select(y.value.lo >= x.value.hi, y, linear(hull, x, y)))
    bad = np.logical_or(x.bad, y.bad)
    kinked = ~((x.value.lo >= y.value.hi) | (y.value.lo >= x.value.hi)) & found.moves
    return found._replace(value=largest(x.value, y.value), bad=bad), kinked


def lesser(x: Jet, y: Jet) -> tuple[Jet, np.ndarray]:
    """min(x, y), and where it may have a kink."""
    found, kinked = greater(minus(x), minus(y))
    return minus(found)._replace(value=smallest(x.value, y.value)), kinked


def absolute(x: Jet) -> tuple[Jet, np.ndarray]:
    found, kinked = greater(x, minus(x))
    kinked = kinked & (x.value.lo < 0) & (x.value.hi > 0)
    return found._replace(value=magnitude(x.value)), kinked


def logarithm(x: Jet) -> Jet:
    inverse = where(x.value.lo > 0, outward(1 / x.value.hi, 1 / x.value.lo), everything(x.value.lo.shape))
    return chain(x, rising(np.log, x.value, 0.0), inverse, negative(whole_power(inverse, 2)), x.value.lo < 0)


def logarithm_of_one_more(x: Jet) -> Jet:
    inverse = reciprocal(add(ONE, x.value))
    return chain(x, rising(np.log1p, x.value, -1.0), inverse, negative(whole_power(inverse, 2)), x.value.lo < -1)


def exponential(x: Jet) -> Jet:
    value = rising(np.exp, x.value)
    return chain(x, value, value, value)


def exponential_less_one(x: Jet) -> Jet:
    value = rising(np.exp, x.value)
    return chain(x, rising(np.expm1, x.value), value, value)


def exponential_of_two(x: Jet) -> Jet:
    value, rate = rising(np.exp2, x.value), outward(np.log(2.0), np.log(2.0))
    return chain(x, value, multiply(value, rate), multiply(value, whole_power(rate, 2)))


def root(x: Jet) -> Jet:
    value = rising(np.sqrt, x.value, 0.0, 1)
    first = multiply(point(0.5), where(value.lo > 0, reciprocal(value), Interval(0 * value.lo, value.lo + np.inf)))
    second = multiply(point(-2.0), whole_power(first, 3))
    sure = x.value.lo >= 0
    shape = everything(value.lo.shape)
    return chain(x, value, where(sure, first, shape), where(sure, second, shape), ~sure)


def inverse_root(x: Jet) -> Jet:
    return inverse(root(x))


def hyperbolic_tangent(x: Jet) -> Jet:
    value = rising(np.tanh, x.value)
    first = subtract(ONE, whole_power(value, 2))
    first = Interval(np.maximum(first.lo, 0.0), np.clip(first.hi, 0.0, 1.0))
    return chain(
        x,
        Interval(np.maximum(value.lo, -1.0), np.minimum(value.hi, 1.0)),
        first,
        multiply(multiply(point(-2.0), value), first),
    )


def logistic(x: Jet) -> Jet:
    value = rising(lambda u: 1 / (1 + np.exp(-u)), x.value)
    value = Interval(np.clip(value.lo, 0.0, 1.0), np.clip(value.hi, 0.0, 1.0))
    first = multiply(value, subtract(ONE, value))
    return chain(x, value, first, multiply(first, subtract(ONE, multiply(TWO, value))))


def error_function(x: Jet) -> Jet:
    bell = rising(np.exp, negative(whole_power(x.value, 2)))
    first = multiply(outward(2 / math.sqrt(math.pi), 2 / math.sqrt(math.pi), 2), bell)
    value = rising(np.vectorize(math.erf, otypes=[float]), x.value)
    return chain(x, value, first, multiply(multiply(point(-2.0), x.value), first))


def arc_tangent(x: Jet) -> Jet:
    first = reciprocal(add(ONE, whole_power(x.value, 2)))
    second = multiply(multiply(point(-2.0), x.value), whole_power(first, 2))
    return chain(x, rising(np.arctan, x.value), first, second)


def area_sine(x: Jet) -> Jet:
    first = reciprocal(rising(np.sqrt, add(ONE, whole_power(x.value, 2)), 0.0))
    return chain(x, rising(np.arcsinh, x.value), first, negative(multiply(x.value, whole_power(first, 3))))


def hyperbolic_sine(x: Jet) -> Jet:
    value = rising(np.sinh, x.value)
    return chain(x, value, rising(np.cosh, magnitude(x.value)), value)


def hyperbolic_cosine(x: Jet) -> Jet:
    value = rising(np.cosh, magnitude(x.value))
    return chain(x, value, rising(np.sinh, x.value), value)


def sinus(x: Jet) -> Jet:
    return chain(x, sine(x.value), _cosine(x.value), negative(sine(x.value)))


def cosinus(x: Jet) -> Jet:
    return chain(x, _cosine(x.value), negative(sine(x.value)), negative(_cosine(x.value)))


def _cosine(x: Interval) -> Interval:
    """sin(x + pi / 2), the sum rounded outwards."""
    return sine(add(x, outward(np.pi / 2, np.pi / 2, 2)))


def inverse(x: Jet) -> Jet:
    """1 / x."""
    value = reciprocal(x.value)
    second = multiply(TWO, whole_power(value, 3))
    return chain(x, value, negative(whole_power(value, 2)), second, (x.value.lo <= 0) & (x.value.hi >= 0))


def to_a_whole_power(x: Jet, exponent: int) -> Jet:
    def factor(n: int) -> Interval:  # x^n times falling factors of the exponent
        return whole_power(x.value, n) if n else point(np.ones(x.value.lo.shape))

    first = multiply(point(float(exponent)), factor(exponent - 1)) if exponent else ZERO
    second = multiply(point(float(exponent * (exponent - 1))), factor(exponent - 2)) if exponent not in (0, 1) else ZERO
    bad = (x.value.lo <= 0) & (x.value.hi >= 0) if exponent < 0 else False
    return chain(x, factor(exponent), first, second, bad)


def to_a_power(x: Jet, y: Jet) -> Jet:
    """x^y of x >= 0."""
    bad = (x.value.lo < 0) | ((x.value.lo == 0) & (y.value.lo < 0))
    if y.moves:
        found = exponential(times(y, logarithm(x)))
        return found._replace(value=power(x.value, y.value), bad=np.logical_or(found.bad, bad))
    first = multiply(y.value, power(x.value, subtract(y.value, ONE)))
    falling = multiply(y.value, subtract(y.value, ONE))
    second = multiply(falling, power(x.value, subtract(y.value, TWO)))
    return chain(x, power(x.value, y.value), first, second, bad)._replace(bad=either(x.bad, y.bad, bad))
