"""``hamljax info FOLDER``: the runs of a folder on one screen. Quick: nothing here needs JAX."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from ...errors import ConfigError
from ..drawing.tables import print_table
from ..storage.paths import as_typed
from ..storage.saved_config import is_foreign, read_config
from .info import Record, by_steps, in_use, progress_of, read_json_of, read_record, state_of

SILENT_SECONDS = 900.0  # after which a run that trains may be stuck; it records more often, but for long evaluations


class Row(NamedTuple):
    """One run. state: training, finished, stopped or damaged. share: of its updates that are made."""

    run: Path
    what: str
    steps: str
    state: str
    share: float
    won: str
    gained: str
    silent: float  # seconds since it wrote anything
    command: str  # that began it

    @property
    def stuck(self) -> bool:
        """Whether it trains, and has not been heard of for long."""
        return self.state == "training" and self.silent > SILENT_SECONDS


def runs_below(folder: Path) -> list[Path]:
    """Every run directory at or below a folder, begun or not, in the order of their names."""
    found = {file.parent for name in ("config.yaml", "metrics.parquet") for file in folder.rglob(name)}
    return sorted(path for path in found if not is_foreign(path))


def overview(folder: Path) -> list[Row]:
    """A row for each run of a folder.

    Raises:
        ConfigError: there is none.
    """
    runs = runs_below(folder)
    if not runs:
        raise ConfigError(f"'{folder}' is not a run directory (no config.yaml in it), and there is none below it")
    return [_row(run) for run in runs]


def _row(run: Path) -> Row:
    made, silent = read_json_of(run / "versions.json"), time.time() - max(f.stat().st_mtime for f in run.iterdir())
    command = str(made.get("command", ""))
    try:
        config = read_config(run)
    except ConfigError:
        return Row(run, "config.yaml is damaged or gone", "-", "damaged", 0.0, "-", "-", silent, command)
    record, damaged = read_record(run)
    done, total, per_update = progress_of(config, record)
    used = in_use(run)
    what = f"{config['algo']['name']} on {config['env']['name']}"
    if config["num_seeds"] > 1:
        what += f", {config['num_seeds']} seeds"
    state = "damaged" if damaged and not used else state_of(run, used, done, total).split()[0]
    return Row(
        run,
        what,
        f"{done * per_update:,} / {total * per_update:,}",
        state,
        done / max(total, 1),
        _latest(record, "eval/won"),
        _latest(record, "eval/return"),
        silent,
        command,
    )


def _latest(record: Record, column: str) -> str:
    """The mean over the seeds of the last evaluation."""
    found = by_steps(record, column)
    return f"{sum(found[max(found)]) / len(found[max(found)]):.3f}" if found else "-"


def table(rows: list[Row], folder: Path) -> tuple[str, list[str], list[tuple[str, ...]]]:
    """A title, headings and cells; what is the same of all runs stands in the title, and what none has nowhere."""
    columns = {
        "run": [str(row.run.relative_to(folder)) for row in rows],
        "what": [row.what for row in rows],
        "steps": [row.steps for row in rows],
        "": [_how(row) for row in rows],
        "win rate": [row.won for row in rows],
        "return": [row.gained for row in rows],
        "heard of": ["-" if row.state == "finished" else _ago(row.silent) for row in rows],
    }
    title = str(folder)
    if len(set(columns["what"])) == 1:
        title += f": {columns.pop('what')[0]}"
    there = {name: cells for name, cells in columns.items() if name == "run" or set(cells) != {"-"}}
    return title, list(there), list(zip(*there.values(), strict=True))


def _how(row: Row) -> str:
    state = "stuck?" if row.stuck else row.state
    return state if state == "finished" else f"{row.share:.0%} {state}"


def _ago(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{max(seconds, 0.0):.0f} s ago"


def summary(rows: list[Row]) -> list[str]:
    """How many there are of each state, and what to type for what is to go on."""
    counts = {
        state: sum(row.state == state for row in rows) for state in ("finished", "training", "stopped", "damaged")
    }
    said = [", ".join(f"{count} {state}" for state, count in counts.items() if count)]
    for row in rows:
        if row.stuck:
            said.append(f"{row.run} trains, and was last heard of {_ago(row.silent)}")
    waiting = [row for row in rows if row.state == "stopped"]
    commands = {row.command for row in waiting if " -m " in f" {row.command} " or "--multirun" in row.command}
    if waiting and len(commands) == 1 and all(row.command in commands for row in waiting):
        said.append(f"to go on, the same command: {commands.pop()}")
    elif waiting:
        said.append(f"to go on: hamljax resume {' '.join(as_typed(row.run) for row in waiting)}")
    return said


def show(rows: list[Row], folder: Path) -> None:
    """Print the runs of a folder, and what there is to type."""
    title, columns, cells = table(rows, folder)
    print_table(columns, cells, title)
    print(*summary(rows), sep="\n", flush=True)


def watch(folder: Path, seconds: float = 2.0) -> None:
    """Show the runs whenever they have got on, until none trains any more or somebody presses Ctrl-C.

    Args:
        folder: of the runs. seconds: between two looks.
    """
    before: list[Row] = []
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            rows = overview(folder)
            if (now := [row._replace(silent=0.0) for row in rows]) != before:
                Console().clear()  # of a terminal; elsewhere it does nothing
                show(rows, folder)
            before = now
            if not any(row.state == "training" for row in rows):
                return
            time.sleep(seconds)
