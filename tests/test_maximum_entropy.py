"""The maximum-entropy objective on rollouts: entropies to come count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamljax
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.training.train import make_learner


class Fork(Environment):
    """Agent 0 goes on (0), to where both agents have three equal actions, or stops (1); nothing is ever paid."""

    team, max_episode_length = Team((1, 1), (3, 3), 1), 3

    def reset(self, key):
        return jnp.int32(0), self._see(jnp.int32(0))

    def step(self, key, state, action):
        over = (state == 1) | (action[0] == 1)
        return state + 1, Step(self._see(state + 1), jnp.float32(0), over, jnp.bool_(False), {})

    def _see(self, state):
        first = jnp.array([[True, True, False], [True, False, False]])
        legal = jnp.where(state == 0, first, jnp.ones((2, 3), bool))
        return Observation(
            jnp.full((2, 1), state, jnp.float32), jnp.full(1, state, jnp.float32), legal, jnp.ones(2, bool)
        )


def odds(algo, alpha):
    """pi(go) / pi(stop) of a trained agent 0."""
    sizes = {"num_envs": 64, "num_steps": 8, "total_timesteps": 64 * 8 * 60, "num_evals": 0, "hidden_sizes": (16,)}
    rates = {"actor_lr": 2e-2, "critic_lr": 2e-2, "gamma": 0.9, "ent_coef": alpha}
    made = hamljax.config(algo, "game/climbing", **sizes, **rates)
    trainer = make_learner(made, Fork())
    learner = trainer.learner

    @jax.jit
    def trained(key):
        state = trainer.run_updates(trainer.init(key), 60, 60)[0]
        seen = jax.tree.map(lambda x: x[None], Fork().reset(key)[1])
        params, memory = state.learnt.agents.params, learner.policy.initial_memory(1)
        return learner.policy.act(params, memory, key, seen, jnp.ones(1, bool))[2]["logits"][0, 0]

    logits = trained(jax.random.key(0))
    return float(np.exp(logits[0] - logits[1]))


@pytest.mark.parametrize("alpha", [0.1, pytest.param(1.0, marks=pytest.mark.long)])
def test_an_agent_goes_where_the_team_will_have_a_choice(alpha):
    """Its soft value is alpha N log k: the odds are k^(N gamma) = 3^1.8 = 7.22, whatever alpha; a bonus of the moment gives 1."""
    np.testing.assert_allclose(odds("mehaml", alpha), 3**1.8, rtol=0.25)


@pytest.mark.long
def test_a_bonus_of_the_moment_does_not():
    assert 0.6 < odds("happo", 0.1) < 1.7
