"""The life of a run: stopped, killed, damaged, resumed; nothing of it is lost and nothing is different."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from sizes import is_off_policy, long

from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.commands import info
from hamljax.lab.commands.resume import read as read_resume
from hamljax.lab.runs.pace import Signals
from hamljax.lab.runs.progress import progress_shapes, split_replay
from hamljax.lab.runs.reporter import Reporter
from hamljax.lab.runs.trained import load
from hamljax.lab.storage import checkpoints
from hamljax.lab.storage.digests import damage, folder_of, kept
from hamljax.lab.storage.provenance import devices_of
from hamljax.lab.storage.rundir import locked

GAME = ["env=game/climbing", "num_envs=4", "num_steps=4", "num_eval_episodes=4", "network.hidden_sizes=[8]"]
ONCE = ["update_epochs=1", "critic_epochs=1"]
GAME += [f"algo.{word}" for word in ONCE]


class Zygote:
    """Runs command lines, each in a new process."""

    def __init__(self, folder: Path):
        # What is killed may leave half a program, so that it has its own folder of them; it begins with what is known.
        with contextlib.suppress(OSError):  # of another disk
            shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], folder / "cache", copy_function=os.link)
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        script = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self.log = folder / "log.txt"
        self.process = subprocess.Popen(
            script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def __call__(self, *words, **request) -> int:
        """The exit code of ``hamljax WORDS``."""
        self.log.unlink(missing_ok=True)
        self.process.stdin.write(json.dumps({"words": words, "log": str(self.log), **request}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    @property
    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def hamljax(whole, tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.process.stdin.close()
    zygote.process.wait()


def numbers(run: Path, shapes, replay):
    """Everything of a run that must not depend on how it was interrupted."""
    record = pd.read_parquet(run / "metrics.parquet").drop(columns="perf/steps_per_second")
    summary = json.loads((run / "summary.json").read_text())
    found = checkpoints.restore(run, shapes, replay=replay)
    return record, (found.tree, found.replay), {key: summary[key] for key in ("final", "absolute")}


def assert_same(run: Path, other: Path, in_order: bool = True):
    """in_order: whether the rows of their records are, too; where blocks differ, those of several seeds are not."""
    team = load(run)
    shapes = split_replay(progress_shapes(team.trainer, len(team.seeds)))
    (record, progress, summary), (other_record, other_progress, other_summary) = (
        numbers(path, *shapes) for path in (run, other)
    )
    if not in_order:
        record, other_record = (x.sort_values(["update", "seed"], ignore_index=True) for x in (record, other_record))
    pd.testing.assert_frame_equal(record, other_record, check_exact=True)
    jax.tree.map(np.testing.assert_array_equal, plain(progress), plain(other_progress))
    assert summary == other_summary


def plain(tree):
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree
    )


# RESUME

ENVIRONMENTS = {
    "game": ["env=game/climbing"],
    "smax": ["env=smax/2m_vs_1z", "env.max_steps=6"],
    "tracking": ["env=game/tracking"],
    "mamujoco": ["env=mamujoco/reacher_2x1", "env.backend=spring", "env.max_steps=6"],
}
# Nearly every two of a row and an environment occur together, and of these, a network and a number of seeds; one row has robots.
EVERYTHING = [
    (algo, ("mlp", "gru")[(i + k) % 2], env, (1, 4)[(i + k // 2) % 2])
    for i, algo in enumerate(("happo", "hatrpo", "mappo_s"))
    for k, env in enumerate(("game", "smax", "mamujoco"))
    if env != "mamujoco" or algo == "happo"
] + [
    ("haddpg", "mlp", "tracking", 1),
    ("hasac", "mlp", "smax", 4),
    ("masac_s", "mlp", "game", 1),
]
# A replay that wraps around before the run is over.
REPLAY = "buffer_size=64 batch_size=8 learning_starts=32 gradient_steps=2 n_step=2".split()
SOME = []  # the others of this file do so with happo, and those of off-policy rows with a replay; all of these are long


def train_in(env, algo, network, seeds) -> list[str]:
    """The command line of a run of six updates and two checkpoints."""
    words = ["train", *ENVIRONMENTS[env], f"algo={algo}", f"network={network}", f"num_seeds={seeds}", "num_envs=4"]
    words += ["num_steps=4", "total_timesteps=96", "num_evals=4", "num_eval_episodes=4", "checkpoint_every=3"]
    words += ["network.hidden_sizes=[8]", "network.gru_size=8"] if network == "gru" else ["network.hidden_sizes=[8]"]
    return words + [f"algo.{word}" for word in (REPLAY if is_off_policy(algo) else ONCE)]


@pytest.mark.parametrize("algo, network, env, seeds", SOME + long(*(case for case in EVERYTHING if case not in SOME)))
def test_a_stopped_run_goes_on_bit_for_bit_in_a_new_process(algo, network, env, seeds, hamljax, tmp_path):
    assert hamljax(*train_in(env, algo, network, seeds), f"run_dir={tmp_path / 'whole'}") == 0, hamljax.said
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole", half)
    shutil.rmtree(folder_of(half) / "6")
    assert (folder_of(half) / "3" / "replay").is_dir() == is_off_policy(algo)
    (half / "summary.json").unlink()
    assert hamljax("resume", str(half)) == 0, hamljax.said
    assert "going on from step 48" in hamljax.said
    assert_same(half, tmp_path / "whole")


def test_a_checkpoint_without_its_replay_is_small_and_says_what_is_lost(tmp_path, capsys):
    run, words = tmp_path / "run", train_in("tracking", "haddpg", "mlp", 1)
    words += ["total_timesteps=128", "checkpoint_every=6", "num_evals=0", "checkpoint_replay=false"]
    assert main([*words, f"run_dir={run}"]) == 0
    assert kept(run) == [6, 8] and not list(folder_of(run).rglob("replay"))
    shutil.rmtree(folder_of(run) / "8")
    (run / "summary.json").unlink()
    assert main(["resume", str(run)]) == 0
    assert "the checkpoint holds no replay" in capsys.readouterr().out
    learnt = pd.read_parquet(run / "metrics.parquet").groupby("step")["train/critic_loss"].count()
    assert learnt[[96, 112, 128]].tolist() == [1, 0, 1]  # 16 steps are not enough, 32 are


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two hundred updates that nothing disturbed, and its command line."""
    run = tmp_path_factory.mktemp("whole") / "run"
    words = ["train", *GAME, "num_seeds=2", "total_timesteps=3200", "checkpoint_every=10", "num_evals=6"]
    assert main([*words, f"run_dir={run}"]) == 0
    return run, words


@contextlib.contextmanager
def sent(number: int, step: int):
    """This process gets a signal when a run in it has come to ``step``; the run goes on when that is heard."""
    heard, hear, update = threading.Event(), Signals.hear, Reporter.update

    def heard_of(signals, number):
        hear(signals, number)
        heard.set()

    def shown(reporter, at, *about):
        update(reporter, at, *about)
        if at >= step and not heard.is_set():
            assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
            os.kill(os.getpid(), number)
            assert heard.wait(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Signals, "hear", heard_of)
        patch.setattr(Reporter, "update", shown)
        yield


def test_killed_at_any_moment_it_goes_on_as_if_nothing_had_been(large, hamljax, whole, tmp_path):
    undisturbed, words = whole
    run, chance, kills = tmp_path / "run", random.Random(0), 0
    seen = set()  # some are late enough to leave a checkpoint
    run.mkdir()
    (run / ".config.yaml.tmp").write_text("algo:")  # what an earlier one began to write
    while kills < (20 if large else 2) or not any(seen):
        if large:
            since = chance.choice(["", "compiled", "compiled", "compiled"])
        else:
            since = "step=1,280" if kills else "compiling"
        code = hamljax(
            *words,
            f"run_dir={run}",
            signals=[[chance.uniform(0.0, 2.0 if large else 0.2), signal.SIGKILL]],
            since=since,
        )
        if code == 0:  # quicker than the signal: begin another
            assert_same(run, undisturbed)
            shutil.rmtree(run)
            continue
        assert code == -signal.SIGKILL
        kills += 1
        if (run / "config.yaml").is_file():
            assert not any(damage(run, update) for update in kept(run))
            assert dict(info.lines(run))["to go on"].startswith(f"hamljax resume {run}")
            seen.add(tuple(kept(run)))
    assert main([*words, f"run_dir={run}"]) == 0
    assert_same(run, undisturbed)


def test_a_polite_signal_saves_says_where_and_exits(large, hamljax, whole, tmp_path, capsys):
    undisturbed, words = whole
    run = tmp_path / "run"
    for number, since in ((signal.SIGTERM, 160), (signal.SIGINT, 0)):
        if large:
            code = hamljax(*words, f"run_dir={run}", signals=[[0.1, number]], since=f"step={since or ''}")
            said = hamljax.said
        else:
            with sent(number, since):
                code = main([*words, f"run_dir={run}"])
            said = capsys.readouterr().err
        assert code == 128 + number
        line = said.splitlines()[-1]
        assert f"hamljax resume {run}" in line and "Traceback" not in said
        step = int(line.split("step ")[1].split(" ")[0].replace(",", ""))
        assert kept(run)[-1] == step // 16 < 200
    assert main([*words, f"run_dir={run}"]) == 0
    assert_same(run, undisturbed)


def test_a_finished_run_is_made_longer_even_where_that_is_killed(hamljax, whole, tmp_path, capsys):
    undisturbed, words = whole
    run = tmp_path / "run"
    assert main([*words, "total_timesteps=1600", f"run_dir={run}"]) == 0
    assert main(["resume", str(run), "total_timesteps=800"]) == 2
    assert hamljax("resume", str(run), "total_timesteps=3200", signals=[[0.0, signal.SIGKILL]], since="step=3,200") < 0
    assert not (run / "summary.json").is_file() and "stopped" in dict(info.lines(run))["how far"]
    made = json.loads((run / "versions.json").read_text())
    (run / "versions.json").write_text(json.dumps(made | {"jax": "0.0.1"}))
    assert main(["resume", str(run)]) == 0
    assert f"note: jax was 0.0.1 and is {made['jax']}" in capsys.readouterr().out
    assert json.loads((run / "versions.json").read_text())["continued"][-1]["jax"] == made["jax"]
    assert json.loads((run / "summary.json").read_text())["steps_per_seed"] == 3200
    longer, straight = (load(path).progress.state for path in (run, undisturbed))
    jax.tree.map(np.testing.assert_array_equal, plain(longer), plain(straight))
    assert sorted(pd.read_parquet(run / "metrics.parquet")["update"].unique()) == list(range(201))


def test_what_may_not_change_is_named(whole, capsys):
    run, _ = whole
    assert main(["resume", str(run), "gamma=0.9"]) == 2
    assert "resume cannot change 'gamma', that would be another run" in capsys.readouterr().err
    assert main(["resume", str(run.parent / "nothing")]) == 2
    assert main(["info", str(run / "checkpoints")]) == 2
    assert "not a run directory" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_runs_may_hold_other_things(whole, tmp_path, capsys):
    shutil.copytree(whole[0], tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1")
    assert [job.run.run_dir for job in read_resume([str(tmp_path)])] == [str(tmp_path / "run")]
    assert "other' is no run" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "other")]) == 2
    (tmp_path / "other" / "config.yaml").write_text("algo: {na")  # a damaged one may be a run's
    assert main(["resume", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_a_second_process_is_refused(whole, capsys):
    run, words = whole
    with locked(run):
        assert info.in_use(run)
        assert main([*words, f"run_dir={run}"]) == 2
    assert f"another process (pid {os.getpid()}) is training" in capsys.readouterr().err
    assert not info.in_use(run)


# DAMAGE


def damaged_copies(file: Path):
    """The file truncated, with one byte changed, and removed; each in turn, put back afterwards."""
    content = file.read_bytes()
    for change in (content[: len(content) // 2], bytes([content[0] ^ 1]) + content[1:] if content else b"x", None):
        if change is None:
            file.unlink()
        elif change != content:
            file.write_bytes(change)
        else:
            continue  # an empty file cannot be cut
        yield
        file.write_bytes(content)


def test_every_damaged_file_is_noticed_and_the_checkpoint_before_is_used(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    shapes = progress_shapes(load(run).trainer, 2)
    *_, before, newest = kept(run)
    files = sorted(p for p in (folder_of(run) / str(newest)).rglob("*") if p.is_file())
    assert len(files) > 8
    count = 0
    for file in files:
        for _ in damaged_copies(file):
            said = []
            assert checkpoints.restore(run, shapes, say=said.append).update == before
            assert f"checkpoint {newest} of '{run}' is damaged" in said[0]
            with pytest.raises(ConfigError, match=f"checkpoint {newest} .*damaged"):
                checkpoints.restore(run, shapes, newest)
            count += 1
    assert count >= 3 * len(files) - 2
    assert checkpoints.restore(run, shapes).update == newest


def test_a_checkpoint_of_another_layout_names_the_version_that_made_it(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    flat = checkpoints.Checkpoint(300, {"agents": np.zeros(2)}, pd.DataFrame({"update": [300]}), {})
    checkpoints.save(run, flat)
    made = json.loads((run / "versions.json").read_text())
    (run / "versions.json").write_text(json.dumps(made | {"hamljax": "0.1.0"}))
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    for words in (["evaluate", str(run)], ["resume", str(run), "total_timesteps=6400"], ["export", str(run)]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"checkpoint 300 of '{run}' was made by hamljax 0.1.0, whose runs have another state" in said
        assert said.count("\n") == 1
    assert {p: p.read_bytes() for p in before} == before


def test_without_an_undamaged_checkpoint_nothing_is_trained(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    for update in kept(run):
        (folder_of(run) / str(update) / "about.json").unlink()
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}
    assert main(["resume", str(run), "total_timesteps=4800"]) == 2
    assert "is damaged: about.json" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in before} == before
    assert "not possible" in dict(info.lines(run))["to go on"]


def test_a_full_disk_is_one_line_and_the_last_good_state_stays(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    largest = max(p.stat().st_size for p in folder_of(run).rglob("*") if p.is_file())
    shutil.rmtree(folder_of(run) / "200")
    (run / "summary.json").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, before[1]))
    try:
        code = main(["resume", str(run)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err
    assert code == 2 and "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"hamljax: error: cannot write to '{run}'")
    assert kept(run)[-1] == 190 and not damage(run, 190)
    assert not [p for p in folder_of(run).iterdir() if "unfinished" in p.name]


@pytest.mark.parametrize(
    "place, line",
    [
        ("a_file/run", "run_dir=a_file/run is below 'a_file', which is a file"),
        ("/proc/run", "cannot write to '/proc/run'"),
    ],
)
def test_a_forbidden_run_directory_is_one_line(place, line, tmp_path, monkeypatch, capsys):
    """Neither can be made, even by the superuser."""
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("mine")
    assert main(["train", *GAME, f"run_dir={place}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"hamljax: error: {line}")
    assert Path("a_file").read_text() == "mine"


def test_no_pickle_is_read_or_written(whole, tmp_path):
    """Every file of a run is of a format that holds data only."""
    formats = {".parquet", ".json", ".yaml", ".png", ".ocdbt", ".txt", ".safetensors", ".lock"}
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    assert main(["export", str(run)]) == 0
    for file in (p for p in run.rglob("*") if p.is_file()):
        in_arrays = "arrays" in file.parts and (
            file.parent.name == "d" or file.name in ("_METADATA", "_CHECKPOINT_METADATA", "_sharding")
        )
        assert in_arrays or file.suffix in formats or file.name in formats, file
        assert b"\x80\x04\x95" not in file.read_bytes()[:64]  # how a pickle begins


def test_a_checkpoint_is_written_when_the_last_is_long_ago(whole, tmp_path, monkeypatch):
    """However the run is cut into blocks, its rows are the same, and evaluations are where they were planned."""
    calm, words = whole
    assert not any(update % 10 for update in kept(calm))
    monkeypatch.setattr("hamljax.lab.runs.run.SAVE_SECONDS", 0.0)
    assert main([*words, "checkpoint_every=200", "log_every=20", f"run_dir={tmp_path / 'hasty'}"]) == 0
    assert len(kept(tmp_path / "hasty")) == checkpoints.KEEP
    assert_same(tmp_path / "hasty", calm, in_order=False)


def test_a_damaged_configuration_is_one_line(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    text = (run / "config.yaml").read_text()
    for broken in (
        "",
        "[",
        text.replace("num_envs:", "num_evns:"),
        text.replace("  name: happo", "  nome: happo"),
        text[:300],
    ):
        (run / "config.yaml").write_text(broken)
        for command in ("info", "resume", "evaluate", "watch"):
            assert main([command, str(run)]) == 2
            err = capsys.readouterr().err
            assert err.count("\n") == 1 and "config.yaml" in err


def test_a_sweep_goes_on_by_its_command_and_past_a_run_that_fails(tmp_path, capsys):
    words = ["train", "-m", *GAME, "num_seeds=2", "total_timesteps=32", "num_evals=0", f"run_dir='{tmp_path / 'a b'}'"]
    assert main([*words, "seed=0,1"]) == 0
    first, second = sorted((tmp_path / "a b").iterdir())
    before = (first / "metrics.parquet").read_bytes()
    for update in kept(second):
        (folder_of(second) / str(update) / "about.json").unlink()
    (second / "summary.json").unlink()
    capsys.readouterr()
    assert main([*words, "seed=0,1,2"]) == 1
    *_, third = sorted((tmp_path / "a b").iterdir())
    said = capsys.readouterr()
    assert "is finished" in said.out and f"{second}: checkpoint" in said.err and "1 of 3 runs failed" in said.err
    assert (third / "summary.json").is_file() and (first / "metrics.parquet").read_bytes() == before


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["resume", "RUN", "total_timesteps=1e6,2e6"], "with one value"),
        (["resume", "RUN", "~total_timesteps=1"], "with one value"),
        (["resume", "RUN", "~total_timesteps"], "cannot be a path"),
        (["resume", "RUN", "total_timesteps=${x}"], "must be a whole number"),
        (["resume", "RUN", "logger=[1]"], "logger.kind must be a text"),
        (["resume", "RUN", "logger.kind=fles"], "'files'"),
        (["resume", "RUN", "total_timesteps=1e18"], "too large"),
        (["watch", "RUN", "episode=4294967296"], "below 2^31"),
        (["evaluate", "RUN", "num_episodes=" + "9" * 5000], "below 2^31"),
        (["info", "x" * 300], "cannot be a path"),
        (["info", "~nosuchuser/x"], "cannot be a path"),
        (["train", "run_dir=" + "x" * 300], "cannot be a path"),
        (["train", "plugin=" + "x" * 300], "cannot be a path"),
        (["train", "total_timesteps=1e18"], "too large"),
        (["export", "RUN", "out=/nowhere/a.safetensors"], "no folder"),
    ],
)
def test_mistakes_are_one_line(words, complaint, whole, capsys):
    assert main([str(whole[0]) if word == "RUN" else word for word in words]) == 2
    err = capsys.readouterr().err
    assert complaint in err and err.count("\n") == 1 and len(err) < 500


def test_a_run_goes_on_with_as_many_devices_as_it_began_with(whole, tmp_path):
    assert devices_of([whole[0], tmp_path]) == json.loads((whole[0] / "versions.json").read_text())["devices"] == 2
