"""What every update says of HAMO and its drift, and what ``algo.keep_if_worse`` makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import EXACT, long

import hamljax
from hamljax.haml import DRIFTS, bind_drift
from hamljax.training.train import make_learner

SIZES = {"num_envs": 8, "num_steps": 4, "total_timesteps": 320, "num_evals": 0, "hidden_sizes": (8,), "order": "fixed"}


def learner(algo="happo", env="game/climbing", **settings):
    return make_learner(hamljax.config(algo, env, **{**SIZES, **settings})).learner


@functools.cache
def collected():
    """The state of a run and its first rollout: the same whatever is made of them."""
    loop = learner()
    return jax.jit(lambda key: loop.collect(loop.init(key)))(jax.random.key(0))


def sweeping(loop, compiler_options=None):
    """``seed -> state, rollout, advantages, and the sweep's agents and numbers``, compiled once."""
    state, traj = collected()
    improve, keys = (
        jax.jit(loop.sweep.improve, compiler_options=compiler_options),
        jax.random.split(jax.random.key(0)),
    )

    def sweep(seed=1):
        advantage = jax.random.normal(jax.random.key(seed), traj.transitions.log_prob.shape)
        agents, info = improve(state.learnt.agents, traj, advantage, *keys)
        return state.learnt.agents, traj, advantage, agents, info

    return sweep


def swept(loop, compiler_options=None):
    return sweeping(loop, compiler_options)()


def by_hand(loop, traj, advantage, agents, drift):
    """(agents, 2) hamo and drift in the fixed order, from tables of probabilities alone: one state, numpy."""

    @jax.jit
    def probabilities(params):
        return jax.nn.softmax(
            jax.vmap(loop.policy.evaluate_actions)(params, loop.sweep.batches(traj, advantage)).logits
        )

    policies, steps, m, found = np.asarray(probabilities(agents.params)), traj.transitions, 1.0, []
    for agent in range(2):
        action = np.asarray(steps.action)[..., agent].ravel()
        new = policies[agent].reshape(-1, 3)[0]
        old_prob = np.exp(np.asarray(steps.log_prob)[..., agent].ravel())
        ratio, gain = new[action] / old_prob, m * np.asarray(advantage)[..., agent].ravel()
        cost = np.asarray(drift(ratio, gain, old_prob))
        found.append([np.mean((ratio - 1) * gain - cost), np.mean(cost)])
        m = m * ratio
    return np.array(found)


@pytest.mark.parametrize("name", ["clip", "euclid", "none", *long("saturating")])
def test_the_numbers_are_those_of_tables(name):
    """A team of two, the second of which sees M; what a bonus adds is no part of it."""
    loop = learner(drift=name, actor_lr=0.05, ent_coef=0.5, clip_eps=0.05)
    _, traj, advantage, agents, info = swept(loop)
    bound = bind_drift(DRIFTS[name], {"clip_eps": 0.05})
    wanted = by_hand(loop, traj, advantage, agents, lambda r, g, p: bound(r, g, {"old_prob": p})).mean(axis=0)
    np.testing.assert_allclose([info["hamo"], info["drift"]], wanted, rtol=1e-4, atol=1e-6)
    assert abs(wanted[0]) > 1e-3 and (wanted[1] > 1e-3 or name == "none") and "kept" not in info


def test_where_entropies_are_paid_they_are_part_of_it():
    """The same step without the payment has the same HAMO but for ent_coef times the entropy that was gained."""
    bonus, loop, plain = 0.3, learner("mehaml", ent_coef=0.3), learner("happo", ent_coef=0.3)
    before, _, _, _, info = swept(loop, EXACT)
    _, traj, _, _, of_happo = swept(plain, EXACT)
    old = plain.policy.entropies(traj.transitions).mean()
    np.testing.assert_allclose(info["entropy"], of_happo["entropy"], rtol=1e-6)
    np.testing.assert_allclose(info["hamo"] - of_happo["hamo"], bonus * (info["entropy"] - old), atol=1e-6)


def trees_equal(x, y):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), x, y)))


def test_a_step_that_makes_it_worse_is_undone_bit_for_bit():
    """A learning rate beyond all reason, on advantages of mean 0: one agent's step is good by chance, the other's is not."""
    mixed, loop = False, learner(drift="euclid", actor_lr=30.0)
    freely = sweeping(loop, EXACT)
    keeping = sweeping(learner(drift="euclid", actor_lr=30.0, keep_if_worse=True), EXACT)
    for seed in range(1, 7):
        _, traj, advantage, free, _ = freely(seed)
        before, _, _, agents, info = keeping(seed)
        assert info["hamo"] >= 0 and info["kept"] in (0.0, 0.5, 1.0)
        of = [
            [jax.tree.map(lambda x, i=i: np.asarray(x)[i], tree) for i in range(2)] for tree in (before, agents, free)
        ]
        kept = [trees_equal(of[0][i], of[1][i]) for i in range(2)]  # parameters, and the optimiser's moments and count
        assert sum(kept) == 2 * info["kept"]
        if not kept[0]:
            assert trees_equal(of[1][0], of[2][0])  # the first is told nothing that depends on it
        worth = by_hand(loop, traj, advantage, free, lambda r, g, p: p * (r - 1) ** 2 / 2)
        assert kept[0] == (worth[0, 0] < 0)
        mixed |= 0 < sum(kept) < 2
    assert mixed


def test_a_policy_that_is_kept_counts_as_one_that_has_not_moved():
    """Both agents kept: KL, drift and HAMO are 0, and the second saw an M of 1."""
    loop = learner(drift="euclid", actor_lr=30.0, keep_if_worse=True, drift_params={"euclid_coef": 1e4})
    *_, info = swept(loop)
    assert info["kept"] == 1 and info["hamo"] == 0 and info["drift"] == 0
    np.testing.assert_allclose(info["kl"], 0, atol=1e-6)


@pytest.mark.parametrize("row", ["happo", *long("hatrpo", "mappo_s", "mehaml", "maa2c_ns", "hatrpo_w")])
def test_the_reported_hamo_is_never_negative_where_policies_are_kept(row):
    """Where steps are long and dear they are not taken; one of HAPPO's is dear enough at any price."""
    seen = []
    for actor_lr, price in ((3.0, 1.0), (0.3, 30.0))[: 1 if row == "happo" else 2]:
        settings = {"drift_params": {"euclid_coef": price}, "max_kl": 1.0, "accept_ratio": 0.0}
        loop = learner(row, drift="euclid", keep_if_worse=True, actor_lr=actor_lr, **settings)
        update, state = (
            jax.jit(loop.update),
            jax.jit(loop.init)(jax.random.key(0)) if row != "happo" else collected()[0],
        )
        for _ in range(10):
            state, info = update(state)
            seen.append((float(info["train/hamo"]), float(info["train/kept"])))
    assert min(hamo for hamo, _ in seen) >= 0 and max(hamo for hamo, _ in seen) > 0
    assert "trpo" in row or max(kept for _, kept in seen) > 0  # which ask for improvement anyway


@pytest.mark.long
def test_an_overflow_of_what_is_only_reported_skips_no_update(monkeypatch):
    loop = learner()
    state, traj = jax.jit(loop.collect)(jax.jit(loop.init)(jax.random.key(0)))
    plain, _ = loop.learn(state, traj)
    learn = loop.compiled_learn
    wild = lambda *x: (lambda after, info: (after, info | {"hamo": jnp.inf, "drift": jnp.nan}))(*learn(*x))  # noqa: E731
    found, info = loop.replace(compiled_learn=wild).learn(state, traj)
    assert info["train/skipped"] == 0 and trees_equal(found.learnt, plain.learnt)


def off_policy(**settings):
    sizes = {**SIZES, "total_timesteps": 6400, "learning_starts": 32, "batch_size": 8, "buffer_size": 64}
    return make_learner(hamljax.config("hasac", "game/climbing", auto_alpha=False, **sizes, **settings)).learner


@pytest.mark.parametrize("settings", [{"drift": "reverse_kl", "kl_coef": 2.0}, {"neighbourhood": "kl_stop"}])
def test_off_policy_rows_with_a_drift_or_a_limit_say_it_of_a_gradient_step(settings):
    """Where no action is worth anything HAMO is alpha times the entropy that was gained, less the drift: by tables."""
    loop = off_policy(actor_lr=0.03, alpha=0.5, max_kl=10.0, update_epochs=3, **settings)
    rng, observation = np.random.default_rng(0), collected()[0].rollout.observation
    policies = jax.eval_shape(loop.init, jax.random.key(0)).learnt.agents
    policies = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), policies)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), policies.params)
    policies = policies._replace(params=params, log_alpha=np.full_like(policies.log_alpha, np.log(0.5)))

    def improve(policies):
        keys = jax.random.split(jax.random.key(1))
        worthless = lambda joint, times: jnp.zeros(len(joint))  # noqa: E731
        return loop.sweep.improve(policies, worthless, observation, jnp.zeros((8, 2, 3)), *keys)

    after, info = jax.jit(improve)(policies)
    logits = jax.jit(lambda params: jax.vmap(loop.sweep.logits)(params, loop.sweep.views(observation)))
    old, new = (np.asarray(jax.nn.log_softmax(logits(x.params)), float) for x in (policies, after))
    cost = 2 * (np.exp(new) * (new - old)).sum(-1).mean() if "drift" in settings else 0.0
    gained = (np.exp(old) * old).sum(-1).mean() - (np.exp(new) * new).sum(-1).mean()
    assert abs(gained) > 1e-3 and (cost > 1e-4 or "drift" not in settings)
    np.testing.assert_allclose([info["drift"], info["hamo"]], [cost, 0.5 * gained - cost], rtol=1e-3, atol=1e-6)


def test_plain_off_policy_rows_do_not_say_it():
    loop = off_policy()
    found = jax.eval_shape(loop.update, jax.eval_shape(loop.init, jax.random.key(0)))[1]
    assert "train/objective" in found and "train/hamo" not in found
