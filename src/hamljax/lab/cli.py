"""The command line."""

import contextlib
import difflib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ConfigError, Stopped, one_of
from .commands.completion import FLAGS, completion
from .commands.train import run_jobs, train
from .configuration.variables import import_jax
from .usage import USAGE


def resume(arguments: list[str]) -> None:
    """``hamljax resume``; what each command does, and its arguments: ``usage``."""
    from .commands.resume import read

    run_jobs(read(arguments), longer=True)


def plot(arguments: list[str]) -> None:
    from .drawing.plots import BANDS, SUFFIXES, draw_runs, table
    from .drawing.tables import print_table
    from .storage.paths import output_file, path_of
    from .storage.rundir import find_runs

    out, band = None, "ci"
    if "--out" in arguments:
        at = arguments.index("--out")
        if at + 1 == len(arguments):
            raise ConfigError("--out needs a file name")
        out = output_file("--out", arguments[at + 1], SUFFIXES)
        arguments = arguments[:at] + arguments[at + 2 :]
    if bands := [a for a in arguments if a.startswith("band=")]:
        band = one_of("band", bands[-1].removeprefix("band="), BANDS)
        arguments = [a for a in arguments if a not in bands]
    if not arguments:
        raise ConfigError("plot needs at least one run directory, such as: hamljax plot runs")
    if unknown := [a for a in arguments if a.startswith("-")]:
        raise ConfigError(f"plot knows no '{unknown[0]}'; did you mean '--out'?")
    runs = find_runs(arguments)
    out = out or (path_of(arguments[0]) if len(arguments) == 1 else Path()) / "curves.png"
    draw_runs(runs, out, band)
    print_table(("run", "seeds", "steps", "win rate", "return"), table(runs))
    print(f"drawn: {out}; bands: {BANDS[band]}")


def study(arguments: list[str]) -> None:
    from .commands.study import read
    from .commands.study import study as run

    run(read(arguments))


def compare(arguments: list[str]) -> None:
    from .commands.compare import compare as run
    from .commands.compare import read
    from .drawing.tables import print_table
    from .studies.tables import COLUMNS, rows_of

    _, pairs, said = run(read(arguments))
    print_table(COLUMNS, rows_of(pairs))
    print(said)


def report(arguments: list[str]) -> None:
    from .commands.report import answers, read, write_report

    request = read(arguments)
    print(write_report(request.paths, request.out), *answers(request.paths), sep="\n")


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
    from .commands.overview import overview, show, watch
    from .configuration.arguments import file, read_arguments
    from .drawing.tables import print_facts

    run, values = read_arguments("info", [word for word in arguments if word != "--watch"], {"plugin": file})
    if "--watch" in arguments:
        watch(run)
    elif (run / "config.yaml").is_file():
        print_facts(lines(run, **values))
    else:
        show(overview(run), run)


def theory(arguments: list[str]) -> None:
    from .configuration import machine

    machine.prepare()
    from .commands.theory import read
    from .commands.theory import theory as run
    from .drawing.tables import print_report

    if not run(read(arguments), print_report):
        raise Stopped("a claim that should hold does not; its line begins with NO", 1)


def listing(arguments: list[str]) -> None:
    from .configuration.plugins import load_plugin
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

    kinds = ("mamujoco", "off_policy", "bridge", "recurrent", "devices")
    unknown = [a for a in arguments if a not in ("--quick", *kinds)]
    if unknown:
        raise ConfigError(f"bench takes no '{unknown[0]}'; only {', '.join(kinds)} and --quick")
    machine.prepare()
    for kind in [a for a in arguments if a in kinds] or ["training"]:
        module = importlib.import_module(f".benchmarks.{kind}", __package__)
        module.run(quick="--quick" in arguments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "resume": resume,
    "info": info,
    "evaluate": evaluate,
    "watch": watch,
    "export": export,
    "certify": certify,
    "plot": plot,
    "compare": compare,
    "report": report,
    "study": study,
    "theory": theory,
    "list": listing,
    "doctor": doctor,
    "bench": bench,
}
QUICK = ("info", "list")  # they are over before anybody could stop them
WITHOUT_JAX = ("info", "plot")


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process there and then, whatever it computes: nothing that it writes is ever half written.

    An exception would wait for XLA, and be lost in JAX's garbage collector. Training listens in its own way.
    """
    from .runs.pace import listening

    with listening(print) as signals, signals.ending_at_once("stopped"):
        yield


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``arguments`` (None: the process's own). Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):  # a terminal without the letters of a name is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE, end="")
        return 0
    command, *rest = arguments
    try:
        if set(FLAGS) & set(arguments):
            completion(arguments, COMMANDS)
            return 0
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
