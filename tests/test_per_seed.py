"""Floats that differ from seed to seed: a search over them is one program, and each of its runs is a lone one."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sizes import long
from tiny_runs import TINY, record

import hamljax
from hamljax.lab.cli import main
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.storage.rundir import read_run


def of_seed(found: pd.DataFrame, seed: int) -> pd.DataFrame:
    return found[found["seed"] == seed].reset_index(drop=True)


BARE = ["num_evals=0", "absolute_metric=false"]
BY_SEED = ["per_seed.algo.critic_lr=[1e-3,3e-2]", "per_seed.gamma=[0.9,0.5]", "num_seeds=2", "seed=3"]


@pytest.mark.parametrize("row", ["happo", *long("hatrpo", "hasac")])
def test_each_seed_trains_as_it_would_alone_and_goes_on_bit_for_bit(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    off_policy = ["algo.batch_size=8", "algo.buffer_size=64", "algo.learning_starts=16"] if row == "hasac" else []
    words = ["train", f"algo={row}", *TINY, *off_policy, "total_timesteps=320", *BARE, "checkpoint_every=10"]
    assert main([*words, *BY_SEED, "run_dir=both"]) == 0
    assert main([*words, "algo.critic_lr=3e-2", "gamma=0.5", "seed=4", "run_dir=lone"]) == 0
    both, lone = (record(tmp_path / name) for name in ("both", "lone"))
    pd.testing.assert_frame_equal(of_seed(both, 4), lone, rtol=1e-4, atol=1e-6)
    critic = [column for column in lone.columns if "critic_loss" in column][0]
    assert not np.allclose(of_seed(both, 3)[critic], lone[critic], rtol=1e-2)  # so that equality above says something
    config, _ = read_run(tmp_path / "both")
    assert config["per_seed"] == {"algo.critic_lr": [1e-3, 3e-2], "gamma": [0.9, 0.5]}
    at_once = "per_seed={algo.critic_lr:[1e-3,3e-2],gamma:[0.9,0.5]}"
    assert main([*words, at_once, *BY_SEED[2:], "run_dir=both"]) == 0  # it is finished, however that is typed
    assert main(["evaluate", "both", "num_episodes=4"]) == 0

    shutil.copytree("both", "cut")
    shutil.rmtree("cut/checkpoints/20")
    Path("cut/summary.json").unlink()
    assert main(["resume", "cut"]) == 0
    pd.testing.assert_frame_equal(record(tmp_path / "cut"), both, check_exact=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["per_seed.algo.actor_lrr=[1e-3,1e-4]"], "did you mean 'algo.actor_lr'?"),
        (["per_seed.algo.update_epochs=[1,2]"], "no 'algo.update_epochs'"),
        (["per_seed.algo.actor_lr=[1e-3]"], "has 1 value(s), and num_seeds=2"),
        (["per_seed.algo.actor_lr=1e-3"], "per_seed.algo.actor_lr must be a list"),
        (["per_seed.algo.actor_lr=[1e-3,-1]"], "algo.actor_lr"),
        (["per_seed.env.reward_scale=[1,2]"], "env.reward_scale"),
        (["per_seed.algo.actor_lr=[1e-3,a]"], "a number"),
        (["per_seed=3"], "per_seed must be lists by the names of settings"),
        (["per_seed=[1,2]"], "per_seed must be lists by the names of settings"),
    ],
)
def test_what_is_no_float_of_a_seed_is_one_line(words, said, capsys):
    assert main(["train", *TINY, "num_seeds=2", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_users_own_critic_may_keep_floats_for_itself(monkeypatch):
    from hamljax.algorithms.on_policy.registry import CRITICS, register_critic

    register_critic("mine")(lambda config, team: CRITICS["ep"](config, team))
    try:
        with pytest.raises(hamljax.ConfigError, match="a job for each value"):
            make_job([*TINY, "num_seeds=2", "algo.critic=mine", "per_seed.gamma=[0.9,0.5]"])
    finally:
        del CRITICS["mine"]
