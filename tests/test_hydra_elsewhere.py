"""Optuna and Ray, which do not resolve beside this project's packages: in an environment of their own, as the line says."""

import os
import re
import signal
import site
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import yaml
from tiny_runs import ONCE, record

from hamljax.lab.cli import main
from hamljax.lab.commands.hydra_app import MISSING

ROOT = Path(__file__).parents[1]
TINY = [*tiny_runs.TINY, *ONCE]
TUNE = ["-m", "hydra/sweeper=tune", "hydra.sweeper.n_trials=3", "algo.actor_lr=tag(log,interval(1e-4,1e-2))"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def hamljax(tmp_path_factory):
    """A command line in an environment that has what this one has, and both packages."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    found = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    Path(found.stdout.strip(), "beside.pth").write_text("\n".join([*site.getsitepackages(), str(ROOT / "src")]))
    for package in ("optuna", "ray"):
        for command in MISSING[package].split(" && "):
            words = command.replace("'", "").split()[1:]
            subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", *words], check=True)
    return [python, "-c", "import sys; from hamljax.lab.cli import main; sys.exit(main())"]


def test_what_was_drawn_is_drawn_again_by_the_same_command(hamljax, tmp_path):
    """Killed in the middle, typed again: the trials and the best are those of a study that nothing disturbed."""
    best = []
    for folder, kill in (("calm", False), ("killed", True)):
        typed = [*hamljax, "train", *TUNE, *TINY, f"run_dir={tmp_path / folder}"]
        if kill:
            study = subprocess.Popen(typed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not list((tmp_path / folder).glob("*/summary.json")):
                assert study.poll() is None
                time.sleep(0.05)
            study.send_signal(signal.SIGKILL)
            study.wait()
        done = subprocess.run(typed, capture_output=True, text=True)
        assert done.returncode == 0 and "FutureWarning" not in done.stderr, done.stderr
        assert done.stdout.count("is finished") == kill
        best.append(yaml.safe_load((tmp_path / folder / "optimization_results.yaml").read_text()))
    names = [sorted(path.parent.name for path in (tmp_path / f).glob("*/summary.json")) for f in ("calm", "killed")]
    assert best[0] == best[1] and names[0] == names[1] and len(names[0]) == 3


def test_a_trial_without_a_number_is_a_failed_one(hamljax, tmp_path):
    typed = [*hamljax, "train", *TUNE, *TINY, "objective=eval/nothing", f"run_dir={tmp_path / 'none'}"]
    done = subprocess.run(typed, capture_output=True, text=True)
    assert len(list((tmp_path / "none").glob("*/summary.json"))) == 3
    assert len(re.findall("there is no finite eval/nothing", done.stderr)) == 3 and "Traceback" not in done.stderr
    assert done.returncode == 1 and "no trial came to a number" in done.stderr.splitlines()[-1]


def test_jobs_of_ray_are_those_of_a_sweep_without(hamljax, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "-m", *TINY, "seed=0,1"]
    assert main([*words, "run_dir=plain"]) == 0
    ray = ["hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "run_dir=rayed"]
    done = subprocess.run(
        [*hamljax, *words, *ray], capture_output=True, text=True, env=os.environ | {"RAY_AUTH_MODE": "disabled"}
    )
    assert done.returncode == 0, done.stderr
    for name in ("seed=0", "seed=1"):
        runs = [tmp_path / folder / name for folder in ("plain", "rayed")]
        pd.testing.assert_frame_equal(*map(record, runs), check_exact=True)
