"""How many updates the compiled loop makes before the host looks up, and what may stop it."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from ...errors import Stopped

SECONDS = 2.0  # between two looks of the host: a scheduler's SIGTERM leaves little time
HEARD = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# By it a launcher that submits jobs says that one is to stop, and will be submitted again.
REQUEUE = getattr(signal, "SIGUSR2", None)
LEAVING_SECONDS = 5.0  # for a logger to hear of the end: it may wait for a network


class Pace:
    """Chooses block lengths that take about two seconds; how the updates are cut into blocks changes none of them.

    Args:
        largest: updates of a block at most.
    """

    def __init__(self, largest: int):
        self.largest, self.length = largest, 1

    def next(self, left: int) -> int:
        """How many of ``left`` updates to make now."""
        return min(self.length, left, self.largest)

    def took(self, updates: int, seconds: float) -> None:
        """Learn from a block of ``updates`` that took ``seconds``."""
        self.length = max(1, min(int(SECONDS * updates / max(seconds, 1e-9)), 2 * self.length, self.largest))


class Streak:
    """Counts updates in a row that were not taken, per seed.

    Args:
        num_seeds: of the run.
        patience: how many are too many; None: none are.
    """

    def __init__(self, num_seeds: int, patience: int | None):
        self.length, self.patience = np.zeros(num_seeds, int), patience
        # The first seed that had too many, and the number of the first of these updates.
        self.broken: tuple[int, int] | None = None

    def watch(self, done: int, skipped: Num[np.ndarray, "seeds updates"]) -> None:
        """Count further updates.

        Args:
            done: the number of the update before them.
            skipped: 1 where an update was not taken, else 0.
        """
        for number, column in enumerate(skipped.T, start=done + 1):
            self.length = np.where(column > 0, self.length + 1, 0)
            worst = int(self.length.argmax())
            if self.patience and self.length[worst] >= self.patience and not self.broken:
                self.broken = worst, number - int(self.length[worst]) + 1


class Signals:
    """What to do about SIGINT, SIGTERM and SIGHUP; a second one always ends the process there and then.

    A signal is heard at once, in a thread of its own, whatever the program computes: Python's own handlers wait until XLA
    returns. The first one is noted in ``caught``, for training to look at, or inside ``ending_at_once`` ends the process.

    Args:
        say: is told what will happen.
    """

    def __init__(self, say: Callable[[str], None]):
        self.caught: int | None = None
        self.say = say
        # Called with the exit code before the process ends at once.
        self.leave: Callable[[int], None] = lambda code: None
        self.how_long: Callable[[], str] = lambda: ""  # words about what training waits for
        self._words: str | None = None
        self._lock = threading.Lock()

    @property
    def nothing_to_lose(self) -> bool:
        """Whether training is where the end of the process would lose nothing."""
        return self._words is not None

    @contextlib.contextmanager
    def ending_at_once(self, words: str) -> Iterator[None]:
        """Meanwhile nothing would be lost by the end of the process; ``words`` say so."""
        with self._lock:
            self._words = words
        try:
            if self.caught:
                raise self.stop(words)
            yield
        finally:
            with self._lock:
                self._words = None

    def stop(self, words: str) -> Stopped:
        """What to raise because of the signal that was caught."""
        assert self.caught is not None
        return Stopped(words, 128 + self.caught)

    def hear(self, number: int) -> None:
        """Answer the first signal, in a thread of its own."""
        with self._lock:
            self.caught = number
            if self._words is not None and number != REQUEUE:  # which whoever else listens to it answers
                self._end(number)
        self.say(
            f"stopping as soon as what goes on is done{self.how_long()}, and saving; a second signal does not wait"
        )

    def _end(self, number: int) -> None:
        try:
            print(f"hamljax: {self._words}", file=sys.stderr, flush=True)
            last = threading.Thread(target=self.leave, args=(128 + number,), daemon=True)
            last.start()
            last.join(LEAVING_SECONDS)
            sys.stdout.flush()
        finally:  # also where nobody reads any more what is said
            os._exit(128 + number)


@contextlib.contextmanager
def listening(say: Callable[[str], None], requeue: bool = False) -> Iterator[Signals]:
    """Signals are heard as ``Signals`` says. In a thread that may not choose, nothing changes.

    Args:
        say: as of ``Signals``. requeue: whether REQUEUE is heard too, where somebody listens to it already.
    """
    signals, before = Signals(say), dict[int, Any]()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    thread = threading.Thread(target=_listen, args=(ours, signals), daemon=True)
    thread.start()
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in _heard(requeue):
        before[number] = signal.signal(number, lambda *_: None)
    if REQUEUE in before:
        # Where nothing can be lost it is for them at once: compiling may take longer than there is time.
        again = before[REQUEUE]
        signal.signal(REQUEUE, lambda *about: again(*about) if signals.nothing_to_lose else None)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        theirs.close()  # which ends the thread
        thread.join()
        ours.close()


in_a_job = functools.partial(listening, requeue=True)


def _heard(requeue: bool) -> list[int]:
    """The signals to hear: of a hang-up not where it is ignored, as under nohup; REQUEUE where somebody listens to it."""
    ignored = signal.getsignal(getattr(signal, "SIGHUP", signal.SIGINT)) is signal.SIG_IGN
    heard = [number for number in HEARD if not ignored or number != getattr(signal, "SIGHUP", None)]
    return heard + ([REQUEUE] if requeue and REQUEUE and callable(signal.getsignal(REQUEUE)) else [])


def _listen(ours: socket.socket, signals: Signals) -> None:
    """Numbers of signals arrive as bytes; whatever else Python wakes up for is not for us."""
    first = True
    while byte := ours.recv(1):
        if byte[0] in HEARD and not first:
            os._exit(128 + byte[0])
        if byte[0] in (*HEARD, REQUEUE):
            first = False
            threading.Thread(target=signals.hear, args=(byte[0],), daemon=True).start()


@contextlib.contextmanager
def passing_on() -> Iterator[Signals]:
    """A signal to this process alone is one to the processes that it began; from a terminal they have it already."""

    def told(text: str) -> None:
        print(text, flush=True)
        if signals.caught != signal.SIGINT:
            for child in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)

    with listening(told) as signals:
        yield signals


def children() -> list[int]:
    """The processes that this one began."""
    known = list(Path(f"/proc/{os.getpid()}/task").glob("*/children"))
    if known:
        return [int(word) for file in known for word in file.read_text(encoding="utf-8").split()]
    found = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, encoding="utf-8")
    return [int(word) for word in found.stdout.split()]
