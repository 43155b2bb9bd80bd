"""Functions that are drifts, and functions that are not, for tests of what tells them apart.

All arguments by name are those that a drift may ask for. ``BAD`` breaks Definition 1 for some policies; ``GOOD`` never does.
"""

import itertools

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

_turn = itertools.count(1)


def clip(r, g, eps=0.2):
    return jax.nn.relu((r - jnp.clip(r, 1 - eps, 1 + eps)) * g)


def square(r):
    return (r - 1) ** 2


def log(r):
    """Of a ratio, with a number at 0."""
    return jnp.log(jnp.maximum(r, 1e-300))


def spike(x, centre, width):
    """1 at the centre, 0 where x is farther from it than the width."""
    return jax.nn.relu(1 - jnp.abs(x - centre) / width)


def within(x, low, high):
    return jnp.where((x > low) & (x < high), 1.0, 0.0)


BAD = {
    # less than nothing somewhere
    "clip minus a bump far out": lambda r, g: clip(r, g) - 100 * spike(r, 55.0, 5.0) * jnp.abs(g),
    "square, falling with |g|": lambda r, g: square(r) * (1 - 1e-4 * jnp.abs(g)),
    "square, negative for tiny |g|": lambda r, g: square(r) * (jnp.abs(g) - 1e-5),
    "square times g": lambda r, g: square(r) * g,
    "minus square": lambda r, g: -square(r),
    "a little less than nothing": lambda r, g: -1e-9 * square(r) * jnp.abs(g),
    "negative at one g": lambda r, g: square(r) * jnp.where(g == 3.0, -1.0, 1.0),
    "spike in r": lambda r, g: square(r) - 5 * spike(r, 2.37, 1e-3),
    "needle in r": lambda r, g: square(r) - 5 * spike(r, 2.37, 1e-7),
    "spike in r and g": lambda r, g: square(r) - 5 * spike(r, 2.37, 1e-3) * spike(g, 1.9, 1e-3),
    "needle in r and g": lambda r, g: square(r) - 5 * spike(r, 2.37, 1e-7) * spike(g, 1.9, 1e-7),
    "negative between": lambda r, g: square(r) * (1 - 2 * within(r, 2.5, 2.9)),
    "cubic in log r": lambda r, g: jnp.log(r) ** 2 - 0.1 * jnp.log(r) ** 3,
    "waves": lambda r, g: log(r) ** 2 * (1 + 1.001 * jnp.sin(50 * log(r))),
    "window along a line": lambda r, g: square(r) * (1 - 2 * within(r - 1 - 0.37 * g, -0.01, 0.01)),
    "window along a hyperbola": lambda r, g: square(r) * (1 - 2 * within(r * g - 7, -0.05, 0.05)),
    "hash of r": lambda r, g: square(r) * (1e4 * r - jnp.floor(1e4 * r) - 0.01),
    "cube": lambda r, g: (r - 1) ** 3,
    "negative at 0 alone": lambda r, g: jnp.where(r == 0, -1.0, square(r)),
    "negative at infinity": lambda r, g: jnp.where(r > 1e20, -1.0, jnp.minimum(square(r), 1.0)),
    # divergences of the policy
    "KL minus reverse KL": lambda r, g, *, kl, reverse_kl: kl - 0.6 * reverse_kl,
    "KL, refunded": lambda r, g, *, kl: 0.1 * kl - jax.nn.relu(kl - 1),
    "KL, refunded far out": lambda r, g, *, kl: kl - 2 * jax.nn.relu(kl - 50),
    "root of KL": lambda r, g, *, kl: jnp.sqrt(kl),
    "KL to the .4": lambda r, g, *, kl: kl**0.4,
    "minus euclid": lambda r, g, *, old_prob: -old_prob * square(r),
    # a slope at 1
    "distance": lambda r, g: jnp.abs(r - 1),
    "only up": lambda r, g: jax.nn.relu(r - 1),
    "small kink": lambda r, g: clip(r, g) + 1e-6 * jax.nn.relu(1 - r),
    "tiny kink": lambda r, g: clip(r, g) + 1e-9 * jax.nn.relu(1 - r),
    "tiny slope": lambda r, g: clip(r, g) + 1e-7 * (r - 1) * g,
    "hidden kink": lambda r, g: square(r) + 0.1 * jax.lax.stop_gradient(jnp.abs(r - 1)),
    "g log r": lambda r, g: g * jnp.log(r),
    "log r": lambda r, g: jnp.log(r),
    "-|g| log r": lambda r, g: -jnp.abs(g) * jnp.log(r),
    "-log r for some": lambda r, g: jnp.where(g > 0, -jnp.log(r), 0.0),
    "slope at g = 0": lambda r, g: jnp.where(g == 0, r - 1, clip(r, g)),
    "slope in a window": lambda r, g: square(r) + 0.5 * (r - 1) * within(g, 0.5, 0.8),
    "slope by probability": lambda r, g, *, old_prob: square(r) + 0.1 * (r - 1) * old_prob,
    # a value at 1, a jump, no number
    "never nothing": lambda r, g: square(r) + 1e-9,
    "costs when others move": lambda r, g, *, m: clip(r, g) + 0.1 * (m - 1) ** 2 * jnp.abs(g),
    "flat fee": lambda r, g: 0.1 * jnp.abs(g) * (1 - within(r, 0.8, 1.2)),
    "no number at 0": lambda r, g: r * jnp.log(r) - r + 1,
    "no number where M is 0": lambda r, g, *, m: clip(r, g) + (r - 1) * jnp.log(m),
    # not a function of a sample
    "normalised over the batch": lambda r, g: square(r) / (1e-8 + jnp.std(r)),
    "minus its mean": lambda r, g: square(r) - jnp.mean(square(r)),
    "sign by size": lambda r, g: square(r) * (1.0 if r.size > 100 else -1.0),
    "another one each time": lambda r, g: square(r) * next(_turn),
}

KNOTS = {1.1: 0.5, 1.4: 1.0, 0.8: 0.7, 0.5: 2.0}  # hinges: where, and how steep


def hinges(r, turn):
    """Hinges that rise away from 1; ``turn`` scales them."""
    parts = [slope * jax.nn.relu((r - knot) if knot > 1 else (knot - r)) for knot, slope in KNOTS.items()]
    return turn * sum(parts)


def network(r, g):
    """A small network of log r and g, even and 0 where nothing moves."""
    x = jnp.stack([log(r) ** 2, log(r) ** 2 * jnp.abs(g), jnp.abs(log(r)) ** 3], -1)
    hidden = jnp.tanh(x @ jnp.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.3], [0.2, 0.1, 0.6]]))
    return hidden @ jnp.array([0.7, -0.4, 0.9])


def jensen_shannon(r):
    return xlogy(r, r) - (r + 1) * jnp.log((r + 1) / 2)


GOOD = {
    "reverse of KL": lambda r, g: r - 1 - jnp.log(r),
    "-log r": lambda r, g: -jnp.log(r),
    "half (log r)^2": lambda r, g: jnp.log(r) ** 2 / 2,
    "r log r": lambda r, g: xlogy(r, r),
    "saturating": lambda r, g: jnp.abs(g) * square(r) / (1 + square(r)),
    "rollback": lambda r, g: 1.3 * clip(r, g),
    "Hellinger": lambda r, g: 2 * (jnp.sqrt(r) - 1) ** 2,
    "Hellinger with a slope": lambda r, g: 2 * (1 - jnp.sqrt(r)),
    "one for each sign": lambda r, g: jnp.abs(g) * jnp.where(g > 0, square(r), log(r) ** 2),
    "network": lambda r, g: jax.nn.relu(network(r, g) - 1e-4),
    "pseudo-Huber": lambda r, g: jnp.sqrt(1 + square(r)) - 1,
    "clip with a slope": lambda r, g: clip(r, g) + 0.3 * (r - 1),
    "exponential": lambda r, g: jnp.exp(jnp.minimum(r, 50.0) - 1) - jnp.minimum(r, 50.0),
    "clip of r times what M says": lambda r, g, *, m: clip(r * jnp.clip(m, 0.9, 1.1), g),
    "clip and KL": lambda r, g, *, kl: clip(r, g) + 0.5 * kl,
    "log of square": lambda r, g: jnp.log(1 + square(r) * g**2),
    "r + 1 / r": lambda r, g: jnp.abs(g) * (r + 1 / r - 2),
    "inverse root": lambda r, g: r**-0.5 - 1 + 0.5 * (r - 1),
    "clip of the other sign": lambda r, g: clip(r, -g),
    "power 1.5": lambda r, g: jnp.abs(r - 1) ** 1.5,
    "power 1.1": lambda r, g: jnp.abs(r - 1) ** 1.1,
    "KL to the .75": lambda r, g, *, kl: kl**0.75,
    "-log of a floor": lambda r, g: -jnp.log(jnp.maximum(r, 1e-4)),
    "for gains alone": lambda r, g: jnp.where(g > 0, jax.nn.relu(jnp.abs(jnp.log(r)) - 0.2) ** 2, 0.0),
    "clip and reverse KL": lambda r, g, *, reverse_kl: clip(r, g) + 2 * reverse_kl,
    "tanh": lambda r, g: jnp.abs(g) * jnp.tanh(square(r)),
    "radius by M": lambda r, g, *, m: clip(r, g, 0.2 / (1 + m)),
    "Jensen-Shannon": lambda r, g: jensen_shannon(r),
    "hinges": lambda r, g: jnp.where(g >= 0, hinges(r, 1.0), hinges(r, 0.4)),
    "log of 1 + square": lambda r, g: jnp.log(1 + square(r)),
}
