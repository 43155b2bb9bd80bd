"""Exact values of policies that were learnt from samples: by hand, by brute force, and against what is estimated."""

import itertools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sizes import long

import hamljax
from hamljax.envs import configure, make
from hamljax.envs.games import FiniteGame, MatrixGame
from hamljax.lab.cli import main
from hamljax.lab.commands.evaluate import interval
from hamljax.lab.commands.info import lines
from hamljax.lab.runs.exact import ExactColumns
from hamljax.training.evaluate import make_evaluate
from hamljax.training.exact import MOST_WORK, episode_values, exact_metrics, reader, solver, work
from hamljax.training.train import make_learner

TINY = {"num_envs": 4, "num_steps": 4, "total_timesteps": 48, "num_evals": 0, "hidden_sizes": (8,)}
REPLAY = {"buffer_size": 64, "batch_size": 8, "learning_starts": 16, "gradient_steps": 2}
RANDOM = {"num_states": 3, "num_actions": 2, "horizon": 7, "termination": 0.25}
UNEQUAL = np.arange(24).reshape(2, 3, 4) ** 2 % 17 - 5.0


def small(algo="happo", env=None, **more):
    env = configure("game/random", **RANDOM) if env is None else env
    return hamljax.config(algo, env, "mlp", **TINY, **(REPLAY if "sac" in algo else {}), **more)


def some_policies(seed, game, count):
    """Log-probabilities (count, N, S, A) of random policies, float32."""
    rng = np.random.default_rng(seed)
    shape = (count, len(game.team.action_sizes), game.num_states, max(game.team.action_sizes))
    logits = np.where(game.team.action_mask[:, None], rng.normal(size=shape), -np.inf)
    return np.asarray(jax.nn.log_softmax(logits), np.float32)


def probability(policy, state, joint):
    return np.prod([policy[n, state, a] for n, a in enumerate(joint)])


def return_by_hand(game, policy, gamma, steps=80):
    """The discounted sum of what each of so many steps earns: at 0.8 times 0.75 a step, what comes later is below 1e-16."""
    states, total, discount = np.array(game.initial), 0.0, 1.0
    for _ in range(steps):
        after = np.zeros_like(states)
        for s, *joint in np.ndindex(game.reward.shape):
            share = states[s] * probability(policy, s, joint)
            total += discount * share * game.reward[(s, *joint)]
            after += share * game.transition[(s, *joint)]
        states, discount = after, discount * gamma * (1 - game.termination)
    return total


def gap_by_hand(game, policy, gamma):
    """The best that any deterministic policy of one agent adds to the return, each of them tried."""
    best = -np.inf
    for n, size in enumerate(game.team.action_sizes):
        for choice in itertools.product(range(size), repeat=game.num_states):
            other = policy.copy()
            other[n] = np.eye(policy.shape[-1])[list(choice)]
            best = max(best, return_by_hand(game, other, gamma))
    return best - return_by_hand(game, policy, gamma)


# THE NUMBERS


def test_returns_gaps_and_falls_are_those_of_plain_loops():
    """Agents with two and three actions, episodes that end by chance: J of 3 policies, and each agent's best of 4 or 9."""
    rng = np.random.default_rng(3)
    tables = rng.normal(size=(2, 2, 3)), rng.dirichlet(np.ones(2), size=(2, 2, 3)), [0.3, 0.7]
    game = FiniteGame(*tables, termination=0.25, horizon=5)
    log_policies, gamma = some_policies(0, game, 3), 0.8
    found = exact_metrics(small(gamma=gamma), log_policies, game)
    policies = np.exp(log_policies.astype(np.float64))
    policies /= policies.sum(-1, keepdims=True)
    wanted = np.array([return_by_hand(game, policy, gamma) for policy in policies])
    np.testing.assert_allclose(found["exact/return"], wanted, atol=1e-12)
    np.testing.assert_allclose(found["exact/nash_gap"], [gap_by_hand(game, p, gamma) for p in policies], atol=1e-12)
    lost = wanted[:-1] - wanted[1:]
    assert (lost > 0.01).any() and (lost < -0.01).any()
    np.testing.assert_allclose(found["exact/fall"], np.where(lost > 0, lost, 0), atol=1e-12)


def test_a_number_does_not_depend_on_what_is_computed_beside_it(monkeypatch):
    game = make(configure("game/random", **RANDOM))
    log_policies = some_policies(1, game, 12)
    whole = solver(game, 0.9)(log_policies.reshape(3, 4, *log_policies.shape[1:]))
    monkeypatch.setattr("hamljax.training.exact.CHUNK", 5)
    for name, values in whole.items():
        assert values.shape == (3, 4) and values.dtype == np.float64
        alone = [solver(game, 0.9)(one)[name] for one in log_policies]
        np.testing.assert_array_equal(values.ravel(), alone)
        np.testing.assert_array_equal(values.ravel(), solver(game, 0.9)(log_policies)[name])


@pytest.mark.parametrize("greedy", [True, False])
def test_an_episode_is_worth_its_horizon_and_its_termination(greedy):
    """One state that pays 1 for action 1 and nothing for action 0, which is the likelier one by 3 to 1, or the less likely."""
    game = FiniteGame([[0.0, 1.0]], np.ones((1, 2, 1)), [1.0], termination=0.25, horizon=3)
    log_policies = np.log(np.array([[[[0.75, 0.25]]], [[[0.25, 0.75]]]], np.float32))
    found = episode_values(game, 0.8, log_policies, greedy)
    paid = np.array([0.0, 1.0] if greedy else [0.25, 0.75])
    np.testing.assert_allclose(found["return"], paid * (1 + 0.75 + 0.75**2), rtol=1e-7)
    np.testing.assert_allclose(found["discounted_return"], paid / (1 - 0.8 * 0.75), rtol=1e-7)
    endless = FiniteGame(game.reward, game.transition, game.initial, termination=0.0, horizon=3)
    found = episode_values(endless, 1.0, log_policies, greedy)
    assert found.keys() == {"return"}
    np.testing.assert_allclose(found["return"], paid * 3, rtol=1e-7)


# HOW POLICIES ARE READ

READ = [
    ("happo", "ragged", {"sharing": [[0, 2], [1]], "obs_norm": "always"}),
    *long(("happo", "climbing", {}), ("mappo_s", "random", {}), ("hasac", "random", {}), ("masac_s", "ragged", {})),
]


def game_called(name):
    if name != "ragged":
        return make(configure(f"game/{name}", **(RANDOM if name == "random" else {})))
    rng = np.random.default_rng(3)
    tables = rng.normal(size=(2, 2, 3, 2)), rng.dirichlet(np.ones(2), size=(2, 2, 3, 2)), [0.3, 0.7]
    return FiniteGame(*tables, termination=0.25, horizon=5)


@pytest.mark.parametrize("algo, game, more", READ)
def test_what_is_read_is_how_a_team_acts(algo, game, more):
    """The log-probability that acting reports of a sample is the table's, in every state; all together are 1."""
    game = game_called(game)
    trainer = make_learner(small(algo, policy_gain=1.0, **more), game)
    policy = trainer.learner.policy

    @jax.jit
    def found(key):
        state = trainer.init(key)
        norm, statistics = state.learnt.obs_norm, game.team.visible(state.rollout.observation)
        learnt = state.learnt._replace(obs_norm=norm and norm.update(statistics, None))  # as an update has them
        actors = trainer.actor_state(state._replace(learnt=learnt))
        seen = actors.see(game.team, game.observe_states())
        rest = seen, jnp.ones(game.num_states, bool)
        keys = jax.random.split(key, 64)
        begin = policy.initial_memory(game.num_states)
        _, actions, said = jax.vmap(lambda key: policy.act(actors.params, begin, key, *rest))(keys)
        return trainer.read_policies(actors), actions, said["log_prob"]

    table, actions, log_prob = map(np.asarray, found(jax.random.key(0)))
    told = np.take_along_axis(table.swapaxes(0, 1)[None], actions[..., None], -1)[..., 0]
    np.testing.assert_allclose(told, log_prob, atol=1e-6)
    np.testing.assert_allclose(np.exp(table).sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(np.isneginf(table), np.broadcast_to(~game.team.action_mask[:, None], table.shape))
    assert np.ptp(table[:, 0, :2], axis=0).max() > 0.1  # agents differ


def test_there_is_nothing_to_read_where_nothing_is_known():
    def why(config, env=None):
        trainer = make_learner(config, env)
        assert trainer.read_policies is None
        return trainer.not_exact

    remembering = make_learner(hamljax.config("happo", "game/climbing", "gru", **TINY, gru_size=4))
    metrics = jax.eval_shape(lambda key: remembering.update(remembering.init(key))[1], jax.random.key(0))
    assert "train/hamo" in metrics and not [name for name in metrics if name.startswith("exact")]
    assert "remember" in remembering.not_exact and remembering.read_policies is None
    assert why(small(env=configure("game/tracking"))) == ""
    large = configure("game/prop1", num_agents=16)
    assert "takes too long" in why(small(env=large))
    policy = make_learner(small(env=large)).learner.policy
    assert work(make(large).as_tables()) > MOST_WORK and reader(policy, make(large), np.inf)[0] is not None
    assert "log_policies" in reader(object(), make(configure("game/climbing")))[1]


# TRAINING


def test_make_train_gives_the_policies_of_every_update():
    config = small(gamma=0.9)
    trainer = make_learner(config)

    @jax.jit
    def found(key):
        end = hamljax.make_train(config)(key)
        ends = [trainer.read_policies(trainer.actor_state(x)) for x in (trainer.init(key), end["runner_state"])]
        return end["metrics"]["exact/log_policies"], jnp.stack(ends)

    told, ends = map(np.asarray, found(jax.random.key(0)))
    assert told.shape == (4, 2, 3, 2)
    np.testing.assert_allclose(told[[0, -1]], ends, atol=1e-6)
    assert np.abs(np.diff(told, axis=0)).max((1, 2, 3)).min() > 1e-4  # every update moves them
    shapes = {name: x.shape for name, x in exact_metrics(config, np.stack([told, told])).items()}
    assert shapes == {"exact/return": (2, 4), "exact/nash_gap": (2, 4), "exact/fall": (2, 3)}


WORDS = ["train", "env=game/random", *(f"env.{name}={x}" for name, x in RANDOM.items()), "num_envs=4", "num_steps=4"]
WORDS += ["network.hidden_sizes=[8]", "algo.update_epochs=1", "algo.critic_epochs=1", "algo.actor_lr=0.05"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds, six updates, evaluated at the start and the end."""
    run = tmp_path_factory.mktemp("exact") / "run"
    words = ["total_timesteps=96", "num_evals=2", "num_eval_episodes=4", "num_seeds=2", "seed=3", "checkpoint_every=3"]
    assert main([*WORDS, *words, f"run_dir={run}"]) == 0
    return run


def test_a_run_records_what_its_policies_are_worth(trained):
    record = pd.read_parquet(trained / "metrics.parquet").sort_values(["seed", "update"])
    columns = {name: x.to_numpy().reshape(2, 7) for name, x in record.items() if name.startswith("exact")}
    assert columns.keys() == {"exact/return", "exact/nash_gap", "exact/fall"}
    returns, falls = columns["exact/return"], columns["exact/fall"]
    lost = returns[:, :-1] - returns[:, 1:]
    assert np.isnan(falls[:, 0]).all() and (lost > 0).any() and (lost < 0).any()
    np.testing.assert_array_equal(falls[:, 1:], np.where(lost > 0, lost, 0))
    for update in (3, 6):
        team = hamljax.load(trained, update)
        told = jax.vmap(team.trainer.read_policies)(team.actors)
        values = solver(team.env, team.config.gamma)(np.asarray(told))
        for name, x in values.items():
            np.testing.assert_allclose(columns[name][:, update], x, rtol=1e-5)
    final = json.loads((trained / "summary.json").read_text())["final"]
    assert final["exact/return"]["per_seed"] == list(returns[:, -1])
    (said,) = (text for what, text in lines(trained) if what == "exactly")
    assert f"J = {returns[:, -1].mean():.4g}" in said and "at step 96" in said
    assert f"fell in {(lost > 0).sum()} of 12 updates, by {lost.max():.3g} at most" in said


def test_a_resumed_run_has_the_same_exact_numbers(trained, tmp_path, capsys):
    half = tmp_path / "half"
    shutil.copytree(trained, half)
    shutil.rmtree(half / "checkpoints" / "6")
    (half / "summary.json").unlink()
    assert main(["resume", str(half)]) == 0
    said = capsys.readouterr().out
    assert "going on from step 48" in said and "exact=" in said and "gap=" in said
    runs = [pd.read_parquet(run / "metrics.parquet").filter(like="exact/") for run in (trained, half)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)


def test_a_run_that_nothing_discounts_has_no_columns_and_says_so():
    trainer = make_learner(small(env=configure("game/random", termination=0.0), gamma=1.0))
    columns = ExactColumns(trainer, np.arange(2))
    assert columns.note == "no exact returns: discount must be in [0, 1), not 1.0"
    assert columns.begin(None) == {}
    numbers = {"train/x": np.ones((2, 3))}
    assert columns.of({**numbers, "exact/log_policies": np.zeros((2, 3, 2, 5, 3))}) == numbers


# EVALUATION


@pytest.mark.parametrize("kind", ["random", *long("matrix")])
def test_an_estimate_holds_the_exact_value(kind):
    """Six teams, 4,096 episodes each: within 4 standard errors, most within the interval, and no other value is."""
    env = make(configure("game/random", **RANDOM)) if kind == "random" else MatrixGame(UNEQUAL)
    trainer = make_learner(small(policy_gain=1.0), env)
    evaluate = make_evaluate(trainer.learner.policy, env, 4096)

    @jax.jit
    @jax.vmap
    def found(key):
        actors = trainer.actor_state(trainer.init(key))
        return trainer.read_policies(actors), [evaluate(actors, greedy=greedy)["return"] for greedy in (False, True)]

    told, played = found(jax.random.split(jax.random.key(5), 6))
    values = [episode_values(env, 0.9, told, greedy) for greedy in (False, True)]
    for returns, known, other in zip(played, values, reversed(values), strict=True):
        ends = np.array([interval(x) for x in np.asarray(returns, np.float64)])
        mean, half = ends[:, 0], ends[:, 2] - ends[:, 0] + 1e-6
        off = np.abs(mean - known["return"])
        assert (off <= 2 * half).all() and (off <= half).sum() >= 4
        assert (np.abs(mean - other["return"]) > 4 * half).sum() >= 4
        if kind == "random":
            assert (np.abs(mean - known["discounted_return"]) > 4 * half).all()


@pytest.mark.parametrize("greedy", ["true", "false"])
def test_evaluate_shows_the_exact_value_beside_the_estimate(greedy, trained, tmp_path, capsys):
    out = tmp_path / "found.json"
    words = ["num_episodes=512", f"greedy={greedy}", "env.horizon=5", f"out={out}"]
    assert main(["evaluate", str(trained), *words]) == 0
    said, found = capsys.readouterr().out, json.loads(out.read_text())
    assert found["exact"].keys() == {"return", "discounted_return"}
    for seed in ("3", "4"):
        low, high = (found["metrics"]["return"][seed][end] for end in ("low", "high"))
        slack = (high - low) / 2
        assert low - slack <= found["exact"]["return"][seed] <= high + slack
        assert f"{found['exact']['return'][seed]:.3f}" in said
    np.testing.assert_allclose(
        found["exact"]["return"]["all seeds"], np.mean([found["exact"]["return"][s] for s in "34"])
    )
    assert "exact return" in said and "exact discounted return" in said


# FROM EXACT TO DEEP


def returns_of_crowding(algo, seeds, hidden_sizes, num_envs, num_steps, actor_lr, updates=3):
    """(seeds, 1 + updates) J of policies that start uniform, just below where simultaneous steps overshoot."""
    config = hamljax.config(
        algo, configure("game/crowding", num_agents=6, congestion=1 / 3), "mlp", num_evals=0, gamma=0.9,
        num_envs=num_envs, num_steps=num_steps, total_timesteps=num_envs * num_steps * updates,
        actor_lr=actor_lr, critic_lr=5e-3,
        update_epochs=20, critic_epochs=20, ent_coef=0.0, hidden_sizes=hidden_sizes,
    )  # fmt: skip
    train = jax.jit(hamljax.make_train(config))  # of one seed, which is compiled in less time than of several
    found = [train(key)["metrics"]["exact/log_policies"] for key in jax.random.split(jax.random.key(0), seeds)]
    return exact_metrics(config, np.stack(found))["exact/return"]


@pytest.mark.parametrize(
    "seeds, layers, num_envs, num_steps, actor_lr",
    [(4, (32,), 32, 16, 1e-2), *long((16, (64, 64), 64, 32, 5e-3))],  # one layer compiles in less time
)
def test_sequential_updates_climb_where_simultaneous_ones_overshoot(seeds, layers, num_envs, num_steps, actor_lr):
    """Six agents, congestion 1/3: J is 1.75 at the start, 2 at the top, 1 where all play 1."""
    sequential, simultaneous = (
        returns_of_crowding(algo, seeds, layers, num_envs, num_steps, actor_lr) for algo in ("haa2c", "maa2c_ns")
    )
    for returns in (sequential, simultaneous):
        np.testing.assert_allclose(returns[:, 0], 1.75, atol=0.02)
    assert (sequential[:, 1:] > 0.99 * sequential[:, :-1]).all() and (sequential[:, -1] > 1.9).all()
    assert (simultaneous[:, 1] < 1.3).all()
