"""A drift under examination: its costs and slopes in double precision, and the program that computes them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

from ..drifts import BoundDrift, Drift, bind_drift
from .intervals import numbers_in, program_in

SIZES = (1024, 8192, 65536)  # samples of a compiled call; three programs for a drift, however many questions
NUMBERS = ("progress", "num_updates", "num_agents")  # () in every sample of an update
VECTORS = ("obs", "world_state")
POLICIES = ("kl", "reverse_kl")  # numbers of a whole policy, not of one of its actions
WIDTHS = (4, 1, 17)  # entries of an observation

Samples = Mapping[str, Any]  # ratio and m_advantage (n,), and what a drift asks for by name


@contextmanager
def in_double() -> Iterator[None]:
    """Double precision, on the processor, whatever the caller has."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]), np.errstate(all="ignore"):
        yield


class Subject:
    """``drift`` with its hyper-parameters.

    evaluations: samples that were costed. width: entries of the observations and states that it is shown. team: how many
    agents its hyper-parameters speak of; None for any number. agents: of that team, one for each of the ``kinds`` of
    hyper-parameters first. Everything is to be called ``in_double``.
    """

    def __init__(self, drift: Drift, values: Mapping[str, Any], width: int = WIDTHS[0]):
        self.bound: BoundDrift = bind_drift(drift, values)
        self.asks = self.bound.asks
        self.width, self.evaluations = width, 0
        lists = [value for value in self.bound.values.values() if isinstance(value, tuple)]
        self.team: int | None = min(map(len, lists), default=None)
        own = [*zip(*lists, strict=False)]  # hyper-parameters of each agent
        first = dict(zip(reversed(own), reversed(range(len(own))), strict=True))
        self.agents = sorted(range(len(own)), key=lambda agent: first[own[agent]] != agent)
        self.kinds = len(first)
        self._programs: dict[int, ClosedJaxpr] = {}
        self._costs = jax.jit(self.call)
        self._slopes = jax.jit(jax.grad(lambda ratio, rest: jnp.sum(self.call({"ratio": ratio, **rest}))))

    def call(self, samples: Samples) -> Array:
        """The drift itself, by JAX, operation by operation unless it is traced."""
        given = {name: samples[name] for name in self.asks}
        return self.bound(samples["ratio"], samples["m_advantage"], given)

    def costs(self, samples: Samples) -> np.ndarray:
        """(n,) what the samples cost."""
        return self._in_batches(self._costs, samples)

    def slopes(self, samples: Samples) -> np.ndarray:
        """(n,) the derivative in the ratio that automatic differentiation finds."""
        return self._in_batches(lambda one: self._slopes(one.pop("ratio"), one), samples)

    def _in_batches(self, function: Callable[[dict[str, np.ndarray]], Array], samples: Samples) -> np.ndarray:
        whole = {name: np.asarray(x) for name, x in samples.items() if name in self.names}
        count = len(whole["ratio"])
        if not count:
            return np.zeros(0)
        self.evaluations += count
        size = next((s for s in SIZES if count <= s), SIZES[-1])
        found = [np.asarray(function(_cut(whole, at, size))) for at in range(0, count, size)]
        return np.concatenate([np.broadcast_to(x, (size,)) for x in found])[:count]

    def in_single(self, samples: Samples) -> dict[str, Array]:
        """What the drift is given of ``samples``, in the number types of training, for calls without double precision."""
        return {n: jnp.asarray(samples[n], jnp.int32 if n == "agent" else jnp.float32) for n in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """What a sample holds."""
        return ("ratio", "m_advantage", *self.asks)

    def program_of(self, size: int) -> ClosedJaxpr:
        """The drift of ``size`` samples as primitives, of arguments in the order of ``names``; traced once."""
        if size not in self._programs:
            self._programs[size] = self._traced(size)
        return self._programs[size]

    def _traced(self, size: int) -> ClosedJaxpr:
        shapes = {name: self.shape(name, size) for name in self.names}
        arguments = [jax.ShapeDtypeStruct(shape, _kind(name)) for name, shape in shapes.items()]
        return jax.make_jaxpr(lambda *x: self.call(dict(zip(self.names, x, strict=True))))(*arguments)

    def shape(self, name: str, size: int) -> tuple[int, ...]:
        """Of the argument ``name`` for so many samples."""
        return () if name in NUMBERS else (size, self.width) if name in VECTORS else (size,)

    @functools.cached_property
    def constants(self) -> np.ndarray:
        """(k,) the finite numbers that stand in the program, at most 64: where a cost may be special."""
        found: set[float] = set()
        _collect(self.program_of(1), found)
        return np.array(sorted(found, key=lambda x: (abs(np.log(abs(x) + 1e-300)), x))[:64])


def _kind(name: str) -> np.dtype:
    return np.dtype(np.int32 if name == "agent" else np.float64)


def _cut(whole: Samples, at: int, size: int) -> dict[str, np.ndarray]:
    """``size`` samples from ``at`` on; the last one stands for what is missing."""
    found = {}
    for name, x in whole.items():
        rows = x if x.ndim == 0 else x[at : at + size]
        missing = 0 if x.ndim == 0 else size - len(rows)
        found[name] = (
            np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]).astype(_kind(name)) if missing else rows
        )
    return found


def _collect(program: ClosedJaxpr, found: set[float]) -> None:
    arrays = [numbers_in(x) for x in program.consts]
    for equation in program.jaxpr.eqns:
        arrays += [numbers_in(x.val) for x in equation.invars if isinstance(x, Literal)]
        if (inner := program_in(equation)) is not None:
            _collect(inner, found)
        arrays += [np.asarray(equation.params["y"], float)] if equation.primitive.name == "integer_pow" else []
    for x in arrays:
        if x.size <= 64:
            found.update(float(number) for number in x.ravel() if np.isfinite(number))
