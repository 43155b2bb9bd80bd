"""A bar on a terminal, one plain line per interval elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes}:{seconds:02d}"


class Reporter:
    """Shows ``total`` environment steps of each of ``seeds`` runs going by; the speed is that of all of them together."""

    def __init__(self, total: int, seeds: int):
        self.total, self.seeds, self.start = total, seeds, time.perf_counter()
        self.console = Console()
        self.bar = None
        if sys.stdout.isatty():
            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=self.console)
            self.task = self.bar.add_task("compiling", total=total)
            self.bar.start()

    def say(self, line: str) -> None:
        if self.bar:
            self.bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)

    def started(self) -> None:
        """Training begins now: compile time does not count as speed."""
        self.start = time.perf_counter()
        if self.bar:
            self.bar.update(self.task, description="first steps")

    def update(self, step: int, values: dict[str, float]) -> None:
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        left = clock((self.total - step) * elapsed / step) if step else "?"
        speed = step * self.seeds / elapsed
        words = [f"{name}={value:.3g}" for name, value in values.items() if value == value]
        if self.bar:
            self.bar.update(
                self.task, completed=step, description=f"{speed:,.0f} steps/s  {left} left  " + "  ".join(words)
            )
        else:
            print(f"step={step:,} {' '.join(words)} steps/s={speed:,.0f} left={left}", flush=True)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
