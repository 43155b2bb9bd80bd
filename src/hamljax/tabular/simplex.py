"""Maximisers over the simplex, all states of a game at once: closed forms, and a general one that bounds its own error.

``q`` and ``old`` are (S, A): what every action is worth, and the old policy. An action that an agent has not is -inf in q.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TIE = 1e-12  # a gain below this share of the largest q is none: the policy stays


class Solution(NamedTuple):
    """policy: (S, A) the maximiser. gap: (S,) what the maximum exceeds its value by at most; 0 of a closed form."""

    policy: Float[Array, "S A"]
    gap: Float[Array, " S"]

    @classmethod
    def exact(cls, policy: Float[Array, "S A"]) -> "Solution":
        """One that misses nothing."""
        return cls(policy, jnp.zeros(policy.shape[0], policy.dtype))


def bisect(above: Callable, low: Array, high: Array, steps: int) -> tuple[Array, Array]:
    """The ends, after so many halvings, between which ``above(middle)``, which holds at ``low`` and not at ``high``, changes."""

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        higher = above(middle)
        return jnp.where(higher, middle, low), jnp.where(higher, high, middle)

    return jax.lax.fori_loop(0, steps, halve, (low, high))


def greedy(q: Float[Array, "S A"], old: Float[Array, "S A"]) -> Float[Array, "S A"]:
    """Uniform over the largest q; where nothing can be gained the policy stays."""
    best = jnp.max(q, -1, keepdims=True)
    finite = jnp.where(jnp.isfinite(q), q, 0.0)
    margin = TIE * (1 + jnp.max(jnp.abs(finite), -1, keepdims=True))
    top = (q >= best - margin).astype(old.dtype)
    gain = best - jnp.sum(old * finite, -1, keepdims=True)
    return jnp.where(gain <= margin, old, top / jnp.sum(top, -1, keepdims=True))


def forward_kl(q: Float[Array, "S A"], old: Float[Array, "S A"], coef: Float[Array, "..."]) -> Float[Array, "S A"]:
    """<x, q> - coef KL(old || x): x = coef old / (lam - q), lam by bisection; coef () or (S, 1).

    An action without support takes what is left at lam = its q, where that is above lam.
    """
    supported = old > 0
    top = jnp.max(jnp.where(supported, q, -jnp.inf), -1, keepdims=True)
    below = jnp.where(supported, top - q, 0.0)

    def policy(excess):  # lam = top + excess
        return jnp.where(supported, coef * old / (below + excess), 0.0)

    def too_much(log_excess):
        return jnp.sum(policy(jnp.exp(log_excess)), -1, keepdims=True) > 1

    start = jnp.broadcast_to(jnp.log(coef), top.shape)
    low, high = bisect(too_much, start - 60, start, 70)
    excess = jnp.exp((low + high) / 2)
    free = jnp.where(supported, -jnp.inf, q)
    newcomer = jnp.max(free, -1, keepdims=True)
    enters = newcomer > top + excess
    x = policy(jnp.where(enters, newcomer - top, excess))
    first = jnp.arange(q.shape[-1]) == jnp.argmax(free, -1)[:, None]
    rest = jnp.maximum(1 - jnp.sum(x, -1, keepdims=True), 0.0)
    x = jnp.where(enters & first, rest, x)
    return x / jnp.sum(x, -1, keepdims=True)


def log_reverse_kl(
    q: Float[Array, "S A"], log_old: Float[Array, "S A"], coef: Float[Array, "..."]
) -> Float[Array, "S A"]:
    """log of the maximiser of <x, q> - coef KL(x || old): x in proportion to old exp(q / coef)."""
    return jax.nn.log_softmax(log_old + q / coef, -1)


def quadratic(
    q: Float[Array, "S A"], old: Float[Array, "S A"], cost: Float[Array, "S A"], radius: Float[Array, ""]
) -> Float[Array, "S A"]:
    """<x, q> - sum_a cost_a (x_a / old_a - 1)^2 old_a / (2 radius): x = old max(0, 1 + radius (q - lam) / cost).

    An action of no cost whose q is the largest takes all that is to be had.
    """
    # The slope of x against q - lam.
    per = jnp.where((old > 0) & (cost > 0), old * radius / jnp.where(cost > 0, cost, 1.0), 0.0)
    leaves_at = jnp.where(per > 0, q + cost / radius, -jnp.inf)  # lam at which an action is left
    order = jnp.argsort(-leaves_at, -1)
    old_, per_, q_, leaves_ = (jnp.take_along_axis(v, order, -1) for v in (old, per, q, leaves_at))
    slope = jnp.cumsum(per_, -1)
    mass = jnp.cumsum(jnp.where(per_ > 0, old_ + per_ * q_, 0.0), -1)
    lam = (mass - 1) / jnp.where(slope > 0, slope, 1.0)
    last = jnp.sum((per_ > 0) & (lam < leaves_), -1, keepdims=True) - 1
    chosen = jnp.take_along_axis(lam, jnp.maximum(last, 0), -1)
    x = jnp.where(per > 0, jnp.maximum(old + per * (q - chosen), 0.0), 0.0)
    total = jnp.sum(x, -1, keepdims=True)
    return jnp.where(total > 0, x / jnp.where(total > 0, total, 1.0), old)


def project(point: Float[Array, "S A"]) -> Float[Array, "S A"]:
    """The nearest point of the simplex; -inf stays without mass."""
    ordered = -jnp.sort(-point, -1)
    total = jnp.cumsum(jnp.where(jnp.isfinite(ordered), ordered, 0.0), -1)
    rank = jnp.arange(1, point.shape[-1] + 1)
    inside = ordered * rank > total - 1
    count = jnp.sum(inside, -1, keepdims=True)
    shift = (jnp.take_along_axis(total, count - 1, -1) - 1) / count
    return jnp.maximum(jnp.where(jnp.isfinite(point), point, -jnp.inf) - shift, 0.0)


def pour(
    lengths: Float[Array, "S K A"],
    slopes: Float[Array, "S K A"],
    low: Float[Array, "S A"] | float = 0.0,
    high: Float[Array, "S A"] | float = 1.0,
) -> Float[Array, "S A"]:
    """Mass 1 into the pieces of a concave, piecewise linear gain, by falling slope; ties: earlier pieces first.

    Args:
      lengths, slopes: (S, K, A) of the K pieces of every action, in the order from 0 to 1.
      low, high: (S, A) the bounds of every entry.
    """
    states, pieces, actions = lengths.shape
    ends = jnp.cumsum(lengths, 1)
    ends = jnp.clip(
        jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends], 1),
        *(jnp.asarray(x)[..., None, :] if jnp.ndim(x) else x for x in (low, high)),
    )
    length, slope = (x.reshape(states, pieces * actions) for x in (jnp.diff(ends, axis=1), slopes))
    order = jnp.argsort(-slope, -1, stable=True)
    sorted_length = jnp.take_along_axis(length, order, -1)
    before = jnp.cumsum(sorted_length, -1) - sorted_length
    mass = 1 - jnp.sum(jnp.broadcast_to(low, (states, actions)), -1, keepdims=True)
    left = jnp.where(mass - before > 1e-15, mass - before, 0.0)  # less is rounding
    taken = jnp.minimum(left, sorted_length)
    filled = jnp.zeros_like(length).at[jnp.arange(states)[:, None], order].set(taken)
    return low + jnp.sum(filled.reshape(states, pieces, actions), 1)


POINTS, LEVELS = 6, 18  # of the general maximiser: a quarter of a grid, and how often it is drawn anew
TINY = 1e-290  # where a slope at 0 is taken
NOTHING = 1e-14  # a gain that is none: the policy stays


def separable(
    gain: Callable, old: Float[Array, "S A"], low: Float[Array, "S A"], high: Float[Array, "S A"], leaps: bool = False
) -> Solution:
    """The maximiser of sum_a gain(x)_a over low <= x <= high, sum x = 1: for concave gains, and nearly for others.

    By a multiplier lam of the constraint: on a grid for every action by itself the slope of a concave gain falls below lam
    between two points. That bounds the mass at lam, so lam from both sides, and with it where the grid is drawn anew: between
    the outermost points and, closer, where the slope passes either bound of lam, and the middle between them.
    The gap is by weak duality: the maximum is at most lam + sum_a max_t [gain_a(t) - lam t], whatever the shape of the gains,
    where the maximum over t is that over all points that were looked at.

    Args:
      gain: (S, A) of any policy -> (S, A), every entry a function of that entry alone, 0 of the old policy.
      low, high: (S, A) the bounds; an action that an agent has not has 0 and 0.
      leaps: whether maximisers are looked for in which one entry is far from its best for lam (``_best_leap``).
    """
    shape = (-1,) + (1,) * old.ndim
    even = jnp.linspace(0, 1, POINTS, dtype=old.dtype).reshape(shape)

    def between(ends):
        return ends[0] + (ends[1] - ends[0]) * even

    def slopes(grid):
        return jax.lax.map(lambda x: jax.jvp(gain, (jnp.maximum(x, TINY),), (jnp.ones_like(x),))[1], grid)

    reach = jnp.exp2(jnp.linspace(-12.0, 5.0, 18)).astype(old.dtype)
    ratios = jnp.concatenate([-reach[::-1], jnp.zeros(1, old.dtype), reach]).reshape(shape)
    grid = jnp.sort(jnp.clip(jnp.concatenate([old * jnp.exp(ratios), between((low, high))]), low, high), axis=0)
    coarse, table = grid, jax.lax.map(gain, grid)

    def closer(_, found):
        cells = found[1]
        grid = jnp.sort(jnp.concatenate([between((cells[1][0], cells[0][1])), *map(between, cells)]), axis=0)
        return _cells_by_slope(grid, slopes(grid))

    start = jnp.zeros((3, *old.shape[:-1], 1), old.dtype), [_window_by_value(grid, table)] * 3
    lams, cells = jax.lax.fori_loop(0, LEVELS, closer, start)
    left, right = cells[1][0], cells[0][1]
    policy, value = _best_mixture(gain, old, left, right)
    if leaps:
        leap, worth = _best_leap(gain, coarse, table, slopes(coarse), (low, high))
        policy, value = jnp.where((worth > value)[:, None], leap, policy), jnp.maximum(worth, value)
    ends = jnp.stack([left, right])
    if leaps:
        ends = jnp.concatenate([ends, _peaks(gain, lams[2], coarse, table, between)[None]])
    points = jnp.concatenate([coarse, ends]), jnp.concatenate([table, jax.lax.map(gain, ends)])
    bounds = [lam[:, 0] + jnp.sum(jnp.max(points[1] - lam * points[0], 0), -1) for lam in lams]
    return Solution(policy, jnp.maximum(jnp.min(jnp.stack(bounds), 0) - value, 0.0))


def _best_mixture(gain: Callable, old: jax.Array, left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The best policy (S, A), and its value (S,), of: all entries as far between their ends, one after another, and the old."""
    room = right - left
    missing = 1 - jnp.sum(left, -1, keepdims=True)
    total = jnp.sum(room, -1, keepdims=True)
    share = jnp.clip(jnp.where(total > 0, missing / jnp.where(total > 0, total, 1.0), 0.0), 0.0, 1.0)
    in_turn = left + jnp.clip(missing - (jnp.cumsum(room, -1) - room), 0.0, room)
    candidates = jnp.stack([left + room * share, in_turn])
    mass = jnp.sum(candidates, -1, keepdims=True)
    candidates = jnp.concatenate([candidates / jnp.where(mass > 0, mass, 1.0), old[None]])
    near = jnp.concatenate([jnp.abs(mass[..., 0] - 1) < 1e-9, jnp.ones((1, old.shape[0]), bool)])
    values = jnp.where(near, jnp.sum(jax.lax.map(gain, candidates), -1), -jnp.inf)
    best = jnp.where(jnp.max(values, 0) > NOTHING, jnp.argmax(values, 0), len(candidates) - 1)
    return jnp.take_along_axis(candidates, best[None, :, None], 0)[0], jnp.max(values, 0)


def _best_leap(
    gain: Callable, grid: jax.Array, table: jax.Array, slopes: jax.Array, ends: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The best policy (S, A), and its value (S,), in which one entry has what the others leave; -inf where there is none.

    The others are at their best for a multiplier, which is the slope of that entry's gain at a point of the grid. Where gains
    are not concave a maximiser may be such a leap, far from where the multiplier's bounds meet.
    """
    points, _, actions = grid.shape

    def closer(number, found):
        leaper = number % actions == jnp.arange(actions)
        lam = jnp.sum(jnp.where(leaper, slopes[number // actions], 0.0), -1, keepdims=True)
        others = jnp.where(leaper, 0.0, _at(grid, jnp.argmax(table - lam * grid, 0)))
        policy = jnp.where(leaper, 1 - jnp.sum(others, -1, keepdims=True), others)
        inside = jnp.all((policy >= ends[0]) & (policy <= ends[1]), -1)
        value = jnp.where(inside, jnp.sum(gain(jnp.where(inside[:, None], policy, grid[0])), -1), -jnp.inf)
        best = value > found[1]
        return jnp.where(best[:, None], policy, found[0]), jnp.where(best, value, found[1])

    start = grid[0], jnp.full(grid.shape[1], -jnp.inf, grid.dtype)
    return jax.lax.fori_loop(0, points * actions, closer, start)


def _peaks(gain: Callable, lam: jax.Array, grid: jax.Array, table: jax.Array, between: Callable) -> jax.Array:
    """(S, A) where gain - lam x is the largest for every entry by itself: the best point of a grid, and of grids around it."""

    def closer(_, ends):
        inner = between(ends)
        best = jnp.argmax(jax.lax.map(gain, inner) - lam * inner, 0)
        return _at(inner, best - 1), _at(inner, best + 1)

    best = jnp.argmax(table - lam * grid, 0)
    low, high = jax.lax.fori_loop(0, LEVELS, closer, (_at(grid, best - 1), _at(grid, best + 1)))
    return (low + high) / 2


def _at(grid: jax.Array, number: jax.Array) -> jax.Array:
    return jnp.take_along_axis(grid, jnp.clip(number, 0, grid.shape[0] - 1)[None], 0)[0]


def _multiplier(mass: Callable, like: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The ends (S, 1), next to each other, between which ``mass(lam)`` (S, A), which falls with lam, comes to add up to 1."""

    def enough(stretched):
        return jnp.sum(mass(jnp.sinh(stretched)), -1, keepdims=True) >= 1

    ends = jnp.full((like.shape[0], 1), 350.0, like.dtype)
    low, high = bisect(enough, -ends, ends, 64)
    return jnp.sinh(low), jnp.sinh(high)


def _window_by_value(grid: jax.Array, table: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(S, A) between which the maximisers lie, where the best point of a grid is beside a concave gain's maximiser."""

    def best(lam):
        return jnp.argmax(table - lam * grid, 0)

    low = _multiplier(lambda lam: _at(grid, best(lam) - 1), grid[0])[0]
    high = _multiplier(lambda lam: _at(grid, best(lam) + 1), grid[0])[1]
    return _at(grid, best(high) - 1), _at(grid, best(low) + 1)


def _cells_by_slope(grid: jax.Array, slopes: jax.Array) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array]]]:
    """Lower and upper bound and middle of lam (3, S, 1), and the points (S, A) between which falling slopes pass each of them."""
    slopes = jax.lax.cummin(jnp.where(jnp.isnan(slopes), jnp.inf, slopes), axis=0)
    step = jnp.diff(grid, axis=0)
    low = _crossing(slopes, jnp.concatenate([jnp.zeros_like(grid[:1]), step]), grid[0])
    high = _crossing(slopes, jnp.concatenate([step, jnp.zeros_like(grid[:1])]), grid[0])
    middle = (low + high) / 2
    above = [jnp.sum(slopes >= low, 0), jnp.sum(slopes > high, 0), jnp.sum(slopes >= middle, 0)]
    return jnp.stack([low, high, middle]), [(_at(grid, number - 1), _at(grid, number)) for number in above]


def _crossing(slopes: jax.Array, mass: jax.Array, start: jax.Array) -> jax.Array:
    """The slope (S, 1) at which ``start`` (S, A) and the mass (K, S, A) of all points of at least that slope add up to 1."""
    by_state = [jnp.moveaxis(x, 0, -1).reshape(start.shape[0], -1) for x in (slopes, mass)]
    order = jnp.argsort(-by_state[0], -1)
    slope, added = (jnp.take_along_axis(x, order, -1) for x in by_state)
    total = jnp.sum(start, -1, keepdims=True) + jnp.cumsum(added, -1)
    first = jnp.sum(total < 1 - 1e-13, -1, keepdims=True)  # of rounding
    found = jnp.take_along_axis(slope, jnp.minimum(first, slope.shape[-1] - 1), -1)
    return jnp.clip(found, -1e150, 1e150)
