"""Runs that differ in floats alone have one program, which is compiled once."""

import re
from pathlib import Path

import jax
import pandas as pd
import pytest
from sizes import is_off_policy, long
from tiny_runs import TINY, record

import hamljax
from hamljax.algorithms import ALGORITHMS
from hamljax.lab.cli import main
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.configuration.plugins import load_plugin
from hamljax.lab.runs import programs
from hamljax.lab.runs.programs import CompiledOnce, compiled, program_of
from hamljax.training.floats import floats_of, with_floats
from hamljax.training.train import make_learner

SIZES = {"num_envs": 4, "num_steps": 4, "total_timesteps": 64, "hidden_sizes": (8,)}
SOME = ("happo", "hasac")


def text_of(config) -> str:
    """The program of an update, as it is given to the compiler."""
    trainer = make_learner(config)
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    update = jax.jit(lambda state, floats: trainer.with_floats(floats).update(state))
    return update.lower(state, trainer.floats).as_text()


@pytest.mark.parametrize("row", [*SOME, *long(*(row for row in ALGORITHMS if row not in SOME))])
def test_no_float_is_part_of_a_program(row):
    replay = {"batch_size": 8, "buffer_size": 64, "learning_starts": 16} if is_off_policy(row) else {}
    one = hamljax.config(row, "game/tracking", **SIZES, **replay, anneal_lr=row == "happo")
    leaves, structure = jax.tree.flatten(one)
    assert leaves and all(isinstance(x, float) for x in leaves)
    other = jax.tree.unflatten(structure, [0.9 * x for x in leaves])
    assert text_of(one) == text_of(other)
    assert program_of(one, 2) == program_of(other, 2) != program_of(one, 1)
    assert program_of(one, 2) != program_of(one.replace(num_steps=8), 2)


def test_the_floats_of_a_learner_can_be_exchanged():
    learner = make_learner(hamljax.config("happo", "game/climbing", **SIZES)).learner
    floats = floats_of(learner)
    other = with_floats(learner, [2 * x for x in floats])
    assert other.config.algo.clip_eps == 2 * learner.config.algo.clip_eps
    assert other.config.algo.update_epochs == learner.config.algo.update_epochs and other.env is learner.env
    assert floats_of(other) == [2 * x for x in floats]


def test_a_sweep_over_floats_compiles_once_and_its_runs_are_lone_ones(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = []
    monkeypatch.setattr(programs, "make_programs", lambda *about: made.append(programs.Programs(*about)) or made[-1])
    words = ["train", *TINY, "num_evals=0", "absolute_metric=false"]
    assert main([*words, "-m", "gamma=0.5,0.9", "run_dir=sweep"]) == 0
    assert len(made) == 1 and len(re.findall(r"compiled in 0\.0 s", capsys.readouterr().out)) == 1
    compiled.forget()
    assert main([*words, "gamma=0.9", "run_dir=lone"]) == 0 and len(made) == 2
    assert main([*words, "gamma=0.8", "run_dir=other"]) == 0 and len(made) == 2  # of one process
    runs = [tmp_path / "sweep/gamma=0.9", tmp_path / "lone"]
    pd.testing.assert_frame_equal(*map(record, runs), check_exact=True)


def test_some_programs_are_kept_and_what_a_file_says_is_no_float(monkeypatch):
    """Of two plugins of one name each has a program of its own."""
    monkeypatch.setattr(programs, "make_programs", lambda *about: object.__new__(programs.Programs))
    kept, trainer = CompiledOnce(), make_learner(make_job(TINY).config)

    def make(**more):
        files = more.pop("files", ())
        program = kept.make(trainer, more.pop("num_seeds", 1), False, more.pop("devices", 1), files=files)
        program.name = getattr(program, "name", object())  # goes along where the program does
        return program.name

    first = make()
    assert make() is first and make(num_seeds=2) is not first and make(devices=2) is not first
    assert make(files=(("a.py", 1, 2),)) is not make(files=(("a.py", 2, 2),))
    assert make() is first
    with monkeypatch.context() as patch:  # as somebody does who writes a drift again in a notebook
        patch.setitem(hamljax.haml.DRIFTS, "clip", hamljax.haml.DRIFTS["kl"])
        assert make() is not first
    assert make() is first
    for number in range(programs.KEPT):
        make(files=(("b.py", number, 1),))
    assert len(kept._kept) == programs.KEPT and make() is not first


def test_what_a_user_wrote_may_hold_floats_where_nobody_sees_them(monkeypatch):
    """So a family, a critic or a policy of one's own has a program for each of its settings."""
    from hamljax.algorithms.on_policy.registry import CRITICS, register_critic

    register_critic("mine")(lambda config, team: CRITICS["ep"](config, team))
    one = hamljax.config("happo", "game/climbing", **SIZES, critic="mine")
    assert program_of(one, 1) != program_of(one.replace(gamma=0.5), 1)
    assert program_of(one, 1) == program_of(one.replace(), 1)


@pytest.mark.parametrize("order", ["a,b", "b,a"])
def test_two_plugins_that_give_one_name_are_each_their_own(order, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, weight in (("a", 0.0), ("b", 50.0)):
        (tmp_path / f"{name}.py").write_text(
            "import hamljax\n\n@hamljax.register_drift('mine')\ndef mine(ratio, m_advantage):\n"
            f"    return {weight} * (ratio - 1) ** 2\n"
        )
    seen = {}
    monkeypatch.setattr(
        "hamljax.lab.runs.run.train",
        lambda job, *_, **__: seen.update({job.run.plugin: float(hamljax.haml.DRIFTS["mine"].function(2.0, 1.0))}),
    )
    files = ",".join(f"{name}.py" for name in order.split(","))
    words = [*TINY, f"plugin={files}", "algo.drift=mine", "certify=false", "run_dir=sweep"]
    assert main(["train", "-m", *words]) == 0
    assert {Path(name).name: cost for name, cost in seen.items()} == {"a.py": 0.0, "b.py": 50.0}


def test_a_plugin_is_run_once_until_it_says_something_else(tmp_path, capsys):
    """So the jobs of a sweep with a plugin, each of which names it, have one program."""
    file = tmp_path / "mine.py"

    def drift(says: str):
        file.write_text(
            "import hamljax\n\nprint('run')\n\n@hamljax.register_drift('mine')\n"
            f"def mine(ratio, m_advantage):\n    return {says}\n"
        )
        load_plugin(str(file))
        return hamljax.haml.DRIFTS["mine"]

    first = drift("0 * ratio")
    hamljax.haml.DRIFTS["mine"] = hamljax.haml.DRIFTS["none"]  # another file took its name
    assert drift("0 * ratio") is first and capsys.readouterr().out == "run\n"
    assert drift("1 * ratio") is not first and capsys.readouterr().out == "run\n"
