"""What a run leaves: JSON that any reader takes, one run for its logger, files that it was made with, no growth, and an answer
to every signal."""

import ast
import gc
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import types
import weakref
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import hamljax
from hamljax.envs import ENVIRONMENTS
from hamljax.errors import ConfigError, Stopped
from hamljax.lab.cli import main
from hamljax.lab.commands.info import lines
from hamljax.lab.commands.resume import read as read_resume
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.drawing import plots
from hamljax.lab.runs import record
from hamljax.lab.runs.loggers import make_logger
from hamljax.lab.runs.pace import listening
from hamljax.lab.runs.run import Training, train
from hamljax.lab.runs.schedule import files_of
from hamljax.lab.storage import files, inputs, rundir
from hamljax.lab.storage.checkpoints import kept

SOURCE = Path(hamljax.__file__).parent
ENDLESS = """
import jax.numpy as jnp, numpy as np, hamljax

class Endless(hamljax.Environment):
    def __init__(self, table: str = "", horizon: int = 500):
        self.table, self.max_episode_length = np.load(table), horizon
        self.team = hamljax.Team(obs_sizes=(1, 1), action_sizes=(2, 2), world_state_size=1)
    def reset(self, key):
        return jnp.int32(0), self.observe()
    def step(self, key, time, action):
        end = time + 1 >= self.max_episode_length
        reward = jnp.asarray(self.table)[action[0]]
        return time + 1, hamljax.Step(self.observe(), reward, jnp.bool_(False), end, {})
    def observe(self):
        return hamljax.Observation(jnp.ones((2, 1)), jnp.ones(1), jnp.ones((2, 2), bool), jnp.ones(2, bool))

hamljax.register_environment("my/endless", Endless)
"""
SMALL = ["num_envs=2", "num_steps=2", "num_evals=0", "network.hidden_sizes=[4]", "log_every=1"]


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A run in which no episode ended, of a plugin that reads a file, both named from where it was trained."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "my_env.py").write_text(ENDLESS)
    np.save(folder / "table.npy", np.array([1.0, 2.0], np.float32))
    here = Path.cwd()
    os.chdir(folder)
    words = ["plugin=my_env.py", "env=my/endless", "env.table=table.npy", "logger=tensorboard"]
    try:
        assert main(["train", *SMALL, *words, "total_timesteps=16", "checkpoint_every=2", "run_dir=run"]) == 0
    finally:
        os.chdir(here)
    yield folder / "run"
    ENVIRONMENTS.pop("my/endless", None)


@pytest.fixture
def copy(endless, tmp_path):
    """The run, without the files that it was made with, in another place."""
    shutil.copytree(endless, tmp_path / "copy")
    index = tmp_path / "copy/inputs/inputs.json"
    gone = {name: x | {"file": f"/nowhere/{name}"} for name, x in json.loads(index.read_text()).items()}
    index.write_text(json.dumps(gone))
    text = (tmp_path / "copy/config.yaml").read_text().replace(str(endless.parent), "/nowhere")
    (tmp_path / "copy/config.yaml").write_text(text)
    return tmp_path / "copy"


# JSON AND TEXT


def strict(file: Path):
    def refuse(word):
        raise AssertionError(f"{file} holds {word}")

    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)


def test_json_has_null_for_what_is_no_number(tmp_path):
    value = {"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": "NaN", "e": None, "f": np.float64("nan")}
    files.write_json(tmp_path / "x.json", value)
    assert strict(tmp_path / "x.json") == {"a": None, "b": [1.5, [None, {"c": None}]], "d": "NaN", "e": None, "f": None}
    (tmp_path / "old.json").write_text('{"mean": NaN, "low": -Infinity}')
    assert files.read_json(tmp_path / "old.json") == {"mean": None, "low": None}


def test_a_run_without_a_finished_episode_leaves_strict_json(endless, copy, capsys):
    assert main(["evaluate", str(copy), "num_episodes=1", "env.horizon=2"]) == 0
    assert "2.000 [-, -]" in capsys.readouterr().out
    assert main(["export", str(copy)]) == 0
    found = {file.name: strict(file) for file in copy.rglob("*.json")}
    assert {"summary.json", "versions.json", "about.json", "digests.json", "actors.json"} <= found.keys()
    assert found["summary.json"]["final"]["train/episode_return"] == {"mean": None, "per_seed": [None]}
    evaluation = next(value for name, value in found.items() if name.startswith("evaluation"))
    assert evaluation["metrics"]["length"]["0"] == {"mean": 2.0, "low": None, "high": None}
    assert dict(lines(copy))["how far"].endswith("finished")


def test_a_mean_over_seeds_is_over_those_that_have_a_number():
    rows = pd.DataFrame({"seed": [3, 4, 5], "train/x": [1.0, np.nan, 3.0], "train/skipped": 0.0})
    absolute = {"eval/return": record.mean_of_numbers([[np.nan, 2.0, np.nan], [np.nan, 4.0, 1.0]])}
    found = record.summary(rows, [3, 4, 5, 6], 1, {}, absolute)
    assert found["final"]["train/x"]["mean"] == 2.0
    np.testing.assert_equal(found["final"]["train/x"]["per_seed"], [1.0, np.nan, 3.0, np.nan])  # 6 has no row at all
    np.testing.assert_equal(found["absolute"]["eval/return"]["per_seed"], [np.nan, 3.0, 1.0])
    assert found["absolute"]["eval/return"]["mean"] == 2.0


def calls(*names):
    """Every call of a function or method of one of ``names`` in the library: (place, call)."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in names:
                    yield f"{file.relative_to(SOURCE)}:{node.lineno}", node


def test_there_is_one_writer_of_json():
    """But for messages between two of our processes, which are no files."""
    loose = [
        place
        for place, call in calls("dump", "dumps")
        if getattr(call.func, "value", None) and getattr(call.func.value, "id", "") == "json"
        if not any(k.arg == "allow_nan" and k.value.value is False for k in call.keywords)
    ]
    assert [place for place in loose if not place.startswith("bridge/worker/")] == []


def test_text_is_utf_8_whatever_the_language_of_the_machine():
    """Where nothing is said, the language decides."""
    for place, call in calls("read_text", "write_text", "open"):
        words = [k.arg for k in call.keywords]
        literal = [a.value for a in call.args if isinstance(a, ast.Constant)]
        ours = isinstance(call.func, ast.Name) and call.func.id != "open"  # read_text and write_text of lab.files
        ours |= getattr(getattr(call.func, "value", None), "id", "") in ("RunDir", "Stage", "cls")
        binary = any("b" in x for x in literal if isinstance(x, str) and len(x) <= 3)
        assert ours or binary or "encoding" in words or {"utf-8"} & set(literal), place
    for place, call in calls("run", "Popen"):
        assert not {"text", "universal_newlines"} & {k.arg for k in call.keywords}, place


# FILES THAT ARE WHOLE


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path, endless, monkeypatch):
    from matplotlib.figure import Figure

    out = tmp_path / "curves.png"
    out.write_text("before")

    def half(self, file, **_):
        Path(file).write_text("ha")
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError):
        plots.draw_runs([endless], out)
    assert out.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_what_a_killed_process_left_unfinished_goes_and_that_of_a_living_one_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getppid()):
        (tmp_path / f".summary.{pid}.unfinished.json").write_text("{")
    (tmp_path / ".lock").write_text("")
    files.forget_unfinished(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", f".summary.{os.getppid()}.unfinished.json"}


# LOGGERS


class FakeWandb(types.ModuleType):
    """Remembers what it was told, over all starts."""

    def __init__(self):
        super().__init__("wandb")
        self.starts, self.steps, self.codes = [], [], []
        self.errors = types.SimpleNamespace(Error=type("Error", (Exception,), {}))
        self.refuse = False

    def init(self, **settings):
        if self.refuse:
            raise self.errors.Error("no API key\nconfigured")
        self.starts.append(settings)
        return self

    def log(self, metrics, step, commit):
        self.steps.append(step)

    def finish(self, exit_code):
        self.codes.append(exit_code)


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_resumed_run_is_one_run_at_wandb(wandb, tmp_path):
    asked = {"kind": "wandb", "entity": "team", "group": "g", "tags": ["a", "b"], "name": "mine", "mode": "offline"}
    first = make_logger(asked, tmp_path, {"x": 1})
    for step in (0, 4, 8, 12):  # then it is killed; the last checkpoint is of step 8
        first.log(step, {"v": step})
    second = make_logger({"kind": "wandb"}, tmp_path, {"x": 1}, step=8)
    for step in (12, 16):
        second.log(step, {"v": step})
    second.close(143)
    one, two = wandb.starts
    assert one["id"] == two["id"] and one["resume"] == two["resume"] == "allow"
    assert {name: one[name] for name in ("entity", "group", "tags", "name", "project", "mode")} == {
        "entity": "team",
        "group": "g",
        "tags": ["a", "b"],
        "name": "mine",
        "project": "hamljax",
        "mode": "offline",
    }
    assert two["entity"] is None and two["tags"] is None
    assert wandb.steps == [0, 4, 8, 12, 16] and wandb.codes == [143]


def test_a_killed_offline_start_is_filled_anew_and_a_copy_is_another_run(wandb, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for step in (0, 4, 8):
        first = first if step else make_logger({"kind": "wandb"}, run, {})  # noqa: F821
        first.log(step, {"v": math.nan})
    torn = run / "wandb" / f"offline-run-20260101_000000-{wandb.starts[0]['id']}"
    torn.mkdir()
    (run / "wandb/history.jsonl").open("a", encoding="utf-8").write('{"step": 12, "metr')
    wandb.steps.clear()
    second = make_logger({"kind": "wandb"}, run, {}, step=4)
    second.log(8, {"v": 1.0})
    second.close(0)
    assert not torn.exists() and wandb.steps == [0, 4, 8]
    shutil.copytree(run, tmp_path / "copy")
    make_logger({"kind": "wandb"}, tmp_path / "copy", {}, step=8)
    assert wandb.starts[2]["id"] != wandb.starts[0]["id"] and wandb.steps == [0, 4, 8, 0, 4, 8]
    run.rename(tmp_path / "moved")
    make_logger({"kind": "wandb"}, tmp_path / "moved", {}, step=8)
    assert wandb.starts[3]["id"] == wandb.starts[0]["id"] and wandb.steps == [0, 4, 8, 0, 4, 8]


def test_what_wandb_refuses_is_one_line(wandb, tmp_path, monkeypatch):
    wandb.refuse = True
    with pytest.raises(ConfigError, match="wandb: no API key configured; logger.mode=offline needs no account"):
        make_logger({"kind": "wandb"}, tmp_path, {})
    with pytest.raises(ConfigError, match="unknown logger.mode .*'onlin'; did you mean 'online'"):
        make_logger({"kind": "wandb", "mode": "onlin"}, tmp_path, {})
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match="did you mean 'offline'"):
        make_logger({"kind": "wandb", "mode": "online"}, tmp_path, {})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (ValueError("a bug"), 1),
        (Stopped("stopped", 143), 143),
        (Stopped("", 1), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_logger_hears_how_the_run_ended(error, code, wandb, tmp_path, monkeypatch):
    def run_updates(self):
        if error:
            raise error

    monkeypatch.setattr(
        "hamljax.lab.runs.programs.compiled.make", lambda *_, **__: (_ for _ in ()).throw(error or Stopped("", 0))
    )
    if error is None:
        monkeypatch.setattr(
            Training, "begin", lambda self: setattr(self, "logger", make_logger(self.job.logger, tmp_path, {}))
        )
        monkeypatch.setattr(Training, "run_updates", run_updates)
        monkeypatch.setattr(Training, "finish", lambda self: None)
    job = make_job(["env=game/climbing", "logger=wandb", f"run_dir={tmp_path / 'run'}", *SMALL])
    if error is None:
        train(job)
    else:
        with pytest.raises(type(error)):
            train(job)
        assert read_resume([str(tmp_path / "run")])  # what was stopped while it was compiled goes on
    assert wandb.codes == [code]


def test_a_run_that_cannot_be_leaves_its_directory_to_another(wandb, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ConfigError("this does not fit")

    monkeypatch.setattr("hamljax.lab.runs.programs.compiled.make", refuse)
    words = ["train", "env=game/climbing", "logger=wandb", *SMALL, f"run_dir={tmp_path / 'run'}"]
    assert main(words) == 2 and wandb.codes == [2]
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]


def scalars(run: Path) -> dict[str, list[int]]:
    """Steps by name as TensorBoard shows them: a start takes away what an earlier one logged from its step on."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[str, list[int]] = {}
    for file in sorted((run / "tensorboard").iterdir()):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack("<Q", data[at : at + 8])
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == SessionLog.START:
                found = {name: [s for s in steps if s < event.step] for name, steps in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(event.step)
    return found


def test_a_resumed_run_is_one_curve_in_tensorboard(copy):
    """As after a kill: what was logged after the checkpoint is trained again."""
    shutil.rmtree(copy / "checkpoints" / str(kept(copy)[-1]))
    (copy / "summary.json").unlink()
    before = scalars(copy)["train/entropy"]
    assert before == [4, 8, 12, 16]
    assert main(["resume", str(copy)]) == 0
    assert scalars(copy)["train/entropy"] == before
    assert all(steps == sorted(set(steps)) for steps in scalars(copy).values())
    assert all(file.parent == copy / "tensorboard" for file in copy.rglob("events.out*"))


# FILES THAT A RUN WAS MADE WITH


def test_a_run_outlives_its_files_and_its_place(copy, endless, tmp_path, monkeypatch, capsys):
    ENVIRONMENTS.pop("my/endless", None)
    monkeypatch.chdir(tmp_path)
    team = hamljax.load("copy")
    np.testing.assert_array_equal(team.env.table, [1.0, 2.0])
    assert "plugin '/nowhere/plugin' is gone; using the copy" in capsys.readouterr().err
    moved = endless.parent / "my_env.py"
    for words in (["info"], ["export"], ["evaluate", "num_episodes=1", "env.horizon=2"]):
        assert main([*words, "copy", f"plugin={moved}"]) == 0
    assert f"{moved} (as it was; a copy is kept)" in dict(lines(copy, str(moved)))["its plugin"]
    assert "(gone; a copy is kept)" in dict(lines(copy))["its plugin"]
    (job,) = read_resume(["copy"])
    assert job.resolved["env"]["table"] == "table.npy"  # what it was told is as it was
    assert not rundir.differences(rundir.read_config(copy), job.resolved)
    shutil.rmtree(copy / "inputs")  # of a run that kept none
    assert main(["export", "copy"]) == 2
    assert "is gone; say where it is now: plugin=PATH" in capsys.readouterr().err
    (tmp_path / "table.npy").write_bytes((endless.parent / "table.npy").read_bytes())
    assert hamljax.load("copy", plugin=moved).env.table[1] == 2.0


def test_what_does_not_exist_is_no_plugin(copy, capsys):
    for command in ("info", "export", "evaluate", "watch"):
        assert main([command, str(copy), "plugin=/nowhere/my_env.py"]) == 2
        assert "'/nowhere/my_env.py' does not exist" in capsys.readouterr().err


def test_a_payoff_is_kept_and_read_as_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("game.json").write_text("[[1, 0], [0, 2]]")
    job = make_job(["env=game/matrix", "env.payoff=game.json"])
    run = tmp_path / "run"
    run.mkdir()
    inputs.keep(run, files_of(job))
    assert inputs.located(run) == {"env.payoff": tmp_path / "game.json"}  # unchanged: the original, from anywhere
    inputs.check_unchanged(run, files_of(job))
    Path("game.json").write_text("[[1, 0], [0, 3]]")
    with pytest.raises(ConfigError, match="env.payoff .*game.json' held something else"):
        inputs.check_unchanged(run, files_of(job))
    (there,) = inputs.located(run).values()
    assert there.read_text() == "[[1, 0], [0, 2]]" and "was changed; using the copy" in capsys.readouterr().err
    Path("game.json").unlink()
    run.rename(tmp_path / "moved")
    (there,) = inputs.located(tmp_path / "moved").values()
    assert there.read_text() == "[[1, 0], [0, 2]]" and "is gone; using the copy" in capsys.readouterr().err


def test_the_module_of_a_host_is_kept_and_an_interpreter_is_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    Path("mine/host.py").write_text("x = 1")
    Path("mine/python").write_text("")
    settings = {"env.path": "mine.host.Host", "env.python": "./mine/python", "env.map": "3m", "env.name": "bridge/host"}
    Path("3m").write_text("a file by chance")
    run = tmp_path / "run"
    run.mkdir()
    inputs.keep(run, settings)
    assert inputs.located(run) == {"env.path": tmp_path, "env.python": tmp_path / "mine/python"}
    shutil.rmtree(tmp_path / "mine")
    assert inputs.located(run)["env.path"] == run / "inputs"
    assert (run / "inputs/mine/host.py").read_text() == "x = 1"
    there, here = {"env": {"python": "a", "map": "3m"}}, {"env": {"python": "b", "map": "3m"}}
    assert not rundir.differences(there, here)


# NO GROWTH


def test_teams_that_are_loaded_again_and_again_leave_nothing_behind(endless):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )

    def act():
        team = hamljax.load(endless)
        policy = team.policy()
        policy.act(np.ones((2, 1), np.float32))
        policy.act(np.ones((2, 1), np.float32), key=jax.random.key(0))
        return [weakref.ref(x) for x in (policy, team.trainer, team.env)]

    act(), act()
    compiled.clear()
    seen = [ref for _ in range(5) for ref in act()]
    gc.collect()
    assert compiled == [] and [ref() for ref in seen] == [None] * 15


# SIGNALS

BUSY = """
import hashlib, sys
from hamljax.lab.runs.pace import listening

with listening(print) as signals:
    signals.how_long = lambda: " (evaluating, which took 3.0 s last time)"
    signals.leave = lambda code: print("the logger heard", code, flush=True)
    if sys.argv[1] == "nothing to lose":
        with signals.ending_at_once("stopped: nothing is lost"):
            print("busy", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes in C, without a look at Python's handlers
    print("busy", flush=True)
    for _ in range(int(sys.argv[2])):
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**6)
    print("caught", signals.caught, flush=True)
"""


def busy(what: str, rounds: int = 0) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, what, str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )
    assert process.stdout.readline() == "busy\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_while_nothing_but_c_runs(number):
    process, began = busy("nothing to lose"), time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and time.monotonic() - began < 20
    assert err == "hamljax: stopped: nothing is lost\n" and out == f"the logger heard {128 + number}\n"


def test_training_says_what_it_waits_for_and_a_second_signal_does_not_wait():
    process = busy("training", 4)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    said, caught = out.splitlines()
    assert "(evaluating, which took 3.0 s last time), and saving; a second signal does not wait" in said
    assert caught == "caught 15" and process.returncode == 0
    process = busy("training", 10**6)
    process.send_signal(signal.SIGTERM)
    assert "stopping" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_terminal_that_is_gone_is_a_signal_too_unless_it_is_to_be_ignored():
    before = signal.getsignal(signal.SIGHUP)
    try:
        for handler, taken in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
            signal.signal(signal.SIGHUP, handler)
            with listening(print):
                assert (signal.getsignal(signal.SIGHUP) is not handler) == taken
    finally:
        signal.signal(signal.SIGHUP, before)


def test_training_goes_on_where_nobody_reads(tmp_path):
    """Whoever read the first lines has seen enough, and the disk of a log may be full; the run does not end of it."""
    code = (
        "from hamljax.lab.runs.reporter import Reporter; import pathlib, sys\n"
        "reporter = Reporter(10**6, 1)\n"
        "for step in range(3000): reporter.update(step, {'return': 1.0}, 5.0)\n"
        "reporter.say('done'); reporter.close(); pathlib.Path(sys.argv[1]).write_text('went on')\n"
    )
    for number, out in enumerate((["head", "-1"], ["tee", "/dev/full"])):
        mark = tmp_path / str(number)
        reader = subprocess.Popen(out, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = subprocess.run([sys.executable, "-c", code, str(mark)], stdout=reader.stdin, stderr=subprocess.PIPE)
        reader.stdin.close()
        reader.wait()
        assert (done.returncode, done.stderr, mark.read_text()) == (0, b"", "went on")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code, str(mark)], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_signals_are_as_they_were_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with listening(print):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


LONG_EPISODES = [
    "env=game/random",
    "env.num_states=2",
    "env.num_actions=2",
    "env.horizon=200000",
    "num_eval_episodes=1",
]
LONG_EPISODES += ["num_envs=2", "num_steps=2", "total_timesteps=16", "num_evals=2", "network.hidden_sizes=[4]"]


@pytest.mark.long
def test_wherever_a_run_is_stopped_nothing_is_lost(tmp_path):
    from test_life import Zygote

    hamljax, run = Zygote(tmp_path), tmp_path / "run"
    words = ["train", *LONG_EPISODES, f"run_dir={run}"]
    places = {
        "compiling happo": (signal.SIGTERM, "nothing was trained"),
        "compiled in": (signal.SIGINT, "nothing was trained"),
    }
    for since, (number, said) in places.items():
        assert hamljax(*words, signals=[[0.3, number]], since=since) == 128 + number
        assert said in hamljax.said and f"hamljax resume {run}" in hamljax.said
        assert not kept(run) and read_resume([str(run)])
    assert hamljax("resume", str(run), signals=[[0.3, signal.SIGTERM]], since="measuring the best team") == 143
    assert "to measure the best team: hamljax resume" in hamljax.said
    assert kept(run)[-1] == 4 and not (run / "summary.json").exists()
    assert hamljax("resume", str(run)) == 0 and "going on from step 16" in hamljax.said
    assert strict(run / "summary.json")["absolute"]["eval/return"]["mean"] > 0
    hamljax.process.stdin.close()
    hamljax.process.wait()


def test_a_run_that_is_stopped_while_it_is_compiled_goes_on(tmp_path):
    run = tmp_path / "run"
    words = ["train", "env=game/penalty", *SMALL, "network.hidden_sizes=[17]", f"run_dir={run}"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE.parent), "JAX_COMPILATION_CACHE_DIR": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "hamljax.lab.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )
    assert process.stdout.readline().startswith("compiling happo")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and err.endswith(f"nothing was trained yet; to go on: hamljax resume {run}\n")
    assert read_resume([str(run)]) and not kept(run)
