"""Advantages, value loss, normalisers and distributions, on hand-computed numbers and against independent libraries."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from hamljax.algorithms.on_policy.returns import calculate_gae, value_loss
from hamljax.envs.protocol import Observation, Team
from hamljax.nn.distributions import Categorical, Gaussian
from hamljax.nn.normalisation import ObsNorm, ValueNorm, normalise_advantages


def test_gae_by_hand_with_a_truncation_and_a_termination():
    reward = jnp.array([1.0, 2.0, 3.0, 4.0])
    value = jnp.array([0.5, 0.6, 0.7, 0.8])
    next_value = jnp.array([0.6, 10.0, 0.8, 20.0])  # 10: of the final state before the reset; 20: of a terminal one
    terminated, truncated = jnp.array([0.0, 0, 0, 1]), jnp.array([0.0, 1, 0, 0])
    advantage, target = calculate_gae(reward, value, next_value, terminated, truncated, 0.9, 0.5)
    d1 = 2 + 9 - 0.6
    d0 = 1 + 0.54 - 0.5 + 0.45 * d1
    d3 = 4 - 0.8
    d2 = 3 + 0.72 - 0.7 + 0.45 * d3
    np.testing.assert_allclose(advantage, [d0, d1, d2, d3], rtol=1e-6)
    np.testing.assert_allclose(target, advantage + value, rtol=1e-6)


def test_a_dropped_step_teaches_nothing():
    ones = jnp.ones(3)
    dropped = jnp.array([False, True, False])
    advantage, target = calculate_gae(ones, ones, ones, 0 * ones, 1.0 * dropped, 0.9, 0.9, dropped)
    assert advantage[1] == 0 and target[1] == 1 and advantage[0] != 0


def test_gae_equals_rlax_without_ends():
    keys = jax.random.split(jax.random.key(0), 2)
    reward, values = jax.random.normal(keys[0], (9,)), jax.random.normal(keys[1], (10,))
    zero = jnp.zeros(9)
    ours, _ = calculate_gae(reward, values[:-1], values[1:], zero, zero, 0.97, 0.9)
    theirs = rlax.truncated_generalized_advantage_estimation(reward, jnp.full(9, 0.97), 0.9, values)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind,wanted", [("squared", 0.5 * 3.0**2), ("huber", 1.0 * (3.0 - 0.5))])
def test_value_loss_takes_the_worse_of_clipped_and_plain(kind, wanted):
    value, old, target = jnp.array(2.0), jnp.array(-0.2), jnp.array(3.0)
    np.testing.assert_allclose(value_loss(value, old, target, kind, 1.0, 0.2, True), wanted, rtol=1e-6)
    assert value_loss(value, old, target, kind, 1.0, 0.2, False) == 0.5


def test_value_norm_by_hand():
    norm = ValueNorm.create(True).update(jnp.array([1.0, 3.0]), beta=0.5).update(jnp.array([5.0, 5.0]), beta=0.5)
    mean = (0.25 * 2 + 0.5 * 5) / 0.75
    std = np.sqrt((0.25 * 5 + 0.5 * 25) / 0.75 - mean**2)
    np.testing.assert_allclose(norm.statistics(), (mean, std), rtol=1e-6)
    np.testing.assert_allclose(norm.denormalise(norm.normalise(jnp.array(7.0))), 7.0, rtol=1e-6)
    assert ValueNorm.create(False).update(jnp.ones(3)).normalise(jnp.array(7.0)) == 7.0


def test_obs_norm_is_the_mean_and_variance_of_all_that_living_agents_saw():
    """Two batches against numpy on everything at once; agent 1 has one real entry, and is dead half of the time."""
    team = Team(obs_sizes=(2, 1), action_sizes=(1, 1), world_state_size=3)
    random = np.random.default_rng(0)
    obs = random.normal(3.0, 2.0, (4, 5, 2, 2)) * [[1, 1], [1, 0]]
    alive = random.random((4, 5, 2)) < [1.0, 0.5]
    state = random.normal(-1.0, 0.5, (4, 5, 3))
    norm = ObsNorm.create(team)
    for part in (slice(0, 1), slice(1, 4)):
        norm = norm.update(Observation(jnp.array(obs[part]), jnp.array(state[part]), None, jnp.array(alive[part])))
    for agent in (0, 1):
        seen = obs[:, :, agent][alive[:, :, agent]]
        np.testing.assert_allclose(norm.obs.mean[agent], seen.mean(0), rtol=1e-5)
        np.testing.assert_allclose(norm.obs.variance[agent], seen.var(0), rtol=1e-5)
    out = norm.normalise(Observation(jnp.array(obs), jnp.array(state), None, None))
    flat = state.reshape(-1, 3)
    np.testing.assert_allclose(out.world_state, ((state - flat.mean(0)) / flat.std(0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(out.obs[..., 1, 1], 0)  # padding
    far = norm.normalise(Observation(jnp.full((2, 2), 1e6), jnp.zeros(3), None, None))
    np.testing.assert_array_equal(far.obs[0], 10.0)


def test_advantages_are_normalised_over_alive_samples_only():
    mask = jnp.array([True, True, False])
    np.testing.assert_allclose(normalise_advantages(jnp.array([1.0, 3.0, 1e6]), mask)[0][:2], [-1, 1], rtol=1e-4)


def test_categorical_equals_distrax_on_legal_actions_and_never_takes_another():
    avail = jnp.array([True, False, True, False])
    logits, other = jnp.array([0.3, 9.0, -0.4, 0.0]), jnp.array([-1.0, 3.0, 0.2, 0.0])
    legal = np.array([0, 2])
    p, q = distrax.Categorical(logits[legal]), distrax.Categorical(other[legal])
    np.testing.assert_allclose(Categorical.log_prob(logits, avail, jnp.array(2)), p.log_prob(1), rtol=1e-6)
    np.testing.assert_allclose(Categorical.entropy(logits, avail), p.entropy(), rtol=1e-6)
    np.testing.assert_allclose(Categorical.kl(logits, other, avail), p.kl_divergence(q), rtol=1e-5)
    assert Categorical.mode(logits, avail) == 0  # the best legal one; action 1 is not
    samples = jax.vmap(lambda key: Categorical.sample(key, logits, avail))(jax.random.split(jax.random.key(0), 2000))
    assert set(np.unique(samples)) == {0, 2}
    for action in range(4):
        assert jnp.isfinite(jax.grad(lambda x, a=action: Categorical.log_prob(x, avail, jnp.array(a)))(logits)).all()


def test_gaussian_equals_distrax_on_real_dimensions():
    avail = jnp.array([True, True, False])
    logits = jnp.array([[0.5, -1.0, 7.0], [0.1, -0.3, 5.0]])
    other = jnp.array([[0.0, 0.2, -7.0], [0.4, 0.0, 1.0]])
    p = distrax.MultivariateNormalDiag(logits[0, :2], jnp.exp(logits[1, :2]))
    q = distrax.MultivariateNormalDiag(other[0, :2], jnp.exp(other[1, :2]))
    action = Gaussian.sample(jax.random.key(0), logits, avail)
    assert action[2] == 0
    np.testing.assert_allclose(Gaussian.log_prob(logits, avail, action), p.log_prob(action[:2]), rtol=1e-5)
    np.testing.assert_allclose(Gaussian.entropy(logits, avail), p.entropy(), rtol=1e-5)
    np.testing.assert_allclose(Gaussian.kl(logits, other, avail), p.kl_divergence(q), rtol=1e-5)
