"""The command line as its users meet it."""

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import pandas as pd
import pytest
import yaml
from sizes import long

from hamljax.envs import ENVIRONMENTS
from hamljax.errors import ConfigError, Stopped
from hamljax.lab.benchmarks import training as bench
from hamljax.lab.cli import main
from hamljax.lab.configuration import machine
from hamljax.lab.configuration.in_python import config
from hamljax.lab.runs.trained import load

TINY = ["env=game/climbing", "num_envs=4", "num_steps=4", "total_timesteps=48", "num_eval_episodes=4"]
TINY += ["network.hidden_sizes=[8]", "algo.update_epochs=1", "algo.critic_epochs=1"]
TWO = [*TINY, "num_seeds=2", "num_evals=3"]  # of most runs here, so that these are one program

MISTAKES = {
    "train algo=hapo": "'happo'",
    "train env=smax/4m": "smax/",
    "train env=gme/climbing": "'game/climbing'",
    "train algo.clp_eps=0.1": "'algo.clip_eps'",
    "train +algo.clp_eps=0.1": "'algo.clip_eps'",
    "train ++algo.clp_eps=0.1": "'algo.clip_eps'",
    "train algo.drift=clp": "'clip'",
    "train gamma=1.5": "[0, 1]",
    "train gamma=nan": "[0, 1]",
    "train num_envs=0": "at least 1",
    "train algo.num_minibatches=3": "nearest divisor",
    "train total_timesteps=abc": "whole number",
    "train total_timesteps=10": "8192",
    "train algo=happo,mappo_s": "-m",
    "train ~algo": "deleted",
    "train algo=null": "algorithm",
    "train gamma": "key=value",
    "train network.hidden_sizes=[[64],3]": "a whole number",
    "train experiment=smac_papr": "'smac_paper'",
    "train plugin=/nonexistent.py": "does not exist",
    "train env.max_steps=-4": "at least 1",
    "trian": "'train'",
    "plot /nonexistent": "does not exist",
    "plot": "run directory",
    "plot runs --output x.png": "'--out'",
    "plot runs --out x.txt": ".png",
    "bench --fast": "--quick",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("hamljax: error: ")
    assert MISTAKES[command] in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two seeds, its command line, and what it said."""
    run = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["train", *TWO, "seed=3", f"run_dir={run}"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(arguments) == 0
    return run, arguments, said.getvalue().splitlines()


def test_train_leaves_a_directory_that_explains_itself(trained):
    run, _, lines = trained
    assert any("steps/s=" in line and "left=" in line for line in lines)
    assert {p.name for p in run.iterdir()} == {
        ".lock",
        "config.yaml",
        "versions.json",
        "metrics.parquet",
        "summary.json",
        "curves.png",
        "checkpoints",
    }
    metrics = pd.read_parquet(run / "metrics.parquet")
    wanted = [(update, seed) for update in range(4) for seed in (3, 4)]
    assert sorted(zip(metrics["update"], metrics["seed"], strict=True)) == wanted
    assert metrics.dropna(subset=["eval/return"])["update"].unique().tolist() == [0, 2, 3]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["algo"]["name"] == "happo" and config["env"]["name"] == "game/climbing" and config["num_envs"] == 4
    assert json.loads((run / "summary.json").read_text())["steps_per_seed"] == 48
    assert "jax" in json.loads((run / "versions.json").read_text())


def test_a_finished_run_stays_as_it_is(trained, capsys):
    run, arguments, _ = trained
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert main(arguments) == 0
    assert "is finished" in capsys.readouterr().out
    for words, complaint in (
        (["resume=never"], "already holds a run"),
        (["gamma=0.9"], "differs in gamma (0.99 there, 0.9 here)"),
        (["gamma=0.9", "resume=must"], "differs in gamma (0.99 there, 0.9 here)"),
        (["total_timesteps=96"], f"hamljax resume {run}"),
    ):
        assert main([*arguments, *words]) == 2
        assert complaint in capsys.readouterr().err
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_a_run_is_brought_back_as_it_ended(trained):
    run, *_ = trained
    team = load(run)
    assert team.update == 3 and team.config.env.name == "game/climbing"
    last = pd.read_parquet(run / "metrics.parquet").groupby("seed")["eval/return"].last()
    evaluate = jax.jit(team.trainer.evaluate)
    for seed in (3, 4):  # the final evaluation, made again from what was saved
        assert evaluate(team.of_seed(seed))["eval/return"] == last[seed]
    with pytest.raises(ConfigError, match="no seed 5 here: happo on game/climbing, seeds 3 to 4,"):
        team.of_seed(5)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    words = [*TWO, "algo.clip_eps=0.1,0.3", "seed=0,7", "absolute_metric=false"]
    assert main(["train", "-m", *words, f"run_dir={folder}"]) == 0
    return folder


def test_a_sweep_trains_every_combination_and_plot_compares_them(sweep, tmp_path, capsys):
    assert len(list(sweep.rglob("summary.json"))) == 4
    picture = tmp_path / "picture.png"
    assert main(["plot", str(sweep), "--out", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "happo" in capsys.readouterr().out


def test_plot_pools_seeds_and_tells_settings_apart(sweep, capsys):
    assert main(["plot", str(sweep)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "climbing" in line]
    assert len(rows) == 2 and all("│ 4 " in row for row in rows)
    assert "clip_eps=0.1" in rows[0] and "clip_eps=0.3" in rows[1]
    assert (sweep / "curves.png").is_file()


def test_a_drift_in_five_lines_from_a_file(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import hamljax\n\n@hamljax.register_drift('square')\n"
        "def square(ratio, m_advantage, *, weight=1.0):\n    return weight * (ratio - 1) ** 2\n"
    )
    run = tmp_path / "run"
    words = [f"plugin={plugin}", "algo.drift=square", "+algo.drift_params.weight=2.0", f"run_dir={run}"]
    assert main(["train", *TINY, "num_evals=0", *words]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["algo"]["drift_params"] == {"weight": 2.0}


BROKEN_ENVIRONMENTS = {
    "world_state_size=5": (
        "world_state_size=4",
        "world_state of reset's observation has shape (4,); its team says (5,)",
    ),
    "{'won': together * jnp.ones(2)}": ("{}", "metric 'won' has shape (2,); its team says ()"),
    "time + 1.5": ("time + 1", "from int32[] into float32[]"),
    "0.0 * places": ("1.0 * together", "reward of the step has shape (2,)"),
    "length: int, horizon": ("length: int = 4, horizon", "parameter 'length' needs a type annotation and a default"),
}
ENVIRONMENT = """
import jax, jax.numpy as jnp, hamljax

class Meet(hamljax.Environment):
    def __init__(self, length: int = 4, horizon: int = 10):
        self.max_episode_length = 10
        self.team = hamljax.Team(obs_sizes=(4, 4), action_sizes=(3, 3), world_state_size=4)
    def reset(self, key):
        return (jnp.zeros(2, jnp.int32), jnp.int32(0)), self.observe()
    def step(self, key, state, action):
        places, time = state
        together = places[0] == places[1]
        state = (places, time + 1)
        return state, hamljax.Step(self.observe(), 1.0 * together, jnp.bool_(False), state[1] >= 10, {})
    def observe(self):
        return hamljax.Observation(jnp.ones((2, 4)), jnp.ones(4), jnp.ones((2, 3), bool), jnp.ones(2, bool))

hamljax.register_environment("my/broken", Meet)
"""


@pytest.mark.parametrize("broken", BROKEN_ENVIRONMENTS)
def test_an_environment_that_breaks_the_protocol_is_named_before_anything_is_written(
    broken, tmp_path, monkeypatch, capsys, request
):
    request.addfinalizer(lambda: ENVIRONMENTS.pop("my/broken", None))
    right, complaint = BROKEN_ENVIRONMENTS[broken]
    assert right in ENVIRONMENT
    (tmp_path / "mine.py").write_text(ENVIRONMENT.replace(right, broken))
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY[1:], "plugin=mine.py", "env=my/broken"]) == 2
    out, err = capsys.readouterr()
    assert complaint in err and err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_mistakes_with_a_plugin_get_one_line(tmp_path, capsys):
    plugin = tmp_path / "mine.py"
    plugin.write_text("def square(:\n")
    assert main(["train", *TINY, f"plugin={plugin}"]) == 2
    assert "invalid syntax in line 1" in capsys.readouterr().err
    plugin.write_text("import hamljax\n\n1 / 0\n")
    assert main(["train", *TINY, f"plugin={plugin}"]) == 2
    assert "failed in line 3: ZeroDivisionError" in capsys.readouterr().err
    plugin.write_text("import hamljax\n\nhamljax.register_drift('clip')(lambda ratio, m_advantage: ratio)\n")
    assert main(["train", *TINY, f"plugin={plugin}"]) == 2
    assert "'clip' is among the drifts that hamljax ships" in capsys.readouterr().err
    assert main(["train", *TINY, "algo.drift=clip", "+algo.drift_params.clip_epsi=0.3"]) == 2
    assert "no parameter 'clip_epsi'; did you mean 'clip_eps'?" in capsys.readouterr().err


def test_a_robots_joints_are_shared_out_from_the_command_line(large, tmp_path, monkeypatch, capsys):
    def do_not_compile(learner, *_):
        raise Stopped(f"actions: {learner.env.team.action_sizes}", 0)

    if not large:  # a robot takes long
        monkeypatch.setattr("hamljax.lab.runs.programs.compiled.make", do_not_compile)
    words = ["env=mamujoco/hopper_3x1", "env.backend=spring", "env.agent_obsk=all", f"run_dir={tmp_path / 'run'}"]
    parts = "env.partition=[[thigh_joint,foot_joint],[leg_joint]]"
    small = ["num_envs=2", "num_steps=4", "total_timesteps=8", "num_evals=0"]
    assert main(["train", *small, *words, parts]) == 0
    assert large or "actions: (2, 1)" in capsys.readouterr().err
    written = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert written["env"]["partition"] == [["thigh_joint", "foot_joint"], ["leg_joint"]]
    assert main(["train", *small, *words[:3], "env.partition=[[thigh_joint,fot_joint]]"]) == 2
    assert "no joint 'fot_joint'; did you mean 'foot_joint'?" in capsys.readouterr().err


def test_list_names_every_room_of_the_table(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "(all: drift none, neighbourhood everywhere)" in out  # or the words of its columns would be broken
    for word in (
        "simultaneous",
        "deterministic",
        "happo",
        "matrpo_s",
        "reverse_kl",
        "smax/27m_vs_30m",
        "game/tracking",
        "smax_jaxmarl",
        "gru",
    ):
        assert word in out


def test_help_reads_without_waiting_for_jax():
    code = "import sys; from hamljax.lab.cli import main; main(['--help']); assert 'jax' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: hamljax" in out and "examples" in out


@pytest.mark.parametrize("logger,trace", [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_optional_loggers_work_without_an_account(logger, trace, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    assert main(["train", *TWO, "absolute_metric=false", f"logger={logger}", f"run_dir={run}"]) == 0
    assert any((run / trace).iterdir())


@pytest.mark.parametrize(
    "kind, word, env",
    [
        ("off_policy", "reacher_2x1", "game/tracking"),  # measures this one's learner instead, which is there at once
        *long(("recurrent", "pieces of 8", "game/tracking")),
        *long(("off_policy", "reacher_2x1", ""), ("mamujoco", "reacher_2x1", ""), ("bridge", "halfcheetah_6x1", "")),
        *long(("recurrent", "pieces of 8", ""), ("devices", "2 devices", "")),
    ],
)
def test_benches_print_and_store_their_tables(kind, word, env, tmp_path, monkeypatch, capsys):
    if env:
        module = importlib.import_module(f"hamljax.lab.benchmarks.{kind}")
        monkeypatch.setattr(module, "config", lambda algo, _, **settings: config(algo, env, **settings))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", kind, "--quick"]) == 0
    assert word in capsys.readouterr().out
    assert json.loads((tmp_path / f"bench_{kind}.json").read_text())["quick"] is True


def test_the_main_bench_prints_and_stores_every_ratio(tmp_path, monkeypatch, capsys):
    """With made-up measurements; the real ones are in ``make test-long``, as a command of the README."""
    monkeypatch.chdir(tmp_path)
    made_up = {"environment_speed": 100.0, "reset_cost": 0.5, "learning_speed": 4e9, "product_speed": 8e9}
    made_up |= {"training_speed": (50.0, 3.0), "spread_speed": 200.0}
    for name, value in made_up.items():
        monkeypatch.setattr(bench, name, lambda *_, value=value, **__: value)
    assert main(["bench", "--quick"]) == 0
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["HAPPO / environment only"] == 0.5 and written["wall time, 2 vmapped seeds / 2 single runs"] == 0.25
    assert written["  overhead of the learner beyond its products"] == 0.5 and "compile game/random, s" in written
    assert "sequential / simultaneous" in capsys.readouterr().out


def test_the_compiler_gets_an_option_only_where_it_has_it_and_the_user_says_nothing():
    fusion, sums = (f"{name}={value}" for name, value in machine.XLA_OPTIONS.items())
    assert machine.xla_flags("--xla_a=1", (0, 11, 0)) == f"--xla_a=1 {fusion} {sums}"
    assert machine.xla_flags("", (0, 11, 1)) == sums
    for name in machine.XLA_OPTIONS:
        assert machine.xla_flags(f"{name}=other", (0, 11, 0)).count(name) == 1


def test_every_python_gets_the_jax_that_is_tested():
    pins = [line for line in Path("constraints.txt").read_text().splitlines() if re.match("jax(lib)?==", line)]
    assert pins == [f"jax=={jax.__version__}", f"jaxlib=={jax.__version__}"]
