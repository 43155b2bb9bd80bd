"""How many updates the compiled loop makes before the host looks up, and what may stop it."""

import contextlib
import signal

import numpy as np

from ..errors import Stopped

SECONDS = 2.0  # between two looks of the host: a scheduler's SIGTERM leaves little time


class Pace:
    """Chooses block lengths that take about two seconds; how the updates are cut into blocks changes none of them."""

    def __init__(self, largest: int):
        self.largest, self.length = largest, 1

    def next(self, left: int) -> int:
        return min(self.length, left, self.largest)

    def took(self, updates: int, seconds: float) -> None:
        self.length = max(1, min(int(SECONDS * updates / max(seconds, 1e-9)), 2 * self.length, self.largest))


class Streak:
    """Counts updates in a row that were not taken, per seed. ``broken``: None, or the first seed that had ``patience`` of
    them (None: that never happens) and the number of the first of these updates."""

    def __init__(self, num_seeds: int, patience: int | None):
        self.length, self.patience = np.zeros(num_seeds, int), patience
        self.broken: tuple[int, int] | None = None

    def watch(self, done: int, skipped: np.ndarray) -> None:
        """skipped (seeds, updates): 1 or 0, of the updates after number ``done``."""
        for number, column in enumerate(skipped.T, start=done + 1):
            self.length = np.where(column > 0, self.length + 1, 0)
            worst = int(self.length.argmax())
            if self.patience and self.length[worst] >= self.patience and not self.broken:
                self.broken = worst, number - int(self.length[worst]) + 1


class Signals:
    """``caught`` is the first SIGINT or SIGTERM since; the second one ends the process at once. ``say`` is told of the first."""

    def __init__(self, say):
        self.caught: int | None = None
        self._say = say

    def _catch(self, number, frame):
        self.caught = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        self._say("stopping as soon as what goes on is done, and saving; a second signal does not wait")

    def stop(self, where: str) -> Stopped:
        return Stopped(where, 128 + self.caught)


@contextlib.contextmanager
def listening(say):
    """Signals set a flag instead of ending the process. In a thread that may not choose, nothing changes."""
    signals, before = Signals(say), {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, signals._catch)
    except ValueError:
        pass
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
