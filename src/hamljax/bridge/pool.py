"""A pool of worker processes, one environment each: stepped together, watched, replaced when they fail; none is forked.

Shapes: E workers.
"""

import contextlib
import dataclasses
import os
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
from .worker import wire

WORKER = Path(__file__).parent / "worker"
CLOSING_SECONDS = 2.0
LAUNCH_SECONDS = 300.0  # a game may take minutes to start, and a compiler to compile
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
    """What a worker did instead of answering."""

    what: str


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
    """One process and the socket to it."""

    def __init__(self, launch: Launch, paths: list[str], key: tuple[int, int]):
        ours, theirs = socket.socketpair()
        seconds = struct.pack("ll", int(launch.timeout), int(launch.timeout % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a peer that stops in the middle of a message
            ours.setsockopt(socket.SOL_SOCKET, option, seconds)
        self.log = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(
                [launch.python or sys.executable, str(WORKER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            self.log.close()
            raise ConfigError(
                f"cannot start '{launch.python}': {error.strerror}; env.python names an interpreter"
            ) from None
        finally:
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
        except OSError:
            return self.lost()

    def receive(self, deadline: float, limit: int) -> memoryview | Fault:
        """What the next message says; it holds until the one after."""
        try:
            try:
                kind, content = self.channel.receive(limit, socket.MSG_DONTWAIT)
            except BlockingIOError:  # it is not there yet
                if not self.ready.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                    return Fault("did not answer in time")
                kind, content = self.channel.receive(limit)
        except (EOFError, ConnectionError):
            return self.lost()
        except (OSError, ValueError):
            return Fault("sent what is no message")
        if kind == wire.DONE:
            return content
        text = bytes(content).decode(errors="replace").strip()
        if kind == wire.BUG:
            raise WorkerBug(f"in a worker:\n{text}")
        if kind == wire.CRASH:
            return Fault("crashed: " + (text.splitlines() or ["no more is known"])[-1])
        return Fault("sent what is no message")

    def lost(self) -> Fault:
        """How a process that is gone came to its end."""
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return Fault("closed its connection")
        return Fault(f"was killed by signal {-code}" if code < 0 else f"exited with code {code}")

    def forget(self) -> None:
        """Drop what it printed where that is long: a run of days has no bound to it."""
        if os.fstat(self.log.fileno()).st_size > LOG_BYTES:
            self.log.seek(0)  # the process writes where we are: it inherited this file
            self.log.truncate()

    def said(self) -> str:
        """The last line that it printed."""
        self.log.seek(0)
        lines = self.log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def kill(self) -> None:
        """End the process and all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.channel.close()
        self.log.close()


class Pool:
    """E workers that answer together. Raises ConfigError where the environment cannot even be started.

    restarts: workers replaced so far. waited: seconds spent waiting for workers so far.
    """

    def __init__(self, launch: Launch, size: int, paths: list[str] | None = None):
        self.launch, self.size, self.paths = launch, size, [os.getcwd()] if paths is None else paths
        self.restarts, self.waited, self.spec = 0, 0.0, None
        self.workers: list[Worker] = []
        self._janitor = _janitor()
        self._end = weakref.finalize(self, _kill_all, self.workers, self._janitor)
        try:
            for i in range(size):
                self.workers.append(self._start(i))
        except ConfigError:
            self.close()
            raise
        for worker in self.workers:
            found = self._greet(worker)
            if isinstance(found, Fault):
                said = worker.said()
                self.close()
                raise ConfigError(
                    f"environment '{launch.host}' does not start: it {found.what}"
                    + (f"; {said}" if said else "")
                    + (f"; next: {step}" if (step := next_step(launch.host, launch.python)) else "")
                )
            self.spec = found
        for name, value in launch.expected.items():
            if self.spec[name] != value:
                self.close()
                raise ConfigError(
                    f"environment '{launch.host}' announces {name} {self.spec[name]}, and {launch.settings} should have "
                    f"{value}; another version of it?"
                )
        self.seen = np.zeros(size, wire.reply_type(self.spec))
        self.final = self.seen.copy()
        self.over = np.zeros(size, bool)
        self._requests = wire.Frames(wire.request_type(self.spec), size)
        self._request = self._requests.content
        self._replies = wire.Frames(self.seen.dtype, size)
        for worker, row in zip(self.workers, self._replies.rows, strict=True):
            worker.channel.buffer = row

    # PROCESSES

    def _start(self, i: int) -> Worker:
        worker = Worker(self.launch, self.paths, (self.restarts, int(i)))  # no two games with the same dice
        _tell(self._janitor, worker)
        return worker

    def _greet(self, worker: Worker) -> dict | Fault:
        try:
            found = worker.receive(time.monotonic() + LAUNCH_SECONDS, limit=1 << 20)
        except WorkerBug as error:
            return Fault("failed: " + str(error).strip().splitlines()[-1])
        try:
            return found if isinstance(found, Fault) else wire.decode(found)
        except ValueError:
            return Fault("sent what is no message")

    def _replace(self, i: int, fault: Fault) -> None:
        """Start worker i afresh, within the budget."""
        while True:
            said = self.workers[i].said()
            self.workers[i].kill()
            _tell(self._janitor, self.workers[i])
            self.restarts += 1
            if self.restarts > self.launch.max_restarts:
                raise Stopped(
                    f"environment worker {i} {fault.what}, and all {self.launch.max_restarts} restarts "
                    f"(env.max_restarts) are used up" + (f"; it said: {said}" if said else ""),
                    1,
                )
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
        moving = np.flatnonzero(~self.over)
        valid = np.ones(self.size, bool)
        for i, fault in self._ask(moving, wire.STEP).items():
            valid[i] = False
            self.seen[i]["reward"], self.seen[i]["terminated"], self.seen[i]["truncated"] = 0.0, False, True
            self.seen[i]["metrics"] = 0.0
            self._replace(i, fault)
        self.final[:] = self.seen
        self.over = self.seen["terminated"] | self.seen["truncated"]
        over = np.flatnonzero(self.over)
        if episode_keys is not None and len(over):
            self._request["key"][over] = episode_keys[: len(over)]
            self._begin_episodes(over)
        return Reply(self.seen, self.final, valid)

    def _begin_episodes(self, which: np.ndarray) -> None:
        """Reset the workers ``which``; one that fails is replaced and asked again."""
        self.over[which] = False
        while len(which):
            faults = self._ask(which, wire.RESET)
            for i, fault in faults.items():
                self._replace(i, fault)
            for i in which:
                self.workers[i].forget()
            which = np.array([*faults], int)

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


# A process that outlives us by a moment: when its input ends, because we ended in whatever way, it kills every session that
# it has been told of. A worker that was stopped, or that hangs, could not end by itself.
JANITOR = """
import os, signal, sys
sessions = set()
for line in sys.stdin:
    sessions ^= {int(line)}
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


def _tell(janitor: subprocess.Popen, worker: Worker) -> None:
    """Said once of a session: it began. Said again: it ended."""
    with contextlib.suppress(BrokenPipeError):  # somebody killed it; the run does not depend on it
        janitor.stdin.write(b"%d\n" % worker.process.pid)


def _kill_all(workers: list[Worker], janitor: subprocess.Popen) -> None:
    """End workers: those that listen close their environment first."""
    for worker in workers:
        worker.channel.close()
    end = time.monotonic() + CLOSING_SECONDS
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, end - time.monotonic()))
        worker.kill()
        _tell(janitor, worker)
    workers.clear()
    janitor.stdin.close()
    janitor.wait()
