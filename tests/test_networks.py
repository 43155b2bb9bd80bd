"""Initialisers and networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamljax.learning.networks import GRU, orthogonal


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
