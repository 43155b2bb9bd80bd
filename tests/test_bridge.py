"""Environments in host processes: the wire, the pool and its faults, SMAC's contract, and SMAX through all of it, bit for bit."""

import ast
import errno
import functools
import importlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sizes import EXACT, long
from tiny_runs import ONCE, numbers

import hamljax
from hamljax.algorithms.rollout import episode_metrics
from hamljax.bridge import needs
from hamljax.bridge.environment import arrays_of
from hamljax.bridge.maps import MAPS
from hamljax.bridge.pool import Pool
from hamljax.bridge.process import WORKER, Launch, WorkerBug
from hamljax.bridge.worker import wire
from hamljax.envs import VecEnv, configure, make
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.errors import ConfigError, Stopped
from hamljax.lab.cli import main
from hamljax.lab.commands import doctor
from hamljax.lab.commands.evaluate import summarise
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.runs.programs import HostPrograms
from hamljax.training.evaluate import means
from hamljax.training.host_loop import HostLoop
from hamljax.training.train import make_learner

sys.path.insert(0, str(Path(importlib.import_module("hamljax.bridge.worker").__file__).parent))
from hosts.mamujoco import GymnasiumRobotics  # noqa: E402
from hosts.pettingzoo import PettingZoo  # noqa: E402
from hosts.smac import Smac  # noqa: E402

TESTS = Path(__file__).parent
REFERENCE = json.loads((TESTS / "fixtures" / "mamujoco_reference.json").read_text())
COUNTER = "hosts_of_tests.Counter"


TINY = ["num_envs=2", "num_steps=8", "total_timesteps=64", "num_eval_episodes=2", "network.hidden_sizes=[8]", *ONCE]


def open_pool(host: str, size: int, timeout=20.0, max_restarts=100, **settings) -> Pool:
    return Pool(Launch(host, settings, timeout=timeout, max_restarts=max_restarts), size, [str(TESTS)])


def left(sessions) -> int:
    """How many processes of ``sessions`` (the numbers of their leaders) are alive, games of workers included."""
    stats = [text for path in Path("/proc").glob("[0-9]*/stat") if (text := _read(path))]
    fields = [text.rsplit(")", 1)[1].split() for text in stats]
    return sum(state != "Z" and int(session) in sessions for state, _, _, session, *_ in fields)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended just now
        return ""


def wait_until(condition, seconds=20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_workers_step_together_and_start_again():
    pool = open_pool(COUNTER, 3, length=2)
    seen = pool.reset(numbers(10, 3))
    np.testing.assert_array_equal(seen["world_state"], [[10, 0], [11, 0], [12, 0]])
    np.testing.assert_array_equal(seen["obs"][1], [[11, 0, 0], [11, 0, 1]])
    np.testing.assert_array_equal(seen["avail_actions"][0], [[1, 1, 0], [1, 1, 1]])
    action = np.array([[0, 1], [1, 2], [0, 0]])
    first = pool.step(action, numbers(0, 3), numbers(100, 3))
    np.testing.assert_array_equal(first.seen["reward"], [1, 3, 0])
    assert not (first.final["terminated"] | first.final["truncated"]).any() and first.valid.all()
    second = pool.step(action, numbers(0, 3), numbers(100, 3))
    np.testing.assert_array_equal(second.final["terminated"], [True, False, True])
    np.testing.assert_array_equal(second.final["truncated"], [False, True, False])
    np.testing.assert_array_equal(second.final["world_state"], [[10, 2], [11, 2], [12, 2]])
    np.testing.assert_array_equal(second.seen["world_state"], [[100, 0], [101, 0], [102, 0]])
    np.testing.assert_array_equal(second.final["metrics"], [[4.0]] * 3)
    pool.close()


def test_who_begins_an_episode_gets_the_next_key():
    """Whichever workers they are."""
    pool = open_pool("hosts_of_tests.Uneven", 3)
    pool.reset(numbers(0, 3))  # of 1, 2 and 3 steps
    begun = []
    for step in range(1, 4):
        reply = pool.step(np.zeros((3, 2)), numbers(0, 3), numbers(30 * step + 2, 3))
        begun.append(reply.seen["world_state"][:, 0].tolist())
    assert begun == [[32, 1, 2], [32, 62, 2], [32, 62, 92]]
    pool.close()


def test_nothing_of_the_episode_before_is_left_in_a_lost_step():
    """That one was won; this one ends in its first step, of which nothing is known."""
    pool = open_pool(COUNTER, 1, fault="raise", at=3, length=2)
    pool.reset(numbers(0, 1))
    for _ in range(3):
        reply = pool.step(np.ones((1, 2)), numbers(0, 1), numbers(0, 1))
        final = reply.final[0].copy()
    assert not reply.valid[0] and not final["terminated"] and final["truncated"]
    assert final["reward"] == 0 and final["metrics"] == 0
    pool.close()


@pytest.mark.parametrize("size", [0, 5, 100, 200_000])
def test_a_message_comes_whole_however_it_was_cut(size):
    """Also one that is longer than the room kept for it; the next one is not touched."""
    here, there = socket.socketpair()
    channel, content = wire.Channel(there), bytes(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))
    message = wire.HEADER.pack(wire.CRASH, size) + content
    for cuts in ([0], [0, 1], [0, 3, 5, 6], [0, 5], [0, len(message) - 1]):
        pieces = [message[a:b] for a, b in itertools.pairwise([*cuts, len(message)])]
        sender = threading.Thread(target=lambda pieces=pieces: [(here.sendall(p), time.sleep(0.01)) for p in pieces])
        sender.start()
        kind, found = channel.receive()
        assert kind == wire.CRASH and found == content
        sender.join()
    with pytest.raises(ValueError, match="too long"):
        here.sendall(wire.HEADER.pack(wire.DONE, 1000))
        channel.receive(limit=999)
    here.close()
    with pytest.raises(EOFError):
        channel.receive()
    channel.close()


FAULTS = {  # what goes wrong, and what the pool says of it
    "kill": ("`kill -9` of the worker", "was killed by signal 9"),
    "hang": ("the worker is stopped (SIGSTOP)", "did not answer in time"),
    "exit": ("the worker exits cleanly", "exited with code 0"),
    "raise": ("an exception in `step`", "crashed: OSError: out of ammunition"),
    "hung up": ("the game's own connection breaks", "crashed: ConnectionResetError: the game hung up"),
    "crash": ("the game crashes", "crashed: hosts.Crash: the game is gone"),
    "garbage": ("a wrong record on the wire", "sent what is no record"),
    "half": ("half a record on the wire, then silence", "sent what is no message"),
    "noise": ("noise on the wire", "sent what is no message"),
}


@pytest.fixture
def rounds(large):
    return 63 if large else 2


def in_the_table(large: bool, name: str, said: str, times: int, lost: int, orphans: int, leaked: int) -> bool:
    """Whether docs/bridge.md has this row; its numbers are those of ``make test-long``, number by number."""
    row, page = (
        f"| {name} | {said} | {times} | {lost} | {orphans} | {leaked} |",
        (TESTS.parent / "docs/bridge.md").read_text(),
    )
    if not large:
        row, page = (re.sub(r"\| \d+ \| \d+ \| 0 \| 0 \|", "", text) for text in (row, page))
    elif row not in page:
        print(row)
    return row in page


def orphans_of(sessions, seconds=5.0) -> int:
    """How many processes of ``sessions`` are still alive after so long."""
    wait_until(lambda: not left(sessions), seconds)
    return left(sessions)


@pytest.fixture
def load(large):
    """In ``make test-long``: as many busy processes as there are processors."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(large * os.cpu_count())]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_worker_costs_one_transition(fault, large, rounds, load):
    """At its third step each worker fails: its episode is over, nothing else is touched, and a fresh one goes on."""
    silent = fault in ("hang", "half")
    patience = 2.0 if silent else 60.0
    if silent:
        rounds = 4 if large else 1  # they are waited for
    pool = open_pool(COUNTER, 2, timeout=patience, max_restarts=1000, fault=fault, at=3, length=100, game=True)
    assert left([w.process.pid for w in pool.workers]) == 4
    sessions, lost_in_all = [w.process.pid for w in pool.workers], 0
    before = len(os.listdir("/proc/self/fd"))
    pool.reset(numbers(0, 2))
    action = np.zeros((2, 2), int)
    for step in range(1, 3 * rounds + 1):
        reply = pool.step(action + 1, numbers(0, 2), numbers(10 * step, 2))
        lost = step % 3 == 0
        assert (reply.valid == (not lost)).all()
        assert (reply.final["truncated"] == lost).all() and not reply.final["terminated"].any()
        assert (reply.final["reward"] == (0.0 if lost else 2.0)).all()
        lost_in_all += int((~reply.valid).sum())
        if lost:  # the last that was seen stands for the final observation; then an episode of its own
            assert (reply.final["world_state"][:, 1] == 2).all()
            begun = (10 * step + np.arange(2)) % 1000
            np.testing.assert_array_equal(reply.seen["world_state"], np.stack([begun, [0, 0]], axis=1))
            sessions += [w.process.pid for w in pool.workers]
    assert pool.restarts == lost_in_all == 2 * rounds
    leaked = len(os.listdir("/proc/self/fd")) - before
    pool.close()
    orphans = orphans_of(sessions)
    assert in_the_table(large, *FAULTS[fault], 2 * rounds, lost_in_all, orphans, leaked)


def test_restarts_have_a_budget(large, load):
    """The second of two faults is one too many: whatever it is, it ends in a line, and nothing is left."""
    rounds, sessions, stopped, lost = 14 if large else 1, [], 0, 0
    before = len(os.listdir("/proc/self/fd"))
    for fault in ("kill", "raise", "noise") * rounds:
        pool = open_pool(COUNTER, 1, timeout=60.0, max_restarts=1, fault=fault, at=1, game=True)
        sessions += [w.process.pid for w in pool.workers]
        pool.reset(numbers(0, 1))
        lost += int((~pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1)).valid).sum())
        sessions += [w.process.pid for w in pool.workers]
        with pytest.raises(Stopped, match=f"worker 0 {FAULTS[fault][1]}, and all 1 restarts"):
            pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
        stopped += 1
        pool.close()
    orphans, leaked = orphans_of(sessions), len(os.listdir("/proc/self/fd")) - before
    assert in_the_table(large, "the budget is used up", "training stops with one line", stopped, lost, orphans, leaked)


def test_a_worker_that_cannot_reset_is_replaced(large, rounds, load):
    """Between two episodes, so that no transition is lost."""
    settings = {"fault": "reset", "at": 2, "length": 1, "game": True}
    pool, sessions, lost = open_pool(COUNTER, 1, max_restarts=1000, **settings), set(), 0
    before = len(os.listdir("/proc/self/fd"))
    pool.reset(numbers(0, 1))
    for step in range(1, 2 * rounds + 1):  # the handshake resets too, so every second reset of a process fails
        sessions |= {w.process.pid for w in pool.workers}
        reply = pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(step, 1))
        assert reply.seen["world_state"][0, 0] == step
        lost += int((~reply.valid).sum())
    leaked = len(os.listdir("/proc/self/fd")) - before
    pool.close()
    orphans = orphans_of(sessions)
    assert in_the_table(
        large, "an exception in `reset`", "crashed: OSError: cannot reset", pool.restarts, lost, orphans, leaked
    )


def test_what_comes_back_as_another_environment_is_no_replacement(tmp_path):
    pool = open_pool("hosts_of_tests.Changing", 1, max_restarts=2, file=str(tmp_path / "begun"))
    pool.reset(numbers(0, 1))
    with pytest.raises(Stopped, match="came back as another environment"):
        pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
    pool.close()


def test_a_device_gets_memory_of_its_own():
    """A CPU device goes on using a numpy array that it was given, and the pool writes into its own again and again."""
    pool = open_pool(COUNTER, 1, length=100)
    pool.reset(numbers(0, 1))
    given = []
    for _ in range(5):
        reply = pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
        arrays = arrays_of(reply.seen)
        assert not any(np.shares_memory(x, pool.seen) for x in arrays.values())
        given.append(jax.device_put(arrays))
    np.testing.assert_array_equal([x["world_state"][0, 1] for x in given], [1, 2, 3, 4, 5])
    pool.close()


@pytest.mark.parametrize(
    ("settings", "action", "message"), [({}, 7, "illegal action"), ({"fault": "bug"}, 0, "what a mistake")]
)
def test_a_bug_is_raised_with_the_remote_traceback(settings, action, message):
    pool = open_pool(COUNTER, 2, **settings, at=1)
    pool.reset(numbers(0, 2))
    with pytest.raises(WorkerBug, match=f"(?s)hosts_of_tests.py.*{message}"):
        pool.step(np.full((2, 2), action), numbers(0, 2), numbers(0, 2))
    pool.close()


def test_shapes_are_those_announced_in_every_step():
    pool = open_pool("hosts_of_tests.Narrowing", 2)
    pool.reset(numbers(0, 2))
    pool.step(np.zeros((2, 2)), numbers(0, 2), numbers(0, 2))
    with pytest.raises(WorkerBug, match="announced world_state_size 2 and gives 1"):
        pool.step(np.zeros((2, 2)), numbers(0, 2), numbers(0, 2))


def test_a_worker_that_answers_without_end_is_lost_in_time():
    """Though it sends a byte all the time: a thousand of them, what it announced, would take 100 seconds."""
    pool = open_pool("hosts_of_tests.Dribbling", 1, timeout=2.0)
    pool.reset(numbers(0, 1))
    assert not pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1)).valid[0]
    assert "sent what is no message" in pool.losses[0]  # all of it would be a message, and no record
    pool.close()


def test_more_workers_than_the_system_allows_are_one_line(monkeypatch):
    start = subprocess.Popen

    def too_many(command, **settings):
        if str(WORKER) in command:
            raise OSError(errno.EMFILE, "Too many open files")
        return start(command, **settings)

    monkeypatch.setattr(subprocess, "Popen", too_many)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match="cannot start 3 workers: Too many open files; more env.envs_per_worker"):
        try:
            open_pool(COUNTER, 3)
        finally:
            assert len(os.listdir("/proc/self/fd")) == before


def test_host_processes_cannot_be_stepped_in_one_program():
    env = hamljax.make_env(hamljax.configure("bridge/host", path="hosts_of_tests.Counter"))
    env._pools[1, "asking"] = open_pool(COUNTER, 1)
    with pytest.raises(ConfigError, match="front_end='callback'"):
        hamljax.make_train(hamljax.config("happo", "game/tracking", **SMALL), env)
    env.close()


@pytest.mark.parametrize(
    ("launch", "line"),
    [
        (Launch("nowhere.Host", {}), "environment 'nowhere.Host' does not start: .*No module named 'nowhere'"),
        (Launch("hosts_of_tests.Nobody", {}), "module 'hosts_of_tests' has no attribute 'Nobody'$"),
        (Launch("mamujoco", {"colour": 1}), "does not start: .*unexpected keyword argument 'colour'$"),
        (Launch("pettingzoo", {"path": "pettingzoo.sisl.pursuitt_v5"}), "did you mean 'pettingzoo.sisl.pursuit_v5'"),
        (Launch(COUNTER, {}, python="/no/such/python"), "cannot start '/no/such/python': No such file or directory"),
        (
            Launch(COUNTER, {}, python="true"),
            "does not start: it exited with code 0; next: another env.python, because",
        ),
        (Launch("hosts_of_tests.Mumbling", {}), "does not start: it sent what is no message"),
    ],
)
def test_an_environment_that_does_not_start_is_one_line(launch, line):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=line) as caught:
        Pool(launch, 2, [str(TESTS)])
    assert "\n" not in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("Stillborn", "line .*int.*ValueError: invalid literal"),
        ("Silent", "ValueError: the environment's spec does not say 'metrics'"),
        ("Inexact", "TypeError: Object of type int64 is not JSON serializable"),
    ],
)
def test_a_bug_at_the_start_is_raised_with_the_remote_traceback(host, message):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WorkerBug, match=f"(?s)Traceback.*{message}"):
        open_pool(f"hosts_of_tests.{host}", 2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_janitor_forgets_a_session_that_ended(monkeypatch):
    """The system may have given its number to somebody else by the end of training."""
    told = []
    for module in ("pool", "process"):
        monkeypatch.setattr(f"hamljax.bridge.{module}.tell_janitor", lambda janitor, number: told.append(number))
    pool = open_pool(COUNTER, 1, fault="kill", at=1)
    pool.reset(numbers(0, 1))
    first = pool.workers[0].process.pid
    pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
    second = pool.workers[0].process.pid
    assert told == [first, -first, second]
    assert os.getsid(pool._janitor.pid) == pool._janitor.pid  # a terminal's Ctrl-C is not for it
    pool.close()
    assert told[3:] == [-second]


@pytest.mark.parametrize("fault", ["", "hang"])
def test_nothing_is_left_when_the_trainer_is_killed(fault, tmp_path, large, load):
    """Not even a worker that was stopped, or the game of one."""
    orphans = [kill_a_trainer(fault, tmp_path) for _ in range(12 if large else 1)]
    name = "`kill -9` of the trainer" + (", its workers stopped" if fault else "")
    assert in_the_table(large, name, "all of them end", 2 * len(orphans), 0, sum(orphans), 0)


def kill_a_trainer(fault: str, folder) -> int:
    """How many of its workers, and of their games, outlive it by 20 seconds."""
    code = f"""
import time
import numpy as np
from hamljax.bridge.pool import Launch, Pool
pool = Pool(Launch({COUNTER!r}, dict(fault={fault!r}, at=1, game=True), timeout=100.0), 2, [{str(TESTS)!r}])
keys = np.zeros((2, 2), np.uint32)
pool.reset(keys)
print(*[w.process.pid for w in pool.workers], pool._janitor.pid, flush=True)
pool.step(keys, keys, keys)
time.sleep(100)
"""
    trainer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder)
    pids = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(pids) == 3 and left(pids) == 5
    if fault:
        assert wait_until(
            lambda: all(Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for p in pids[:2])
        )
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    return orphans_of(pids, 20.0)


# SMAC

DOUBLES = TESTS / "doubles"  # packages ``smac`` and ``smacv2`` that need no game
TERRAN = hamljax.make_env(hamljax.configure("bridge/smacv2")).launch.settings


def play_smac(steps: int, action=1, host="smac", **settings):
    """Replies of one worker, and how many were replaced by then."""
    pool = Pool(Launch(host, settings), 1, [str(DOUBLES)])
    alive = pool.reset(numbers(0, 1))["alive"][0].copy()
    for _ in range(steps):
        reply = pool.step(np.where(alive, action, 0)[None], numbers(0, 1), numbers(0, 1))
        alive = reply.seen["alive"][0].copy()
        yield jax.tree.map(np.copy, reply), pool.restarts  # the pool's own hold until its next call
    pool.close()


def test_how_episodes_of_smac_end():
    """Won and lost terminate; a time limit shows in a counter alone and truncates; a crash is no end of anything.

    After the crash the object is of no use: the double says so if it is asked again.
    """
    replies = list(play_smac(20, map_name="3m", script=["won", "lost", "late", "crash"]))
    ends = [r for r, _ in replies if r.final["terminated"] | r.final["truncated"]]
    assert [bool(r.final["terminated"][0]) for r in ends] == [True, True, False, False, True]
    assert [bool(r.valid[0]) for r in ends] == [True, True, True, False, True]
    np.testing.assert_array_equal([r.final["metrics"][0] for r in ends[:3]], [[1, 1, 2], [0, 1, 2], [0, 1, 2]])
    assert [float(r.final["reward"][0]) for r in ends] == [1.5, 1.5, 1.5, 0.0, 1.5]
    assert [restarts for _, restarts in replies] == [0] * 15 + [1] * 5


def test_a_game_that_restarts_by_itself_is_a_lost_worker():
    """In a reset, where SMAC hides it: nothing that was stepped is lost, and the restart counts."""
    replies = list(play_smac(9, map_name="3m", script=["gone"]))
    assert all(r.valid[0] for r, _ in replies)
    assert [restarts for _, restarts in replies] == [0] * 3 + [1] * 4 + [2] * 2


def test_the_dead_of_smac_may_only_do_nothing():
    replies = [r for r, _ in play_smac(3, map_name="3m")]
    assert [r.seen["alive"][0].tolist() for r in replies] == [[True] * 3, [True, False, True], [True, False, True]]
    with pytest.raises(WorkerBug, match="Agent 0 cannot perform action 8"):
        list(play_smac(1, map_name="3m", action=[8, 1, 1]))


def test_a_game_is_launched_once_and_with_its_own_dice():
    """SMAC launches one in every reset until an episode has ended."""
    pool = Pool(Launch("smac", {"map_name": "3m", "script": ["won", "crash"]}), 2, [str(DOUBLES)])
    seeds = []
    for _ in range(2):
        seen = pool.reset(numbers(0, 2))
        assert (seen["obs"][:, 0, 1] == 1).all()
        seeds += seen["obs"][:, 0, 2].tolist()
        for _ in range(8):  # the second episode ends in a crash, and its worker is replaced
            pool.step(np.where(pool.seen["alive"], 1, 0), numbers(0, 2), numbers(0, 2))
    assert pool.restarts == 4 and len(set(seeds)) == 4
    pool.close()


def test_runs_and_evaluations_have_dice_of_their_own():
    """A game's seed comes from the keys that its first episode has."""
    settings = {"map_name": "3m", "script": ["won"]}
    seeds = []
    for key, purpose in ((0, "training"), (1, "training"), (0, "evaluation")):
        env = hamljax.make_env(hamljax.configure("bridge/smac"))
        env.launch = Launch("smac", settings)
        with mock.patch("hamljax.bridge.pool.os.getcwd", lambda: str(DOUBLES)):
            if purpose == "training":
                seen = env.vectorise(2).reset(jax.random.key(key))[1]
            else:
                seen = env.reset_many(jax.random.split(jax.random.key(key)))[1]
        seeds += seen.obs[:, 0, 2].tolist()
        env.close()
    assert len(set(seeds)) == 6


def test_smacv2_is_looked_at_once_a_step():
    """Looking at it changes it. Its own reset looks too, in the handshake and then."""
    replies = list(play_smac(3, host="smacv2", **TERRAN))
    assert [r.seen["obs"][0, 0, 7] for r, _ in replies] == [5, 6, 7]


def test_smacv2_draws_teams_and_places_from_its_key():
    pool = Pool(Launch("smacv2", TERRAN), 3, [str(DOUBLES)])
    draws = []
    for key in (5, 6, 5):
        keys = np.repeat(numbers(key, 1), 3, axis=0)
        draws.append(pool.reset(keys)["obs"][:, :, 3:7].copy())
        assert (draws[-1] == draws[-1][:1]).all()  # whichever worker it is
    assert (draws[0] == draws[2]).all() and len(np.unique(np.array(draws)[:2, 0, 0, 1:])) == 6
    pool.close()


PUBLISHED = {  # actions, observation, state, as tables of papers that trained on them have it
    "3m": (9, 30, 48),
    "8m": (14, 80, 168),
    "5m_vs_6m": (12, 55, 98),
    "8m_vs_9m": (15, 85, 179),
    "10m_vs_11m": (17, 105, 243),
    "27m_vs_30m": (36, 285, 1170),
    "2s3z": (11, 80, 120),
    "3s5z": (14, 128, 216),
    "3s5z_vs_3s6z": (15, 136, 230),
    "1c3s5z": (15, 162, 270),
    "3s_vs_5z": (11, 48, 68),
    "MMM": (16, 160, 290),
    "MMM2": (18, 176, 322),
    "corridor": (30, 156, 282),
    "6h_vs_8z": (14, 78, 140),
    "2c_vs_64zg": (70, 332, 342),
}


def test_sizes_of_the_23_maps(monkeypatch):
    """As the units give them feature by feature, and as published."""
    monkeypatch.syspath_prepend(str(DOUBLES))
    double = importlib.import_module("smac.env")
    assert sorted(MAPS) == sorted(double.MAPS) and len(MAPS) == 23
    for name, about in MAPS.items():
        spec = Smac(map_name=name).spec
        assert {key: spec[key] for key in about.spec} == about.spec
        assert len(double.MAPS[name][0]) == about.allies and len(double.MAPS[name][1]) == about.enemies
        sizes = (about.spec["action_sizes"][0], about.spec["obs_sizes"][0], about.spec["world_state_size"])
        assert sizes == PUBLISHED.get(name, sizes)


@pytest.mark.parametrize(
    ("launch", "line"),
    [
        (
            Launch("smac", {"map_name": "3m", "obs_timestep_number": True}),
            "announced obs_sizes .31, 31, 31. and gives .30, 30, 30.",
        ),
        (
            Launch("smac", {"map_name": "3m"}, expected=MAPS["8m"].spec),
            "announces obs_sizes .30, .*; another version of it",
        ),
    ],
)
def test_a_game_of_other_sizes_is_one_line(launch, line):
    with pytest.raises(ConfigError, match=line) as caught:
        Pool(launch, 1, [str(DOUBLES)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["algo=mappo_s", "env=bridge/smac", "map=3m", "num_evals=0"],
        *long(
            ["algo=happo", "env=bridge/smac", "map=3m"], ["algo=happo", "env=bridge/smacv2", "race=zerg", "num_seeds=2"]
        ),
    ],
)
def test_starcraft_trains_from_the_command_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(DOUBLES)
    assert main(["train", *TINY, *words, f"run_dir={tmp_path}/run"]) == 0
    record = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert record["train/won"].max() == 1 and ("num_evals=0" in words or record["eval/won"].max() == 1)
    shares = record[["perf/workers", "perf/device", "perf/host"]].dropna()
    assert len(shares) and (shares > 0).all(axis=None)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (record["perf/restarts"].dropna() == 0).all()


def test_a_map_that_does_not_exist_is_one_line(capsys):
    assert main(["train", "algo=happo", "env=bridge/smac", "map=3mm"]) == 2
    assert "unknown env.map '3mm'; did you mean '3m'" in capsys.readouterr().err


# LEARNING


SMALL = dict(num_envs=4, num_steps=8, hidden_sizes=(8,))


def without_keys(state):
    """What can be compared between environments of one kind in different places."""
    return state._replace(eval_key=None, rollout=state.rollout._replace(key=None, env_state=None))


def same(*trees) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, trees), strict=True))


@pytest.mark.parametrize("algo", ["happo", *long("hatrpo", "mappo_s")])
def test_a_lost_step_teaches_nothing(algo):
    """Whatever is written where a worker was lost, policies and critic become the same; where none was, they do not.

    Where none was lost at all, they become those of the device, bit for bit, which knows nothing of lost steps.
    """
    algorithm = make_learner(hamljax.config(algo, "game/tracking", **SMALL)).learner
    state, traj = jax.jit(algorithm.collect)(jax.jit(algorithm.init)(jax.random.key(0)))
    lost = np.random.default_rng(0).random((8, 4)) < 0.2
    steps = traj.transitions
    steps = steps._replace(
        observation=steps.observation._replace(alive=steps.observation.alive & ~lost[..., None]),
        truncated=steps.truncated | lost,
        terminated=steps.terminated & ~lost,
        valid=jnp.asarray(~lost),
    )

    def wrong(where):
        def change(x):
            return x + 3.0 * where.reshape(where.shape + (1,) * (x.ndim - 2))

        said = ("reward", "log_prob", "final")
        return steps._replace(**{name: jax.tree.map(change, getattr(steps, name)) for name in said})

    learn, whole = (
        jax.jit(algorithm.learn, compiler_options=EXACT),
        traj.transitions._replace(valid=jnp.ones((8, 4), bool)),
    )
    cases = (steps, wrong(lost), wrong(~lost), whole, traj.transitions)
    learnt = [learn(state, traj._replace(transitions=case))[0] for case in cases]
    learnt = [s.learnt for s in learnt]
    assert lost.any() and same(*learnt[:2]) and not same(learnt[0], learnt[2])
    assert traj.transitions.valid is None and same(*learnt[3:])


@pytest.mark.parametrize("algo", ["masac_s", *long("haddpg")])
def test_a_lost_sample_teaches_nothing(algo):
    small = SMALL | {"learning_starts": 32, "buffer_size": 320, "batch_size": 16, "gradient_steps": 1, "n_step": 1}
    algorithm = make_learner(hamljax.config(algo, "game/tracking", **small)).learner
    state = jax.jit(algorithm.init)(jax.random.key(0))
    sample = jax.tree.map(lambda x: x[0], jax.jit(algorithm.debug_batch)(state).batch)
    weight, step = np.arange(16) % 3 > 0, jax.jit(functools.partial(algorithm.step, algorithm))

    def learn(where, weight):
        changed = sample._replace(reward=sample.reward + 3.0 * where, action=sample.action * (1 - where)[:, None, None])
        return step(state.learnt, state.carried, changed._replace(weight=jnp.asarray(weight)), jax.random.key(1))[0]

    nowhere = np.zeros(16)
    assert same(learn(nowhere, weight), learn(1.0 - weight, weight))
    assert not same(learn(nowhere, weight), learn(weight.astype(float), weight))


@pytest.mark.long
@pytest.mark.parametrize(
    ("algo", "map_name", "front_end"),
    [
        ("happo with a GRU", "3m", "loop"),
        ("happo", "smacv2_5_units", "callback"),
        ("hasac", "2s3z", "loop"),
    ],
)
def test_training_through_workers_is_training_on_the_device(algo, map_name, front_end):
    """Three updates and an evaluation, ends of episodes included: the same team, and HAPPO's the same bit for bit.

    A GRU rounds otherwise in a program of its own; off-policy, a mean over the steps that were not lost is another sum than
    a mean over all.
    """
    small = {"num_envs": 2, "num_steps": 16, "hidden_sizes": (8,), "num_eval_episodes": 3}
    if "GRU" in algo:
        algo, small = "happo", small | {"network": "gru", "gru_size": 8, "data_chunk_length": 4}
    if algo == "hasac":
        small |= {"learning_starts": 32, "buffer_size": 320, "batch_size": 8, "gradient_steps": 2}
    found = []
    for name, settings in ((f"smax/{map_name}", {}), (f"bridge/smax_{map_name}", {"front_end": front_end})):
        env = hamljax.make_env(hamljax.configure(name, max_steps=12, **settings))
        env.at_once = 2
        learner = make_learner(hamljax.config(algo, name, **small), env)
        state = jax.jit(learner.init)(jax.random.key(0))
        update = learner.update if learner.host else jax.jit(learner.update)
        for _ in range(3):
            state, metrics = update(state)
        found.append((state, metrics, jax.jit(learner.evaluate)(learner.actor_state(state))))
        env.close()
    (here, numbers, evaluated), (there, others, evaluated_there) = found
    rtol = 0 if algo == "happo" and small.get("network") != "gru" else 1e-4
    parts = [(s.learnt.agents, s.learnt.critic, s.rollout.observation, s.rollout.start) for s in (here, there)]
    for x, y in zip(*map(jax.tree.leaves, parts), strict=True):
        np.testing.assert_allclose(x, y, rtol, rtol / 10)
    assert same(*(jax.random.key_data(s.rollout.key) for s in (here, there)))
    assert evaluated_there.pop("eval/lost") == 0
    assert same(evaluated, evaluated_there)
    assert others["train/lost"] == 0 and numbers["train/episode_return"] == others["train/episode_return"]


@pytest.mark.long
@pytest.mark.parametrize("algo", ["happo", "hasac"])
def test_acting_on_another_device_than_learning_changes_nothing(algo, monkeypatch):
    """As with an accelerator, beside which the CPU acts. A compiled program takes nothing from another device than its own."""
    monkeypatch.chdir(TESTS)
    small = SMALL | {"num_envs": 2, "obs_norm": "always"}
    if algo == "hasac":
        small |= {"learning_starts": 16, "buffer_size": 160, "batch_size": 8, "gradient_steps": 2}
    env = hamljax.make_env(hamljax.configure("bridge/host", path=COUNTER))
    learner = make_learner(hamljax.config(algo, "game/tracking", **small), env)
    init, found = jax.jit(learner.init), []
    for acting in jax.devices():
        host, state = HostLoop(learner.learner), init(jax.random.key(0))
        host.acting = acting
        host.compile(jax.eval_shape(lambda state=state: state))
        for _ in range(3):
            state, metrics = host.update(state)
        assert {x.device for x in jax.tree.leaves(state)} == {jax.devices()[0]}
        found.append((without_keys(state), metrics))
    env.close()
    assert len(found) == 2 and same(*found)


# HOSTS


@pytest.mark.parametrize("task", sorted(REFERENCE))
def test_mujoco_shows_what_the_device_shows(task):
    """The fixture that the robots on the device are held by, for the same q and qd."""
    wanted = REFERENCE[task]
    for hops in ("0", "1", "2"):
        host = GymnasiumRobotics(task, agent_obsk=hops)
        robot = host.env.single_agent_env.unwrapped
        for (q, qd), agents in list(zip(wanted["states"], wanted["observations"][hops], strict=True))[:5]:
            host.reset(np.zeros(2, np.uint32))
            robot.set_state(np.array(q), np.array(qd))
            seen = host._seen(host.env._get_obs())
            for mine, theirs in zip(seen.obs, agents, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)
        host.close()


def test_mujoco_moves_as_its_robot_does_alone():
    """Step by step, with the actions of three agents put together; until the hopper falls."""
    host = GymnasiumRobotics("hopper_3x1")
    host.reset(np.zeros(2, np.uint32))
    robot = host.env.single_agent_env.unwrapped
    alone, chance = type(robot)(), np.random.default_rng(0)
    alone.reset()
    alone.set_state(robot.data.qpos.copy(), robot.data.qvel.copy())
    for _ in range(200):
        action = chance.uniform(-1, 1, (3, 1)).astype(np.float32)
        _, reward, terminated, truncated, _ = host.step(np.zeros(2, np.uint32), action)
        _, wanted, fallen, _, _ = alone.step(action[:, 0])
        assert reward == pytest.approx(wanted, rel=1e-5) and (terminated, truncated) == (fallen, False)
        np.testing.assert_allclose(robot.data.qpos, alone.data.qpos, atol=1e-6)
        if fallen:
            break
    assert fallen
    host.close()


def test_mujoco_is_truncated_and_bounded_as_on_the_device():
    host = GymnasiumRobotics("humanoid_17x1", max_steps=3)
    assert host.spec["obs_sizes"] == list(make("mamujoco/humanoid_17x1").team.obs_sizes)
    host.reset(np.zeros(2, np.uint32))
    ends = [host.step(np.zeros(2, np.uint32), np.ones((17, 1), np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    np.testing.assert_allclose(host.env.single_agent_env.unwrapped.data.ctrl, 0.4)  # 1 is the end of its own range
    host.close()


def test_a_truncated_robot_is_worth_what_it_would_have_gone_on_to():
    """Where time ran out the rollout has the true next state, which returns bootstrap from, and then the fresh one."""
    env = hamljax.make_env(hamljax.configure("bridge/mamujoco_hopper_3x1", max_steps=3))
    config = hamljax.config("mappo_s", "game/tracking", **SMALL | {"num_envs": 1, "num_steps": 7, "obs_norm": "never"})
    learner = make_learner(config, env)
    _, rollout = learner.host.collect(jax.jit(learner.init)(jax.random.key(0)))
    steps = jax.tree.map(lambda x: x[:, 0], rollout.transitions)
    env.close()
    assert np.flatnonzero(steps.truncated).tolist() == [2, 5] and not steps.terminated.any()
    after, seen = steps.final.world_state[:-1], steps.observation.world_state[1:]
    cut = np.asarray(steps.truncated)[:-1]
    np.testing.assert_array_equal(after[~cut], seen[~cut])
    assert (np.abs(after[cut] - seen[cut]).max(axis=-1) > 1e-3).all()


@pytest.fixture
def another_python(tmp_path):
    """An interpreter that has our packages and not hamljax."""
    home = tmp_path / "another"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    ours, theirs = (Path(sysconfig.get_path("purelib", vars={"base": str(base)})) for base in (sys.prefix, home))
    (theirs / "ours.pth").write_text(str(ours))
    python = str(home / "bin/python")
    assert subprocess.run([python, "-c", "import hamljax.bridge"], stderr=subprocess.DEVNULL).returncode != 0
    return python


def test_mujoco_runs_in_an_interpreter_of_its_own(another_python):
    env = hamljax.make_env(hamljax.configure("bridge/mamujoco_hopper_3x1", python=another_python))
    state, seen = env.vectorise(1).reset(jax.random.key(0))
    assert {w.process.args[0] for w in env.pool(1).workers} == {another_python}
    assert jnp.isfinite(env.vectorise(1).step(state, jnp.ones((1, 3, 1)))[1].reward).all() and seen.obs.any()
    env.close()


@pytest.mark.long
def test_mujoco_trains_in_an_interpreter_of_its_own(another_python, tmp_path):
    words = ["algo=happo", "env=bridge/mamujoco_hopper_3x1", f"python={another_python}", *TINY]
    assert main(["train", *words, f"run_dir={tmp_path}/run"]) == 0
    assert np.isfinite(pd.read_parquet(tmp_path / "run" / "metrics.parquet")["train/critic_loss"].dropna()).all()


@pytest.mark.long
def test_the_environment_for_smac_has_pysc2_and_runs_workers(tmp_path, monkeypatch):
    """``make smac-env`` from nothing; then all that is missing is SMAC itself, not the optimiser of that name."""
    made = ["make", "-s", "-f", str(TESTS.parent / "Makefile"), "smac-env", f"SMAC_PYTHON={sys.executable}"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    python = str(tmp_path / ".venv-smac/bin/python")
    code = "from pysc2 import maps, run_configs; from pysc2.lib import protocol; import google.protobuf as p"
    said = subprocess.run(
        [python, "-c", code + "; print(p.__version__)"], check=True, capture_output=True, text=True
    ).stdout.split(".")
    assert (int(said[0]), int(said[1])) < (3, 21)
    assert needs.next_step("smac", python) == f"{python} -m pip install git+https://github.com/oxwhirl/smac.git"
    pool = Pool(Launch("smac", {"map_name": "2s3z"}, python), 1, [str(DOUBLES)])
    assert pool.reset(numbers(0, 1))["obs"].shape == (1, 5, 80)
    pool.close()
    (tmp_path / "wrong/smac/facade").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "wrong"))
    assert "is a hyper-parameter optimiser of the same name" in needs.next_step("smac", python)


@pytest.mark.parametrize(("reward", "wanted"), [("mean", [2, 2, 0.5, 0.5]), ("sum", [4, 4, 1, 1])])
def test_agents_of_pettingzoo_leave_and_their_time_runs_out(reward, wanted, monkeypatch):
    monkeypatch.syspath_prepend(DOUBLES)
    host = PettingZoo("zoo", reward=reward)
    first = host.reset((0, 1))
    steps = [host.step((0, 0), np.array([0, 2])) for _ in range(4)]
    assert host.env.played == [{"a": 5, "b": 7}, {"a": 5, "b": 7}, {"a": 5}, {"a": 5}]
    seen = [first, *(step[0] for step in steps)]
    assert [list(s.alive) for s in seen] == [[True, True], [True, True], [True, False], [True, False], [True, False]]
    assert [s.avail_actions[0].tolist() for s in seen] == [
        [True, even, True] for even in (True, False, True, False, True)
    ]
    assert [s.avail_actions[1].tolist() for s in seen[2:]] == [[True, False, False]] * 3
    assert [step[1:4] for step in steps] == [(r, False, late) for r, late in zip(wanted, [0, 0, 0, 1], strict=True)]
    assert seen[3].world_state.tolist() == [3, 1, 0, 0]


def test_actions_of_pettingzoo_reach_their_own_bounds(monkeypatch):
    monkeypatch.syspath_prepend(DOUBLES)
    host = PettingZoo("zoo", options={"bounded": True}, max_steps=2)
    assert (host.spec["action_low"], host.spec["action_high"]) == ([[0, -3]], [[10, -1]])
    host.reset((0, 1))
    for action, wanted in (([0, -3], [0, -3]), ([10.5, -1], [10, -1])):
        *_, terminated, truncated, _ = host.step((0, 0), np.array([action], np.float32))
        np.testing.assert_allclose(host.env.played, wanted)
    assert truncated and not terminated


@pytest.mark.parametrize("path", ["pettingzoo.sisl.pursuit_v5", "pettingzoo.sisl.multiwalker_v9"])
def test_pettingzoo_plays_on_through_ends(path):
    pool = open_pool("pettingzoo", 1, path=path, max_steps=30)
    seen, rng, ends = pool.reset(numbers(0, 1)), np.random.default_rng(0), 0
    agents, size = len(pool.spec["obs_sizes"]), max(pool.spec["action_sizes"])
    for step in range(100):
        discrete, shape = pool.spec["discrete"], (1, agents, size)
        action = rng.integers(0, size, (1, agents)) if discrete else rng.uniform(-1, 1, shape)
        reply = pool.step(action, numbers(0, 1), numbers(step, 1))
        ends += int((reply.final["terminated"] | reply.final["truncated"]).sum())
        seen = reply.seen
        assert np.isfinite(seen["obs"]).all() and reply.valid.all() and seen["alive"].all()
    assert ends >= 3
    pool.close()


@pytest.mark.parametrize(
    "words",
    [
        ["algo=masac_s", "env=bridge/host", "path=hosts_of_tests.Counter"],
        *long(
            ["algo=hasac", "env=bridge/host", "path=hosts_of_tests.Counter"],
            ["algo=happo", "env=bridge/host", "path=hosts_of_tests.Counter", "num_seeds=2"],
            ["algo=haddpg", "env=bridge/mamujoco_hopper_3x1"],
            ["algo=hatrpo", "env=bridge/host", "path=hosts_of_tests.Counter", "front_end=callback", "network=gru"],
            ["algo=happo", "env=bridge/pettingzoo", "path=pettingzoo.sisl.pursuit_v5", "env.max_steps=10"],
            [
                "algo=hasac",
                "env=bridge/pettingzoo",
                "path=pettingzoo.sisl.multiwalker_v9",
                "options=[n_walkers:2]",
                "env.max_steps=10",
            ],
        ),
    ],
)
def test_a_run_through_the_bridge_has_the_same_life(words, tmp_path, monkeypatch):
    monkeypatch.chdir(TESTS)
    run = str(tmp_path / "run")
    small = [
        "num_envs=2",
        "num_steps=8",
        "total_timesteps=64",
        "num_evals=0",
        "num_eval_episodes=3",
        "absolute_metric=false",
    ]
    if words[0] in ("algo=haddpg", "algo=hasac", "algo=masac_s"):
        small += ["algo.learning_starts=16", "algo.buffer_size=160", "algo.batch_size=8", "algo.gradient_steps=2"]
    if "network=gru" not in words:
        small += ["network.hidden_sizes=[8]"]
    assert main(["train", *words, *small, f"run_dir={run}"]) == 0
    assert main(["resume", run, "total_timesteps=128"]) == 0
    assert main(["evaluate", run, "num_episodes=3"]) == 0
    record = pd.read_parquet(Path(run) / "metrics.parquet")
    assert len(record[record["step"] == 128]) == 1 + ("num_seeds=2" in words)
    trained = record[record["step"] > 0]
    assert (trained["train/lost"].dropna() == 0).all() and (trained["train/skipped"] == 0).all()


def tiny(host: str, front_end: str, tmp_path) -> list[str]:
    """The words of a short run on a host of the tests."""
    chosen = ["env=bridge/host", f"path=hosts_of_tests.{host}", f"front_end={front_end}", f"run_dir={tmp_path}/run"]
    return [*chosen, *TINY, "algo=mappo_s"]


@pytest.mark.parametrize("front_end", ["loop", *long("callback")])
def test_training_goes_on_past_lost_workers(front_end, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS)
    words = tiny("Failing", front_end, tmp_path)
    assert main(["train", *words, "num_evals=3", "absolute_metric=false"]) == 0
    record = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    trained = record[record["step"] > 0]
    assert trained["train/lost"].max() > 0 and (trained["train/skipped"] == 0).all()
    assert 0 < record["eval/lost"].max() <= 1  # the same befalls those who play the evaluation
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: environment worker")]
    assert len(notes) == record["perf/restarts"].max() > 0
    assert "crashed: OSError: out of ammunition; " in notes[0] and "hosts_of_tests.py, line " in notes[0]


def test_lost_episodes_of_an_evaluation_are_in_no_mean():
    episodes = {"return": np.array([[1.0, 7.0, 2.0], [7.0, 7.0, 7.0]], np.float32)}
    episodes["lost"] = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]], np.float32)
    first = means(jax.tree.map(lambda x: jnp.asarray(x[0]), episodes))
    assert first["return"] == 1.5 and first["lost"] == pytest.approx(1 / 3)
    found = summarise(episodes, [3, 4])
    assert found["return"]["3"]["mean"] == 1.5 and np.isnan(found["return"]["4"]["mean"])
    assert found["return"]["all seeds"]["mean"] == 1.5 and found["lost"]["4"]["mean"] == 1


def test_who_goes_on_begins_with_what_the_fresh_workers_show():
    """Not with what was seen when the run was stopped."""
    env = hamljax.make_env(hamljax.configure("bridge/host", path=COUNTER))
    env._pools[4, "training"] = open_pool(COUNTER, 4)
    learner = make_learner(hamljax.config("happo", "game/tracking", **SMALL), env)
    learner.host.compile = lambda shapes: 0  # nothing is learnt here
    programs = HostPrograms(learner, 1, evaluates=False)
    before = programs.begin([0])
    begun = np.asarray(before.state.rollout.observation.world_state)
    after = programs.place(before).state.rollout.observation.world_state
    assert not same(begun, after)
    np.testing.assert_array_equal(after[0], env.pool(4).seen["world_state"])
    programs.close()


@pytest.mark.parametrize(  # without evaluations it is met while training, else in the first of them
    "front_end, evals", [("loop", "2"), ("callback", "0"), *long(("loop", "0"), ("callback", "2"))]
)
def test_when_the_budget_is_used_up_training_stops_with_a_line(front_end, evals, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(TESTS)
    monkeypatch.setattr(HostLoop, "compile", lambda self, shapes: 0)  # nothing is learnt here
    words = tiny("Failing", front_end, tmp_path)
    assert main(["train", *words, "max_restarts=0", f"num_evals={evals}"]) == 1
    said = capsys.readouterr().err.strip()
    assert "crashed: OSError: out of ammunition, and all 0 restarts (env.max_restarts) are used up; " in said
    assert "hosts_of_tests.py, line " in said and "\n" not in said
    assert not caplog.records  # where it happened in a callback, JAX would report on that


@pytest.mark.parametrize("front_end", ["loop", *long("callback")])
def test_a_bug_in_a_worker_ends_training_with_its_traceback(front_end, tmp_path, monkeypatch):
    monkeypatch.chdir(TESTS)
    monkeypatch.setattr(HostLoop, "compile", lambda self, shapes: 0)  # nothing is learnt here
    words = tiny("Mistaken", front_end, tmp_path)
    with pytest.raises(WorkerBug, match="(?s)hosts_of_tests.py.*ValueError: what a mistake"):
        main(["train", *words, "num_evals=0"])


def test_what_a_lost_worker_had_to_say_is_in_no_average():
    """Five steps, the third of which is lost: one episode counts, of the length that is its own."""
    env = hamljax.make_env(hamljax.configure("bridge/smax_3m"))
    env._pools[1, "training"] = open_pool(COUNTER, 1, fault="crash", at=3, length=2)
    env.launch = env.pool(1).launch
    config = hamljax.config("mappo_s", "game/tracking", num_envs=1, num_steps=3, hidden_sizes=(8,))
    learner = make_learner(config, env)
    state, rollout = learner.host.collect(jax.jit(learner.init)(jax.random.key(0)))
    numbers = episode_metrics(rollout.transitions, rollout.transitions.observation)
    assert rollout.transitions.valid.ravel().tolist() == [True, True, False]
    assert (numbers["episodes"], numbers["lost"], numbers["episode_length"], numbers["doubled"]) == (1, 1, 2, 4)
    env.close()


def test_what_workers_print_does_not_fill_the_disk():
    """Five steps of 100 kB an episode, thrice over the limit."""
    pool = open_pool("hosts_of_tests.Talkative", 1)
    pool.reset(numbers(0, 1))
    for _ in range(33):
        pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
    (worker,) = pool.workers
    printed = os.fstat(worker.log.fileno())
    assert 1e5 < printed.st_size < 2e6 and 512 * printed.st_blocks > 1e5
    assert worker.last_output() == "it said: blah blah"
    pool.close()


def test_an_interrupted_pool_answers_no_more():
    """Unread answers would be taken for those of later steps."""
    pool = open_pool(COUNTER, 2)
    pool.reset(numbers(0, 2))
    with pytest.raises(WorkerBug):
        pool.step(np.full((2, 2), 7), numbers(0, 2), numbers(0, 2))
    with pytest.raises(RuntimeError, match="this pool is closed"):
        pool.reset(numbers(0, 2))


def test_training_does_not_depend_on_the_janitor():
    pool = open_pool(COUNTER, 1, fault="crash", at=1)
    pool._janitor.kill()
    pool._janitor.wait()
    pool.reset(numbers(0, 1))
    pool.step(np.zeros((1, 2)), numbers(0, 1), numbers(0, 1))
    assert pool.restarts == 1
    sessions = [w.process.pid for w in pool.workers]
    pool.close()
    assert not left(sessions)


def test_a_worker_closes_its_environment(tmp_path):
    pool = open_pool("hosts_of_tests.Closing", 1, file=str(tmp_path / "closed"))
    pool.close()
    assert (tmp_path / "closed").read_text() == "in order"


def test_several_seeds_cannot_share_one_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS)
    words = [
        "env=bridge/host",
        "path=hosts_of_tests.Counter",
        "front_end=callback",
        "num_seeds=2",
        f"run_dir={tmp_path}/run",
    ]
    assert main(["train", *words]) == 2
    assert "env.front_end=callback trains one seed" in capsys.readouterr().err


def test_the_doctor_names_the_next_step(tmp_path, monkeypatch, capsys, large):
    monkeypatch.chdir(tmp_path)
    tried = ("smax", "mamujoco", "pettingzoo") if large else ("pettingzoo",)
    monkeypatch.setattr(doctor, "TRIALS", {name: doctor.TRIALS[name] for name in (*tried, "smac", "smacv2")})
    assert main(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in tried:
        assert re.search(rf"{name} our own Python [^:]*: fine", said), said
    assert "next for smac and smacv2: make smac-env" in said and "doctor" not in said


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (["numpy", "pysc2"], "-m pip install git+https://github.com/oxwhirl/smac.git"),
        (
            ["numpy", "pysc2", "smac", "smac.facade"],
            "the package 'smac' there is a hyper-parameter optimiser of the same name",
        ),
        (["numpy", "pysc2", "smac", "smac.env"], "unzip -q -P iagreetotheeula SC2.4.10.zip -d /home/me "),
        (["pysc2"], "pip install numpy"),
    ],
)
def test_what_smac_lacks(found, step):
    facts = {"modules": found, "game": "/home/me/StarCraftII", "game found": False, "maps": []}
    assert step in needs.missing("smac", facts, "python")


def test_each_game_has_maps_of_its_own(tmp_path, monkeypatch):
    game = tmp_path / "StarCraftII"
    (game / "Versions").mkdir(parents=True)
    (game / "Maps" / "SMAC_Maps").mkdir(parents=True)
    (game / "Maps" / "SMAC_Maps" / "3m.SC2Map").touch()
    monkeypatch.setenv("SC2PATH", str(game))
    found = needs.probe_interpreter(sys.executable) | {"modules": ["numpy", "pysc2", "smac.env", "smacv2"]}
    assert needs.missing("smac", found, "python") == ""
    step = needs.missing("smacv2", found, "python")
    assert step.startswith(f"unzip -q SMAC_Maps.zip -d {game}/Maps ") and "smacv2/releases" in step


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The words with which the page trains on its class, where that lies."""
    text = (TESTS.parent / "docs/bridge.md").read_text()
    (tmp_path / "meet.py").write_text(re.search(r"```python\n(# meet.py\n.*?)```", text, re.DOTALL)[1])
    (line,) = re.findall(r"^hamljax train (env=bridge/host .*)$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    return line.split()


def test_the_class_of_the_page_is_played(page):
    """Whole episodes, with the options of its command."""
    env = make_job(page).config.env
    pool = Pool(Launch(env.path, {"length": 7}), 2)
    assert env.options == ("length:7",) and pool.spec["obs_sizes"] == [2, 2] and pool.spec["metrics"] == ["met"]
    pool.reset(numbers(0, 2))
    for step in range(1, 21):
        reply = pool.step(np.full((2, 2), step % 3), numbers(0, 2), numbers(step, 2))
        assert reply.valid.all() and np.isfinite(reply.final["reward"]).all()
        assert (reply.final["terminated"] | reply.final["truncated"]).all() == (step == 20)
    pool.close()


@pytest.mark.long  # the others train on hosts like it
def test_the_class_of_the_page_trains(page):
    assert main(["train", *page, *TINY, "num_evals=2", "run_dir=run"]) == 0
    assert pd.read_parquet("run/metrics.parquet")["eval/met"].notna().any()


class CounterHere(Environment):
    """``hosts_of_tests.Counter`` on the device."""

    team, max_episode_length = Team((2, 3), (2, 3), 2), 5

    def reset(self, key):
        return self._show((jax.random.key_data(key)[1] % 1000).astype(float), jnp.float32(0))

    def step(self, key, state, action):
        (begin, time), seen = self._show(state[0], state[1] + 1)
        over, even = time == 5, begin % 2 == 0
        return (begin, time), Step(seen, action.sum() * 1.0, over & even, over & ~even, {"doubled": 2 * time})

    def _show(self, *state):
        now = jnp.stack(state)
        return state, Observation(
            jnp.array([[*now, 0], [*now, 1]]), now, jnp.array([[1, 1, 0], [1, 1, 1]], bool), jnp.ones(2, bool)
        )


def test_what_happens_through_workers_happens_on_the_device(monkeypatch):
    """A rollout with ends in it by either front end, memories at the start of each chunk included, and an evaluation."""
    monkeypatch.chdir(TESTS)
    settings = SMALL | {"network": "gru", "gru_size": 8, "data_chunk_length": 2, "num_eval_episodes": 3}
    bridges = [
        hamljax.configure("bridge/host", path=COUNTER, front_end=front_end) for front_end in ("loop", "callback")
    ]
    found, evaluated = [], []
    for env in (CounterHere(), *map(hamljax.make_env, bridges)):
        env.at_once = 2
        learner = make_learner(hamljax.config("mappo_s", "game/tracking", **settings), env)
        collect = learner.host.collect if learner.host else jax.jit(learner.learner.collect)
        state, rollout = collect(jax.jit(learner.init)(jax.random.key(0)))
        if len(found) < 2:
            evaluated.append(jax.jit(learner.evaluate)(learner.actor_state(state)))
        keys = jax.random.key_data(state.rollout.key), jax.random.key_data(state.eval_key)
        found.append((without_keys(state), keys, rollout))
        env.close()
    assert rollout.transitions.valid.all() and rollout.transitions.terminated.any()
    memories = np.asarray(rollout.memory)
    assert len(memories) == 4 and not same(memories[1], memories[2])
    for *there, rollout in found[1:]:
        there.append(rollout._replace(transitions=rollout.transitions._replace(valid=None)))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), list(found[0]), there)
    assert evaluated[1].pop("eval/lost") == 0
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), *evaluated)


# SMAX BEHIND SMAC


def as_smac(action, alive):
    """SMAX's actions in SMAC's order; the dead do nothing."""
    return np.where(alive, np.where(action < 5, np.array([2, 4, 3, 5, 1])[np.minimum(action, 4)], action + 1), 0)


@pytest.mark.long  # what happens through workers happens on the device, above, with a smaller world
def test_a_battle_in_a_worker_is_one_on_the_device():
    """Every number of two episodes, bit for bit. Both run the same programs, so that these are compiled once."""
    env = make(configure("smax/2s3z", max_steps=15))
    reset, step, rng = jax.jit(env.reset), jax.jit(env.step), np.random.default_rng(0)

    def key(number):
        return jax.random.wrap_key_data(numbers(number, 1)[0])

    def equal(records, observation):
        for name in ("obs", "world_state", "alive"):
            np.testing.assert_array_equal(records[name][0], getattr(observation, name), err_msg=name)

    state, seen = reset(key(0))
    pool, ends = Pool(Launch("smax", {"map_name": "2s3z", "max_steps": 15, "layout": "smac"}), 1), 0
    equal(pool.reset(numbers(0, 1)), seen)
    for t in range(40):
        action = np.array([rng.choice(np.flatnonzero(legal)) for legal in np.asarray(seen.avail_actions)], np.int32)
        smac = as_smac(action, pool.seen["alive"])
        assert np.take_along_axis(pool.seen["avail_actions"], smac[..., None], -1).all()
        reply = pool.step(smac, numbers(t, 1), numbers(100 + t, 1))
        state, out = step(key(t), state, action)
        equal(reply.final, out.observation)
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(reply.final[name], getattr(out, name), err_msg=name)
        seen = out.observation
        if out.terminated or out.truncated:
            assert reply.final["metrics"][0, 0] == out.metrics["won"]
            state, seen = reset(key(100 + t))
            ends += 1
        equal(reply.seen, seen)
    assert ends >= 2
    pool.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("map_name", "layout"), [*itertools.product(("3m", "2s3z", "smacv2_5_units"), ("smax", "smac"))]
)
def test_smax_through_workers_is_smax_on_the_device(map_name, layout):
    """Every number of a rollout with ends in it, resets and final observations included, bit for bit."""
    num_envs, num_steps = 2, 40
    settings = {"map_name": map_name, "max_steps": 15}
    env = make(configure(f"smax/{map_name}", max_steps=15))
    vec = VecEnv(env, num_envs)

    def choose(key, avail):
        return jax.random.categorical(key, jnp.where(avail, 0.0, -jnp.inf))

    @jax.jit
    def on_device(key):
        def step(carry, key):
            state, seen = carry
            action = choose(key, seen.avail_actions)
            state, out = vec.step(state, action)
            return (state, out.observation), (action, out)

        start = vec.reset(key)
        return start[1], jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]

    def data(keys):
        return np.asarray(jax.random.key_data(keys))

    def fresh(first):
        return data(jax.vmap(jax.random.fold_in, (None, 0))(pool_key, first + jnp.arange(num_envs)))

    first, (actions, outs) = jax.tree.map(np.asarray, on_device(jax.random.key(3)))
    pool_key, step_key = jax.random.split(jax.random.key(3))
    pool = Pool(Launch("smax", settings | {"layout": layout}), num_envs)
    seen, begun = pool.reset(fresh(0)), num_envs

    def equal(records, observation):
        for name in ("obs", "world_state", "alive"):
            np.testing.assert_array_equal(records[name], getattr(observation, name), err_msg=name)
        if layout == "smax":
            np.testing.assert_array_equal(records["avail_actions"], observation.avail_actions)

    equal(seen, first)
    for t in range(num_steps):
        step_key, key = jax.random.split(step_key)
        action = actions[t]
        if layout == "smac":
            action = as_smac(action, seen["alive"])
            assert np.take_along_axis(seen["avail_actions"], action[..., None], -1).all()
        reply = pool.step(action, data(jax.random.split(key, num_envs)), fresh(begun))
        out = jax.tree.map(lambda x, t=t: x[t], outs)
        equal(reply.seen, out.observation)
        equal(reply.final, out.final)
        for name in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(reply.final[name], getattr(out, name), err_msg=name)
        done = out.terminated | out.truncated
        np.testing.assert_array_equal(reply.final["metrics"][done, 0], out.metrics["won"][done])
        begun += int(done.sum())
        seen = reply.seen
    assert begun > num_envs + 2
    pool.close()


def test_the_worker_needs_nothing_but_numpy():
    """The part that every interpreter runs is Python 3.8, and imports the standard library, numpy and itself."""
    folder = Path(importlib.import_module("hamljax.bridge.worker").__file__).parent
    for name in ("__main__.py", "wire.py", "hosts/__init__.py", "hosts/smac.py"):
        tree = ast.parse((folder / name).read_text(), feature_version=(3, 8))
        imported = [
            node
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        ]
        names = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in imported if isinstance(node, ast.ImportFrom)}
        assert {n.split(".")[0] for n in names} <= sys.stdlib_module_names | {"numpy", "wire", "hosts"}
