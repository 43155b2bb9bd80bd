"""A pool of worker processes, one environment each: stepped together, watched, replaced when they fail; none is forked.

Shapes: E workers.
"""

import contextlib
import dataclasses
import errno
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, Stopped
from .needs import next_step
from .spec import team_of
from .worker import wire

WORKER = Path(__file__).parent / "worker"
CLOSING_SECONDS = 2.0
TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
LAUNCH_SECONDS = 300.0  # a game may take minutes to start, and a compiler to compile
MODULE_FOLDERS: list[str] = []  # where workers look for a module of the user's before they look where we started
LOG_BYTES = 1 << 20  # of what a worker printed, between two of its episodes


@dataclasses.dataclass(frozen=True)
class Launch:
    """How to start a worker. host: a name of ``worker.hosts.HOSTS``, or ``module.Class`` of the user's.

    python: an interpreter, empty for our own. timeout: seconds that a step or a reset may take. max_restarts: of one pool.
    expected: what the ``spec`` of the host must say, by name.
    """

    host: str
    settings: dict[str, Any]
    python: str = ""
    timeout: float = 60.0
    max_restarts: int = 100
    expected: dict[str, Any] = dataclasses.field(default_factory=dict)


class Fault(NamedTuple):
    """What a worker did instead of answering, and more of it: the line of code where it crashed, or the last that it printed."""

    what: str
    more: str = ""

    def __str__(self):
        return self.what + (f"; {self.more}" if self.more else "")


class WorkerBug(RuntimeError):
    """An exception that an environment raised because of what it was asked: a bug, with the remote traceback."""


class Reply(NamedTuple):
    """What one step of all workers gives, arrays (E, ...); the records are the pool's own, and hold until its next call.

    seen: records of ``wire.reply_type``, after the reset of episodes that ended. final: before it. valid (E,): false where
    the worker was lost in this step, which then says nothing about the environment.
    """

    seen: np.ndarray
    final: np.ndarray
    valid: np.ndarray


class Worker:
    """One process and the socket to it. Raises OSError where the system starts none."""

    def __init__(self, launch: Launch, paths: list[str], key: list[int]):
        seconds = struct.pack("ll", int(launch.timeout), int(launch.timeout % 1 * 1e6))
        with contextlib.ExitStack() as undo:
            self.log = undo.enter_context(tempfile.TemporaryFile())
            ours, theirs = map(undo.enter_context, socket.socketpair())
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a peer that stops in the middle of a message
                ours.setsockopt(socket.SOL_SOCKET, option, seconds)
            self.process = subprocess.Popen(
                [launch.python or sys.executable, str(WORKER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
            )
            undo.pop_all()
        theirs.close()
        self.channel = wire.Channel(ours)
        self.ready = select.poll()
        self.ready.register(ours.fileno(), select.POLLIN)
        greeting = {"host": launch.host, "settings": launch.settings, "paths": paths, "key": key}
        with contextlib.suppress(OSError):  # who does not listen will not answer either
            self.channel.send(wire.HELLO, wire.encode(greeting))

    def send(self, message) -> Fault | None:
        """Send a row of ``wire.Frames``."""
        try:
            self.channel.sock.sendall(message)
        except ConnectionError:  # it is gone, and may have said why
            said = self.receive(time.monotonic(), 1 << 20)
            return said if isinstance(said, Fault) else self.lost()
        except OSError:
            return self.lost()

    def receive(self, deadline: float, limit: int) -> memoryview | Fault:
        """What the next message says; it holds until the one after. Raises ConfigError where the environment will not do."""
        try:
            try:
                kind, content = self.channel.receive(limit, socket.MSG_DONTWAIT, deadline)
            except BlockingIOError:  # it is not there yet
                if not self.ready.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                    return self._fault("did not answer in time")
                kind, content = self.channel.receive(limit, deadline=deadline)
        except (EOFError, ConnectionError):
            return self.lost()
        except (OSError, ValueError):
            return self._fault("sent what is no message")
        if kind == wire.DONE:
            return content
        text = bytes(content).decode(errors="replace").strip()
        if kind == wire.BUG:
            raise WorkerBug(f"in a worker:\n{text}")
        if kind == wire.REFUSED:
            raise ConfigError(" ".join(text.split()))
        if kind in (wire.CRASH, wire.QUIT):
            places = re.findall(r'^ *File "(.*)", line (\d+)', text, re.MULTILINE)
            what = ("crashed: " if kind == wire.CRASH else "") + last_line(text)
            return Fault(what, "{}, line {}".format(*places[-1]) if places else "")
        return self._fault("sent what is no message")

    def lost(self) -> Fault:
        """How a process that is gone came to its end."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return self._fault("closed its connection")
        return self._fault(f"was killed by signal {-code}" if code < 0 else f"exited with code {code}")

    def _fault(self, what: str) -> Fault:
        return Fault(what, self.said())

    def forget(self) -> None:
        """Drop what it printed where that is long: a run of days has no bound to it."""
        if os.fstat(self.log.fileno()).st_size > LOG_BYTES:
            self.log.seek(0)  # the process writes where we are: it inherited this file
            self.log.truncate()

    def said(self) -> str:
        """The last line that it printed."""
        size = os.fstat(self.log.fileno()).st_size
        text = last_line(os.pread(self.log.fileno(), 2000, max(0, size - 2000)).decode(errors="replace"))
        return f"it said: {text}" if text else ""

    def kill(self) -> None:
        """End the process and all that it started. Once: its number may be somebody else's afterwards."""
        if self.log.closed:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.channel.close()
        self.log.close()


class Pool:
    """E workers that answer together. Raises ConfigError where the environment cannot even be started.

    dice: whole numbers from which each start of a worker has a seed of its own, for games that have one for their launch only.
    losses: what became of the workers that were replaced so far. waited: seconds spent waiting for workers so far.
    odd: how often there was what ``environment.ODD`` names, and where first.
    """

    def __init__(self, launch: Launch, size: int, paths: list[str] | None = None, dice=()):
        self.launch, self.size, self.paths = launch, size, [os.getcwd(), *MODULE_FOLDERS] if paths is None else paths
        self.dice = [int(number) for number in dice]
        self.losses, self.waited, self.spec = [], 0.0, None
        self.odd: dict[str, tuple[int, str]] = {}
        self.times = np.zeros(size, int)
        self.workers: list[Worker] = []
        self._janitor = _janitor()
        self._end = weakref.finalize(self, _kill_all, self.workers, self._janitor)
        try:
            for i in range(size):
                self.workers.append(self._start(i))
            self.spec = self._what_they_are()
        except (ConfigError, WorkerBug):
            self.close()
            raise
        self.seen = np.zeros(size, wire.reply_type(self.spec))
        self.final = self.seen.copy()
        self.over = np.zeros(size, bool)
        self._requests = wire.Frames(wire.request_type(self.spec), size)
        self._request = self._requests.content
        self._replies = wire.Frames(self.seen.dtype, size)
        for worker, row in zip(self.workers, self._replies.rows, strict=True):
            worker.channel.buffer = row

    @property
    def restarts(self) -> int:
        """How many workers were replaced so far."""
        return len(self.losses)

    # PROCESSES

    def _start(self, i: int) -> Worker:
        seed = np.random.SeedSequence([*self.dice, self.restarts, int(i)]).generate_state(2)
        try:
            worker = Worker(self.launch, self.paths, seed.tolist())
        except OSError as error:
            if error.errno in TOO_MANY:
                what, advice = f"{self.size} workers", "fewer num_envs or num_seeds, or a higher ulimit"
            else:
                what, advice = f"'{self.launch.python}'", "env.python names an interpreter"
            raise ConfigError(f"cannot start {what}: {error.strerror}; {advice}") from None
        _tell(self._janitor, worker.process.pid)
        return worker

    def _what_they_are(self) -> dict[str, Any]:
        """The spec of all workers, once they have begun."""
        launch = self.launch
        for worker in self.workers:
            spec = self._greet(worker)
            if isinstance(spec, Fault):
                step = next_step(launch.host, launch.python)
                raise ConfigError(
                    f"environment '{launch.host}' does not start: it {spec}" + (f"; next: {step}" if step else "")
                )
        team_of(spec, launch.host)
        for name, value in launch.expected.items():
            if spec[name] != value:
                raise ConfigError(
                    f"environment '{launch.host}' announces {name} {spec[name]}, and {launch.settings} should have "
                    f"{value}; another version of it?"
                )
        return spec

    def _greet(self, worker: Worker) -> dict | Fault:
        """The spec of a worker that has begun. A bug in a class of the user's own is raised, unless it just is not there."""
        try:
            found = worker.receive(time.monotonic() + LAUNCH_SECONDS, limit=1 << 20)
        except WorkerBug as error:
            what = last_line(str(error))
            if "." in self.launch.host and not what.startswith(("ModuleNotFoundError", "AttributeError: module")):
                raise
            return Fault(f"failed: {what}")
        try:
            return found if isinstance(found, Fault) else wire.decode(found)
        except ValueError:
            return Fault("sent what is no message")

    def _replace(self, i: int, fault: Fault) -> None:
        """Start worker i afresh, within the budget."""
        while True:
            self.losses.append(f"environment worker {i} {fault}")
            if self.restarts > self.launch.max_restarts:
                last = f"{fault.what}, and all {self.launch.max_restarts} restarts (env.max_restarts) are used up"
                raise Stopped(f"environment worker {i} {fault._replace(what=last)}", 1)
            self.workers[i].kill()
            _tell(self._janitor, -self.workers[i].process.pid)
            self.workers[i] = self._start(i)
            fault = self._greet(self.workers[i])
            if fault == self.spec:
                self.workers[i].channel.buffer = self._replies.rows[i]
                return
            if not isinstance(fault, Fault):
                fault = Fault(f"came back as another environment ({fault})")

    def close(self) -> None:
        """End all workers and what they started."""
        self._end()

    # STEPS

    def reset(self, keys) -> np.ndarray:
        """Start an episode in every worker, from keys (E, 2) uint32. Returns what the teams see, records (E,)."""
        self._request["key"] = keys
        self._begin_episodes(np.arange(self.size))
        return self.seen

    def step(self, action, keys, episode_keys=None) -> Reply:
        """Move every environment, and start an episode where one ended.

        action (E, N[, A]), keys (E, 2). episode_keys (E, 2): the j-th is for the j-th that ended, in the order of workers;
        without them, an environment whose episode is over stands still until ``reset``.
        A worker that fails is replaced: its episode is over, its last observation stands for the final one.
        """
        self._request["key"], self._request["action"] = keys, action
        moving, valid = ~self.over, np.ones(self.size, bool)
        for i, fault in self._ask(np.flatnonzero(moving), wire.STEP).items():
            valid[i] = False
            self.seen[i]["reward"], self.seen[i]["terminated"], self.seen[i]["truncated"] = 0.0, False, True
            self.seen[i]["metrics"] = 0.0
            self._replace(i, fault)
        self.times[moving] += 1
        self.final[:] = self.seen
        self.over = self.seen["terminated"] | self.seen["truncated"]
        over = np.flatnonzero(self.over)
        moved = moving & valid
        self._look(moved & ~self.seen["terminated"])
        self._count("reward", moved & ~np.isfinite(self.seen["reward"]))
        if episode_keys is not None and len(over):
            self._request["key"][over] = episode_keys[: len(over)]
            self._begin_episodes(over)
        return Reply(self.seen, self.final, valid)

    def _begin_episodes(self, which: np.ndarray) -> None:
        """Reset the workers ``which``; one that fails is replaced and asked again."""
        self.over[which], self.times[which] = False, 0
        while len(which):
            faults = self._ask(which, wire.RESET)
            for i, fault in faults.items():
                self._replace(i, fault)
            for i in which:
                self.workers[i].forget()
            self._look(np.isin(np.arange(self.size), np.setdiff1d(which, [*faults])))
            which = np.array([*faults], int)

    def _look(self, which: np.ndarray) -> None:
        """Count what is odd of what the team sees in the environments ``which`` (E,) bool, whose task goes on."""
        alive = self.seen["alive"]
        if self.spec["discrete"]:
            acting = which & ~self.over
            self._count("no_legal_action", acting[:, None] & alive & ~self.seen["avail_actions"].any(-1))
        for name, looking in (("obs", which[:, None] & alive), ("world_state", which)):
            if self.seen[name].dtype.kind == "f":
                self._count(name, looking & ~np.isfinite(self.seen[name]).all(-1))

    def _count(self, name: str, found: np.ndarray) -> None:
        """Add the number of environments, or agents in them, where there is something odd: ``found`` (E,) or (E, N) bool."""
        if not found.any():
            return
        environment, *agents = np.argwhere(found)[0]
        first = "".join(f"agent {agent} of " for agent in agents)
        first += f"environment {environment} after {self.times[environment]} steps of its episode"
        count, where = self.odd.get(name, (0, first))
        self.odd[name] = count + int(found.sum()), where

    def _ask(self, which: np.ndarray, kind: bytes) -> dict[int, Fault]:
        """Send its request to each of ``which``, then collect what they see into ``seen``. Returns the faults of the others.

        What interrupts that closes the pool, because answers that nobody has read would be taken for later ones.
        """
        if not self.workers:
            raise RuntimeError("this pool is closed")
        began = time.perf_counter()
        try:
            return self._exchange(which, kind)
        except BaseException:
            self.close()
            raise
        finally:
            self.waited += time.perf_counter() - began

    def _exchange(self, which: np.ndarray, kind: bytes) -> dict[int, Fault]:
        self._requests.kinds[:], faults = kind, {}
        asked = [(int(i), self.workers[i].send(self._requests.rows[i])) for i in which]
        deadline, size = time.monotonic() + self.launch.timeout, self.seen.dtype.itemsize
        for i, fault in asked:
            content = fault or self.workers[i].receive(deadline, limit=1 << 20 | 2 * size)
            if isinstance(content, Fault):
                faults[i] = content
            elif len(content) != size:
                faults[i] = Fault("sent what is no record")
        well = [i for i, _ in asked if i not in faults]
        self.seen[well] = self._replies.content[well]
        return faults


def last_line(text: str) -> str:
    """Of what a process printed, or of a traceback: what matters most."""
    return (text.strip().splitlines() or [""])[-1]


# A process that outlives us by a moment: when its input ends, because we ended in whatever way, it kills every session that
# began and has not ended (a negative number). A worker that was stopped, or that hangs, could not end by itself.
JANITOR = """
import os, signal, sys
sessions = set()
for line in sys.stdin:
    number = int(line)
    if number > 0: sessions.add(number)
    else: sessions.discard(-number)
for session in sessions:
    try: os.killpg(session, signal.SIGKILL)
    except OSError: pass
"""


def _janitor() -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-S", "-c", JANITOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )


def _tell(janitor: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # somebody killed it; the run does not depend on it
        janitor.stdin.write(b"%d\n" % number)


def _kill_all(workers: list[Worker], janitor: subprocess.Popen) -> None:
    """End workers: those that listen close their environment first."""
    for worker in workers:
        worker.channel.close()
    end = time.monotonic() + CLOSING_SECONDS
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, end - time.monotonic()))
        worker.kill()
        _tell(janitor, -worker.process.pid)
    workers.clear()
    janitor.stdin.close()
    janitor.wait()
