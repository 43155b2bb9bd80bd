"""Policy and value networks: one code path for feed-forward and recurrent bodies.

Every network maps ``(carry, inputs, start) -> carry, carries, outputs`` over time-major sequences: inputs (L, B, F),
``start`` (L, B) true where an episode begins (the carry is zeroed there), ``carries`` (L, B, H) after each step. A
feed-forward network is a recurrent one whose carry has size H = 0.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ..settings import POSITIVE, Settings, config_dataclass, setting

Carry = Float[Array, "B H"]
Sequence = Float[Array, "L B F"]
Start = Bool[Array, "L B"]

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


@config_dataclass
class Network(Settings):
    """The body shared in shape by actors and critic: [LayerNorm] -> (Linear -> activation -> [LayerNorm])* -> [GRU]."""

    name: str = "mlp"
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = setting("relu", choices=("relu", "tanh"))
    layer_norm: bool = False
    input_norm: bool = False
    gru_size: int = setting(0, at_least=0)  # 0: no recurrence
    # Length of the sequences that a recurrent net learns from; 0: the whole rollout.
    data_chunk_length: int = setting(0, at_least=0)
    policy_gain: float = setting(0.01, within=POSITIVE)
    std_x_coef: float = setting(1.0, within=POSITIVE)
    std_y_coef: float = setting(0.5, within=POSITIVE)


def orthogonal(gain: float | Array) -> Callable[..., Float[Array, "rows columns"]]:
    """Initialiser: ``gain`` (may be traced) times a matrix with orthonormal rows or columns, uniformly distributed.

    A product of random Householder reflections (Stewart, 1980). ``flax``'s own calls LAPACK's QR, which can deadlock on
    the CPU when the same program simulates an environment with loops.
    """

    def init(key: Key[Array, ""], shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "rows columns"]:
        rows, columns = max(shape), min(shape)
        below = jnp.arange(rows) >= jnp.arange(columns)[:, None]  # reflection k acts on the last rows - k coordinates
        vectors = jnp.where(below, jax.random.normal(key, (columns, rows), dtype), 0.0)

        def reflect(matrix, vector_and_k):
            vector, k = vector_and_k
            sign = jnp.where(vector[k] < 0, -1.0, 1.0)
            vector = vector.at[k].add(sign * jnp.linalg.norm(vector))
            reflected = matrix - 2 * jnp.outer(vector, vector @ matrix) / (vector @ vector)
            return reflected, -sign

        matrix, signs = jax.lax.scan(
            reflect, jnp.eye(rows, columns, dtype=dtype), (vectors, jnp.arange(columns)), reverse=True
        )
        matrix = matrix * signs
        return gain * (matrix if shape[0] >= shape[1] else matrix.T)

    return init


LAYER_NORM_EPSILON = 1e-6


def _row_mean(x: Array, count: Array) -> Array:
    """Mean over the last axis as a matrix-vector product, which a CPU does several times faster than a reduction."""
    return x @ jnp.ones((x.shape[-1], 1), x.dtype) / count


@jax.custom_vjp
def layer_norm(
    x: Float[Array, "*batch F"], mask: Bool[Array, "..."], scale: Float[Array, " F"], bias: Float[Array, " F"]
) -> Float[Array, "*batch F"]:
    """Normalise over the last axis (Ba et al., arXiv 1607.06450).

    The gradient is written by hand: the compiler's own recomputes the statistics inside every fused loop, which made
    training with normalised layers five times slower than without.

    Args:
        x: (..., F). mask: which of its entries are real, of a shape that broadcasts to it; padding comes out zero.
        scale, bias: (F,) of what is normalised.
    """
    return _layer_norm_forward(x, mask, scale, bias)[0]


def _layer_norm_forward(x: Array, mask: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    count = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1)
    centred = jnp.where(mask, x - _row_mean(jnp.where(mask, x, 0.0), count), 0.0)
    inverse = jax.lax.rsqrt(_row_mean(centred**2, count) + LAYER_NORM_EPSILON)
    normalised = centred * inverse
    return jnp.where(mask, normalised * scale + bias, 0.0), (normalised, inverse, mask, count, scale)


def _layer_norm_backward(
    residuals: tuple[Array, Array, Array, Array, Array], gradient: Float[Array, "*batch F"]
) -> tuple[Array, None, Array, Array]:
    normalised, inverse, mask, count, scale = residuals
    gradient = jnp.where(mask, gradient, 0.0)
    inner = gradient * scale
    spread = inner - _row_mean(inner, count) - normalised * _row_mean(inner * normalised, count)
    samples = tuple(range(gradient.ndim - 1))
    by_scale, by_bias = jnp.sum(gradient * normalised, samples), jnp.sum(gradient, samples)
    return jnp.where(mask, inverse * spread, 0.0), None, by_scale, by_bias


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


class LayerNorm(nn.Module):
    """``layer_norm`` with its scale and bias; without a mask every entry is real."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch F"], mask: Bool[Array, "*batch F"] | None = None
    ) -> Float[Array, "*batch F"]:
        """Normalise ``x`` over the real entries of its last axis."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return layer_norm(x, jnp.ones(x.shape[-1], bool) if mask is None else mask, scale, bias)


class GRU(nn.Module):
    """A gated recurrent unit (Cho et al., 2014) over a whole sequence; input projections are one matrix product."""

    size: int

    @nn.compact
    def __call__(self, carry: Carry, x: Sequence, start: Start) -> tuple[Carry, Float[Array, "L B H"]]:
        """The carry after the last step, and those after every step."""
        gates = nn.Dense(3 * self.size, kernel_init=orthogonal(1.0), name="input")(x)
        kernel = self.param("kernel", orthogonal(1.0), (self.size, 3 * self.size), jnp.float32)
        bias = self.param(
            "bias", nn.initializers.zeros, (self.size,), jnp.float32
        )  # inside the reset gate, as in cuDNN

        def step(h, gates_and_start):
            gates, start = gates_and_start
            h = jnp.where(start[:, None], 0.0, h)
            from_input, from_state = jnp.split(gates, 3, -1), jnp.split(h @ kernel, 3, -1)
            reset, update = (nn.sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
            candidate = nn.tanh(from_input[2] + reset * (from_state[2] + bias))
            h = (1 - update) * candidate + update * h
            return h, h

        return jax.lax.scan(step, carry, (gates, start))


class Body(nn.Module):
    """[LayerNorm] -> (Linear -> activation -> [LayerNorm])* -> [GRU [-> LayerNorm]]."""

    config: Network

    @nn.compact
    def __call__(
        self, carry: Carry, x: Sequence, start: Start, mask: Bool[Array, "L B F"] | None
    ) -> tuple[Carry, Float[Array, "L B H"], Float[Array, "L B D"]]:
        """See the module: carry, carries, features."""
        config = self.config
        if config.input_norm:
            x = LayerNorm(name="input_norm")(x, mask)
        for width in config.hidden_sizes:
            x = ACTIVATIONS[config.activation](nn.Dense(width, kernel_init=orthogonal(2**0.5))(x))
            if config.layer_norm:
                x = LayerNorm()(x)
        if not config.gru_size:
            return carry, jnp.zeros((*x.shape[:-1], 0), x.dtype), x
        carry, x = GRU(config.gru_size)(carry, x, start)
        return carry, x, LayerNorm()(x) if config.layer_norm else x


class Actor(nn.Module):
    """Policy head on a body, (L, B, ...), as its distribution wants it.

    ``logits`` (A): of discrete actions. ``mean`` (A). ``gaussian`` (2, A): mean, and a log standard deviation that is the
    same in all states. ``squashed`` (2, A): mean and log standard deviation, both of the state.
    """

    config: Network
    action_size: int
    head: str

    @nn.compact
    def __call__(
        self, carry: Carry, x: Sequence, start: Start, mask: Bool[Array, "L B F"] | None
    ) -> tuple[Carry, Float[Array, "L B H"], Float[Array, "L B *head"]]:
        """See the module: carry, carries, what the head is to be."""
        config = self.config
        carry, carries, x = Body(config)(carry, x, start, mask)

        def dense(name):
            return nn.Dense(self.action_size, kernel_init=orthogonal(config.policy_gain), name=name)(x)

        head = dense("head")
        if self.head in ("logits", "mean"):
            return carry, carries, head
        if self.head == "squashed":
            return carry, carries, jnp.stack([head, dense("log_std_head")], axis=-2)
        raw = self.param(
            "log_std", lambda _, shape: jnp.full(shape, config.std_x_coef, jnp.float32), (self.action_size,)
        )
        log_std = jnp.log(config.std_y_coef * nn.sigmoid(raw / config.std_x_coef))
        return carry, carries, jnp.stack([head, jnp.broadcast_to(log_std, head.shape)], axis=-2)


class Critic(nn.Module):
    """Value (L, B) of its inputs: of a state, in ValueNorm's units when that is on, or of a state and a joint action."""

    config: Network

    @nn.compact
    def __call__(
        self, carry: Carry, x: Sequence, start: Start, mask: Bool[Array, "L B F"] | None
    ) -> tuple[Carry, Float[Array, "L B H"], Float[Array, "L B"]]:
        """See the module: carry, carries, values."""
        carry, carries, x = Body(self.config)(carry, x, start, mask)
        return carry, carries, nn.Dense(1, kernel_init=orthogonal(1.0), name="head")(x)[..., 0]


def initial_carry(config: Network, batch: int) -> Carry:
    """Zeros of ``batch`` rows; H = 0 without recurrence."""
    return jnp.zeros((batch, config.gru_size), jnp.float32)
