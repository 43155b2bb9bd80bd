"""A bar on a terminal, one plain line per interval elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text


def clock(seconds: float) -> str:
    """Minutes and seconds, such as ``2:05``; from an hour on with hours, ``1:02:05``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def ignoring_closed_output() -> Iterator[None]:
    """Around what is printed about something that must go on where nobody reads any more, or the disk of its log is full."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Reporter:
    """Shows environment steps going by; the speed is that of all seeds together.

    Args:
        total: steps of each seed.
        seeds: how many.
    """

    def __init__(self, total: int, seeds: int):
        self.seeds, self.start, self.first = seeds, time.perf_counter(), 0
        self.console = Console()
        self.bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("compiling", total=total)
            self.bar.start()

    @ignoring_closed_output()
    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.bar:
            self.bar.console.print(Text(line))  # not markup: a name may hold brackets
        else:
            print(line, flush=True)

    @ignoring_closed_output()
    def started(self, step: int = 0) -> None:
        """Training begins now, at ``step``: compile time does not count as speed."""
        self.start, self.first = time.perf_counter(), step
        if self.bar:
            self.bar.update(self.task, completed=step, description="first steps")

    @ignoring_closed_output()
    def busy(self, what: str) -> None:
        """Something other than training goes on; without a terminal nothing is printed."""
        if self.bar:
            self.bar.update(self.task, description=what)

    def _line(self, step: int, values: dict[str, float]) -> tuple[str, str]:
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        words = " ".join(f"{name}={value:.3g}" for name, value in values.items() if value == value)
        return f"{(step - self.first) * self.seeds / elapsed:,.0f}", words

    @ignoring_closed_output()
    def tick(self, step: int, values: dict[str, float], left: float) -> None:
        """A few seconds have passed: the bar moves, and without a terminal nothing is printed.

        Args:
            step: steps of each seed so far.
            values: what is shown, by name.
            left: seconds that remain.
        """
        if self.bar:
            speed, words = self._line(step, values)
            self.bar.update(self.task, completed=step, description=f"{speed} steps/s  {clock(left)} left  {words}")

    @ignoring_closed_output()
    def update(self, step: int, values: dict[str, float], left: float) -> None:
        """New values were recorded; arguments as of ``tick``."""
        if self.bar:
            self.tick(step, values, left)
        else:
            speed, words = self._line(step, values)
            print(f"step={step:,} {words} steps/s={speed} left={clock(left)}", flush=True)

    @ignoring_closed_output()
    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar:
            self.bar.stop()
