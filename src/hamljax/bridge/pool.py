"""A pool of environments in worker processes: stepped together, watched, replaced when they fail; none is forked.

Shapes: E environments, W workers with K environments each; the last may have fewer.
"""

import errno
import os
import time
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt32

from ..cores import cores
from ..errors import ConfigError, Stopped
from .needs import next_step
from .process import Fault, Launch, Worker, WorkerBug, kill_all, last_line, start_janitor, tell_janitor
from .spec import team_of
from .worker import wire

TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
LAUNCH_SECONDS = 300.0  # a game may take minutes to start, and a compiler to compile
MODULE_FOLDERS: list[str] = []  # where workers look for a module of the user's before they look where we started


class Reply(NamedTuple):
    """What one step of all environments gives.

    The records, of ``wire.reply_type``, are the pool's own, and hold until its next call.

    Args:
        seen: records (E,), after the reset of episodes that ended.
        final: records (E,), before it.
        valid: false where the worker was lost since the step before, so that this one says nothing about the environment.
    """

    seen: np.ndarray
    final: np.ndarray
    valid: Bool[np.ndarray, " E"]


class Pool:
    """E environments that answer together.

    Args:
        launch: how each is started.
        size: E.
        paths: folders in which they look for modules of the user's; None: where we were started, and ``MODULE_FOLDERS``.
        seeds: whole numbers from which each start of an environment has a seed of its own, for games that have one for
            their launch only.

    Raises:
        ConfigError: the environment cannot even be started.
    """

    def __init__(
        self, launch: Launch, size: int, paths: list[str] | None = None, seeds: Sequence[int] | np.ndarray = ()
    ):
        self.launch, self.size, self.paths = launch, size, [os.getcwd(), *MODULE_FOLDERS] if paths is None else paths
        self.seeds = [int(number) for number in seeds]
        self.losses: list[str] = []  # what became of the workers that were replaced so far
        self.waited = 0.0  # seconds spent waiting for workers so far
        # How often each of ``environment.ANOMALIES`` occurred, and where first.
        self.anomalies: dict[str, tuple[int, str]] = {}
        self.times = np.zeros(size, int)
        self.each = launch.envs_per_worker or -(-size // cores())  # K
        self.worker_of = np.arange(size) // self.each
        self._first_of_worker = np.arange(0, size, self.each)
        self.workers: list[Worker] = []
        self._janitor = start_janitor()
        self._end = weakref.finalize(self, kill_all, self.workers, self._janitor)
        try:
            for w in range(self.worker_of[-1] + 1):
                self.workers.append(self._start(w))
            self.spec: dict[str, Any] = self._handshake()
        except (ConfigError, WorkerBug):
            self.close()
            raise
        self.seen = np.zeros(size, wire.reply_type(self.spec))
        self.final = self.seen.copy()
        self.done = np.zeros(size, bool)
        self._lost = np.zeros(size, bool)  # its episode ended with its worker, and no step has said so yet
        count = len(self.workers)
        self._requests = wire.Frames(wire.request_type(self.spec), count, self.each)
        self._request = np.zeros(count * self.each, self._requests.content.dtype)
        self._replies = wire.Frames(self.seen.dtype, count, self.each)
        for worker, row in zip(self.workers, self._replies.rows, strict=True):
            worker.channel.buffer = row

    @property
    def restarts(self) -> int:
        """How many workers were replaced so far."""
        return len(self.losses)

    # PROCESSES

    def _start(self, w: int) -> Worker:
        own = np.flatnonzero(self.worker_of == w).tolist()
        seeds = [np.random.SeedSequence([*self.seeds, self.restarts, i]).generate_state(2).tolist() for i in own]
        try:
            worker = Worker(self.launch, self.paths, seeds, self.each)
        except OSError as error:
            if error.errno in TOO_MANY:
                what = f"{self.worker_of[-1] + 1} workers"
                advice = "more env.envs_per_worker, fewer num_envs or num_seeds, or a higher ulimit"
            else:
                what, advice = f"'{self.launch.python}'", "env.python names an interpreter"
            raise ConfigError(f"cannot start {what}: {error.strerror}; {advice}") from None
        tell_janitor(self._janitor, worker.process.pid)
        return worker

    def _handshake(self) -> dict[str, Any]:
        """The spec of all workers, once they have begun."""
        launch = self.launch
        for worker in self.workers:
            found = self._greet(worker)
            if isinstance(found, Fault):
                step = next_step(launch.host, launch.python)
                raise ConfigError(
                    f"environment '{launch.host}' does not start: it {found}" + (f"; next: {step}" if step else "")
                )
            spec = found
        team_of(spec, launch.host)
        for name, value in launch.expected.items():
            if spec[name] != value:
                raise ConfigError(
                    f"environment '{launch.host}' announces {name} {spec[name]}, and {launch.settings} should have "
                    f"{value}; another version of it?"
                )
        return spec

    def _greet(self, worker: Worker) -> dict[str, Any] | Fault:
        """The spec of a worker that has begun. A bug in a class of the user's own is raised, unless it just is not there."""
        try:
            found = worker.receive(time.monotonic() + LAUNCH_SECONDS * self.each, limit=1 << 20)
        except WorkerBug as error:
            what = last_line(str(error))
            if "." in self.launch.host and not what.startswith(("ModuleNotFoundError", "AttributeError: module")):
                raise
            return Fault(f"failed: {what}")
        try:
            return found if isinstance(found, Fault) else wire.decode(found)
        except ValueError:
            return Fault("sent what is no message")

    def _replace(self, w: int, fault: Fault) -> None:
        """Start worker w afresh, within the budget; the episodes that it was in are lost."""
        while True:
            self.losses.append(f"environment worker {w} {fault}")
            if self.restarts > self.launch.max_restarts:
                last = f"{fault.what}, and all {self.launch.max_restarts} restarts (env.max_restarts) are used up"
                raise Stopped(f"environment worker {w} {fault._replace(what=last)}", 1)
            self.workers[w].kill()
            tell_janitor(self._janitor, -self.workers[w].process.pid)
            self.workers[w] = self._start(w)
            found = self._greet(self.workers[w])
            if found == self.spec:
                self.workers[w].channel.buffer = self._replies.rows[w]
                self._lost |= (self.worker_of == w) & ~self.done
                return
            fault = found if isinstance(found, Fault) else Fault(f"came back as another environment ({found})")

    def close(self) -> None:
        """End all workers and what they started."""
        self._end()

    # STEPS

    def reset(self, keys: UInt32[np.ndarray, "E 2"]) -> np.ndarray:
        """Start an episode in every environment, each from its key. Returns what the teams see, records (E,)."""
        self._request["key"][: self.size] = keys
        self._begin_episodes(np.ones(self.size, bool))
        return self.seen

    def step(
        self,
        action: np.ndarray,
        keys: UInt32[np.ndarray, "E 2"],
        episode_keys: UInt32[np.ndarray, "E 2"] | None = None,
    ) -> Reply:
        """Move every environment, and start an episode where one ended.

        A worker that fails is replaced: its episodes are over, their last observations stand for the final ones.

        Args:
            action: (E, N), or continuous (E, N, A) within their bounds.
            keys: for the transitions.
            episode_keys: the j-th is for the j-th that ended, in the order of environments; without them, one whose
                episode is over stands still until ``reset``.

        Raises:
            Stopped: more workers were lost than ``Launch.max_restarts``.
            WorkerBug: an environment raised an exception because of what it was asked.
        """
        self._request["key"][: self.size], self._request["action"][: self.size] = keys, action
        moving = ~self.done
        for w, fault in self._ask(moving & ~self._lost, wire.STEP).items():
            self._replace(w, fault)
        valid, lost = ~self._lost, np.flatnonzero(self._lost)
        if len(lost):
            self.seen["reward"][lost], self.seen["terminated"][lost], self.seen["truncated"][lost] = 0.0, False, True
            self.seen["metrics"][lost] = 0.0
            self._lost[:] = False
        self.times[moving] += 1
        self.final[:] = self.seen
        self.done = self.seen["terminated"] | self.seen["truncated"]
        over = np.flatnonzero(self.done)
        moved = moving & valid
        self._count_anomalies(moved & ~self.seen["terminated"])
        self._count("reward", moved & ~np.isfinite(self.seen["reward"]))
        if episode_keys is not None and len(over):
            self._request["key"][over] = episode_keys[: len(over)]
            self._begin_episodes(self.done.copy())
        return Reply(self.seen, self.final, valid)

    def _begin_episodes(self, which: np.ndarray) -> None:
        """Reset the environments ``which`` (E,) bool; where a worker fails it is replaced, and they are asked again."""
        self.times[which] = 0
        while which.any():
            faults = self._ask(which, wire.RESET)
            self.done[which], self._lost[which] = False, False
            for w, fault in faults.items():
                self._replace(w, fault)
            for w in self._workers_of(which):
                self.workers[w].truncate_log()
            again = which & np.isin(self.worker_of, [*faults])
            self._count_anomalies(which & ~again)
            which = again

    def _count_anomalies(self, which: np.ndarray) -> None:
        """Count the anomalies of what the team sees in the environments ``which`` (E,) bool, whose task goes on."""
        alive = self.seen["alive"]
        if self.spec["discrete"]:
            acting = which & ~self.done
            self._count("no_legal_action", acting[:, None] & alive & ~self.seen["avail_actions"].any(-1))
        for name, looking in (("obs", which[:, None] & alive), ("world_state", which)):
            if self.seen[name].dtype.kind == "f":
                self._count(name, looking & ~np.isfinite(self.seen[name]).all(-1))

    def _count(self, name: str, found: np.ndarray) -> None:
        """Add the number of environments, or agents in them, with an anomaly: ``found`` (E,) or (E, N) bool."""
        if not found.any():
            return
        environment, *agents = np.argwhere(found)[0]
        first = "".join(f"agent {agent} of " for agent in agents)
        first += f"environment {environment} after {self.times[environment]} steps of its episode"
        count, where = self.anomalies.get(name, (0, first))
        self.anomalies[name] = count + int(found.sum()), where

    def _ask(self, which: np.ndarray, kind: bytes) -> dict[int, Fault]:
        """Send the requests of the environments ``which`` (E,) bool, then collect what is seen in them into ``seen``.

        Returns the faults of workers.

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
        faults: dict[int, Fault] = {}
        self._request["asked"][: self.size] = which
        self._requests.kinds[:], self._requests.content[:] = kind, self._request.reshape(-1, self.each)
        asked = [(w, self.workers[w].send(self._requests.rows[w])) for w in self._workers_of(which)]
        deadline, size = time.monotonic() + self.launch.timeout * self.each, self.seen.dtype.itemsize * self.each
        for w, fault in asked:
            content = fault or self.workers[w].receive(deadline, limit=1 << 20 | 2 * size)
            if isinstance(content, Fault):
                faults[w] = content
            elif len(content) != size:
                faults[w] = Fault("sent what is no record")
        well = which & ~np.isin(self.worker_of, [*faults]) if faults else which
        found = self._replies.content.reshape(-1)[: self.size]
        if well.all():  # nearly always, and a plain copy is quicker
            self.seen[:] = found
        else:
            self.seen[well] = found[well]
        return faults

    def _workers_of(self, which: Bool[np.ndarray, " E"]) -> list[int]:
        """The workers of the environments ``which``."""
        return np.flatnonzero(np.logical_or.reduceat(which, self._first_of_worker)).tolist()


# A process that outlives us by a moment: when its input ends, because we ended in whatever way, it kills every session that
# began and has not ended (a negative number). A worker that was stopped, or that hangs, could not end by itself.
