"""Families of drifts with exact or bounded maximisers of a sampled mirror objective, for ``drift_search.py``.

A family has parameters theta, mostly logarithms of radii and slopes, and takes ``log_scale``, which is added to the logarithm of
every radius: a drift whose radii shrink as the run goes on is the family with log_scale = -rate * progress.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hamljax.haml import DRIFTS, BoundDrift, bind_drift
from hamljax.tabular import Solution, Surrogate, maximise
from hamljax.tabular.simplex import pour, project

HALVINGS = 45  # of the multiplier's bracket
EXPONENTS = (-1.4, 3.0)  # natural logarithms of the least and the greatest p - 1 of a power
SIDES = [(sign, side) for sign in ("M A > 0", "M A < 0") for side in ("r > 1", "r < 1")]
KNOT = ("distance", "slope")
RATIOS = np.r_[
    0.0, 1 - np.geomspace(0.9, 0.01, 14), 1.0, 1 + np.geomspace(0.01, 4.0, 18)
]  # between which dpo is linear


class Family(NamedTuple):
    """cost: ``(theta, log_scale, ratio, m_advantage) -> cost`` of samples. solve: ``(theta, log_scale, surrogate) -> policy``.

    members: (C, D) those of a grid; of a family that is to be searched the one from which a search begins. names: what the
    exponentials of theta are. cost is None where the drift is no function of these alone.
    """

    cost: Callable | None
    solve: Callable
    members: np.ndarray
    names: tuple[str, ...]


def signed_gain(seen: Surrogate) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(S, A) the means of M A, of its positive and of its negative part, for each own action."""
    gain = seen.m * seen.advantage
    return seen.mean(gain), seen.mean(jax.nn.relu(gain)), seen.mean(jax.nn.relu(-gain))


# HINGES: theta (sign of M A, side of r = 1, H hinges, logarithms of distance and slope)


def hinge_cost(theta: Array, log_scale: Array, ratio: Array, m_advantage: Array) -> Array:
    """abs(M A) sum of slope relu(abs(r - 1) - distance), other hinges for each sign of M A and side of r = 1."""
    knots = jnp.asarray(theta).reshape(2, 2, -1, 2)
    distance, slope = jnp.exp(knots[..., 0] + log_scale), jnp.exp(knots[..., 1])
    beyond = jnp.stack([ratio - 1, 1 - ratio])[:, None]

    def total(sign):
        over = jax.nn.relu(beyond - distance[sign].reshape(2, -1, *(1,) * jnp.ndim(ratio)))
        return jnp.einsum("dk,dk...->...", slope[sign], over)

    return jax.nn.relu(m_advantage) * total(0) + jax.nn.relu(-m_advantage) * total(1)


def hinge_solve(theta: Array, log_scale: Array, seen: Surrogate) -> Array:
    """The exact maximiser: the objective is concave and linear between hinges, so mass goes to the steepest pieces first."""
    q, up, down = signed_gain(seen)
    knots = jnp.asarray(theta).reshape(2, 2, -1, 2)
    distance = jnp.exp(knots[..., 0] + log_scale).transpose(1, 0, 2).reshape(2, -1)  # (side, both signs')
    order = jnp.argsort(distance, -1)
    near = jnp.take_along_axis(distance, order, -1)
    slope = jnp.exp(knots[..., 1])
    cost = jnp.concatenate([up * slope[0][..., None, None], down * slope[1][..., None, None]], 1)  # (side, 2 H, S, A)
    cost = jnp.cumsum(jnp.take_along_axis(cost, order[..., None, None], 1), 1)
    steps = jnp.concatenate([q + cost[1, ::-1], q[None], q[None], q - cost[0]])
    ends = jnp.concatenate([1 - near[1, ::-1], jnp.ones(1), 1 + near[0]])
    ends = jnp.clip(ends[:, None, None] * seen.old, 0.0, 1.0)
    lengths = jnp.diff(jnp.concatenate([jnp.zeros_like(q)[None], ends, jnp.ones_like(q)[None]]), axis=0)
    pieces = (x.transpose(1, 0, 2) for x in (lengths, steps))
    return pour(*pieces)


def hinges(count: int = 1) -> Family:
    """Starts from clip(0.15), whose further hinges are weak."""
    start = np.zeros((2, 2, count, 2))
    start[..., 0] = np.log(0.15 * 2.0 ** np.arange(count))
    start[..., 1] = -3.0
    start[0, 0, 0, 1] = start[1, 1, 0, 1] = 0.0
    numbers = [f" {k + 1}" for k in range(count)] if count > 1 else [""]
    names = [f"{what}{k}, {sign}, {side}" for sign, side in SIDES for k in numbers for what in KNOT]
    return Family(hinge_cost, hinge_solve, start.reshape(1, -1), tuple(names))


# POWERS: theta (sign of M A, side of r = 1) logarithms of radii, then (side) those of exponents - 1


def power_parts(theta: Array, log_scale: Array) -> tuple[Array, Array]:
    """(sign, side) logarithms of radii and (side) exponents - 1."""
    theta = jnp.asarray(theta)
    return theta[:4].reshape(2, 2) + log_scale, jnp.exp(jnp.clip(theta[4:], *EXPONENTS))


def power_cost(theta: Array, log_scale: Array, ratio: Array, m_advantage: Array) -> Array:
    """abs(M A) radius / p (abs(r - 1) / radius)^p: of slope abs(M A) at one radius from r = 1; p = 2 is spo."""
    log_radius, power = power_parts(theta, log_scale)
    side, sign = jnp.where(ratio < 1, 1, 0), jnp.where(m_advantage < 0, 1, 0)
    radius, exponent = jnp.exp(log_radius[sign, side]), power[side] + 1
    return jnp.abs(m_advantage) * radius / exponent * (jnp.abs(ratio - 1) / radius) ** exponent


def power_solve(theta: Array, log_scale: Array, seen: Surrogate) -> Array:
    """The maximiser, with the multiplier between bounds that are halved until they meet."""
    q, up, down = signed_gain(seen)
    log_radius, power = power_parts(theta, log_scale)
    weight = jnp.exp(-power * log_radius)  # (sign, side)
    log_cost = jnp.log(up[..., None] * weight[0] + down[..., None] * weight[1])  # (S, A, side); -inf: free of cost

    def policy(lam):
        excess = q - lam
        side = (excess < 0).astype(int)
        cost = jnp.where(side == 0, log_cost[..., 0], log_cost[..., 1])
        free = jnp.isneginf(cost)
        move = jnp.exp((jnp.log(jnp.abs(excess)) - jnp.where(free, 0.0, cost)) / power[side])
        x = jnp.where(free, 1.0 - side, jnp.clip(seen.old * (1 + jnp.sign(excess) * move), 0.0, 1.0))
        return jnp.where(excess == 0, seen.old, x)

    return by_bisection(policy, jnp.min(q, -1, keepdims=True), jnp.max(q, -1, keepdims=True))


def by_bisection(policy: Callable, low: Float[Array, "S 1"], high: Float[Array, "S 1"]) -> Float[Array, "S A"]:
    """``policy`` (S, A) of the multiplier at which it sums to 1; what jumps there is filled up in proportion."""

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        enough = jnp.sum(policy(middle), -1, keepdims=True) >= 1
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    margin = 1e-9 * (1 + jnp.abs(low) + jnp.abs(high))
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low - margin, high + margin))
    least, most = policy(high), policy(low)
    room = jnp.sum(most - least, -1, keepdims=True)
    share = (1 - jnp.sum(least, -1, keepdims=True)) / jnp.where(room > 0, room, 1.0)
    x = least + (most - least) * jnp.clip(share, 0.0, 1.0)
    return x / jnp.sum(x, -1, keepdims=True)


def powers() -> Family:
    """Starts from spo(0.4)."""
    names = [f"radius, {sign}, {side}" for sign, side in SIDES] + ["p - 1, r > 1", "p - 1, r < 1"]
    return Family(power_cost, power_solve, np.array([[np.log(0.4)] * 4 + [0.0] * 2]), tuple(names))


# WHAT THE LIBRARY HAS


def registered(
    name: str, values: Callable, grid: np.ndarray, names: tuple[str, ...], exact: Callable = maximise
) -> Family:
    """A registered drift; ``values`` makes its hyper-parameters of the exponentials of a row of theta, with log_scale added."""

    def bound(theta, log_scale):
        return bind_drift(DRIFTS[name], values(jnp.exp(theta + log_scale)))

    def cost(theta, log_scale, ratio, m_advantage):
        return bound(theta, log_scale)(ratio, m_advantage)

    def solve(theta, log_scale, seen):
        return exact(bound(theta, log_scale), seen).policy

    return Family(None if DRIFTS[name].asks else cost, solve, np.log(grid), names)


def interpolated(drift: BoundDrift, seen: Surrogate) -> Solution:
    """The maximiser of a convex drift that is made linear between RATIOS: exact for that one, and cheap."""
    x = jnp.concatenate([jnp.clip(RATIOS[:, None, None] * seen.old, 0.0, 1.0), jnp.ones((1, *seen.old.shape))])
    value = x * seen.q - jax.vmap(lambda policy: seen.costs(drift, policy))(x)
    length, rise = jnp.diff(x, axis=0), jnp.diff(value, axis=0)
    slope = jnp.where(length > 0, rise / jnp.where(length > 0, length, 1.0), 0.0)
    return Solution(pour(length.transpose(1, 0, 2), slope.transpose(1, 0, 2)), jnp.zeros(len(seen.old)))


def spo(grid: np.ndarray) -> Family:
    """spo as a power: the library's closed form takes it that every action was sampled."""

    def as_power(theta):
        return jnp.concatenate([jnp.broadcast_to(theta, 4), jnp.zeros(2)])

    return Family(
        lambda theta, *rest: power_cost(as_power(theta), *rest),
        lambda theta, *rest: power_solve(as_power(theta), *rest),
        np.log(grid),
        ("clip_eps",),
    )


def euclid(grid: np.ndarray) -> Family:
    """sum (x - old)^2 / (2 radius), on the probabilities and not on their ratios."""

    def solve(theta, log_scale, seen):
        return project(seen.old + seen.q * jnp.exp(theta[0] + log_scale))

    return Family(None, solve, np.log(grid), ("1 / coefficient",))


def bar() -> dict[str, Family]:
    """The drifts that a found one is to beat, each with the grid from which its parameters are chosen."""

    def column(*values):
        return np.array(values)[:, None]

    def penalty(name):
        grid = 1 / column(0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
        return registered(name, lambda radius: {"kl_coef": 1 / radius[0]}, grid, ("1 / kl_coef",))

    pairs = np.array([(2.0, 0.6), *((alpha, beta) for alpha in (0.1, 0.3, 1.0) for beta in (0.1, 0.3, 1.0))])
    dpo = registered(
        "dpo", lambda x: {"dpo_alpha": x[0], "dpo_beta": x[1]}, pairs, ("dpo_alpha", "dpo_beta"), interpolated
    )
    eps = column(0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
    return {
        "clip": registered("clip", lambda x: {"clip_eps": x[0]}, eps, ("clip_eps",)),
        "spo": spo(column(0.1, 0.2, 0.3, 0.5, 0.8, 1.2)),
        "dpo": dpo,
        "kl": penalty("kl"),
        "reverse_kl": penalty("reverse_kl"),
        "mirror_descent": penalty("mirror_descent"),
        "euclid": euclid(1 / column(1.0, 3.0, 5.0, 10.0, 20.0, 40.0)),
        "none": registered("none", lambda x: {}, np.ones((1, 1)), ("",)),
    }
