"""Large sweeps: what is checked before the first job, and what a dry run says of all."""

import itertools
import re

import pytest
import tiny_runs
from sizes import long
from tiny_runs import ONCE

from hamljax.lab.cli import main
from hamljax.lab.commands import train
from hamljax.lab.commands.train import CHECKED, to_check
from hamljax.lab.configuration import jobs

TINY = [*tiny_runs.TINY, *ONCE]


def test_of_few_jobs_all_are_checked_and_of_many_every_value():
    few = [[f"a={i}", f"b={j}"] for i, j in itertools.product(range(8), range(8))]
    assert len(few) == CHECKED and to_check(few) == few
    many = [
        [f"a={i}", f"b={j}", f"c={k}", f"run_dir=x/{i}{j}{k}"] for i, j, k in itertools.product(range(10), repeat=3)
    ]
    found = to_check(many)
    assert len(found) == 1 + 3 * 9 and found[0] == many[0]
    assert {word for words in found for word in words[:3]} == {word for words in many for word in words[:3]}


def test_a_thousand_jobs_begin_soon_and_a_typo_in_any_value_is_found(tmp_path, monkeypatch, capsys):
    made = []
    make_job = jobs.make_job
    monkeypatch.setattr(jobs, "make_job", lambda words: made.append(words) or make_job(words))
    words = ["-m", *TINY, "seed=range(0,10)", "gamma=range(0.5,0.6,0.01)", "gae_lambda=range(0.5,0.6,0.01)"]
    words += [f"run_dir={tmp_path / 'sweep'}"]
    assert main(["train", *words, "algo=happo,hapo"]) == 2
    assert "did you mean 'happo'" in capsys.readouterr().err and not (tmp_path / "sweep").exists()
    made.clear()

    def first(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hamljax.lab.runs.run.train", first)
    assert main(["train", *words]) == 130
    assert "[1/1000]" in capsys.readouterr().out
    assert len(made) == 1 + 3 * 9 + 1  # each value, and the first job itself


def test_a_value_that_does_not_go_with_another_fails_when_its_job_begins(tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(train, "CHECKED", 3)
    monkeypatch.setattr("hamljax.lab.runs.run.train", lambda job, *_, **__: trained.append(job.run.run_dir))
    tiny = [word for word in TINY if not word.startswith(("num_envs", "num_steps"))]
    words = ["-m", *tiny, "num_steps=3", "num_envs=4,5", "algo.num_minibatches=1,4", f"run_dir={tmp_path / 'sweep'}"]
    assert main(["train", *words]) == 1  # 4 divide 12 samples, and not 15
    said = capsys.readouterr()
    assert "algo.num_minibatches=4 does not divide the 15 samples" in said.err and "Traceback" not in said.err
    assert said.err.splitlines()[-1] == "hamljax: 1 of 4 runs failed; the same command tries them again"
    assert len(trained) == 3


def test_the_dry_run_of_a_sweep_counts_and_compiles_each_program_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *TINY, "algo=mappo_s,maa2c_s", "gamma=0.5,0.9", "seed=0,1", "dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert len(re.findall("compiling", said)) == 2 and not list(tmp_path.iterdir())
    facts = dict(re.findall(r"^(jobs|programs|steps|time|disk) +(.*)$", said, re.M))
    assert facts["jobs"] == "8" and facts["programs"].startswith("2;")
    assert facts["steps"].startswith("512 ") and re.match(r"\d+:\d\d here", facts["time"])
    assert re.match(r"[\d.,]+ MiB", facts["disk"])


@pytest.mark.parametrize("words", [["seed=0"], *long(["seed=0,1"])])
def test_a_dry_run_of_one_job_or_two_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    many = ["-m"] if "," in words[0] else []
    assert main(["train", *many, *TINY, *words, "dry_run=true"]) == 0
    assert "compile" in capsys.readouterr().out and not list(tmp_path.iterdir())
