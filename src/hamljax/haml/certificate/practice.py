"""What Definition 1 does not ask, and training does: finite gradients in single precision, scale, shape."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .samples import complete, contexts
from .subject import Samples, Subject

LOG_RATIOS = np.concatenate([[-200.0, -90.0], np.linspace(-20, 20, 41)])
GAINS = np.array([0.0, 1e-3, -1e-3, 1.0, -1.0, 1e3, -1e3])


@dataclasses.dataclass(frozen=True)
class Practice:
    """What training meets.

    finite: the share of gradients in the log-ratio that are numbers in float32, of log-ratios within 20.
    worst: a log-ratio and an M A where they are not, -90 and -200 included, whose ratio is 0.
    degree: k, where f(r, t MA) = t^k f(r, MA) for t > 0. convex: whether no pair of ratios says otherwise.
    follows: whether the gradient that JAX takes is the derivative.
    """

    finite: float
    worst: tuple[float, float] | None
    degree: float | None
    convex: bool
    follows: bool


def look(subject: Subject, rng: np.random.Generator) -> Practice:
    """All of it, in one state."""
    context = contexts(subject, rng, 1)[0]
    grid = [x.ravel() for x in np.meshgrid(LOG_RATIOS, GAINS, indexing="ij")]
    samples = complete(subject, np.exp(grid[0]), grid[1], context, rng)
    finite = np.isfinite(_gradients(subject, grid[0], samples))
    near = np.abs(grid[0]) <= 20
    at = int(np.argmin(finite))
    worst = None if finite.all() else (float(grid[0][at]), float(grid[1][at]))
    ratio = np.exp(rng.normal(size=400))
    samples = complete(
        subject, ratio, np.where(rng.random(400) < 0.5, 1.0, -1.0) * np.exp(rng.normal(size=400)), context, rng
    )
    samples = {**samples, "kl": rng.random(400), "reverse_kl": rng.random(400)}
    convex, follows = _convex(subject, samples, rng), _follows(subject, samples)
    return Practice(float(finite[near].mean()), worst, _degree(subject, samples), convex, follows)


def _gradients(subject: Subject, log_ratio: np.ndarray, samples: Samples) -> np.ndarray:
    with jax.enable_x64(False):
        given = subject.in_single(samples)
        slope = jax.jit(jax.grad(lambda log: jnp.sum(subject.call({**given, "ratio": jnp.exp(log)}))))
        return np.asarray(slope(jnp.asarray(log_ratio, jnp.float32)))


def _degree(subject: Subject, samples: Samples) -> float | None:
    """The same exponent for every sample that costs something, and for two scales."""
    scaled = [
        {name: x * t if name in ("m_advantage", "advantage") else x for name, x in samples.items()}
        for t in (1.0, 2.0, 10.0)
    ]
    one, two, ten = (subject.costs(each) for each in scaled)
    dear = np.abs(one) > 1e-12
    if not dear.any() or (np.abs(two[~dear]) > 1e-9).any():
        return None
    found = np.concatenate([np.log2(two[dear] / one[dear]), np.log10(ten[dear] / one[dear])])
    return float(np.round(found.mean(), 6)) + 0.0 if np.ptp(found) < 1e-6 else None


def _convex(subject: Subject, samples: Samples, rng: np.random.Generator) -> bool:
    low, high = (5 * rng.random(len(samples["ratio"])) + 1e-3 for _ in range(2))
    first, middle, last = (subject.costs({**samples, "ratio": ratio}) for ratio in (low, (low + high) / 2, high))
    return bool((middle <= (first + last) / 2 + 1e-9 * (1 + np.abs(first) + np.abs(last))).all())


def _follows(subject: Subject, samples: Samples) -> bool:
    """Automatic differentiation against central differences, which may disagree at a few kinks."""
    step, ratio = 1e-6, samples["ratio"]
    above, below = (subject.costs({**samples, "ratio": ratio + sign * step}) for sign in (1, -1))
    slope, found = (above - below) / (2 * step), subject.slopes(samples)
    close = np.abs(slope - found) <= 1e-3 * (1 + np.abs(slope) + np.abs(found)) + 1e-9
    return bool(close.mean() > 0.97)
