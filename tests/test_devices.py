"""One seed on several devices, and many seeds on several each: the same update, to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from sizes import long

from hamljax.lab.cli import main

SCRIPT = Path(__file__).with_name("devices_of_tests.py")
TINY = ["env=game/tracking", "num_envs=4", "num_steps=4", "num_evals=0", "absolute_metric=false", "total_timesteps=32"]
TINY += ["network.hidden_sizes=[8]", "checkpoint_every=1"]
WAYS = ["2x1", "1x2", "2x2", "1x4", "2x4", "1x8"]
CASES = [("happo", "mlp", ["2x4"])]
CASES += long(*((row, "mlp", WAYS) for row in ("happo", "hatrpo", "hasac", "hatd3")), ("mappo_s", "gru", WAYS))


@pytest.mark.parametrize("row, network, ways", CASES)
def test_an_update_is_the_same_however_it_is_spread(row, network, ways):
    """Advantages, ValueNorm, gradient clips, KLs and the line search are over the whole seed, wherever its parts lie."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), row, network, *ways], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert [*found] == ways
    for way, (difference, sums) in found.items():
        assert difference < 1e-5, way
        assert (sums > 2) == (not way.endswith("x1")), way


def record(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "metrics.parquet")


@pytest.mark.long  # an update is the same however it is spread, above
def test_a_run_on_two_devices_goes_on_with_one(tmp_path):
    """The machine of the tests has two. Its first update is that of one device, and its checkpoint is whole."""
    runs = [tmp_path / str(count) for count in (1, 2)]
    for run, count in zip(runs, (1, 2), strict=True):
        assert main(["train", *TINY, f"devices_per_seed={count}", f"run_dir={run}"]) == 0
    columns = ["train/critic_loss", "train/entropy", "train/kl"]
    first = [record(run).iloc[1][columns].astype(float) for run in runs]
    pd.testing.assert_series_equal(*first, rtol=1e-4, check_names=False)
    assert main(["resume", str(runs[1]), "total_timesteps=48", "devices_per_seed=1"]) == 0
    assert yaml.safe_load((runs[1] / "config.yaml").read_text())["devices_per_seed"] == 1
    assert record(runs[1])["step"].max() == 48


@pytest.mark.long
def test_a_dry_run_says_what_lies_where(tmp_path, capsys):
    assert main(["train", *TINY, "devices_per_seed=2", "dry_run=true", f"run_dir={tmp_path / 'dry'}"]) == 0
    assert "2, environments and minibatches of each seed over 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, line",
    [
        (["devices_per_seed=3", "num_envs=6"], "devices_per_seed=3 is more than the 2 device(s) here"),
        (["devices_per_seed=2", "num_envs=5", "total_timesteps=40"], "does not divide num_envs=5; nearest divisor: 1"),
        (["devices_per_seed=0"], "devices_per_seed must be at least 1, not 0"),
        (["devices_per_seed=2", "env=bridge/smax_3m"], "env.envs_per_worker spreads them over processors"),
    ],
)
def test_what_cannot_be_spread_is_one_line(words, line, tmp_path, capsys):
    assert main(["train", *TINY, *words, f"run_dir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1


WORKER = """
import sys, time
from hamljax.lab.configuration import gpus
gpus.there = lambda: ["0", "1"]
gpus.take_one()
import os
print(os.environ.get(gpus.VARIABLE), flush=True)
sys.stdin.readline()
"""


def test_each_worker_takes_the_first_gpu_that_is_free(tmp_path):
    """The third of three on two GPUs sees both, and says so; whoever ends leaves its own to the next."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"} | {"TMPDIR": str(tmp_path)}
    workers = []

    def begin(**more: str) -> str:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment | more}
        workers.append(subprocess.Popen([sys.executable, "-c", WORKER], **pipes))
        return workers[-1].stdout.readline().strip()

    assert [begin(), begin()] == ["0", "1"]
    assert begin(JAX_PLATFORMS="cpu") == "None"  # it wants none
    assert begin().startswith("note: there are more workers than the 2 GPUs") and begin(CUDA_VISIBLE_DEVICES="5") == "5"
    workers[0].communicate("\n")
    assert begin() == "0"
    for worker in workers[1:]:
        worker.communicate("\n")
