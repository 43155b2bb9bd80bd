"""``hamljax train`` as a Hydra application."""

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import submitit
import tiny_runs
import yaml
from joblib.externals.loky import get_reusable_executor
from sizes import long
from tiny_runs import ONCE, record

from hamljax.errors import ConfigError, Stopped
from hamljax.lab.cli import main
from hamljax.lab.commands import hydra_app
from hamljax.lab.configuration.folders import LONGEST, by_hydra
from hamljax.lab.runs import pace

TINY = [*tiny_runs.TINY, *ONCE]
UNMEASURED = ["num_evals=0", "absolute_metric=false"]  # half of what there is to compile
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
HAMLJAX = [sys.executable, "-c", "import sys; from hamljax.lab.cli import main; sys.exit(main())"]
PLUGIN = """
import hamljax

@hamljax.register_drift("mine")
def mine(ratio, m_advantage, *, weight=1.0):
    return weight * (ratio - 1) ** 2
"""


def shown(words, capsys) -> str:
    assert main(["train", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


# WHAT IS COMPOSED


def test_the_configuration_is_shown_as_it_would_be(capsys):
    found = yaml.safe_load(shown(["--cfg", "job", "algo=hatd3", "env=game/tracking", "gamma=0.5"], capsys))
    assert (found["algo"]["name"], found["env"]["name"], found["gamma"]) == ("hatd3", "game/tracking", 0.5)
    algo = yaml.safe_load(shown(["--cfg", "job", "--package", "algo", "algo=haa2c"], capsys))
    assert algo["name"] == "haa2c"
    sweep = shown(["--cfg", "hydra", "-p", "hydra.sweep", "--resolve", "hydra.sweep.dir=there"], capsys)
    assert "dir: there" in sweep
    assert "env/smax/3m" in shown(["--info", "defaults"], capsys)


def test_what_may_be_said_without_its_group_is_said_in_full(capsys):
    found = yaml.safe_load(shown(["--cfg", "job", "env=game/crowding", "num_agents=3"], capsys))
    assert found["env"]["num_agents"] == 3


def test_environments_can_be_swept_over(capsys):
    words = ["env=game/crowding,game/climbing", "num_agents=3", "seed=0,1"]
    assert hydra_app._in_hydras_words(words) == ["env=game/crowding,game/climbing", "env.num_agents=3", "seed=0,1"]
    assert hydra_app._fixed(words) == ["env.num_agents"]
    assert hydra_app._in_hydras_words(["env='game/climbing'"]) == ["env='game/climbing'"]


def test_a_folder_of_ones_own_brings_presets(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/slow.yaml").write_text("# @package _global_\ngamma: 0.75\n")
    found = yaml.safe_load(shown(["--config-dir", str(tmp_path), "--cfg", "job", "experiment=slow"], capsys))
    assert found["gamma"] == 0.75
    (tmp_path / "experiment/slow.yaml").write_text("# @package _global_\nalgo: {actor_lrr: 1e-3}\n")
    assert main(["train", "--config-dir", str(tmp_path), "experiment=slow"]) == 2
    assert "did you mean 'actor_lr'?; it stands in experiment=slow" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, line",
    [
        (["--cfg", "job", "algo=hapo"], "did you mean 'happo'"),
        (["--cfg", "job", "algo.clip_ep=0.1"], "did you mean 'algo.clip_eps'"),
        (["--cfg", "jo"], "invalid choice"),
        (["--cfg", "job", "--package", "algo.drif"], "package 'algo.drif' not found in config"),
        (["-m", *JOBLIB, "algo=happo,hapo"], "did you mean 'happo'"),
        (["-m", *JOBLIB, "algo=happo", "+nothing=1,2"], "unknown setting 'nothing'"),
        (["-m", "hydra/launcher=jobli", "seed=0,1"], "hydra/launcher"),
        (["hydra/sweeper=optuna"], "hydra/sweeper"),
        (["hydra.swep.dir=x"], "swep"),
        (["-m", *JOBLIB, "seed=0,1", "dry_run=true"], "without Hydra"),
        (["--nonsense", "seed=0"], "--nonsense"),
        (["--resolve"], "--cfg"),
        (["--cfg", "job", "--info"], "one can be asked for"),
        (["--config-name", "x"], "--config-dir"),
        (["--config-dir", "nowhere", "experiment=mine"], "there is no such folder"),
        (["-m", "hydra.sweeper.params.seed='0,1'"], "is for presets"),
        (["hydra.mode=MULTIRUN", "algo=happo,hapo"], "did you mean 'happo'"),
        (["-m", "hydra.sweep.subdir=x", "seed=0,1"], "is one folder for all jobs"),
    ],
)
def test_a_mistake_is_one_line_before_anything_begins(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1, said
    assert not list(tmp_path.iterdir())


def test_what_is_in_the_way_is_named_before_any_job_begins(tmp_path, capsys):
    run = tmp_path / "sweep/seed=1"
    run.mkdir(parents=True)
    (run / "letter.txt").write_text("mine")
    assert main(["train", "-m", *JOBLIB, *TINY, "seed=0,1", f"run_dir={tmp_path / 'sweep'}"]) == 2
    assert "something that is not a run" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["seed=1"]


def test_the_commands_of_the_page_are_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs/sweeps.md").read_text()
    page += (Path(__file__).parents[1] / "docs/scale.md").read_text()
    lines = [shlex.split(line)[2:] for line in re.findall(r"^hamljax train .*$", page, re.M)]
    assert len(lines) == 11
    shown = []
    for words in lines:
        flags, ours, theirs = hydra_app._sorted(words)
        draws = "hydra/sweeper=tune" in theirs
        hydra_app._check(ours, "-m" in flags, draws)
        needs_more = draws or "hydra/launcher=ray" in theirs  # packages that are not installed here
        if not needs_more and theirs not in shown:
            shown.append(theirs)
            assert main(["train", "--cfg", "hydra", *theirs]) == 0 and "sweep:" in capsys.readouterr().out
    (names,) = {tuple(hydra_app._names(ours)) for _, ours, _ in [hydra_app._sorted(lines[2])]}
    assert "exclude_keys=['run_dir']" in names[0] and names[1] == "hydra.sweep.dir='runs/sweep'"


# FOLDERS AND PROCESSES


def test_names_of_jobs_are_those_of_a_sweep_without_hydra():
    assert by_hydra(["algo=happo", "env=smax/3m", "seed=0"], ["seed"]) == "algo=happo,env=smax-3m"
    assert by_hydra(["++algo.drift_params.weight=2"], []) == "algo.drift_params.weight=2"
    assert by_hydra(["algo=happo"], ["algo"]) == "0"
    names = {by_hydra([f"plugin={'x' * 300}{i}"], []) for i in range(2)}
    assert len(names) == 2 and all(len(name) <= LONGEST for name in names)


def test_words_say_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a, b.py", "c.py"):
        (tmp_path / name).write_text(PLUGIN.replace("mine", f"mine_{name[0]}"))
    words = [
        "plugin='a, b.py',c.py",
        "seed=range(0,3)",
        "algo.drift_params.weight=1,2,1",
        "run_dir=x",
        "env=game/crowding",
        "num_agents=3",
    ]
    assert hydra_app._in_hydras_words(words) == [
        f"plugin='{tmp_path}/a, b.py','{tmp_path}/c.py'",
        "seed=0,1,2",
        "++algo.drift_params.weight=1,2",
        "env=game/crowding",
        "env.num_agents=3",
    ]


def test_the_processes_that_were_begun_are_known():
    one = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert one.pid in pace.children()
    one.communicate(b"\n")
    assert one.pid not in pace.children()


def test_an_end_can_be_sent_to_another_process():
    error = pickle.loads(pickle.dumps(Stopped("stopped: nothing is lost", 143)))
    assert (str(error), error.code) == ("stopped: nothing is lost", 143)
    assert str(pickle.loads(pickle.dumps(ConfigError("no")))) == "no"


def test_after_a_signal_no_job_begins(monkeypatch):
    monkeypatch.setattr(hydra_app, "stopped", signal.SIGTERM)
    with pytest.raises(Stopped, match="not begun") as caught:
        hydra_app.task({})
    assert caught.value.code == 143


def test_one_run_goes_where_hydra_or_its_own_setting_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = [*TINY, *UNMEASURED, "plugin=mine.py", "algo.drift=mine", "algo.drift_params.weight=2", "certify=false"]
    assert main(["train", *words, "hydra.run.dir=there", "hydra.job.chdir=true"]) == 0
    config = yaml.safe_load((tmp_path / "there/config.yaml").read_text())
    assert config["algo"]["drift_params"] == {"weight": 2} and config["plugin"] == str(tmp_path / "mine.py")
    assert not (tmp_path / "there/.hydra").exists() and Path.cwd() == tmp_path
    assert main(["train", *words, "run_dir=here"]) == 0
    pd.testing.assert_frame_equal(record(tmp_path / "there"), record(tmp_path / "here"), check_exact=True)
    capsys.readouterr()
    assert main(["train", *words, "hydra.run.dir=there", "hydra.job.chdir=true"]) == 0
    assert "is finished" in capsys.readouterr().out


def test_a_preset_may_bring_a_sweep_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine/experiment").mkdir(parents=True)
    sweep = "# @package _global_\ngamma: 0.5\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n"
    (tmp_path / "mine/experiment/two.yaml").write_text(sweep)
    words = ["--config-dir", "mine", "experiment=two", *TINY, *UNMEASURED, "run_dir=two"]
    assert main(["train", *words]) == 0
    configs = [yaml.safe_load(file.read_text()) for file in sorted((tmp_path / "two").glob("*/config.yaml"))]
    assert [(config["seed"], config["gamma"], config["run_dir"]) for config in configs] == [
        (0, 0.5, "two/seed=0"),
        (1, 0.5, "two/seed=1"),
    ]


@pytest.mark.parametrize("launcher", [JOBLIB, *long(["hydra/launcher=submitit_local"])])
def test_jobs_of_a_launcher_are_those_of_a_sweep_without(launcher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "-m", *TINY, *UNMEASURED, "seed=0,1", "algo.clip_eps=0.1"]
    assert main([*words, "run_dir=plain"]) == 0
    monkeypatch.setattr(sys, "argv", ["hamljax", *words, *launcher])  # which a run writes down
    for _ in range(1 if launcher is JOBLIB else 2):
        assert main([*words, *launcher, "run_dir=launched"]) == 0
    if launcher is JOBLIB:
        get_reusable_executor().shutdown()
    names = ["seed=0", "seed=1"]
    assert sorted(path.parent.name for path in (tmp_path / "launched").glob("*/config.yaml")) == names
    for name in names:
        runs = [tmp_path / folder / name for folder in ("plain", "launched")]
        pd.testing.assert_frame_equal(*map(record, runs), check_exact=True)
        assert "hydra/launcher" in (runs[1] / "versions.json").read_text()


@pytest.mark.long
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_stops_all_jobs_in_order_and_the_same_command_goes_on(group, tmp_path, monkeypatch):
    """SIGTERM to the process that was typed alone, and Ctrl-C, which a terminal sends to all."""
    monkeypatch.chdir(tmp_path)
    words = [
        *HAMLJAX,
        "train",
        "-m",
        *JOBLIB,
        *TINY,
        *UNMEASURED,
        "seed=0,1,2",
        "total_timesteps=4e5",
    ]
    typed = [*words, "run_dir=sweep"]
    sweep = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    records = [tmp_path / f"sweep/seed={i}/metrics.parquet" for i in range(2)]
    while not all(record.exists() for record in records):
        assert sweep.poll() is None
        time.sleep(0.2)
    number = signal.SIGINT if group else signal.SIGTERM
    os.killpg(sweep.pid, number) if group else sweep.send_signal(number)
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 128 + number, err
    assert len(re.findall(r"stopped at step [\d,]+ and saved", err)) == 2 and "Traceback" not in err
    assert not (tmp_path / "sweep/seed=2/config.yaml").exists()
    for i in range(2):
        assert list((tmp_path / f"sweep/seed={i}/checkpoints").iterdir())
    done = subprocess.run(typed, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("going on from step") == 2


# SUBMITTED AGAIN, DRAWN, COUNTED

SUBMITTED = """
import signal, sys

from hamljax.lab.cli import main

def again(*_):
    print("submitted again", flush=True)
    sys.exit(7)

signal.signal(signal.SIGUSR2, again)
sys.exit(main(["train", "hydra.job.chdir=false", *sys.argv[1:]]))
"""


def test_a_job_that_was_stopped_for_want_of_time_tells_who_submitted_it(tmp_path, monkeypatch, capsys):
    """By the signal that it was stopped with, once all is saved."""

    def stopped(*_, **__):
        raise Stopped("stopped at step 16 and saved", 128 + signal.SIGUSR2)

    monkeypatch.setattr("hamljax.lab.runs.run.train", stopped)
    before = signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))
    try:
        with pytest.raises(SystemExit, match="7"):
            main(["train", "hydra.job.chdir=false", *TINY, f"run_dir={tmp_path / 'run'}"])
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert "stopped at step 16 and saved" in capsys.readouterr().out and hydra_app.stopped == 0


@pytest.mark.long  # the one before and the next have its two halves
def test_a_job_that_is_out_of_time_saves_is_submitted_again_and_goes_on(tmp_path):
    """SIGUSR2, where a launcher listens to it: as submitit has SLURM send it before a time limit."""
    words = [*TINY, *UNMEASURED, "total_timesteps=4e5", f"run_dir={tmp_path / 'run'}"]
    job = subprocess.Popen([sys.executable, "-c", SUBMITTED, *words], stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "run/metrics.parquet").exists():
        assert job.poll() is None
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR2)
    out, _ = job.communicate(timeout=120)
    assert job.returncode == 7 and "submitted again" in out.splitlines()
    assert re.search(r"stopped at step [\d,]+ and saved", out)
    assert list((tmp_path / "run/checkpoints").iterdir())


def test_where_nobody_submits_jobs_the_signal_is_what_it_was():
    before = signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    try:
        with pace.listening(print, requeue=True):
            assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
        heard = []
        signal.signal(signal.SIGUSR2, lambda number, _: heard.append(number))
        ours = signal.getsignal(signal.SIGUSR2)
        with pace.listening(print):  # of other commands
            assert signal.getsignal(signal.SIGUSR2) is ours
        with pace.listening(print, requeue=True) as signals, signals.ending_at_once("nothing is lost"):
            assert signal.getsignal(signal.SIGUSR2) is not ours
            os.kill(os.getpid(), signal.SIGUSR2)  # is theirs at once: compiling may take longer than there is time
            while not signals.caught:
                time.sleep(0.01)
            assert heard == [signal.SIGUSR2]
        with pace.listening(print, requeue=True) as signals:
            os.kill(os.getpid(), signal.SIGUSR2)  # while training it is noted, to save first
            while not signals.caught:
                time.sleep(0.01)
        assert signal.getsignal(signal.SIGUSR2) is ours and len(heard) == 1
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_the_script_that_a_cluster_gets(tmp_path, monkeypatch):
    """By the launcher, as far as SLURM: the signal before the limit, the limit, a GPU, and as many jobs as the sweep has."""
    scripts = []

    def submit(self, command):
        scripts.append(Path(command[-1]).read_text())
        raise RuntimeError("no cluster is here")

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", lambda self=None: 2)
    monkeypatch.setattr("submitit.slurm.slurm.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(
        "submitit.core.utils.CommandFunction.__call__", lambda self, *a, **k: submit(self, self.command)
    )
    monkeypatch.chdir(tmp_path)
    cluster = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=600", "hydra.launcher.gpus_per_node=1"]
    with pytest.raises(RuntimeError, match="no cluster"):
        main(["train", "-m", *cluster, "hydra.launcher.signal_delay_s=90", *TINY, "seed=0,1", "run_dir=sweep"])
    (script,) = scripts
    for line in ("--signal=USR2@90", "--time=600", "--gpus-per-node=1", "--array=0-1"):
        assert line in script, script


def test_a_sweeper_that_draws_is_checked_by_the_ends_of_its_intervals(capsys):
    words = ["algo=happo,mappo_s", "algo.actor_lr=tag(log,interval(1e-4,1e-2))", "env=game/crowding", "num_agents=2,3"]
    hydra_app._check(words, many=True, draws=True)
    found = hydra_app._in_hydras_words(words, draws=True)
    assert found[:2] == words[:2] and found[3] == "env.num_agents=2,3"
    with pytest.raises(ConfigError, match="must be in"):
        hydra_app._check(["algo.actor_lr=interval(-1.0,1.0)"], many=True, draws=True)
    hydra_app._check(["num_envs=int(interval(1,10))"], many=True, draws=True)
    with pytest.raises(ConfigError, match=r"num_envs must be a whole number.*int\(interval\(...\)\) draws whole ones"):
        hydra_app._check(["num_envs=interval(1,10)"], many=True, draws=True)
    assert main(["train", "-m", "hydra/sweeper=tune", "algo.actor_lr=interval(1e-4,1e-2)"]) == 2
    said = capsys.readouterr().err
    assert "--no-deps hydra-optuna-sweeper" in said and len(said.splitlines()) == 1


def test_what_a_sweeper_goes_by_is_a_number_of_the_summary(tmp_path, monkeypatch):
    class Chosen:
        choices = {"hydra/sweeper": "tune"}

    monkeypatch.setattr(hydra_app.HydraConfig, "get", lambda: type("", (), {"runtime": Chosen}))

    def of(summary, name=""):
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return hydra_app.objective(tmp_path, name)

    both = {"eval/won": {"mean": 0.5}, "eval/return": {"mean": 12.0}}
    assert of({"absolute": both, "final": {}}) == 0.5
    assert of({"absolute": both}, "eval/return") == 12.0
    assert of({"absolute": {}, "final": {"eval/return": {"mean": 3.0}}}) == 3.0
    with pytest.raises(ConfigError, match="did you mean 'eval/won'"):
        of({"absolute": both}, "eval/won_")
    with pytest.raises(ConfigError, match="no finite eval/return"):
        of({"absolute": {"eval/return": {"mean": None}}})
