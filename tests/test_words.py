"""What is typed is read as a person means it, and no exception of a library answers it."""

import dataclasses
import io
import json
import os
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_runs import ONCE

import hamljax
from hamljax.coercion import typed
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.commands import hydra_app
from hamljax.lab.configuration import overrides
from hamljax.lab.configuration.jobs import expand, job_of, make_job
from hamljax.lab.configuration.plugins import load_plugin
from hamljax.lab.configuration.remarks import whole_rollouts
from hamljax.lab.drawing import tables as listing
from hamljax.lab.runs import reporter as progress
from hamljax.lab.storage import rundir, saved_config

TINY = ["env=game/climbing", "num_envs=4", "num_steps=4", "num_eval_episodes=2", "num_evals=2", "absolute_metric=false"]
TINY += ["network.hidden_sizes=[8]", *ONCE]
NAME = "été [/x] $\\frac$ :smile: (a=b)"  # of a folder: letters, markup, mathematics, an emoji's name, grammar
CLIMB = "env=game/climbing"

MISTAKES = {  # words of train, joined by |: what the one line says
    "-m|algo=glob(ha*)": "such as algo=haa2c,haddpg,hamdpo,happo,hasac,hatd3,hatrpo",
    "-m|env=glob(*)": "glob() is not known here",
    "-m|algo.clip_eps=interval(0.1,0.3)": "such as algo.clip_eps=0.1,0.3",
    "-m|seed=range(0,3,0)": "a step that is not 0",
    "-m|seed=range(3,0)": "stands for 0 values",
    "-m|seed=range(0,1e9)": "1,000,000,000 values",
    "-m|seed=range(0,1000)|num_envs=range(1,1000)": "999,000 combinations",
    "-m|run_dir=a,b": "one folder",
    "-m|algo=happo,häppo": "did you mean 'happo'?",
    "-m|plugin=é.py,b.py": "plugin 'é.py' does not exist",
    "run_dir=a,b": "\"run_dir='...'\"",
    "algo=choice(happo,haa2c)": "add -m",
    "logger=wandb|logger.mode=onlin": "did you mean 'online'?",
    "logger=wandb|logger.mode=1": "unknown logger.mode '1'",
    "logger.mode=online": "a setting of logger=wandb",
    "logger=wandb|logger.project=a/b": "must be without /",
    "logger=wandb|logger.name=null": "logger.name must be a text",
    "logger=wandb|logger.tags=a": "logger.tags must be a list",
    "logger=wandb|logger.tags=[[a]]": "logger.tags must be a list",
    "logger=wandb|logger.tags=[a,'']": "1 to 64 characters",
    "logger=wandb|logger.tgs=[a]": "did you mean 'logger.tags'?",
    "logger.kind=wandbb": "did you mean 'wandb'?",
    "gamma=été": "gamma must be a number, not 'été'",
    "gamma='é": "gamma must be a number",
    "network.hidden_sizes=[1,": "stands in quotes",
    "network.hidden_sizes=[é]": "whole number",
    "plugin=été.py": "plugin 'été.py' does not exist",
    "plugin=/": "does not exist",
    "algo.clip_eps=${oc.env:NOT_SET_ANYWHERE}": "NOT_SET_ANYWHERE",
    "env.x=": "unknown setting 'env.x'",
}


def one_line(words, capsys) -> str:
    """The complaint about a command line, which is all that it prints."""
    assert main(words) == 2, words
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("hamljax: error: "), (words, out, err)
    return err


@pytest.mark.parametrize("words", MISTAKES)
def test_no_librarys_exception_answers_what_was_typed(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = one_line(["train", CLIMB, *words.split("|")], capsys)
    assert MISTAKES[words] in err and len(err) < 400 and "http" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_name_in_no_encoding_that_we_write_is_one_line(capsys):
    """A folder of Latin-1: Parquet's writer takes UTF-8 names alone, and would say so after the compiler."""
    assert "its letters are not UTF-8" in one_line(["train", CLIMB, "run_dir=caf\udce9"], capsys)


@pytest.mark.parametrize("key", ["run_dir", "plugin", "payoff"])
def test_a_name_that_no_file_system_takes_is_one_line(key, capsys):
    words = ["train", "env=game/matrix" if key == "payoff" else CLIMB, f"{key}={'x' * 300}.npy"]
    assert "File name too long" in one_line(words, capsys)


def test_values_of_the_loggers_environment_variable_are_choices_too(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert "'ofline'; did you mean 'offline'?" in one_line(["train", CLIMB, "logger=wandb"], capsys)


NAMES = {
    "runs/été": "runs/été",
    "мой/прогон": "мой/прогон",
    "my runs/a (1)": "my runs/a (1)",
    "2024_01_02": "2024_01_02",  # Hydra: the number 20240102
    "007": "007",
    "1e3": "1e3",
    "true": "true",
    "[x]": "[x]",
    "runs/[/x]": "runs/[/x]",
    "~/x=y#z&w": "~/x=y#z&w",
    "it's": "it's",
    "back\\": "back\\",
    "'in, quotes'": "in, quotes",
    '"in, quotes"': "in, quotes",
    "😀": "😀",
    "runs/${algo.name}-é": "runs/happo-é",
    "": "",
}


@pytest.mark.parametrize("typed_name", NAMES)
def test_a_name_is_what_was_typed(typed_name):
    job = make_job([CLIMB, f"run_dir={typed_name}", "logger=wandb", f"logger.group={typed_name}"])
    assert job.run.run_dir == NAMES[typed_name] and job.logger["group"] == NAMES[typed_name]


def test_files_of_an_environment_and_plugins_have_any_name(tmp_path):
    (tmp_path / "é (1).json").write_text("[[1, 0], [0, 2]]")
    plugin = tmp_path / "ü [x].py"
    plugin.write_text("import hamljax\nhamljax.register_drift('wörds')(lambda ratio, m_advantage: (ratio - 1) ** 2)\n")
    for key in ("payoff", "env.payoff"):
        job = make_job(["env=game/matrix", f"{key}={tmp_path}/é (1).json", f"plugin={plugin}", "algo.drift=wörds"])
        assert job.config.env.payoff == f"{tmp_path}/é (1).json" and job.config.algo.drift == "wörds"


def test_quotes_keep_every_text():
    chance = random.Random(0)
    for _ in range(300):
        text = "".join(chance.choice("a'\"\\ é,[](){}=:#") for _ in range(chance.randint(1, 8)))
        (found,) = overrides.parse([f"x={overrides.quote(text)}"])
        assert found.value() == text


def test_tags_are_a_list_of_texts():
    job = make_job([CLIMB, "logger=wandb", "logger.tags=[é,a b,2,'x,y']", "logger.entity=me", "logger.name=1e4"])
    assert job.logger == {
        "kind": "wandb",
        "project": "hamljax",
        "mode": "offline",
        "entity": "me",
        "group": "",
        "tags": ["é", "a b", "2", "x,y"],
        "name": "1e4",
    }
    assert job.resolved["logger"] == job.logger and job_of(job.resolved).logger == job.logger


LIMITS = {  # of every setting that has any: a value just outside, and one just inside
    hamljax.Config: "num_envs=0,1 num_steps=0,1 total_timesteps=0,1 gamma=-0.01,0 gamma=1.01,1 gae_lambda=1.01,1 num_evals=-1,0 "
    "num_eval_episodes=0,1 truncation=drp,drop obs_norm=yes,always",
    hamljax.Network: "activation=gelu,tanh gru_size=-1,0 data_chunk_length=-1,0 policy_gain=0,0.1 "
    "std_x_coef=0,0.1 std_y_coef=-1,1",
    hamljax.Algo: "actor_lr=0,1e-9 critic_lr=0,1 max_grad_norm=0,1 adam_eps=0,1e-8 update_epochs=0,1 num_minibatches=0,1 "
    "critic_epochs=0,1 critic_minibatches=0,1 cg_iters=0,1 backtrack_iters=0,1 backtrack_coef=0,0.1 backtrack_coef=1,0.9 "
    "accept_ratio=-0.1,0 accept_ratio=1,0.9 clip_eps=0,0.1 huber_delta=0,1 value_clip=0,1 max_kl=0,0.1 "
    "dpo_alpha=0,1 dpo_beta=0,1 "
    "ent_coef=-0.1,0 kl_coef=-0.1,0 cg_damping=-0.1,0 critic_loss=hubr,squared entropy=no,reward occupancy=no,discounted "
    "group_ratio=no,joint",
    hamljax.OffPolicyAlgo: "buffer_size=0,1 batch_size=0,1 gradient_steps=0,1 n_step=0,1 update_epochs=0,1 learning_starts=-1,0 "
    "target_every=0,1 critics=0,1 policy_delay=0,1 tau=0,0.1 tau=1.1,1 exploration_noise=-1,0 target_noise=-0.1,0 "
    "target_noise_clip=-1,0 alpha=0,0.1 alpha_lr=0,0.1 target_entropy_scale=1.1,1 others=nobody,policy max_kl=0,1 kl_coef=-1,0",
}


@pytest.mark.parametrize("kind", LIMITS)
def test_every_limit_of_a_setting_is_where_it_was(kind):
    parts = {"algo": hamljax.Algo(), "network": hamljax.Network(), "env": None} if kind is hamljax.Config else {}
    limited = {f.name for f in dataclasses.fields(kind) if f.metadata}
    said = [word.split("=") for word in LIMITS[kind].split()]
    assert {name for name, _ in said} | COMMON >= limited
    for name, values in said:
        outside, inside = values.split(",")
        kind(**parts, **{name: inside}).check_fields("it.")
        with pytest.raises(ConfigError, match=f"it.{name}"):
            kind(**parts, **{name: outside}).check_fields("it.")


COMMON = {"actor_lr", "critic_lr", "max_grad_norm", "adam_eps"}  # of both families
SWEEPS = {
    "algo.clip_eps=range(0.1,0.4,0.1)": ["0.1", "0.2", "0.3"],  # Hydra: 0.30000000000000004, and 0.4 too
    "algo.clip_eps=range(1e-3,3e-3,1e-3)": ["0.001", "0.002"],
    "seed=range(4)": ["0", "1", "2", "3"],
    "seed=range(3,0,-1)": ["3", "2", "1"],
    "seed=0,1,0": ["0", "1"],  # a job is trained once
    "seed=choice(5)": ["5"],
    "logger.group=é,1e3": ["'é'", "'1e3'"],
    "logger.group=é (1),f(a,b)": ["'é (1)'", "'f(a,b)'"],
    "logger.group='x (1)',é (2)": ["'x (1)'", "'é (2)'"],  # with quotes of one's own around some
}


@pytest.mark.parametrize("word", SWEEPS)
def test_a_sweep_has_the_values_that_a_person_means(word):
    key = word.partition("=")[0]
    assert expand([word, CLIMB]) == [[f"{key}={value}", CLIMB] for value in SWEEPS[word]]


NAMED = ["env=game/climbing", "logger=wandb", "logger.name=it-s,it/s"]


@pytest.mark.parametrize("words", [["env=game/matrix", "env.payoff=w-c/p.json,w/c/p.json"], NAMED])
@pytest.mark.parametrize("more", [[], ["hydra/launcher=basic"]])
def test_two_jobs_of_a_sweep_never_have_one_folder(words, more, capsys):
    assert main(["train", "-m", *words, *more]) == 2
    error = capsys.readouterr().err
    assert "would have one folder, " in error and "rename a file, or sweep them apart" in error


def test_who_names_the_folders_of_a_sweep_differently_may(monkeypatch):
    begun = []
    monkeypatch.setattr(hydra_app, "_run", lambda argv, quiet: begun.append(argv))
    assert main(["train", "-m", *NAMED, "hydra.sweep.subdir=${hydra:job.num}"]) == 0 and begun


def test_names_of_a_sweeps_jobs_fit_into_a_file_system(monkeypatch, tmp_path):
    from hamljax.lab.runs import run as host_loop

    monkeypatch.chdir(tmp_path)
    found = []
    monkeypatch.setattr(host_loop, "train", lambda job, longer=False, **_: found.append(job.run.run_dir))
    group = "é" * 120  # 240 bytes
    assert main(["train", "-m", CLIMB, "logger=wandb", f"logger.group={group},{group}a", "run_dir=it's"]) == 0
    assert len(set(found)) == 2
    for name in found:
        (tmp_path / name).mkdir(parents=True)
        assert name.startswith("it's/logger.group=é")


ROUNDED = {
    (64, 128, 16000): (8192, 16384),
    (4, 4, 72): (64, 80),
    (4, 4, 64): None,
    (64, 128, 1_000_000): (999_424, 1_007_616),
}


@pytest.mark.parametrize("sizes", ROUNDED)
def test_steps_that_are_no_whole_rollouts_are_named(sizes):
    envs, steps, total = sizes
    said = whole_rollouts(hamljax.config(env="game/climbing", num_envs=envs, num_steps=steps, total_timesteps=total))
    assert bool(said) == bool(ROUNDED[sizes])
    for number in ROUNDED[sizes] or ():
        assert f"{number:,}" in said


# A RUN WITH A NAME LIKE NO OTHER


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    """A finished run of 64 steps, asked for 72; and what it printed."""
    run, printed = tmp_path_factory.mktemp("words") / NAME, io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        assert main(["train", *TINY, "total_timesteps=72", f"run_dir={run}"]) == 0
    return run, printed.getvalue()


def test_a_run_says_that_it_trains_whole_rollouts(odd_run):
    assert "64 steps are trained; the next number is 80" in odd_run[1]


def test_a_run_with_an_odd_name_is_found_by_every_command(odd_run, tmp_path, capsys):
    run = odd_run[0]
    assert main(["info", str(run)]) == 0
    assert f"hamljax resume '{run}'" in capsys.readouterr().out  # as a shell takes it
    assert main(["train", *TINY, "total_timesteps=72", f"run_dir={run}"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert main(["plot", str(run), "--out", f"{tmp_path}/é $\\frac$.png"]) == 0
    assert main(["evaluate", str(run), "num_episodes=2", f"out={tmp_path}/[é].json"]) == 0
    assert json.loads((tmp_path / "[é].json").read_text())["run"] == str(run)
    for word in ("env.x=", "env.=1", "env.name=1,2", "num-episodes=3", "num_episodes=[2]"):
        capsys.readouterr()
        one_line(["evaluate", str(run), word], capsys)


def test_labels_of_curves_are_no_mathematics(odd_run, tmp_path, monkeypatch):
    from hamljax.lab.drawing import plots

    monkeypatch.setattr(plots, "gather", lambda paths: {"$\\frac$": frame, "$a_$ · $": frame})
    frame = rundir.read_run(odd_run[0])[1].assign(curve="0")
    plots.draw_runs([], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_numbers_are_numbers_however_yaml_writes_them(odd_run, tmp_path, capsys):
    """1e6, 5e-4 and 1_000 in a configuration that somebody has edited: the same run as before."""
    text = (odd_run[0] / "config.yaml").read_text()
    edited = text.replace("total_timesteps: 72", "total_timesteps: 7.2e1").replace("num_envs: 4", "num_envs: 4e0")
    edited = edited.replace("actor_lr: 0.0005", "actor_lr: 5e-4").replace("gamma: 0.99", "gamma: 99e-2")
    edited = edited.replace("num_eval_episodes: 2", "num_eval_episodes: '2'").replace("cg_iters: 10", "cg_iters: 1_0")
    assert sum(a != b for a, b in zip(text.splitlines(), edited.splitlines(), strict=True)) == 6
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(edited)
    before, after = saved_config.read_config(odd_run[0]), saved_config.read_config(run)
    assert job_of(after).config == job_of(before).config and saved_config.differences(before, after) == []
    assert rundir.holds_this_run(run, before, "auto")
    assert main(["info", str(run)]) == 0
    assert "of 64 steps (0 of 4 updates)" in capsys.readouterr().out


YAML = {
    "1e6": 1e6,
    "5e-4": 5e-4,
    "1E+2": 100.0,
    "-.5e3": -500.0,
    "1_000": 1000,
    "1.5": 1.5,
    "a1e6": "a1e6",
    "e5": "e5",
    "1e": "1e",
}


@pytest.mark.parametrize("text", YAML)
def test_yaml_has_the_numbers_of_its_second_edition(text):
    assert saved_config.read_yaml(f"x: {text}") == {"x": YAML[text]}
    for value in (text, YAML[text]):  # a text that looks like a number stays a text
        assert saved_config.read_yaml(saved_config.write_yaml({"x": value})) == {"x": value}
        assert yaml.safe_load(saved_config.write_yaml({"x": text})) == {"x": text}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_names_letter_by_letter(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stdout", Terminal())
    reporter = progress.Reporter(100, 1)
    reporter.busy(f"measuring {NAME}")
    reporter.say(f"training -> {NAME}")
    reporter.close()
    listing.print_table((NAME, "[/y]"), [(NAME, "[bold]")], title="")
    shown = sys.stdout.getvalue()
    assert f"training -> {NAME}" in shown and f"measuring {NAME}" in shown and f"│ {NAME} │ [bold] │" in shown


# FROM PYTHON

WRONG = {
    "clip_eps": ["abc", None, True, ["abc"]],
    "huber_delta": ["abc", None, True, [0.1]],
    "num_envs": ["many", 2.5, None, True, "1.5"],
    "hidden_sizes": [64, "64", [64, "a"], [[64]], [2.5]],
    "drift_params": [[1], {"weight": "x"}],
    "anneal_lr": ["maybe", 2, None],
    "obs_norm": [3, None, ["auto"]],
}


@pytest.mark.parametrize("name", WRONG)
def test_python_is_told_what_a_setting_must_be(name):
    for value in WRONG[name]:
        with pytest.raises(ConfigError, match=name):
            hamljax.config(env="game/climbing", **{name: value})


def test_python_may_write_numbers_as_files_have_them():
    given = {
        "total_timesteps": "1e6",
        "clip_eps": "2e-1",
        "num_envs": np.int64(64),
        "num_steps": jnp.int32(128),
        "std_x_coef": 1,
    }
    made = hamljax.config(env="game/climbing", hidden_sizes=[64.0, "64"], anneal_lr="no", **given)
    assert made == hamljax.config(env="game/climbing") and isinstance(made.network.std_x_coef, float)
    traced = jax.jit(lambda eps: 2 * hamljax.config(env="game/climbing", clip_eps=eps).algo.clip_eps)
    assert traced(0.25) == 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hamljax.config(3), "unknown algorithm '3'"),
        (lambda: hamljax.config("happo", 3), "env must be a name"),
        (lambda: hamljax.config("happo", ["smax/3m"]), "env must be a name"),
        (lambda: hamljax.config("ha,po"), "unknown algorithm 'ha,po'; did you mean 'happo'?"),
        (lambda: hamljax.configure("game/tracking", horizon="x"), "env.horizon must be a whole number, not 'x'"),
        (lambda: hamljax.configure("mamujoco/hopper_3x1", partition="x"), "env.partition must be a list"),
        (lambda: hamljax.make_env(3), "an environment is a name"),
        (lambda: hamljax.load(None), "not a run directory"),
    ],
)
def test_python_gets_the_same_lines(call, said):
    with pytest.raises(ConfigError) as caught:
        call()
    assert said in str(caught.value)


KINDS = [
    (int, "12", 12),
    (int, "1e3", 1000),
    (int, 10**20, 10**20),
    (float, 1, 1.0),
    (bool, "off", False),
    (str, 5, "5"),
    (str, True, "true"),
    (tuple[int, ...], [1, 2.0], (1, 2)),
    (tuple[tuple[str, ...], ...], [["a"], [1]], (("a",), ("1",))),
    (dict[str, float], {"a": "1"}, {"a": 1.0}),
    (int | None, None, None),
    (float | str, "x", "x"),
]


@pytest.mark.parametrize(("kind", "given", "wanted"), KINDS)
def test_kinds(kind, given, wanted):
    found = typed("x", given, kind)
    assert found == wanted and type(found) is type(wanted)


# PLUGINS

PLUGIN = """
from __future__ import annotations
import jax, jax.numpy as jnp, hamljax

class Meet(hamljax.Environment):
    def __init__(self, length: int = 4, mode: str | None = None, names: tuple[str, ...] = ()):
        if length < 1:
            raise ValueError(f"no room in {length} places")
        self.max_episode_length = 10
        self.team = hamljax.Team(obs_sizes=(4, 4), action_sizes=(3, 3), world_state_size=4)
    def reset(self, key):
        return jnp.int32(0), self.observe()
    def step(self, key, time, action):
        return time + 1, hamljax.Step(self.observe(), 1.0, jnp.bool_(False), time > 9, {})
    def observe(self):
        return hamljax.Observation(jnp.ones((2, 4)), jnp.ones(4), jnp.ones((2, 3), bool), jnp.ones(2, bool))

hamljax.register_environment("my/words", Meet)
"""


def test_errors_of_a_plugin_are_one_line_with_their_place(tmp_path, capsys):
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    words = ["train", f"plugin={plugin}", "env=my/words"]
    job = make_job([*words[1:], "length=3", "env.names=[é]"])  # annotations are texts in this file
    assert job.config.env.length == 3 and job.config.env.names == ("é",) and job.config.env.mode is None
    assert "env.length must be a whole number, not 'x'" in one_line([*words, "env.length=x"], capsys)
    assert f"failed in '{plugin}' in line 8: ValueError: no room in -1 places" in one_line(
        [*words, "env.length=-1"], capsys
    )
    plugin.write_text("import sys\nsys.exit('no licence')\n")
    assert "failed in line 2: SystemExit: no licence" in one_line(words, capsys)
    plugin.write_bytes(b"x = '\xe9'\n")
    one_line(words, capsys)
    plugin.write_bytes(b"\0")
    one_line(words, capsys)


def test_a_plugin_may_have_dataclasses_and_files_beside_it(tmp_path, capsys):
    (tmp_path / "beside_it.py").write_text("LENGTH = 5\n")
    plugin = tmp_path / "with_others.py"
    plugin.write_text(
        "from __future__ import annotations\nimport dataclasses\nimport beside_it\n"
        "@dataclasses.dataclass(frozen=True)\nclass Settings:\n    length: int = beside_it.LENGTH\n"
    )
    load_plugin(str(plugin))
    assert sys.modules["hamljax_plugin_with_others"].Settings().length == 5


# FILES

DAMAGES = {
    "no seed": lambda frame: frame.drop(columns="seed"),
    "no rows": lambda frame: frame.iloc[:0],
    "no numbers": lambda frame: frame.assign(step="x"),
    "seeds that are none": lambda frame: frame.assign(seed=np.nan),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_record_is_named(damage, odd_run, tmp_path, capsys):
    for name in ("config.yaml", "metrics.parquet"):
        (tmp_path / name).write_bytes((odd_run[0] / name).read_bytes())
    DAMAGES[damage](pd.read_parquet(tmp_path / "metrics.parquet")).to_parquet(tmp_path / "metrics.parquet")
    assert "cannot read the run" in one_line(["plot", str(tmp_path)], capsys)


def test_a_configuration_with_sizes_that_cannot_be_is_named(odd_run, tmp_path, capsys):
    text = (odd_run[0] / "config.yaml").read_text()
    for wrong in ("num_envs: 0", "num_envs: x", "num_envs: [4]", "num_envs:"):
        (tmp_path / "config.yaml").write_text(text.replace("num_envs: 4", wrong))
        assert "config.yaml" in one_line(["info", str(tmp_path)], capsys)


# ENVIRONMENT VARIABLES

REFUSED = {
    "JAX_ENABLE_X64": "maybe",
    "JAX_NUM_CPU_DEVICES": "abc",
    "JAX_DEFAULT_MATMUL_PRECISION": "best",
    "XLA_FLAGS": "--xla_no_such_flag=1",
}


def test_what_a_library_refuses_in_its_variables_is_one_line():
    """In processes of their own, because these are read once."""
    clean = {name: x for name, x in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    words = [sys.executable, "-m", "hamljax.lab.cli", "train", CLIMB]
    started = {
        f"{name}={value}": subprocess.Popen(words, env=clean | {name: value}, stderr=subprocess.PIPE, text=True)
        for name, value in REFUSED.items()
    }
    for pair, process in started.items():
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 2 and err.count("\n") == 1, err
        assert err.startswith(f"hamljax: error: environment variable {pair}: "), err


def test_what_nothing_here_needs_may_be_set_to_anything(odd_run, tmp_path):
    """No display, no letters but ASCII, a terminal of no width: curves are drawn and a table is printed."""
    wrong = {
        "MPLBACKEND": "nonsense",
        "PYTHONIOENCODING": "ascii",
        "COLUMNS": "abc",
        "TERM": "dumb",
        "MUJOCO_GL": "cgl",
    }
    code = (
        "import sys; from hamljax.envs.silence import import_mujoco; from hamljax.lab.cli import main\n"
        "assert import_mujoco().MjModel.from_xml_string('<mujoco/>').nq == 0; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", str(odd_run[0]), "--out", str(tmp_path / "é.png")],
        env=os.environ | wrong,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "" and "drawn: " in done.stdout and "game/climbing" in done.stdout
    assert (tmp_path / "é.png").stat().st_size > 1000
