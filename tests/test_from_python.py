"""``hamljax.run``: what ``hamljax train`` does, from a script or a notebook."""

import os
import signal

import jax
import pandas as pd
import pytest
import yaml
from tiny_runs import ONCE, record

import hamljax
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.configuration.machine import SETTINGS
from hamljax.lab.runs.from_python import interruptible

SIZES = {"num_envs": 4, "num_steps": 4, "num_evals": 2, "num_eval_episodes": 4, "hidden_sizes": (8,)}
SIZES |= {"total_timesteps": 64, "update_epochs": 1, "critic_epochs": 1}
DRIFT = """
import hamljax

@hamljax.register_drift("leash")
def leash(ratio, m_advantage, *, weight=1.0):
    return weight * (ratio - 1) ** 2
"""


def game(**settings) -> hamljax.Config:
    return hamljax.config("happo", "game/climbing", **SIZES | settings)


def test_it_is_what_the_command_line_does(tmp_path, capsys):
    told = []
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    run = hamljax.run(game(), tmp_path / "python", num_seeds=2, progress=lambda step, shown: told.append((step, shown)))
    assert before == {name: getattr(jax.config, name) for name in SETTINGS}  # a script's own
    assert capsys.readouterr().out == "" and [step for step, _ in told][-1] == 64 and "return" in told[-1][1]
    words = ["train", "env=game/climbing", "num_seeds=2", "total_timesteps=64", "network.hidden_sizes=[8]", *ONCE]
    words += [f"{name}={SIZES[name]}" for name in ("num_envs", "num_steps", "num_evals", "num_eval_episodes")]
    assert main([*words, f"run_dir={tmp_path / 'typed'}"]) == 0
    pd.testing.assert_frame_equal(record(run.path), record(tmp_path / "typed"), check_exact=True)
    one, other = (yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("python", "typed"))
    assert one | {"run_dir": ""} == other | {"run_dir": ""}
    capsys.readouterr()
    assert len(run.metrics) == 10 and run.summary["steps_per_seed"] == 64
    assert list(run.load("best").seeds) == [0, 1]
    again = hamljax.run(game(), run.path, num_seeds=2)
    assert again.path == run.path and "is finished" in capsys.readouterr().out


def test_a_plugin_is_found_again_by_the_commands(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(DRIFT)
    with pytest.raises(ConfigError, match="leash"):
        game(drift="leash")
    from hamljax.lab.configuration.plugins import load_plugin

    load_plugin(str(tmp_path / "mine.py"))
    run = hamljax.run(game(drift="leash", num_evals=0), tmp_path / "run", plugin=tmp_path / "mine.py", progress=False)
    assert capsys.readouterr().out == "" and (run.path / "inputs/plugin.py").is_file()
    assert main(["evaluate", str(run.path), "num_episodes=4"]) == 0


def test_what_is_mistaken_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ConfigError, match="unknown setting 'num_seed'; did you mean 'num_seeds'"):
        hamljax.run(game(), tmp_path / "run", num_seed=2)
    with pytest.raises(ConfigError, match="dry_run is of the command line"):
        hamljax.run(game(), tmp_path / "run", dry_run=True)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something that is not a run"):
        hamljax.run(game(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_interrupt_saves_and_the_same_call_goes_on(tmp_path):
    """Notebooks have no process to spare: it ends in KeyboardInterrupt, as any cell that is stopped."""

    def interrupt(step, shown):
        if step == 32:
            os.kill(os.getpid(), signal.SIGINT)

    before, settings = signal.getsignal(signal.SIGINT), {"num_seeds": 2, "log_every": 1}
    with pytest.raises(KeyboardInterrupt, match="stopped at step 32 and saved"):
        hamljax.run(game(), tmp_path / "run", **settings, progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    hamljax.run(game(), tmp_path / "run", **settings, progress=False)
    hamljax.run(game(), tmp_path / "whole", **settings, progress=False)
    pd.testing.assert_frame_equal(record(tmp_path / "run"), record(tmp_path / "whole"), check_exact=True)


def test_a_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), interruptible(lambda text: None) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.caught == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(lambda text: None) as signals, signals.ending_at_once("x"):
        os.kill(os.getpid(), signal.SIGINT)
