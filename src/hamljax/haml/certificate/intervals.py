"""Interval arithmetic: bounds that hold for every point of a box, rounded outwards.

Bounds are arrays, a box an entry. Infinite bounds are not attained, so that 0 times one of them is 0; an exact 0 stays 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from numpy.typing import ArrayLike

ULP = 2.0**-52
LARGEST = np.finfo(float).max
Ulps = float | np.ndarray
CALLS = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")
CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


class Interval(NamedTuple):
    """``lo`` <= x <= ``hi``, arrays of one shape."""

    lo: np.ndarray
    hi: np.ndarray


def numbers_in(x: Any) -> np.ndarray:
    """A constant of a program as floats; NaN where it is of another kind, such as complex or a random key."""
    if not any(jnp.issubdtype(jnp.result_type(x), kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        return np.full(np.shape(x), np.nan)
    return np.asarray(x).astype(float)


def program_in(equation: JaxprEqn) -> ClosedJaxpr | None:
    """The program that an equation calls on its own arguments; None where it calls none, or decides how often."""
    if equation.primitive.name not in CALLS + CUSTOM:
        return None
    for name in ("call_jaxpr", "fun_jaxpr", "jaxpr"):
        if name in equation.params:
            inner = equation.params[name]
            return ClosedJaxpr(inner, ()) if isinstance(inner, Jaxpr) else inner
    return None


def point(x: ArrayLike) -> Interval:
    """The interval that holds one number, exactly."""
    number = np.asarray(x, float)
    return Interval(number, number)


def outward(lo: ArrayLike, hi: ArrayLike, ulps: Ulps | tuple[Ulps, Ulps] = 1) -> Interval:
    """Bounds moved outwards by so many units in the last place (of both, or each); what is no number is no bound."""
    below, above = ulps if isinstance(ulps, tuple) else (ulps, ulps)
    lo = np.where(np.isnan(lo), -np.inf, np.minimum(lo, LARGEST))
    hi = np.where(np.isnan(hi), np.inf, np.maximum(hi, -LARGEST))
    return Interval(_moved(lo, -ULP * below), _moved(hi, ULP * above))


def _moved(x: np.ndarray, share: Ulps) -> np.ndarray:
    return np.where(np.isinf(x) | (np.asarray(share) == 0), x, x + np.abs(x) * share)


def hull(*parts: Interval) -> Interval:
    """The smallest interval around all of them."""
    lo, hi = parts[0]
    for part in parts[1:]:
        lo, hi = np.minimum(lo, part.lo), np.maximum(hi, part.hi)
    return Interval(lo, hi)


def where(condition: np.ndarray, x: Interval, y: Interval) -> Interval:
    return Interval(np.where(condition, x.lo, y.lo), np.where(condition, x.hi, y.hi))


def everything(shape: tuple[int, ...]) -> Interval:
    return Interval(np.full(shape, -np.inf), np.full(shape, np.inf))


def is_point(x: Interval) -> np.ndarray:
    return x.lo == x.hi


def add(x: Interval, y: Interval) -> Interval:
    """x + y, rounded where the sum is not exact."""
    with np.errstate(invalid="ignore"):
        return outward(x.lo + y.lo, x.hi + y.hi, (_inexact_sum(x.lo, y.lo), _inexact_sum(x.hi, y.hi)))


def _inexact_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 where x + y has no rounding error, 1 elsewhere (Knuth's two-sum)."""
    total = x + y
    part = total - x
    return np.where((x - (total - part)) + (y - part) == 0, 0, 1)


def negative(x: Interval) -> Interval:
    return Interval(-x.hi, -x.lo)


def subtract(x: Interval, y: Interval) -> Interval:
    return add(x, negative(y))


def multiply(x: Interval, y: Interval) -> Interval:
    with np.errstate(invalid="ignore"):
        corners = np.stack(np.broadcast_arrays(x.lo * y.lo, x.lo * y.hi, x.hi * y.lo, x.hi * y.hi))
    corners = np.where(np.isnan(corners), 0.0, corners)
    return outward(corners.min(0), corners.max(0), np.where(_is_power_of_two(x) | _is_power_of_two(y), 0, 1))


def _is_power_of_two(x: Interval) -> np.ndarray:
    """Whether x is exactly one, or minus one, by which a product is exact; those next to under- and overflow left out."""
    sizes = np.abs(x.lo)
    return is_point(x) & (np.frexp(sizes)[0] == 0.5) & (sizes > 1e-30) & (sizes < 1e30)


def reciprocal(x: Interval) -> Interval:
    """1 / x; everything where 0 is inside."""
    apart = (x.lo > 0) | (x.hi < 0)
    return where(apart, outward(1 / x.hi, 1 / x.lo), everything(x.lo.shape))


def divide(x: Interval, y: Interval) -> Interval:
    """x / y, rounded once where 0 is not in y."""
    corners = np.stack(np.broadcast_arrays(x.lo / y.lo, x.lo / y.hi, x.hi / y.lo, x.hi / y.hi))
    unknown = np.isnan(corners).any(0)
    found = outward(np.where(unknown, -np.inf, corners.min(0)), np.where(unknown, np.inf, corners.max(0)))
    return where((y.lo > 0) | (y.hi < 0), found, everything(found.lo.shape))


def largest(x: Interval, y: Interval) -> Interval:
    return Interval(np.maximum(x.lo, y.lo), np.maximum(x.hi, y.hi))


def smallest(x: Interval, y: Interval) -> Interval:
    return Interval(np.minimum(x.lo, y.lo), np.minimum(x.hi, y.hi))


def magnitude(x: Interval) -> Interval:
    inside = (x.lo <= 0) & (x.hi >= 0)
    low, high = np.abs(x.lo), np.abs(x.hi)
    return Interval(np.where(inside, 0.0, np.minimum(low, high)), np.maximum(low, high))


def whole_power(x: Interval, exponent: int) -> Interval:
    """x to a whole power, with even powers never negative."""
    if exponent < 0:
        return reciprocal(whole_power(x, -exponent))
    x = magnitude(x) if exponent % 2 == 0 else x
    return outward(x.lo**exponent, x.hi**exponent, 0 if exponent < 2 else max(2, exponent))


def rising(
    function: Callable[[np.ndarray], np.ndarray], x: Interval, least: float = -np.inf, ulps: float = 4
) -> Interval:
    """The image under a function that rises from ``least`` on; everything where it is asked for less."""
    found = outward(function(np.maximum(x.lo, least)), function(x.hi), ulps)
    return where(x.lo >= least, found, everything(x.lo.shape))


def power(x: Interval, y: Interval) -> Interval:
    """x to the y for x >= 0, from its four corners: monotone in x for a fixed y, and in y for a fixed x."""
    corners = np.stack(np.broadcast_arrays(x.lo**y.lo, x.lo**y.hi, x.hi**y.lo, x.hi**y.hi))
    low, high = corners.min(0), corners.max(0)
    return where(x.lo >= 0, outward(low, high, 8), everything(low.shape))


def sine(x: Interval) -> Interval:
    """sin x, with the crests and troughs that lie inside."""
    low, high = np.sin(x.lo), np.sin(x.hi)
    slack = 1e-9 + 1e-15 * np.maximum(np.abs(x.lo), np.abs(x.hi))
    slack = np.where(is_point(x), 0.0, slack)

    def holds(phase: float) -> np.ndarray:  # some phase + 2 pi k inside, or within rounding of it
        turn = np.ceil((x.lo - slack - phase) / (2 * np.pi)) * 2 * np.pi + phase
        return ~is_point(x) & (turn <= x.hi + slack)

    found = outward(np.minimum(low, high), np.maximum(low, high), 8)
    found = Interval(np.where(holds(-np.pi / 2), -1.0, found.lo), np.where(holds(np.pi / 2), 1.0, found.hi))
    sure = np.isfinite(x.lo) & np.isfinite(x.hi) & (slack < 1e-3)
    return where(sure, found, Interval(np.full(low.shape, -1.0), np.full(low.shape, 1.0)))
