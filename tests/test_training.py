"""Whole training runs: determinism, vectorisation, coordination, and learning past thresholds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import is_off_policy, long

import hamljax
from hamljax.algorithms import ALGORITHMS
from hamljax.algorithms.on_policy import learner as loop
from hamljax.envs import configure
from hamljax.nn.normalisation import normalise_advantages


def small(algo="happo", env="game/climbing", network="mlp", **overrides):
    settings = {"num_envs": 8, "num_steps": 8, "total_timesteps": 64 * 3, "num_eval_episodes": 4, "hidden_sizes": (8,)}
    return hamljax.config(algo, env, network, **{**settings, **overrides})


def equal(a, b, **tolerance):
    """Assert two pytrees equal, bitwise unless a tolerance is given."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(x, y, **{"rtol": 0, "atol": 0, **tolerance})


@pytest.mark.parametrize(
    "env, network, atol",
    [
        ("game/climbing", "mlp", 1e-6),
        *long(*((env, network, 2e-4) for env in ("game/tracking", "smax/3m") for network in ("mlp", "gru"))),
    ],
)
def test_a_seed_fixes_the_run_and_vmapped_runs_equal_single_ones(env, network, atol):
    """Vmapped over seeds and over hyper-parameters: of three runs the first two share a rate, the last two a seed."""

    def train(rate, key):
        made = small(env=env, network=network, actor_lr=rate, num_evals=2 if network == "gru" else 0)
        return hamljax.make_train(made)(key)

    rates, keys = jnp.array([1e-4, 1e-4, 3e-3]), jax.random.split(jax.random.key(0))[np.array([0, 1, 1])]
    together, single = jax.jit(jax.vmap(train))(rates, keys), jax.jit(train)
    for i in range(3):
        alone = single(rates[i], keys[i])
        equal(alone, single(rates[i], keys[i]))
        both = jax.tree.map(lambda x, i=i: x[i], together["runner_state"].learnt.agents.params)
        equal(alone["runner_state"].learnt.agents.params, both, atol=atol)
    first, second, third = together["metrics"]["train/critic_loss"]
    assert not np.allclose(first, second) and not np.allclose(second, third)


def test_one_agent_sequential_is_simultaneous():
    env = configure("game/random", num_agents=1)
    one, other = (hamljax.make_learner(small(a, env, num_minibatches=2)).learner for a in ("happo", "mappo_ns"))
    state, traj = jax.jit(one.collect)(jax.jit(one.init)(jax.random.key(0)))
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    keys = jax.random.split(jax.random.key(2))
    ends = [jax.jit(x.sweep.improve)(state.learnt.agents, traj, advantage, *keys)[0] for x in (one, other)]
    equal(ends[0], ends[1], atol=1e-6)
    assert not np.array_equal(jax.tree.leaves(ends[0].params)[-1], jax.tree.leaves(state.learnt.agents.params)[-1])


def coordination_run(algo, network):
    """The two-agent Proposition 1 game, which random play wins half of the time; shared parameters see the agent's id."""
    rate = {} if "trpo" in algo else {"actor_lr": 5e-3}
    config = small(
        algo, configure("game/prop1", num_agents=2), network, total_timesteps=64 * 60, num_envs=64, num_steps=1,
        num_evals=2, num_eval_episodes=16, ent_coef=0.0, max_kl=0.05, update_epochs=5, **rate,
    )  # fmt: skip
    return hamljax.make_train(config)(jax.random.key(1))["metrics"]


def learnt(metrics):
    return (metrics["eval/return"][-1] > 0.9) & (metrics["train/episode_return"][-5:].mean() > 0.8)


ROWS = [name for name in ALGORITHMS if not is_off_policy(name)]


# In the short tests HAPPO learns, below, and the first step of HATRPO and MATRPO is that of Proposition 2.
EVERYTHING = [*(("mlp", algo) for algo in ROWS), *(("gru", algo) for algo in ("happo", "hatrpo", "mappo_s"))]


@pytest.mark.parametrize("network, algo", long(("gru", "matrpo_ns"), *EVERYTHING))
def test_every_row_learns_to_coordinate(algo, network):
    assert learnt(jax.jit(coordination_run, static_argnums=(0, 1))(algo, network))


@pytest.mark.parametrize("algo", ["happo", *long("mappo_s", "hatrpo")])
def test_a_row_learns_to_coordinate_unless_the_advantage_is_turned_round(algo, monkeypatch):
    def turned(sign, advantage, scale):
        return sign * advantage, scale

    def run(sign):
        monkeypatch.setattr(loop, "normalise_advantages", lambda *x: turned(sign, *normalise_advantages(*x)))
        return learnt(coordination_run(algo, "mlp"))

    run = jax.jit(run)
    assert run(1.0) and not run(-1.0)


@pytest.mark.long  # test_exact follows the same in a game of six
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
            params = state.learnt.agents.params
            bias = jnp.broadcast_to(jnp.log(jnp.array([0.7, 0.3])), params["params"]["head"]["bias"].shape)
            head = {"kernel": jnp.zeros_like(params["params"]["head"]["kernel"]), "bias": bias}
            params = {"params": {**params["params"], "head": head}}
            return state._replace(learnt=state.learnt._replace(agents=state.learnt.agents._replace(params=params)))

        def first_update(key):
            """What the likeliest actions pay afterwards."""
            _, metrics = learner.update(start(key))
            return payoff[tuple(jnp.argmax(metrics["exact/log_policies"][:, 0], -1))]

        payoff = jnp.asarray(learner.env.as_tables().reward)[0]
        return list(map(jax.jit(first_update), jax.random.split(jax.random.key(0), 8)))

    np.testing.assert_array_equal(final_return("matrpo_ns"), -1.0)
    np.testing.assert_array_equal(final_return("hatrpo"), 2.0)
