"""``hamljax info`` of a folder of runs."""

import fcntl
import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from hamljax.lab.cli import main
from hamljax.lab.commands import overview

SWEEP = "hamljax train -m algo=happo,haa2c run_dir=here"


def a_run(path, updates, of=4, algo="happo", won=(0.25, 0.75), command=SWEEP):
    """The files of a run of two seeds, 100 steps an update."""
    path.mkdir(parents=True)
    config = {
        "algo": {"name": algo},
        "network": {"name": "mlp"},
        "env": {"name": "smax/3m"},
        "logger": {"kind": "none"},
    }
    config |= {"total_timesteps": 100 * of, "num_envs": 10, "num_steps": 10, "seed": 0, "num_seeds": 2}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "versions.json").write_text(json.dumps({"command": command}))
    rows = [
        {"seed": seed, "update": u, "step": 100 * u, "eval/won": won[seed] * u / of, "train/skipped": 0.0}
        for seed in (0, 1)
        for u in range(updates + 1)
    ]
    pd.DataFrame(rows).to_parquet(path / "metrics.parquet")
    if updates == of:
        (path / "summary.json").write_text("{}")
    return path


@pytest.fixture
def trains():
    """Lets a process train in a run, as far as others can tell."""
    files = []

    def lock(path):
        files.append((path / ".lock").open("wb"))
        fcntl.flock(files[-1], fcntl.LOCK_EX)

    yield lock
    for file in files:
        file.close()


@pytest.fixture
def sweep(tmp_path, trains):
    a_run(tmp_path / "a/done", 4)
    a_run(tmp_path / "a/half", 2)
    trains(a_run(tmp_path / "b/busy", 1, algo="haa2c"))
    silent = a_run(tmp_path / "b/silent", 3, algo="haa2c")
    trains(silent)
    for file in silent.iterdir():
        os.utime(file, (0, time.time() - 3 * 3600))
    broken = a_run(tmp_path / "b/torn", 1)
    (broken / "metrics.parquet").write_bytes((broken / "metrics.parquet").read_bytes()[:200])
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("of: something else")
    return tmp_path


def test_a_folder_says_of_every_run_how_far_how_well_and_who_is_stuck(sweep):
    rows = {str(row.run.relative_to(sweep)): row for row in overview.overview(sweep)}
    said = {name: (row.steps, overview._how(row), row.won) for name, row in rows.items()}
    assert said == {
        "a/done": ("400 / 400", "finished", "0.500"),
        "a/half": ("200 / 400", "50% stopped", "0.250"),
        "b/busy": ("100 / 400", "25% training", "0.125"),
        "b/silent": ("300 / 400", "75% stuck?", "0.375"),
        "b/torn": ("0 / 400", "0% damaged", "-"),
    }
    assert rows["b/busy"].what == "haa2c on smax/3m, 2 seeds" and rows["b/busy"].silent < 60


def test_what_all_share_is_said_once_and_what_none_has_not_at_all(sweep):
    title, columns, _ = overview.table(overview.overview(sweep / "a"), sweep / "a")
    assert title.endswith("a: happo on smax/3m, 2 seeds") and columns == ["run", "steps", "", "win rate", "heard of"]
    title, columns, cells = overview.table(overview.overview(sweep), sweep)
    assert title == str(sweep) and columns[1] == "what" and "return" not in columns and len(cells) == 5
    heard = {row[0]: row[-1] for row in cells}
    assert heard["b/silent"] == "3 h ago" and heard["a/done"] == "-" and heard["b/busy"].endswith("s ago")


def test_what_to_type_is_the_same_command_or_a_line_of_resume(sweep, capsys):
    assert main(["info", str(sweep)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1 finished, 2 training, 1 stopped, 1 damaged" in lines
    assert f"to go on, the same command: {SWEEP}" in lines
    assert any(line.startswith(f"{sweep / 'b/silent'} trains, and was last heard of 3 h ago") for line in lines)
    a_run(sweep / "c/single", 0, command="hamljax train")
    assert main(["info", str(sweep)]) == 0
    out = capsys.readouterr().out
    assert f"to go on: hamljax resume {sweep / 'a/half'} {sweep / 'c/single'}" in out.splitlines()


def test_long_names_are_shown_whole(tmp_path, capsys):
    name = "algo=happo,env=smax-3m," + ",".join(f"algo.clip_eps=0.{i}" for i in range(8))
    a_run(tmp_path / name, 4)
    assert main(["info", str(tmp_path)]) == 0
    cells = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert "".join(cells) == name


def test_watching_ends_when_nothing_trains_and_shows_what_changed(sweep, monkeypatch, capsys):
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:  # after a look at which nothing had changed
            a_run(sweep / "c/next", 4)
        if len(looks) == 3:
            for run in ("busy", "silent"):
                (sweep / "b" / run / ".lock").unlink()

    monkeypatch.setattr(overview.time, "sleep", sleep)
    assert main(["info", str(sweep), "--watch"]) == 0
    out = capsys.readouterr().out
    assert looks == [2.0] * 3 and out.count("to go on") == 3  # the first, with one more, and the last
    assert "2 finished, 3 stopped, 1 damaged" in out.splitlines()[-2]


def test_watching_is_ended_by_a_key(sweep, monkeypatch):
    def pressed(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(overview.time, "sleep", pressed)
    assert main(["info", str(sweep), "--watch"]) == 0


def test_a_folder_answers_without_loading_jax(sweep):
    code = (
        f"import sys; from hamljax.lab.cli import main; main(['info', {str(sweep)!r}]); assert 'jax' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
