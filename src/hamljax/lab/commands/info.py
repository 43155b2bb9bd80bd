"""``hamljax info``: a run directory on one screen. Quick: nothing here needs JAX."""

import fcntl
from pathlib import Path
from typing import Any

from ...errors import one_line
from ..drawing.tables import who_shares
from ..storage import inputs
from ..storage.digests import damage, kept
from ..storage.files import number, read_json
from ..storage.paths import as_typed
from ..storage.provenance import PACKAGES, version
from ..storage.saved_config import read_config

Record = dict[str, list[Any]]  # columns of the metrics


def lines(run: Path, plugin: str = "") -> list[tuple[str, str]]:
    """(heading, text) of everything there is to say.

    Args:
        run: its directory.
        plugin: where its plugin is now; empty: where it was.

    Raises:
        ConfigError: there is no run.
    """
    config = read_config(run)
    record, damaged = read_record(run)
    done, total, per_update = progress_of(config, record)
    there = {update: damage(run, update) for update in kept(run)}
    used = in_use(run)
    state = state_of(run, used, done, total)
    first, last = config["seed"], config["seed"] + config["num_seeds"] - 1
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    found = [
        ("run", str(run)),
        ("what", f"{config['algo']['name']} on {config['env']['name']}, {config['network']['name']}, {seeds}"),
        *_policies(run, config),
        (
            "how far",
            f"{done * per_update:,} of {total * per_update:,} steps ({done} of {total} updates), {state}",
        ),
        *([("record", damaged)] if damaged else []),
        *_how_well(run, record),
        *_exactly(record),
        *_made_with(run),
        *((f"its {name}", text) for name, text in _inputs(run, plugin).items()),
        ("checkpoints", ", ".join(f"{update} ({wrong or 'whole'})" for update, wrong in there.items()) or "none yet"),
        ("to go on", _next(run, used, total, there)),
        ("files", ", ".join(sorted(p.name for p in run.iterdir() if not p.name.startswith(".")))),
    ]
    return found


def _policies(run: Path, config: dict[str, Any]) -> list[tuple[str, str]]:
    made = read_json_of(run / "versions.json")
    groups, family = made.get("policies"), made.get("family")
    ratio = str(config["algo"].get("group_ratio", "folded"))
    found = [("policies", who_shares(groups, ratio))] if isinstance(groups, list) else []
    return found + ([("of its family", str(family))] if family else [])


def read_record(run: Path) -> tuple[Record, str]:
    """Columns of the metrics, and what is wrong with them; pandas would take too long to load."""
    import pyarrow.parquet

    file = run / "metrics.parquet"
    if not file.is_file():
        return {}, ""
    try:
        table = pyarrow.parquet.read_table(file, page_checksum_verification=True)
    except Exception as error:  # a damaged file can break its reader in any way
        return {}, f"{file.name} is damaged: {one_line(error)[:80]}"
    wanted = [
        c
        for c in table.column_names
        if c in ("update", "seed", "step") or c.startswith(("eval", "train/skip", "exact/"))
    ]
    return table.select(wanted).to_pydict(), ""


def progress_of(config: dict[str, Any], record: Record) -> tuple[int, int, int]:
    """Updates made, updates in all, and the steps of one."""
    per_update = config["num_envs"] * config["num_steps"]
    return max(record.get("update", [0])), int(config["total_timesteps"]) // per_update, per_update


def by_steps(record: Record, column: str) -> dict[int, list[float]]:
    """The numbers of a column by step, one of each seed, where there are any."""
    found: dict[int, list[float]] = {}
    for step, value in zip(record.get("step", []), record.get(column, []), strict=False):
        if value is not None and value == value:
            found.setdefault(step, []).append(value)
    return found


def in_use(run: Path) -> bool:
    """Whether a process is training in ``run`` now."""
    try:
        with (run / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def state_of(run: Path, used: bool, done: int, total: int) -> str:
    """In words: training now, finished or stopped."""
    if used:
        return "training now"
    if (run / "summary.json").is_file() and done >= total:
        return "finished"
    return "stopped"


def _how_well(run: Path, record: Record) -> list[tuple[str, str]]:
    lines = []
    for name, column in (("win rate", "eval/won"), ("return", "eval/return")):
        by_step = by_steps(record, column)
        if not by_step:
            continue
        means = {step: sum(values) / len(values) for step, values in by_step.items()}
        last, best = max(means), max(means, key=means.__getitem__)
        text = f"{means[last]:.3f} ({min(by_step[last]):.3f} to {max(by_step[last]):.3f} over seeds) at step {last:,}"
        lines.append((name, f"{text}; highest {means[best]:.3f} at step {best:,}"))
    summary = read_json_of(run / "summary.json")
    for name, found in (summary.get("absolute") or {}).items():
        if name in ("eval/won", "eval/return"):
            lines.append(
                (f"absolute {name}", f"{number(found['mean'])} (the best team of every seed, ten times the episodes)")
            )
    if skipped := int(sum(x or 0 for x in record.get("train/skipped", []) if x == x)):
        lines.append(("not finite", f"{skipped} update(s) were not taken"))
    if seconds := summary.get("seconds"):
        lines.append(("seconds", ", ".join(f"{name} {value:,.1f}" for name, value in seconds.items())))
    return lines


def _exactly(record: Record) -> list[tuple[str, str]]:
    """Of a game whose tables are known: what the last policies are worth, and how often an update lowered that."""
    columns = [record.get(f"exact/{name}", []) for name in ("return", "nash_gap", "fall")]
    rows = [row for row in zip(record.get("step", []), *columns, strict=False) if row[1] is not None]
    if not rows:
        return []
    last = max(step for step, *_ in rows)
    returns, gaps = zip(*((value, gap) for step, value, gap, _ in rows if step == last), strict=True)
    falls = [fall for *_, fall in rows if fall is not None and fall == fall]
    fell = [fall for fall in falls if fall > 0]
    mean, gap = sum(returns) / len(returns), sum(gaps) / len(gaps)
    text = f"J = {mean:.4g} ({min(returns):.4g} to {max(returns):.4g} over seeds), Nash gap {gap:.3g} at step {last:,}"
    return [
        ("exactly", f"{text}; fell in {len(fell):,} of {len(falls):,} updates, by {max(fell, default=0):.3g} at most")
    ]


def read_json_of(file: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it is gone or damaged."""
    try:
        found = read_json(file)
    except (OSError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def _made_with(run: Path) -> list[tuple[str, str]]:
    made = read_json_of(run / "versions.json")
    if not made:
        return [("made with", "unknown: no versions.json")]
    source = made.get("source")
    commit = ""
    if isinstance(source, dict) and {"commit", "clean"} <= source.keys():
        commit = f", commit {str(source['commit'])[:10]}{'' if source['clean'] else ' with changes'}"
    names = ("hamljax", "jax", "python")
    rows = [
        ("made with", ", ".join(f"{name} {made.get(name)}" for name in names) + f" on {made.get('device')}{commit}"),
        ("command", f"{made.get('command')}  ({made.get('began', 'unknown when')})"),
    ]
    now = {name: version(name) for name in PACKAGES}
    other = [f"{name} {made.get(name)} then, {now[name]} now" for name in PACKAGES if now[name] != made.get(name)]
    return rows + ([("other versions", "; ".join(other))] if other else [])


def _inputs(run: Path, plugin: str) -> dict[str, str]:
    """What became of the files that the configuration names; ``plugin``: where that one is now."""
    found = {}
    for name, one in inputs.kept(run).items():
        file = Path(plugin if plugin and name == "plugin" else one.file)
        state = "gone" if not file.is_file() else "as it was" if inputs.sha256(file) == one.sha256 else "changed"
        state = "there" if file.is_file() and not one.sha256 else state
        found[name] = f"{file} ({state}{'; a copy is kept' if one.copy else ''})"
    return found


def _next(run: Path, used: bool, total: int, there: dict[int, str]) -> str:
    if used:
        return "a process is training in it now"
    whole = [update for update, wrong in there.items() if not wrong]
    if there and not whole:
        return "not possible: every checkpoint is damaged"
    if whole and whole[-1] >= total and (run / "summary.json").is_file():
        return f"hamljax resume {as_typed(run)} total_timesteps=..."
    start = f"from update {whole[-1]}" if whole else "from the beginning"
    return f"hamljax resume {as_typed(run)}  ({start})"
