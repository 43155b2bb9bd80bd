"""The command line."""

import contextlib
import difflib
import hashlib
import math
import sys
import time
from pathlib import Path

from ..errors import ConfigError, Stopped
from .configuration.variables import check_choices, import_jax
from .usage import USAGE


def train(arguments: list[str]) -> None:
    from .configuration.jobs import expand, make_job
    from .storage.paths import claim

    words = [a for a in arguments if a not in ("-m", "--multirun")]
    if len(words) == len(arguments):
        _run([make_job(words)])
        return
    combinations = expand(words)
    root, given = _root_of(combinations[0])
    jobs = [make_job(w) for w in _sweep(combinations, root)]
    if given or all(job.run.dry_run for job in jobs):
        _run(jobs)
        return
    mine = claim(Path(root))
    try:
        _run(jobs if mine == Path(root) else [make_job(w) for w in _sweep(combinations, str(mine))])
    finally:
        with contextlib.suppress(OSError):  # it is not empty, unless nothing could be trained
            mine.rmdir()
            mine.parent.rmdir()


def resume(arguments: list[str]) -> None:
    from .commands.resume import read

    _run(read(arguments), longer=True)


def _run(jobs: list, longer: bool = False) -> None:
    from .configuration import machine
    from .storage.paths import path_of
    from .storage.provenance import devices_of
    from .storage.rundir import holds_this_run

    if any(job.logger["kind"] == "wandb" for job in jobs):
        check_choices("WANDB_MODE")
    begun = False
    for job in jobs:  # before any of them trains, so that a sweep does not fail in the middle
        if job.run.run_dir:
            begun |= holds_this_run(path_of(job.run.run_dir), job.resolved, job.run.resume, longer)
    devices = devices_of([path_of(job.run.run_dir) for job in jobs]) if begun else None
    machine.prepare(math.gcd(*(job.run.num_seeds for job in jobs)), devices)
    from .commands import dry_run as dryrun
    from .commands.certify import look_before
    from .drawing.tables import print_facts
    from .runs.run import train

    look_before(jobs)
    failed = 0
    for number, job in enumerate(jobs):
        if len(jobs) > 1:
            print(f"[{number + 1}/{len(jobs)}]", flush=True)
        try:
            if job.run.dry_run:
                print_facts(dryrun.rows(job))
            else:
                train(job, longer)
        except (ConfigError, Stopped) as error:
            if len(jobs) == 1 or getattr(error, "code", 0) > 128:  # a signal means all of them
                raise
            print(f"hamljax: {job.run.run_dir}: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise Stopped(f"{failed} of {len(jobs)} runs failed; the same command tries them again", 1)


def _root_of(words: list[str]) -> tuple[str, bool]:
    """The folder of a sweep, and whether it was named."""
    from .configuration.jobs import parse

    given = next((o.value() for o in parse(words) if o.key_or_group == "run_dir"), "")
    return str(given or time.strftime("multirun/%Y-%m-%d_%H-%M-%S")), bool(given)


def _sweep(combinations: list[list[str]], root: str) -> list[list[str]]:
    """Give every job of a sweep a folder of its own under ``root``, named after what varies."""
    from .configuration.overrides import quote

    varying = [i for i in range(len(combinations[0])) if len({c[i] for c in combinations}) > 1]
    jobs = []
    for words in combinations:
        name = ",".join(words[i] for i in varying).replace("/", "-").replace("'", "") or "0"
        if len(whole := name.encode(errors="replace")) > 200:  # a file system takes no longer ones
            name = f"{whole[:180].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:8]}"
        jobs.append([w for w in words if not w.startswith("run_dir=")] + [f"run_dir={quote(f'{root}/{name}')}"])
    return jobs


def plot(arguments: list[str]) -> None:
    from .drawing.plots import SUFFIXES, draw_runs, table
    from .drawing.tables import print_table
    from .storage.paths import output_file, path_of
    from .storage.rundir import find_runs

    out = None
    if "--out" in arguments:
        at = arguments.index("--out")
        if at + 1 == len(arguments):
            raise ConfigError("--out needs a file name")
        out = output_file("--out", arguments[at + 1], SUFFIXES)
        arguments = arguments[:at] + arguments[at + 2 :]
    if not arguments:
        raise ConfigError("plot needs at least one run directory, such as: hamljax plot runs")
    if unknown := [a for a in arguments if a.startswith("-")]:
        raise ConfigError(f"plot knows no '{unknown[0]}'; did you mean '--out'?")
    runs = find_runs(arguments)
    out = out or (path_of(arguments[0]) if len(arguments) == 1 else Path()) / "curves.png"
    draw_runs(runs, out)
    print_table(("run", "seeds", "steps", "win rate", "return"), table(runs))
    print(f"drawn: {out}")


def watch(arguments: list[str]) -> None:
    from .configuration import machine

    machine.prepare()
    from .commands.watch import read
    from .commands.watch import watch as run

    print(run(read(arguments)))


def evaluate(arguments: list[str]) -> None:
    from .configuration import machine

    machine.prepare()
    from .commands.evaluate import evaluate as run
    from .commands.evaluate import read
    from .drawing.tables import print_table

    columns, rows, line = run(read(arguments))
    print_table(columns, rows)
    print(line)


def export(arguments: list[str]) -> None:
    from .configuration import machine

    machine.prepare()
    from .commands.export import export as run
    from .commands.export import read

    print(run(read(arguments)))


def certify(arguments: list[str]) -> None:
    from .configuration import machine

    machine.prepare()
    from .commands.certify import read
    from .commands.certify import run as certified

    certified(read(arguments))


def info(arguments: list[str]) -> None:
    from .commands.info import lines
    from .configuration.arguments import file, read_arguments
    from .drawing.tables import print_facts

    run, values = read_arguments("info", arguments, {"plugin": file})
    print_facts(lines(run, **values))


def listing(arguments: list[str]) -> None:
    from .configuration.groups import load_plugin
    from .drawing.tables import print_everything

    for word in arguments:
        if not word.startswith("plugin="):
            raise ConfigError(f"list takes no '{word}'; only plugin=FILE")
        load_plugin(word.removeprefix("plugin="))
    print_everything()


def doctor(arguments: list[str]) -> None:
    from .configuration import machine

    unknown = [a for a in arguments if not a.startswith("python=")]
    if unknown:
        raise ConfigError(f"doctor takes no '{unknown[0]}'; only python=PATH, an interpreter to look at")
    machine.prepare()
    from .commands import doctor
    from .drawing.tables import print_facts, print_table

    print_facts(doctor.machine())
    rows = doctor.rows(arguments[-1].removeprefix("python=") if arguments else "")
    print_table(("env=bridge/...", "where", "how it is"), [row[:3] for row in rows])
    print(*doctor.next_steps(rows), sep="\n")


def bench(arguments: list[str]) -> None:
    from .configuration import machine

    kinds = ("mamujoco", "off_policy", "bridge")
    unknown = [a for a in arguments if a not in ("--quick", *kinds)]
    if unknown:
        raise ConfigError(f"bench takes no '{unknown[0]}'; only {', '.join(kinds)} and --quick")
    machine.prepare()
    from .benchmarks import bridge as bench_bridge
    from .benchmarks import mamujoco as bench_mamujoco
    from .benchmarks import off_policy as bench_off_policy
    from .benchmarks import training as bench

    modules = {"mamujoco": bench_mamujoco, "off_policy": bench_off_policy, "bridge": bench_bridge}
    for module in [modules[a] for a in arguments if a in modules] or [bench]:
        module.run(quick="--quick" in arguments)


COMMANDS = {
    "train": train,
    "resume": resume,
    "info": info,
    "evaluate": evaluate,
    "watch": watch,
    "export": export,
    "certify": certify,
    "plot": plot,
    "list": listing,
    "doctor": doctor,
    "bench": bench,
}
QUICK = ("info", "list")  # they are over before anybody could stop them


WITHOUT_JAX = ("info", "plot")


@contextlib.contextmanager
def stopping_at_once():
    """Ctrl-C and SIGTERM end the process there and then, whatever it computes: nothing that it writes is ever half written.

    An exception would wait for XLA, and be lost in JAX's garbage collector. Training listens in its own way.
    """
    from .runs.pace import listening

    with listening(print) as signals, signals.ending_at_once("stopped"):
        yield


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):  # a terminal without the letters of a name is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE, end="")
        return 0
    command, *rest = arguments
    try:
        if command not in COMMANDS:
            close = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else f"choose one of: {', '.join(COMMANDS)}"
            raise ConfigError(f"unknown command '{command}'; {hint}")
        if command not in WITHOUT_JAX:
            import_jax()
        with contextlib.nullcontext() if command in QUICK else stopping_at_once():
            COMMANDS[command](rest)
    except ConfigError as error:
        return mistake(str(error))
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return 0
    except Stopped as stopped:
        print(f"hamljax: {stopped}", file=sys.stderr)
        return stopped.code
    except KeyboardInterrupt:
        print("hamljax: stopped", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if line := trouble_of_device(error):
            return mistake(line)
        raise
    return 0


def mistake(line: str) -> int:
    """Say what was wrong, on one line whatever names it holds. Returns the exit code."""
    print("hamljax: error:", "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), file=sys.stderr)
    return 2


def trouble_of_device(error: RuntimeError) -> str:
    """What an exception of JAX's own says of the device; empty for any other."""
    if type(error).__module__.partition(".")[0] not in ("jax", "jaxlib"):
        return ""
    from .configuration.machine import trouble

    return trouble(error)


if __name__ == "__main__":
    sys.exit(main())
