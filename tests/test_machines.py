"""Machines that lack something: a system call, a home, a writable cache, locks, a free GPU; and many jobs at once."""

import errno
import fcntl
import math
import os
import pwd
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import pytest

from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.commands import info
from hamljax.lab.configuration import machine
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.runs import run as host_loop
from hamljax.lab.storage import checkpoints, rundir

TINY = ["env=game/climbing", "num_envs=4", "num_steps=4", "num_eval_episodes=2", "num_evals=2", "total_timesteps=32"]
TINY += ["network.hidden_sizes=[8]"]


@pytest.fixture(autouse=True)
def unchanged():
    """JAX's settings as they were."""
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.delattr(os, name)


def homeless(monkeypatch):
    """No HOME, and a user that no file knows."""
    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(RuntimeError):
        Path.home()


def no_locks(number):
    def flock(file, how):
        raise OSError(number, os.strerror(number))

    return flock


LACKING = [("sched_getaffinity",), ("posix_fallocate",), ("sched_getaffinity", "posix_fallocate")]


@pytest.mark.parametrize("names", LACKING)
def test_other_systems_have_cores_and_room(names, monkeypatch, tmp_path):
    without(monkeypatch, *names)
    machine.prepare()
    assert machine.cores() == (os.cpu_count() if "sched_getaffinity" in names else len(os.sched_getaffinity(0)))
    checkpoints._make_sure_of_room(tmp_path / "room", 1000)
    with pytest.raises(OSError) as caught:
        checkpoints._make_sure_of_room(tmp_path / "room", 1 << 60)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_reserves_no_room_is_written_to(number, monkeypatch, tmp_path):
    def fallocate(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    checkpoints._make_sure_of_room(tmp_path / "room", 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_a_machine_that_has_next_to_nothing(monkeypatch, tmp_path, capsys):
    """No such system calls, no home, no cache, no locks: it trains, and is told about."""
    without(monkeypatch, "sched_getaffinity", "posix_fallocate", "sysconf")
    homeless(monkeypatch)
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    run = str(tmp_path / "run")
    assert main(["train", *TINY, "num_evals=0", f"run_dir={run}"]) == 0
    out, _ = capsys.readouterr()
    assert out.count("has no locks") == 1 and "done in" in out
    assert main(["info", run]) == 0
    assert "finished" in capsys.readouterr().out
    for words in (["info", "~/run"], ["plot", "~/run"], ["train", *TINY, "run_dir=~/run"], ["train", "plugin=~/x.py"]):
        assert main(words) == 2
        assert "home" in capsys.readouterr().err


# LOCKS, AND MANY AT ONCE


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_used(number, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fcntl, "flock", no_locks(number))
    with rundir.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()}"
    assert f"'{tmp_path}' has no locks" in capsys.readouterr().out
    assert not info.in_use(tmp_path)


def test_a_lock_that_another_holds_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with rundir.locked(tmp_path), pytest.raises(ConfigError, match="another process"), rundir.locked(tmp_path):
        pass


def test_twenty_jobs_of_one_second_have_twenty_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda how: "now")
    monkeypatch.setattr(rundir, "versions", lambda resolved: {})
    resolved = make_job(TINY).resolved

    def begin(_):
        with rundir.RunDir.open(resolved) as run:
            assert run.resolved["run_dir"] == str(run.path)
            return run.path

    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(begin, range(20)))
    first = "now_happo_game-climbing"
    assert {path.name for path in found} == {first, *(f"{first}-{n}" for n in range(2, 21))}
    assert all(path.parent == Path("runs") and path.is_dir() for path in found)


def test_an_unnamed_run_goes_on_with_none(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, "resume=must"]) == 2
    assert "holds no run to go on with" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_sweeps_of_one_second_have_folders_of_their_own(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda how: how.replace("%Y-%m-%d_%H-%M-%S", "now"))
    trained = []

    def train(job, longer=False, **_):
        Path(job.run.run_dir).mkdir(parents=True)
        trained.append(job.run.run_dir)

    monkeypatch.setattr(host_loop, "train", train)
    for _ in range(2):
        assert main(["train", "-m", *TINY, "seed=0,1"]) == 0
    assert trained == [f"multirun/now{n}/seed={seed}" for n in ("", "-2") for seed in (0, 1)]
    monkeypatch.setattr(host_loop, "train", lambda job, longer, **_: (_ for _ in ()).throw(ConfigError("no")))
    assert main(["train", "-m", *TINY, "seed=0,1"]) == 1
    assert sorted(p.name for p in Path("multirun").iterdir()) == ["now", "now-2"]  # and no empty one


# THE CACHE OF COMPILED PROGRAMS


def cache_of(monkeypatch, **variables):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return machine.cache()


def test_where_compiled_programs_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    ours = machine.Cache(tmp_path / ".cache/hamljax", machine.CACHE_BYTES)
    assert cache_of(monkeypatch) == ours
    assert cache_of(monkeypatch, XDG_CACHE_HOME="") == ours  # as if it were not set
    assert cache_of(monkeypatch, XDG_CACHE_HOME="relative") == ours  # to be ignored, by the same book
    assert cache_of(monkeypatch, XDG_CACHE_HOME="/x") == machine.Cache(Path("/x/hamljax"), machine.CACHE_BYTES)
    assert cache_of(monkeypatch, JAX_COMPILATION_CACHE_DIR="/y") == machine.Cache(Path("/y"), None)
    assert cache_of(monkeypatch, JAX_COMPILATION_CACHE_DIR="") == machine.Cache(None, None)
    homeless(monkeypatch)
    assert machine.cache() == machine.Cache(None, None)


def entries(folder: Path, *sizes: int):
    """Compiled programs of these sizes, used one after another."""
    for number, size in enumerate(sizes):
        for suffix, content in (("cache", bytes(size)), ("atime", b"x")):
            file = folder / f"jit_{number}-{suffix}"
            file.write_bytes(content)
            os.utime(file, (1e9 + number, 1e9 + number))


def test_the_cache_has_a_bound_and_what_was_used_longest_ago_goes(monkeypatch, tmp_path, capsys):
    (tmp_path / "hamljax").mkdir()
    entries(tmp_path / "hamljax", 400, 300, 200, 100)
    cache_of(monkeypatch, XDG_CACHE_HOME=str(tmp_path))
    monkeypatch.setattr(machine, "CACHE_BYTES", 350)
    assert machine.about_cache() == f"4 in {tmp_path}/hamljax, 0.0 MiB of at most 0"
    machine.prepare()
    left = sorted(p.name for p in (tmp_path / "hamljax").iterdir())
    assert left == ["jit_2-atime", "jit_2-cache", "jit_3-atime", "jit_3-cache"]
    assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/hamljax"


def test_a_cache_that_was_used_lately_stays(tmp_path):
    entries(tmp_path, 100, 100, 100)
    os.utime(tmp_path / "jit_0-cache", (2e9, 1e9))  # written first, read last
    machine.trim(tmp_path, 250)
    assert {p.name for p in tmp_path.iterdir() if p.name.endswith("-cache")} == {"jit_0-cache", "jit_2-cache"}


def test_the_doctor_says_where_programs_are(monkeypatch, tmp_path, capsys):
    from hamljax.lab.commands import doctor

    entries(tmp_path, 1 << 20, 1 << 19)
    cache_of(monkeypatch, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    assert ("compiled programs", f"2 in {tmp_path}, 1.5 MiB") in doctor.machine()


def test_a_cache_that_cannot_be_is_a_note(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    cache_of(monkeypatch, XDG_CACHE_HOME=str(tmp_path / "file"))
    machine.prepare()
    assert re.fullmatch("note: compiled programs are not kept: .*hamljax': .*\n", capsys.readouterr().err)
    assert jax.config.jax_compilation_cache_dir is None


def test_a_cache_that_may_only_be_read_is_read(monkeypatch, tmp_path, capsys):
    def refuse(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    cache_of(monkeypatch, JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    machine.prepare()
    assert capsys.readouterr().err == f"note: compiled programs are only read: '{tmp_path}': Read-only file system\n"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == math.inf  # nothing takes so long that it is written


# DEVICES

UNOPENED = {
    "JAX_PLATFORMS": ("nonsense", "Unable to initialize backend 'nonsense': it is not in the list of known backends"),
    "CUDA_VISIBLE_DEVICES": ("7", "Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices."),
    "": ("", "Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform CUDA"),
    "JAX_NUM_CPU_DEVICES": ("1", ""),  # an assertion without a word, as JAX has it for JAX_PLATFORMS=cuda
}


@pytest.mark.parametrize("name", UNOPENED)
@pytest.mark.parametrize("words", [["train", *TINY], ["doctor"], ["export", "run"]], ids=lambda words: words[0])
def test_a_device_that_jax_cannot_open_is_one_line(name, words, monkeypatch, tmp_path, capsys):
    value, said = UNOPENED[name]
    for each in ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(each, raising=False)
    if name:
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def devices():
        if not said:
            raise AssertionError
        raise RuntimeError(f"{said}\n(set JAX_PLATFORMS='' to choose another)")

    monkeypatch.setattr(jax, "devices", devices)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"hamljax: error: JAX opens no device: {said}")
    assert f"{name}={value}" in err if name else "JAX_PLATFORMS=cpu does without" in err
    assert list(tmp_path.iterdir()) == []


TROUBLE = {
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2147483648 bytes.": "not enough memory",
    "INTERNAL: Failed to allocate 100 bytes for new constant: CUDA_ERROR_OUT_OF_MEMORY": "not enough memory",
    "INTERNAL: cuSolver/cuBLAS call failed: gpusolverDnCreate(&handle)": "the device gave up",
    "INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access": "the device gave up",
    "FAILED_PRECONDITION: DNN library initialization failed: CUDNN_STATUS_NOT_INITIALIZED": "the device gave up",
}


@pytest.mark.parametrize("said", TROUBLE)
def test_a_gpu_that_is_full_or_taken_is_one_line_wherever_it_shows(said, monkeypatch, tmp_path, capsys):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError(said)

    monkeypatch.setattr(machine.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(host_loop, "make_learner", fail)  # the first allocation may be anywhere
    assert main(["train", *TINY, f"run_dir={tmp_path / 'run'}"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and TROUBLE[said] in err and said[:40] in err and "another process" in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_trouble_of_a_device_keeps_its_traceback(monkeypatch, tmp_path):
    for error in (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: a bug"), RuntimeError("CUDA_ERROR of somebody's")):
        monkeypatch.setattr(host_loop, "make_learner", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(RuntimeError, match="bug|somebody"):
            main(["train", *TINY, f"run_dir={tmp_path / 'run'}"])


def test_memory_that_no_system_call_tells_is_no_limit(monkeypatch):
    def sysconf(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", sysconf)
    assert machine.memory() == min(machine._limits()) and machine.memory() > 0


UNTOUCHED = """
from hamljax.lab.configuration.jobs import make_job
from jax._src import xla_bridge
for words in (["algo=happo"], ["algo=hatrpo_w"], ["algo=hasac", "algo.neighbourhood=kl_stop"], ["algo=haddpg"]):
    make_job(["env=game/tracking", *words])
assert not xla_bridge._backends, xla_bridge._backends
"""


def test_a_configuration_touches_no_device():
    """How many devices a CPU has is decided when the number of seeds is known, and once JAX has looked it is too late."""
    subprocess.run([sys.executable, "-c", UNTOUCHED], check=True)
