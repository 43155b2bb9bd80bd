"""examples/new_family.py, a family of somebody else's: it learns, towards the right target, and lives as any run does."""

import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sizes import long

import hamljax
from hamljax.algorithms import ALGORITHMS, FAMILIES
from hamljax.algorithms.off_policy.replay import Sample
from hamljax.envs import ENVIRONMENTS
from hamljax.envs.games import FiniteGame
from hamljax.lab.cli import main
from hamljax.lab.configuration.plugins import load_plugin
from hamljax.lab.runs.progress import progress_shapes, split_replay
from hamljax.lab.storage import checkpoints
from hamljax.lab.storage.digests import folder_of
from hamljax.training.train import make_learner

FILE = Path(__file__).parents[1] / "examples/new_family.py"
TINY = [
    "num_envs=4",
    "num_steps=4",
    "total_timesteps=96",
    "num_evals=0",
    "num_eval_episodes=4",
    "absolute_metric=false",
]
TINY += ["network.hidden_sizes=[8]", *(f"algo.{x}" for x in ("buffer_size=64", "batch_size=8", "learning_starts=32"))]
TINY += ["algo.gradient_steps=2", "algo.n_step=2", "obs_norm=always", "checkpoint_every=3"]


def ferry() -> FiniteGame:
    """Agent 0 earns 0.2, or crosses for nothing, to where the next step brings 1 and goes back; agent 1 earns 0.2 or 0."""
    reward, transition = np.zeros((2, 2, 2)), np.zeros((2, 2, 2, 2))
    reward[0, 0], reward[1] = 0.2, 1.0
    reward[:, :, 0] += 0.2
    transition[0, 0, :, 0] = transition[0, 1, :, 1] = transition[1, :, :, 0] = 1.0
    return FiniteGame(reward, transition, np.array([1.0, 0.0]), termination=0.0, horizon=10)


@pytest.fixture(scope="module", autouse=True)
def tables():
    """What the plugin and this file register is gone after them."""
    kept = [(table, dict(table)) for table in (ALGORITHMS, FAMILIES, ENVIRONMENTS)]
    load_plugin(str(FILE))
    hamljax.register_environment("game/ferry", ferry)
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


@pytest.mark.parametrize("row", ["vdn", *long("iql")])
def test_it_learns_what_pays_later(row):
    """The best earn 1.2 and 0.2 in turn, 7 in ten steps; who looks at the next reward alone earns 4, and chance about 5."""
    sizes = {"num_envs": 8, "num_steps": 8, "total_timesteps": 4096, "num_evals": 2, "num_eval_episodes": 2}
    more = {
        "learning_starts": 256,
        "epsilon_steps": 2048,
        "batch_size": 64,
        "lr": 3e-3,
        "tau": 0.05,
        "gamma": 0.9,
    }
    config = hamljax.config(row, "game/ferry", **sizes, **more, hidden_sizes=(16,))
    metrics = jax.jit(hamljax.make_train(config))(jax.random.key(0))["metrics"]
    np.testing.assert_allclose(metrics["eval/return"][-1], 7.0, rtol=1e-5)


# TARGETS

VALUES = {  # of three actions of two agents: what the policies say, and their slow copies
    "agents": np.array([[5.0, 2.0, 3.0], [1.0, 4.0, 9.0]], np.float32),
    "targets": np.array([[10.0, 40.0, 30.0], [300.0, 200.0, 400.0]], np.float32),
}
REWARD, DISCOUNT = np.array([1.0, 2.0, 3.0], np.float32), np.array([0.5, 0.0, 0.25], np.float32)
ALIVE = np.array([[True, True], [True, True], [True, False]])
LEGAL = np.array([[[0, 1, 1], [1, 1, 0]]] * 3, bool)


@functools.cache
def made(row, **overrides):
    """A learner of ``row``, and the state of its run."""
    sizes = {
        "num_envs": 2,
        "num_steps": 2,
        "total_timesteps": 400,
        "batch_size": 4,
        "buffer_size": 16,
        "learning_starts": 0,
    }
    learner = make_learner(hamljax.config(row, "game/climbing", hidden_sizes=(4,), **sizes | overrides)).learner
    return learner, jax.jit(learner.init)(jax.random.key(0))


def saying(params, values):
    """``params`` whose heads say ``values`` (P, A) whatever they see."""
    head = {"kernel": jnp.zeros_like(params["params"]["head"]["kernel"]), "bias": jnp.asarray(values)}
    return {"params": params["params"] | {"head": head}}


def sample(**fields) -> Sample:
    seen = hamljax.Observation(np.ones((3, 2, 1), np.float32), np.ones((3, 1), np.float32), LEGAL, ALIVE)
    return Sample(seen, np.zeros((3, 2), np.int32), REWARD, DISCOUNT, seen, **fields)


@pytest.mark.parametrize("row, overrides", [("vdn", {}), ("iql", {}), ("vdn", {"mixing": "none"})])
def test_targets_are_those_by_hand(row, overrides):
    learner, state = made(row, **overrides)
    agents, targets = (saying(state.learnt.agents.params, values) for values in VALUES.values())
    # Double Q: of the legal actions the policies prefer 2 and 1, which their slow copies give 30 and 200.
    found, slow = learner.target(agents, targets, sample()), np.array([30.0, 200.0]) * ALIVE
    if row == "vdn" and not overrides:
        wanted = (REWARD + DISCOUNT * slow.sum(-1))[:, None]
        np.testing.assert_allclose(wanted[:, 0], [116.0, 2.0, 10.5])
    else:
        wanted = REWARD[:, None] + DISCOUNT[:, None] * slow
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_lost_steps_teach_nothing():
    learner, state = made("vdn")
    step = jax.jit(lambda x: learner.gradient_step(state.learnt, 0, x, None)[0][0])

    def learnt(third, weight):
        reward = np.array([1.0, 2.0, third], np.float32)
        return jax.tree.leaves(step(sample(weight=np.array([True, True, weight]))._replace(reward=reward)))

    jax.tree.map(np.testing.assert_array_equal, learnt(np.nan, False), learnt(50.0, False))
    assert any((x != y).any() for x, y in zip(learnt(50.0, True), learnt(50.0, False), strict=True))


def test_what_is_not_finite_is_not_learnt():
    learner, before = made("vdn", obs_norm="always")
    collect, learn = jax.jit(learner.collect), jax.jit(learner.learn)
    state, rollout = collect(before)
    steps = rollout.transitions
    after, said = learn(state, rollout._replace(transitions=steps._replace(reward=steps.reward + jnp.inf)))
    assert said["train/skipped"] == 1 and after.skipped == 1
    jax.tree.map(np.testing.assert_array_equal, after.learnt, before.learnt)
    after, said = learn(state, rollout)
    assert said["train/skipped"] == 0 and said["train/value_loss"] > 0 and after.learnt.obs_norm.obs.count.min() == 4


def test_only_legal_actions_are_explored():
    learner, state = made("vdn")
    distribution = learner.policy.distribution.replace(epsilon=1.0)
    avail = jnp.broadcast_to(jnp.array([True, False, True]), (64, 2, 3))
    actions = distribution.sample(jax.random.key(0), jnp.zeros((64, 2, 3)).at[..., 1].set(9.0), avail)
    assert set(np.unique(actions)) == {0, 2}


# THE LIFE OF A RUN


def numbers(run):
    """All of a run that must not depend on how it was interrupted: what it carries, and its record."""
    team = hamljax.load(run)
    shapes, replay = split_replay(progress_shapes(team.trainer, len(team.seeds)))
    found = checkpoints.restore(run, shapes, replay=replay)
    keys = jax.tree.map(lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key), (found.tree, found.replay))
    plain = jax.tree.map(lambda x, k: jax.random.key_data(x) if k else x, (found.tree, found.replay), keys)
    return jax.tree.leaves(plain), pd.read_parquet(run / "metrics.parquet").drop(columns="perf/steps_per_second")


def test_a_run_is_stopped_and_resumed_and_evaluated_and_exported(tmp_path, capsys):
    whole, half = tmp_path / "whole", tmp_path / "half"
    words = [f"plugin={FILE}", "algo=vdn", "algo.sharing=all", "env=game/climbing", *TINY]
    assert main(["train", *words, f"run_dir={whole}"]) == 0
    shutil.copytree(whole, half)
    shutil.rmtree(folder_of(half) / "6")
    (half / "summary.json").unlink()
    assert main(["resume", str(half)]) == 0
    assert "going on from step 48" in capsys.readouterr().out
    (progress, record), (resumed, other_record) = numbers(whole), numbers(half)
    jax.tree.map(np.testing.assert_array_equal, progress, resumed)
    pd.testing.assert_frame_equal(record, other_record, check_exact=True)
    assert record["train/value_loss"].notna().any() and record["train/skipped"].max() == 0

    assert main(["info", str(half)]) == 0 and "vdn on game/climbing" in capsys.readouterr().out
    assert main(["evaluate", str(half), "num_episodes=4"]) == 0
    assert main(["export", str(half)]) == 0
    described = json.loads((half / "actors.json").read_text())
    assert described["arrays"]["seed0/policy0/head/kernel"]["shape"] == [8, 3]


MISTAKES = {
    "algo.mixing=summ": "unknown algo.mixing 'summ'; did you mean 'sum'?",
    "network=gru": "vdn has no memory: its replay holds single steps; use network=mlp",
    "env=game/tracking": "vdn needs discrete actions, and here they are continuous",
    "algo.buffer_size=8": "algo.buffer_size=8 is too small",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting_is_one_line(mistake, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [f"plugin={FILE}", "algo=vdn", *([] if "env" in mistake else ["env=game/climbing"]), *TINY, mistake]
    assert main(["train", *words]) == 2
    out, err = capsys.readouterr()
    assert MISTAKES[mistake] in err and err.count("\n") == 1 and list(tmp_path.iterdir()) == []
