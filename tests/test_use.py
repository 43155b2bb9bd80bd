"""What is done with a trained team: it is evaluated, acts, is exported; and what keeps it from harm while it trains."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sizes import long

import hamljax
from hamljax.algorithms.state import ActorState
from hamljax.envs import make
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.commands.evaluate import interval, play_episodes, summarise
from hamljax.lab.commands.info import lines
from hamljax.lab.runs.pace import Streak
from hamljax.lab.storage.digests import kept
from hamljax.training.evaluate import Best

SMALL = ["num_envs=4", "num_steps=4", "total_timesteps=48", "num_eval_episodes=4", "num_evals=4"]
SMALL += ["network.hidden_sizes=[8]", "algo.update_epochs=1", "algo.critic_epochs=1"]
TRACKING = ["env=game/tracking", "algo=mappo_s", "network=gru", "network.gru_size=8"]
TRACKING += ["network.layer_norm=true", "network.input_norm=true"]
CLIMBING = ["env=game/climbing", "network.activation=tanh"]


def trained(folder, *words):
    assert main(["train", *SMALL, *words, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """Continuous, agents of three sizes, one policy with memory, everything normalised, two seeds."""
    words = [*TRACKING, "obs_norm=always", "num_seeds=2", "seed=3", "checkpoint_every=1", "network.policy_gain=1.0"]
    return trained(tmp_path_factory.mktemp("tracking") / "run", *words)


@pytest.fixture(scope="module")
def climbing(tmp_path_factory):
    """Discrete, a policy each, evaluated with sampled actions too; what it is worth exactly is not looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hamljax.training.exact.reader", lambda *_: (None, ""))
        return trained(tmp_path_factory.mktemp("climbing") / "run", *CLIMBING, "eval_sampled=true")


# EVALUATE


def by_hand(env, step, policy, number: int, episodes: int, number_of_round: int):
    """Return and length of one episode of an evaluation, played by ``policy.act`` in a plain loop."""
    key = jax.random.fold_in(policy.actors.eval_key, policy.actors.num_updates)
    reset_key, step_key = jax.random.split(jax.random.fold_in(key, number_of_round))
    state, seen = env.reset(jax.random.split(reset_key, episodes)[number])
    carry, total, length = policy.initial_carry(), 0.0, 0
    for key in jax.random.split(step_key, env.max_episode_length):
        action, carry = policy.act(seen.obs, seen.avail_actions, carry)
        state, out = step(jax.random.split(key, episodes)[number], state, action)
        seen, total, length = out.observation, total + float(out.reward), length + 1
        if out.terminated or out.truncated:
            break
    return total, length


@pytest.mark.parametrize("run", [*long("tracking"), "climbing"])
def test_an_evaluation_is_an_exact_number_of_episodes_as_policy_act_plays_them(run, request):
    team = hamljax.load(request.getfixturevalue(run))
    found = play_episodes(team, team.env, 7)
    assert all(x.shape == (len(team.seeds), 7) for x in found.values())
    step = jax.jit(team.env.step)
    for row, policy in enumerate(map(team.policy, team.seeds)):
        for number in (0, 6):
            total, length = by_hand(team.env, step, policy, number, 7, 1000)
            np.testing.assert_allclose(found["return"][row, number], total, rtol=1e-4)
            assert found["length"][row, number] == length


def test_more_episodes_than_fit_side_by_side_are_cut_to_the_number(climbing, monkeypatch):
    monkeypatch.setattr("hamljax.lab.commands.evaluate.BATCH", 4)
    team = hamljax.load(climbing)
    found = play_episodes(team, team.env, 10, greedy=False)["return"]
    assert found.shape == (1, 10) and len(set(found[0])) > 1
    np.testing.assert_array_equal(play_episodes(team, team.env, 8, greedy=False)["return"], found[:, :8])


def test_the_team_that_is_evaluated_is_the_one_just_trained(tracking):
    """Every evaluation of the record, made again from the checkpoint of its update, and from none before it."""
    record = pd.read_parquet(tracking / "metrics.parquet").dropna(subset=["eval/return"])
    learner = hamljax.load(tracking).trainer
    evaluate = jax.jit(jax.vmap(learner.evaluate))
    assert kept(tracking) == [1, 2, 3]
    for update in (1, 2, 3):
        actors = hamljax.load(tracking, update).actors
        wanted = record[record["update"] == update]["eval/return"].to_numpy()
        np.testing.assert_allclose(evaluate(actors)["eval/return"], wanted, rtol=1e-4)
        if update > 1:
            stale = hamljax.load(tracking, update - 1).actors
            late = actors._replace(params=stale.params, obs_norm=stale.obs_norm)
            assert not np.allclose(evaluate(late)["eval/return"], wanted, rtol=1e-4)


def test_the_best_team_is_the_one_that_scored_highest_and_the_later_in_a_tie():
    def actors(number):
        return ActorState({"w": jnp.float32(number)}, None, jax.random.key(0), jnp.int32(number))

    best = Best.none_yet(actors(0))
    for number, score in ((1, 2.0), (2, 5.0), (3, 4.0), (4, 5.0), (5, np.nan)):
        best = best.update(actors(number), {"eval/return": jnp.float32(score)})
    assert best.actors.params["w"] == 4 and best.score == 5
    won = best.update(actors(6), {"eval/return": jnp.float32(9), "eval/won": jnp.float32(0.5)})
    assert won.actors.num_updates == 4


def test_the_best_checkpoint_holds_the_best_of_every_seed(tracking):
    record = pd.read_parquet(tracking / "metrics.parquet").dropna(subset=["eval/return"])
    highest = record.loc[record.groupby("seed")["eval/return"].idxmax()].sort_values("seed")
    team = hamljax.load(tracking, "best")
    np.testing.assert_array_equal(team.actors.num_updates, highest["update"])
    summary = json.loads((tracking / "summary.json").read_text())
    evaluate = jax.jit(jax.vmap(team.trainer.evaluate, (0, None)))
    rounds = [evaluate(team.actors, n + 1) for n in range(10)]
    wanted = np.mean([r["eval/return"] for r in rounds], axis=0)
    np.testing.assert_allclose(summary["absolute"]["eval/return"]["per_seed"], wanted, rtol=1e-4)
    ((_, scores),) = hamljax.load_scores(tracking).items()
    np.testing.assert_array_equal(scores.values[:, 0], summary["absolute"]["eval/return"]["per_seed"])
    ((_, curves),) = hamljax.load_scores(tracking, curves=True).items()
    np.testing.assert_array_equal(curves.values[:, 0].ravel(), record.sort_values(["seed", "step"])["eval/return"])


def test_sampled_evaluation_is_made_when_asked_for(climbing, tracking):
    record = pd.read_parquet(climbing / "metrics.parquet")
    assert not np.array_equal(record["eval/return"].dropna(), record["eval_sampled/return"].dropna())
    assert "eval_sampled/return" not in pd.read_parquet(tracking / "metrics.parquet")


def test_intervals_are_wilsons_and_students():
    won = np.array([1] * 8 + [0] * 2, np.float32)
    np.testing.assert_allclose(interval(won), (0.8, 0.4902, 0.9433), atol=1e-4)  # Wilson (1927)
    mean, low, high = interval(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose((mean, low, high), (2.5, 2.5 - 2.0542, 2.5 + 2.0542), atol=1e-3)  # t(3) = 3.1824
    assert np.isnan(interval(np.array([1.5]))[1])
    nothing = {"return": np.zeros((1, 20), np.float32), "won": np.zeros((1, 20), np.float32)}
    found = summarise(nothing, [0])  # a return of 0 in every episode is no share of anything
    assert found["return"]["0"]["high"] == 0 and found["won"]["0"]["high"] > 0.1


def test_evaluate_prints_a_table_and_writes_json(tracking, capsys):
    assert main(["evaluate", str(tracking), "num_episodes=5", "env.horizon=3", "greedy=false"]) == 0
    out = capsys.readouterr().out
    assert "all seeds" in out and "3.000" in out and "5 episodes per seed" in out
    written = json.loads((tracking / "evaluation_game-tracking.json").read_text())
    assert written["metrics"]["length"]["3"]["mean"] == 3 and written["actions"] == "sampled"
    for words, complaint in (
        (["env=smax/3m"], "this team cannot play smax/3m: obs_sizes (6, 2, 4) here, 3 x"),
        (["env.horizn=3"], "unknown setting 'env.horizn'; did you mean 'env.horizon'?"),
        (["env=game/trackin"], "did you mean 'game/tracking'?"),
        (["num_episodes=0"], "at least 1"),
        (["checkpoint=9"], "keeps no checkpoint of update 9, only of 1, 2, 3"),
        (["episodes=3"], "did you mean 'num_episodes'?"),
    ):
        assert main(["evaluate", str(tracking), *words]) == 2
        err = capsys.readouterr().err
        assert complaint in err and err.count("\n") == 1


# EXPORT


class PlainPolicy:
    """The exported arrays and their description, run with numpy alone."""

    def __init__(self, file, seed: int):
        self.about = json.loads(file.with_suffix(".json").read_text())
        arrays = load_file(file)
        assert {n: list(x.shape) for n, x in arrays.items()} == {n: a["shape"] for n, a in self.about["arrays"].items()}
        self.arrays = {n.removeprefix(f"seed{seed}/"): x for n, x in arrays.items() if n.startswith(f"seed{seed}/")}
        self.memory = [np.zeros(self.about["network"]["gru_size"])] * len(self.about["agents"])

    def norm(self, name, x, real):
        centred = np.where(real, x - x[real].mean(), 0)
        normal = centred / np.sqrt((centred**2).sum() / real.sum() + 1e-6)
        return np.where(real, normal * self.arrays[f"{name}/scale"] + self.arrays[f"{name}/bias"], 0)

    def act(self, observation, avail):
        actions = []
        for number, (x, legal) in enumerate(zip(observation, avail, strict=True)):
            agent, network = self.about["agents"][number], self.about["network"]
            place, real = f"policy{agent['policy']}", np.arange(self.about["obs_size"]) < agent["obs_size"]
            if "observation/mean" in self.arrays:
                mean, variance = (self.arrays[f"observation/{n}"][number] for n in ("mean", "variance"))
                x = np.clip((x - mean) / np.sqrt(np.maximum(variance, 1e-4)), -10, 10)
            if (size := self.about["group_size"]) > 1:
                ids = np.eye(size)[agent["member"]]
                x, real = np.append(x, ids), np.append(real, ids == ids)
            body = f"{place}/Body_0"
            if network["input_norm"]:
                x = self.norm(f"{body}/input_norm", x, real)
            for layer in range(len(network["hidden_sizes"])):
                x = x @ self.arrays[f"{body}/Dense_{layer}/kernel"] + self.arrays[f"{body}/Dense_{layer}/bias"]
                x = np.maximum(x, 0) if network["activation"] == "relu" else np.tanh(x)
                if network["layer_norm"]:
                    x = self.norm(f"{body}/LayerNorm_{layer}", x, np.ones(len(x), bool))
            if network["gru_size"]:
                x = self.memory[number] = self.gru(f"{body}/GRU_0", x, self.memory[number])
                if network["layer_norm"]:
                    x = self.norm(f"{body}/LayerNorm_{len(network['hidden_sizes'])}", x, np.ones(len(x), bool))
            logits = x @ self.arrays[f"{place}/head/kernel"] + self.arrays[f"{place}/head/bias"]
            if self.about["discrete"]:
                actions.append(np.where(legal, logits, -np.inf).argmax())
            else:
                low, high = (np.resize(agent[name], len(logits)) for name in ("low", "high"))
                played = np.clip((low + high) / 2 + (high - low) / 2 * logits, low, high)
                actions.append(np.where(legal, played, 0))
        return np.array(actions)

    def gru(self, name, x, h):
        a, b, c = np.split(x @ self.arrays[f"{name}/input/kernel"] + self.arrays[f"{name}/input/bias"], 3)
        d, e, f = np.split(h @ self.arrays[f"{name}/kernel"], 3)
        r, z = (1 / (1 + np.exp(-v)) for v in (a + d, b + e))
        return (1 - z) * np.tanh(c + r * (f + self.arrays[f"{name}/bias"])) + z * h


@pytest.mark.parametrize("run, seed", [("tracking", 4), ("climbing", 0)])
def test_exported_arrays_act_the_same_in_plain_numpy(run, seed, request, tmp_path):
    run = request.getfixturevalue(run)
    assert main(["export", str(run), f"out={tmp_path / 'a.safetensors'}"]) == 0
    plain, policy = PlainPolicy(tmp_path / "a.safetensors", seed), hamljax.load(run).policy(seed)
    env, carry = make(hamljax.load(run).config.env), None
    state, seen = env.reset(jax.random.key(1))
    seen_actions = []
    for key in jax.random.split(jax.random.key(2), 6):
        action, carry = policy.act(seen.obs, seen.avail_actions, carry)
        wanted = plain.act(np.asarray(seen.obs), np.asarray(seen.avail_actions))
        np.testing.assert_allclose(action, wanted, atol=1e-4)
        seen_actions.append(wanted)
        # A state after its end is still a state; all that matters is that observations vary.
        state, out = env.step(key, state, action)
        seen = out.observation
    if not plain.about["discrete"]:
        assert np.std(seen_actions, axis=0).max() > 1e-3


def test_load_says_what_is_wrong(tracking, tmp_path):
    for arguments, complaint in (
        ((tmp_path,), "not a run directory"),
        ((tracking, 7), "keeps no checkpoint of update 7"),
        ((tracking, "lst"), "last, best or a number"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            hamljax.load(*arguments)


def test_info_and_help_answer_without_loading_jax(tracking):
    code = f"import sys; from hamljax.lab.cli import main; main(['info', {str(tracking)!r}]); assert 'jax' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for words in ("mappo_s on game/tracking, gru, seeds 3 to 4", "finished", "48 of 48 steps", "3 (whole)"):
        assert words in out


def test_dry_run_counts_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["num_seeds=2", "num_evals=0", "dry_run=true", "total_timesteps=50", "network.hidden_sizes=[8,8]"]
    assert main(["train", *SMALL, *CLIMBING, *words]) == 0
    out = capsys.readouterr().out
    actor = 2 * ((1 * 8 + 8) + (8 * 8 + 8) + (8 * 3 + 3))
    assert "48 steps are trained; the next number is 64" in out
    assert f"{actor:,} parameters per seed" in out and "compile time" in out and "memory" in out
    assert list(tmp_path.iterdir()) == []


# GUARDS


def test_an_update_with_a_non_finite_number_is_not_taken_and_counts():
    sizes = {"num_envs": 4, "num_steps": 4, "total_timesteps": 64, "hidden_sizes": (8,)}
    sizes |= {"update_epochs": 1, "critic_epochs": 1}
    learner = hamljax.make_learner(hamljax.config("happo", "game/tracking", obs_norm="always", **sizes)).learner
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    learn = jax.jit(learner.learn)

    def spoiled(name, value):
        steps = traj.transitions
        if name == "obs":
            observation = steps.observation
            return traj._replace(
                transitions=steps._replace(
                    observation=observation._replace(obs=observation.obs.at[1, 2, 0, 0].set(value))
                )
            )
        return traj._replace(transitions=steps._replace(**{name: getattr(steps, name).at[1, 2].set(value)}))

    for number, broken in enumerate((spoiled("reward", jnp.nan), spoiled("reward", jnp.inf), spoiled("obs", jnp.nan))):
        before = state
        state, metrics = learn(state, broken)
        assert metrics["train/skipped"] == 1 and state.skipped == number + 1
        assert state.num_updates == before.num_updates + 1
        jax.tree.map(np.testing.assert_array_equal, state.learnt, before.learnt)
        assert not np.array_equal(*(jax.random.key_data(s.rollout.key) for s in (state, before)))
    after, metrics = learn(state, traj)
    assert metrics["train/skipped"] == 0 and after.skipped == 0
    assert not np.array_equal(
        after.learnt.agents.params["params"]["head"]["kernel"], state.learnt.agents.params["params"]["head"]["kernel"]
    )


POISON = """
import jax.numpy as jnp, hamljax

class Poison(hamljax.Environment):
    def __init__(self):
        self.max_episode_length = 1000
        self.team = hamljax.Team(obs_sizes=(1, 1), action_sizes=(2, 2), world_state_size=1)
    def reset(self, key):
        return jnp.int32(0), self.observe()
    def step(self, key, state, action):
        sick = (state >= 12) & (state < 20)  # updates 4 and 5
        reward = jnp.where(sick, jnp.inf, 1.0 * action.sum())
        return state + 1, hamljax.Step(self.observe(), reward, jnp.bool_(False), jnp.bool_(False), {})
    def observe(self):
        return hamljax.Observation(jnp.ones((2, 1)), jnp.ones(1), jnp.ones((2, 2), bool), jnp.ones(2, bool))

hamljax.register_environment("my/poison", Poison)
"""


def assert_offending(run, update):
    """What was kept is the rollout that followed ``update`` updates."""
    team = hamljax.load(run, update)
    _, traj = jax.jit(team.trainer.learner.collect)(jax.tree.map(lambda x: x[0], team.progress.state))
    with np.load(run / "non_finite_batch.npz", allow_pickle=False) as batch:
        np.testing.assert_array_equal(batch["transitions.reward"], traj.transitions.reward)
        assert np.isinf(batch["transitions.reward"]).any()


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """The command line of a run whose fourth and fifth updates are not finite."""
    plugin = tmp_path_factory.mktemp("poison") / "poison.py"
    plugin.write_text(POISON)
    words = ["train", *SMALL, "algo=mappo_s", "num_evals=0", f"plugin={plugin}", "env=my/poison"]
    return [*words, "total_timesteps=320"]


def test_non_finite_updates_in_a_row_stop_the_run_and_the_last_good_state_stays(poisoned, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["nan_patience=2", "checkpoint_every=1", f"run_dir={run}"]
    assert main([*poisoned, *words]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "2 update(s) in a row were not finite (seed 0, from step 64)" in err
    assert "The environment gave what is not finite (the reward): mend it, or on_nan=skip" in err
    assert kept(run)[-1] == 4  # three healthy updates, and one that was not taken
    assert_offending(run, 3)
    params = hamljax.load(run).actors.params
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(params))
    jax.tree.map(np.testing.assert_array_equal, params, hamljax.load(run, 3).actors.params)

    assert main(["resume", str(run), "on_nan=skip"]) == 0
    assert json.loads((run / "summary.json").read_text())["skipped_updates"] == 2
    assert dict(lines(run))["not finite"] == "2 update(s) were not taken"


def test_a_streak_that_ends_within_a_block_is_noticed_too(poisoned, tmp_path, capsys):
    """The compiled loop makes one update, two, four: numbers 4 to 7 are the third block."""
    words = [*poisoned, "log_every=20", "checkpoint_every=20"]
    assert main([*words, "nan_patience=2", f"run_dir={tmp_path / 'run'}"]) == 1
    assert "(seed 0, from step 64)" in capsys.readouterr().err
    with np.load(tmp_path / "run/non_finite_batch.npz", allow_pickle=False) as batch:
        assert np.isinf(batch["transitions.reward"]).all()
    with pytest.raises(FloatingPointError, match="1 update"):
        main([*words, "on_nan=raise", f"run_dir={tmp_path / 'strict'}"])


def test_a_streak_is_as_long_as_it_may_be_and_in_one_seed():
    for patience, broken in ((1, (0, 12)), (2, (0, 12)), (3, (1, 13)), (4, None), (None, None)):
        streak = Streak(2, patience)
        streak.watch(10, np.array([[0, 1, 1], [0, 0, 1]]))
        streak.watch(13, np.array([[0, 1, 0], [1, 1, 0]]))
        assert streak.broken == broken
