"""Evaluation: whose randomness is whose, when it ends, and that no episode depends on those beside it."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.bridge.environment import HostEnvironment
from hamljax.bridge.process import Launch
from hamljax.training.episode import make_record
from hamljax.training.evaluate import keys_of
from hamljax.training.train import make_learner

LIMIT = 100_000
TESTS = Path(__file__).parent


class Paying(hamljax.Environment):
    """Two agents with one dimension each, ``steps`` steps: pays the first one's action, times ``pay(key)``."""

    team = hamljax.Team((1, 1), (1, 1), 1, discrete=False, action_low=-np.inf, action_high=np.inf)

    def __init__(self, steps: int, pay):
        self.max_episode_length, self.pay = steps, pay

    def reset(self, key):
        return jnp.int32(0), self._seen()

    def step(self, key, time, action):
        over = time + 1 == self.max_episode_length
        return time + 1, hamljax.Step(self._seen(), action[0, 0] * self.pay(key), over, ~over & over, {})

    def _seen(self):
        return hamljax.Observation(jnp.zeros((2, 1)), jnp.zeros(1), jnp.ones((2, 1), bool), jnp.ones(2, bool))


class Short(hamljax.Environment):
    """Might last ``LIMIT`` steps, and lasts 1 to 5 (drawn at the start), each of which pays 1. ``steps``: how many were made."""

    team = hamljax.Team((1,), (2,), 1)
    max_episode_length = LIMIT

    def __init__(self):
        self.steps = 0

    def reset(self, key):
        length = jax.random.randint(key, (), 1, 6)
        return (length, jnp.int32(0)), self._seen()

    def step(self, key, state, action):
        jax.debug.callback(self._count)
        length, time = state[0], state[1] + 1
        return (length, time), hamljax.Step(self._seen(), jnp.float32(1), time == length, jnp.bool_(False), {})

    def _count(self):
        self.steps += 1

    def _seen(self):
        return hamljax.Observation(jnp.zeros((1, 1)), jnp.zeros(1), jnp.ones((1, 2), bool), jnp.ones(1, bool))


def learner_of(env, episodes: int, name="game/climbing"):
    sizes = dict(num_envs=4, num_steps=4, total_timesteps=64, num_eval_episodes=episodes, hidden_sizes=(4,))
    return make_learner(hamljax.config("happo", name, **sizes), env)


def actors_of(learner, *keys):
    """Untrained teams of ``keys``, stacked; of the key 0 alone, unstacked."""
    init = lambda key: learner.actor_state(learner.init(key))  # noqa: E731
    return jax.jit(jax.vmap(init))(jnp.stack(keys)) if keys else jax.jit(init)(jax.random.key(0))


def sampled(env, episodes: int):
    learner = learner_of(env, episodes, "game/tracking")
    evaluate = jax.jit(lambda actors: learner.evaluate_episodes(actors, greedy=False))
    return np.asarray(evaluate(actors_of(learner))["return"])


def test_keys_are_the_rows_of_a_split():
    """So that greedy evaluations are those of a split of ``max_episode_length`` keys, without room for them."""
    keys = keys_of(jax.random.key(3), jnp.array([4, 0, 999]))
    assert (keys == jax.random.split(jax.random.key(3), 1000)[jnp.array([4, 0, 999])]).all()


def test_every_sampled_episode_has_actions_of_its_own_whatever_is_played_beside_it():
    together, in_groups = Paying(3, lambda key: 1.0), Paying(3, lambda key: 1.0)
    in_groups.at_once = 4
    found = sampled(in_groups, 64)
    assert len(np.unique(found)) == 64
    np.testing.assert_allclose(found, sampled(together, 64), rtol=1e-5, atol=1e-6)


def test_actions_are_independent_of_the_environments_randomness():
    """A sum of 100 products with a standard deviation of about 0.5 each; were they squares, it would be 50."""
    assert np.abs(sampled(Paying(100, jax.random.normal), 6)).max() < 25


@pytest.mark.parametrize("greedy", [True, False])
def test_an_evaluation_ends_with_its_last_episode(greedy):
    env = Short()
    learner = learner_of(env, 8)
    actors = actors_of(learner, *jax.random.split(jax.random.key(5), 3))
    together = jax.jit(jax.vmap(lambda actors: learner.evaluate_episodes(actors, 0, greedy)))(actors)
    jax.effects_barrier()
    lengths = np.asarray(together["length"])
    assert env.steps == lengths.max() and lengths.min() == 1 and lengths.max() == 5
    np.testing.assert_array_equal(together["return"], lengths)
    alone = jax.jit(lambda actors: learner.evaluate_episodes(actors, 0, greedy))
    for i in range(3):
        np.testing.assert_array_equal(alone(jax.tree.map(lambda x, i=i: x[i], actors))["length"], lengths[i])


def test_a_recording_ends_with_its_episode():
    env = Short()
    learner = learner_of(env, 1)
    episode = jax.jit(make_record(learner.learner.policy, env))(actors_of(learner), 0).cut()
    jax.effects_barrier()
    length = int(episode.kept[0][0])
    assert len(episode.reward) == len(episode.keys) == env.steps == length and len(episode.kept[1]) == length + 1
    np.testing.assert_array_equal(episode.kept[1], np.arange(length + 1))


def test_an_evaluation_in_host_processes_ends_with_its_last_episode(monkeypatch):
    """Six episodes of one to three steps, four at a time."""
    monkeypatch.chdir(TESTS)
    env = HostEnvironment(Launch("hosts_of_tests.Uneven", {"length": LIMIT}))
    learner = learner_of(env, 6)
    asked, step_many = [], type(env.pool(4, "evaluation")).step
    monkeypatch.setattr("hamljax.bridge.pool.Pool.step", lambda self, *a: asked.append(1) or step_many(self, *a))
    found = jax.jit(learner.evaluate_episodes)(actors_of(learner))
    lengths = np.asarray(found["length"])
    np.testing.assert_array_equal(found["doubled"], 2 * lengths)
    assert set(lengths) <= {1, 2, 3} and len(asked) == lengths[:4].max() + np.append(lengths[4:], lengths[:2]).max()
    env.close()
