"""Whole training runs: determinism, vectorisation, coordination, and learning past thresholds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

import hamljax
from hamljax.algorithms import ALGORITHMS, is_off_policy
from hamljax.envs import configure
from hamljax.learning.normalisation import normalise_advantages
from hamljax.learning.on_policy import loop


def small(algo="happo", env="game/climbing", network="mlp", **overrides):
    settings = {"num_envs": 8, "num_steps": 8, "total_timesteps": 64 * 3, "num_evals": 2, "num_eval_episodes": 4}
    return hamljax.config(algo, env, network, **{**settings, **overrides})


def equal(a, b, **tolerance):
    """Assert two pytrees equal, bitwise unless a tolerance is given."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(x, y, **{"rtol": 0, "atol": 0, **tolerance})


@pytest.mark.parametrize(
    "env, network", [("game/tracking", "gru"), *long(("game/tracking", "mlp"), ("smax/3m", "mlp"), ("smax/3m", "gru"))]
)
def test_a_seed_fixes_the_run_and_vmapped_seeds_equal_single_runs(env, network):
    train = hamljax.make_train(small(env=env, network=network))
    keys = jax.random.split(jax.random.key(0), 2)
    once = jax.jit(train)(keys[0])
    equal(once, jax.jit(train)(keys[0]))
    both = jax.jit(jax.vmap(train))(keys)
    equal(
        once["runner_state"].agents.params, jax.tree.map(lambda x: x[0], both["runner_state"].agents.params), atol=2e-4
    )
    assert not np.allclose(both["metrics"]["train/entropy"][0], both["metrics"]["train/entropy"][1])


def test_vmapped_hyper_parameters_equal_separate_runs():
    rates = jnp.array([1e-4, 3e-3])

    def run(rate):
        return hamljax.make_train(small(actor_lr=rate))(jax.random.key(0))["runner_state"].agents.params

    together = jax.jit(jax.vmap(run))(rates)
    for i, rate in enumerate(rates):
        equal(jax.jit(run)(rate), jax.tree.map(lambda x, i=i: x[i], together), atol=1e-6)
    assert not np.allclose(*jax.tree.leaves(together)[1])


def test_one_agent_sequential_is_simultaneous():
    env = configure("game/random", num_agents=1)
    ends = [
        jax.jit(hamljax.make_train(small(a, env, num_minibatches=2)))(jax.random.key(0)) for a in ("happo", "mappo_ns")
    ]
    equal(ends[0]["runner_state"].agents, ends[1]["runner_state"].agents, atol=1e-6)


def coordination_run(algo, network):
    """The two-agent Proposition 1 game, which random play wins half of the time; shared parameters see the agent's id."""
    rate = {} if "trpo" in algo else {"actor_lr": 5e-3}
    config = small(
        algo, configure("game/prop1", num_agents=2), network, total_timesteps=64 * 60, num_envs=64, num_steps=1,
        num_eval_episodes=16, ent_coef=0.0, max_kl=0.05, update_epochs=5, **rate,
    )  # fmt: skip
    return jax.jit(jax.vmap(hamljax.make_train(config)))(jax.random.split(jax.random.key(1), 2))["metrics"]


def learnt(metrics):
    return (metrics["eval/return"][:, -1] > 0.9) & (metrics["train/episode_return"][:, -5:].mean(axis=1) > 0.8)


ROWS = [name for name in ALGORITHMS if not is_off_policy(name)]


# One of each coordination, drift and neighbourhood, of which a row is a combination; the others are long.
SOME = [("mlp", "happo"), ("mlp", "matrpo_ns"), ("gru", "maa2c_s")]
EVERYTHING = [*(("mlp", algo) for algo in ROWS), *(("gru", algo) for algo in ("happo", "hatrpo", "mappo_s"))]


@pytest.mark.parametrize("network, algo", SOME + long(*(case for case in EVERYTHING if case not in SOME)))
def test_every_row_learns_to_coordinate(algo, network):
    assert learnt(coordination_run(algo, network)).all()


@pytest.mark.parametrize("algo", ["happo", *long("mappo_s", "hatrpo")])
def test_no_row_passes_with_the_advantage_turned_round(algo, monkeypatch):
    monkeypatch.setattr(loop, "normalise_advantages", lambda *x: -normalise_advantages(*x))
    assert not learnt(coordination_run(algo, "mlp")).any()


def test_proposition_2_simultaneous_falls_where_sequential_does_not():
    """From pi(0) > 0.6 both agents improve by playing 1 alone (2), and lose when both do (-1)."""

    def final_return(algo):
        config = small(
            algo, "game/prop2", total_timesteps=512 * 12, num_envs=512, num_steps=1, num_eval_episodes=8, ent_coef=0.0,
            max_kl=100.0, cg_damping=1e-3, accept_ratio=0.0, backtrack_iters=1, normalise_advantages=False,
        )  # fmt: skip
        learner = hamljax.make_learner(config)

        def start(key):
            """Every policy begins at pi(0) = 0.7."""
            state = learner.init(key)
            params = state.agents.params
            bias = jnp.broadcast_to(jnp.log(jnp.array([0.7, 0.3])), params["params"]["head"]["bias"].shape)
            head = {"kernel": jnp.zeros_like(params["params"]["head"]["kernel"]), "bias": bias}
            params = {"params": {**params["params"], "head": head}}
            return state._replace(agents=state.agents._replace(params=params))

        def first_update(key):
            state, _ = learner.update(start(key))
            return learner.evaluate(state.players)["eval/return"]

        return jax.jit(jax.vmap(first_update))(jax.random.split(jax.random.key(0), 8))

    np.testing.assert_array_equal(final_return("matrpo_ns"), -1.0)
    np.testing.assert_array_equal(final_return("hatrpo"), 2.0)
