"""Initialisers and networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamljax.nn.networks import GRU, layer_norm, orthogonal


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (64, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    matrix = np.asarray(orthogonal(2.0)(jax.random.key(0), shape)) / 2
    assert matrix.shape == shape
    gram = matrix.T @ matrix if shape[0] >= shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)


def test_orthogonal_is_uniform():
    """Under the uniform (Haar) measure every entry has mean 0 and variance 1 / n."""
    samples = jax.vmap(lambda key: orthogonal(1.0)(key, (4, 3)))(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_allclose(samples.mean(0), 0, atol=0.02)
    np.testing.assert_allclose((samples**2).mean(0), 0.25, atol=0.02)


def test_gru_step_by_step_equals_at_once_and_forgets_only_at_a_start():
    gru, (length, batch, features) = GRU(6), (5, 3, 4)
    x = jax.random.normal(jax.random.key(0), (length, batch, features))
    start = jnp.zeros((length, batch), bool).at[2, 1].set(True)
    carry = jax.random.normal(jax.random.key(1), (batch, 6))
    params = gru.init(jax.random.key(2), carry, x, start)
    _, at_once = gru.apply(params, carry, x, start)
    state, steps = carry, []
    for t in range(length):
        state, out = gru.apply(params, state, x[t : t + 1], start[t : t + 1])
        steps.append(out[0])
    np.testing.assert_allclose(at_once, jnp.stack(steps), atol=1e-6)
    _, forgotten = gru.apply(params, jnp.zeros((batch, 6)), x[2:], jnp.zeros((3, batch), bool))
    np.testing.assert_allclose(at_once[2:, 1], forgotten[:, 1], atol=1e-6)
    assert not np.allclose(at_once[2:, 0], forgotten[:, 0], atol=1e-3)


def test_layer_norm_equals_flax_in_value_gradient_and_curvature():
    x = jax.random.normal(jax.random.key(0), (5, 3, 7)) * 2 + 1
    scale, bias, weight = jax.random.normal(jax.random.key(1), (3, 7))
    everything = jnp.ones(7, bool)

    def ours(x, scale, bias):
        return jnp.sum(jnp.tanh(layer_norm(x, everything, scale, bias)) * weight)

    def flax(x, scale, bias):
        normalised = nn.LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)
        return jnp.sum(jnp.tanh(normalised) * weight)

    arguments = (x, scale, bias)
    np.testing.assert_allclose(ours(*arguments), flax(*arguments), rtol=1e-5)
    gradients = [jax.grad(f, argnums=(0, 1, 2)) for f in (ours, flax)]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *(gradient(*arguments) for gradient in gradients)
    )
    turned = [jax.jvp(gradient, arguments, arguments)[1] for gradient in gradients]  # what the natural gradient needs
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), *turned)


def test_layer_norm_ignores_padding():
    x = jax.random.normal(jax.random.key(0), (4, 5))
    scale, bias = jax.random.normal(jax.random.key(1), (2, 5))
    mask = jnp.arange(8) < 5

    def wide(x, padding):
        pad = [(0, 0)] * (x.ndim - 1) + [(0, 3)]
        full = jnp.pad(x, pad, constant_values=padding)
        return layer_norm(full, mask, jnp.pad(scale, (0, 3), constant_values=2.0), jnp.pad(bias, (0, 3)) + 1.0)

    narrow = layer_norm(x, jnp.ones(5, bool), scale, bias + 1.0)
    np.testing.assert_allclose(wide(x, 9.0)[:, :5], narrow, atol=1e-6)
    np.testing.assert_array_equal(wide(x, 9.0)[:, 5:], 0)
    gradient = jax.grad(lambda x: jnp.sum(wide(x, 9.0) ** 2))(x)
    expected = jax.grad(lambda x: jnp.sum(layer_norm(x, jnp.ones(5, bool), scale, bias + 1.0) ** 2))(x)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
