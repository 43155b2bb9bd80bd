"""A worker: a program of its own, its socket, what it said, how it ended; and the janitor that outlives the trainer."""

import contextlib
import dataclasses
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
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from .worker import wire

WORKER = Path(__file__).parent / "worker"
LOG_BYTES = 1 << 20  # of what a worker printed, between two of its episodes
CLOSING_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Launch:
    """How to start a worker.

    Args:
        host: a name of ``worker.hosts.HOSTS``, or ``module.Class`` of the user's.
        settings: of the host, by name; plain data.
        python: an interpreter; empty: our own.
        timeout: seconds that a step or a reset may take.
        max_restarts: of the workers of one pool together.
        envs_per_worker: environments in one process; 0: as many as make one worker for each processor.
        expected: what the ``spec`` of the host must say, by name.
    """

    host: str
    settings: dict[str, Any]
    python: str = ""
    timeout: float = 60.0
    max_restarts: int = 100
    envs_per_worker: int = 1
    expected: dict[str, Any] = dataclasses.field(default_factory=dict)


class Fault(NamedTuple):
    """What a worker did instead of answering, and more of it: the line of code where it crashed, or the last that it printed."""

    what: str
    more: str = ""

    def __str__(self) -> str:
        return self.what + (f"; {self.more}" if self.more else "")


class WorkerBug(RuntimeError):
    """An exception that an environment raised because of what it was asked: a bug, with the remote traceback."""


class Worker:
    """One process and the socket to it.

    Args:
        launch: how to start it.
        paths: folders in which it looks for modules of the user's.
        keys: of each of its environments two whole numbers, the seed of a game that has one for its launch only.
        records: in a message; there may be more than it has environments.

    Raises:
        OSError: the system starts no process.
    """

    def __init__(self, launch: Launch, paths: list[str], keys: list[list[int]], records: int):
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
        greeting: dict[str, Any] = {
            "host": launch.host,
            "settings": launch.settings,
            "paths": paths,
            "keys": keys,
            "records": records,
        }
        with contextlib.suppress(OSError):  # who does not listen will not answer either
            self.channel.send(wire.HELLO, wire.encode(greeting))

    def send(self, message: memoryview) -> Fault | None:
        """Send a row of ``wire.Frames``; a fault where the worker is gone."""
        try:
            self.channel.sock.sendall(message)
        except ConnectionError:  # it is gone, and may have said why
            said = self.receive(time.monotonic(), 1 << 20)
            return said if isinstance(said, Fault) else self.lost()
        except OSError:
            return self.lost()
        return None

    def receive(self, deadline: float, limit: int) -> memoryview | Fault:
        """What the next message says; it holds until the one after.

        Args:
            deadline: a time of ``time.monotonic``.
            limit: bytes that a message may have.

        Returns:
            The message's content, or what the worker did instead of answering.

        Raises:
            ConfigError: the environment cannot be as it was asked for.
            WorkerBug: it raised an exception because of what it was asked.
        """
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
        return Fault(what, self.last_output())

    def truncate_log(self) -> None:
        """Drop what it printed where that is long: a run of days has no bound to it."""
        if os.fstat(self.log.fileno()).st_size > LOG_BYTES:
            self.log.seek(0)  # the process writes where we are: it inherited this file
            self.log.truncate()

    def last_output(self) -> str:
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


def last_line(text: str) -> str:
    """Of what a process printed, or of a traceback: what matters most."""
    return (text.strip().splitlines() or [""])[-1]


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


def start_janitor() -> subprocess.Popen[bytes]:
    """The process that ends all sessions of workers once this one is gone."""
    return subprocess.Popen(
        [sys.executable, "-S", "-c", JANITOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )


def tell_janitor(janitor: subprocess.Popen[bytes], number: int) -> None:
    """Tell it that a session began, or (a negative number) has ended."""
    assert janitor.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # somebody killed it; the run does not depend on it
        janitor.stdin.write(b"%d\n" % number)


def kill_all(workers: list[Worker], janitor: subprocess.Popen[bytes]) -> None:
    """End workers: those that listen close their environment first."""
    for worker in workers:
        worker.channel.close()
    end = time.monotonic() + CLOSING_SECONDS
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, end - time.monotonic()))
        worker.kill()
        tell_janitor(janitor, -worker.process.pid)
    workers.clear()
    assert janitor.stdin is not None
    janitor.stdin.close()
    janitor.wait()
