"""``hamljax train`` as a Hydra application: its flags, launchers, sweepers and callbacks, behind checks of our own.

Hydra is asked for by a word of its own (``hydra/launcher=joblib``, ``hydra.sweep.dir=...``) or one of its flags (``--cfg job``).
"""

import argparse
import contextlib
import importlib.util
import io
import logging
import math
import os
import shlex
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...errors import ConfigError, Stopped, nearest, one_line
from ..configuration.folders import by_hydra, from_here, names_of, register_resolvers
from ..configuration.groups import conf_dir, register_groups, searching, values_once
from ..configuration.jobs import Job, expand, in_full, is_own, job_of, make_job, read
from ..configuration.overrides import as_typed, is_hydras, quote
from ..runs.pace import REQUEUE, passing_on
from ..storage.files import read_json
from ..storage.paths import path_of
from ..storage.provenance import COMMAND, devices_of
from ..storage.rundir import holds_this_run
from .streams import Prefixed, WithoutOverrides
from .train import to_check

WITH_A_VALUE = (
    "--cfg -c --package -p --config-dir -cd --info -i --config-name -cn --config-path -cp --experimental-rerun".split()
)
# What is to be installed for what is not there. The last two do not resolve beside the packages that they name themselves.
MISSING = {
    "joblib": "pip install 'hamljax[sweep]'",
    "submitit": "pip install 'hamljax[sweep]'",
    "optuna": "pip install 'optuna>=5' && pip install --no-deps hydra-optuna-sweeper==1.3.0",
    "ray": "pip install 'ray[default]<3' && pip install --no-deps hydra-ray-launcher==1.2.2",
}
PROCESS = "HAMLJAX_PROCESS"  # the environment variable that says where the command was typed
stopped = 0  # the signal that ended a job of this process: it begins no other


def train(words: list[str]) -> None:
    """``hamljax train`` by Hydra.

    Args:
        words: as typed, after ``train``.

    Raises:
        ConfigError: a word is mistaken, or Hydra cannot do it; nothing was trained.
        Stopped: a job failed, or a signal came.
    """
    global stopped
    stopped = 0
    flags, ours, theirs = _sorted(words)
    asked = _flags(flags)
    many = asked.multirun or "hydra.mode=MULTIRUN" in theirs
    shows = bool(asked.cfg or asked.info or asked.hydra_help)
    draws = any(word.lstrip("+").startswith("hydra/sweeper=") for word in theirs)
    if not draws and any(word.lstrip("+").startswith("hydra.sweeper.params") for word in theirs):
        raise ConfigError("hydra.sweeper.params is for presets; on a command line a sweep is typed: -m seed=0,1")
    draws = draws and many
    named = [word for word in theirs if many and word.lstrip("+").startswith("hydra.sweep.subdir=")]
    for word in named:
        if "${" not in word:
            raise ConfigError(
                f"'{word}' is one folder for all jobs; their own names, or hydra.sweep.subdir='${{hydra:job.num}}'"
            )
    with searching([asked.config_dir] if asked.config_dir else []):
        _check(ours, many, draws, bool(named))
        register_groups()
        argv = [*flags, *_in_hydras_words(ours, draws), *theirs, *_names(ours)]
    register_resolvers()
    os.environ |= {COMMAND: shlex.join(["hamljax", *sys.argv[1:]]), PROCESS: str(os.getpid())}
    try:
        with contextlib.ExitStack() as stack:
            signals = None if shows else stack.enter_context(passing_on())
            try:
                _run(argv, quiet=not shows)
            except Stopped as error:
                if error.code > 128 and many:
                    raise Stopped("stopped; the same command goes on", error.code) from None
                raise
            if signals and signals.caught:
                raise Stopped("stopped; the same command goes on", 128 + signals.caught)
    finally:
        for name in (COMMAND, PROCESS):
            del os.environ[name]


def _sorted(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Hydra's flags with their values, our words, and Hydra's own."""
    flags: list[str] = []
    ours, theirs, rest = [], [], iter(words)
    for word in rest:
        if word.startswith("-"):
            flags.append(word)
            if word in WITH_A_VALUE:
                flags += [value for value in [next(rest, None)] if value is not None]
        elif is_hydras(word):
            theirs.append(word)
        else:
            ours.append(word)
    return flags, ours, theirs


def _flags(flags: list[str]) -> argparse.Namespace:
    """What Hydra's flags say.

    Raises:
        ConfigError: there is no such flag, or they do not go together.
    """
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message} (of Hydra's flags; hamljax train --hydra-help)")

    parser.error = error  # type: ignore[method-assign]  # it would print how it is used, and exit
    asked = parser.parse_args(flags)
    if asked.resolve and not asked.cfg:
        parser.error("--resolve goes with --cfg")
    if sum(map(bool, (asked.run, asked.multirun, asked.cfg, asked.info))) > 1:
        parser.error("of --run, --multirun, --cfg and --info one can be asked for")
    for name in ("config_path", "config_name", "experimental_rerun", "shell_completion"):
        if getattr(asked, name):
            parser.error(f"--{name.replace('_', '-')} is not known here; --config-dir FOLDER adds presets of your own")
    if asked.config_dir and not Path(asked.config_dir).is_dir():
        parser.error(f"--config-dir {asked.config_dir}: there is no such folder")
    return asked


def _check(ours: list[str], many: bool, draws: bool = False, named: bool = False) -> None:
    """The jobs (``to_check``) before any of them begins: a typo, and what is in the way.

    Args:
        ours: our words. many: whether they are of a sweep. draws: whether a sweeper draws from them. named: whether
            their folders are named in another way than ours.
    """
    fixed = _fixed(ours)
    if draws:
        ours = [_standing_in(override) for override in read(ours)]
    jobs = expand(ours) if many else [ours]
    if many and not named:
        names_of(jobs)
    for words in to_check(jobs):
        try:
            job = make_job(words)
        except ConfigError as error:
            hint = "; int(interval(...)) draws whole ones" if draws and "a whole number" in str(error) else ""
            raise ConfigError(f"{error}{hint}") from None
        if job.run.dry_run:
            raise ConfigError("dry_run=true only says what would be trained, without Hydra: leave its words out")
        if job.run.run_dir:
            name = by_hydra([as_typed(o) for o in in_full(read(words))], fixed) if many else ""
            holds_this_run(path_of(job.run.run_dir) / name, job.resolved, job.run.resume)


def _fixed(ours: list[str]) -> list[str]:
    """The keys that are the same in all jobs."""
    return [o.key_or_group for o in in_full(read(ours)) if not o.is_sweep_override()]


def _standing_in(override: Override) -> str:
    """A word of a sweep with the ends of its interval, which only a sweeper can draw from; with a fraction if it draws these."""
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep):
        return as_typed(override)
    start, end = sweep.start or 0, sweep.end or 0
    drawn = [start, end] if isinstance(start, int) else [start, end, start + 0.618 * (end - start)]
    return f"{override.get_key_element()}={','.join(map(repr, drawn))}"


def _in_hydras_words(ours: list[str], draws: bool = False) -> list[str]:
    """Our words so that Hydra reads them as we do: in full, each value of a sweep once.

    Args:
        ours: our words. draws: whether a sweeper draws from them, which then reads sweeps in its own way.
    """
    found = []
    for override in in_full(read(ours)):
        key = override.key_or_group
        values = [as_typed(override)] if draws and override.is_sweep_override() else values_once(override)
        if key == "plugin":  # a job may be in another folder
            values = list(dict.fromkeys(map(_resolved, values)))
        first, *rest = values
        typed = ",".join([first, *(value.partition("=")[2] for value in rest)])
        if key != "run_dir":
            found.append(f"++{typed.lstrip('+')}" if is_own(override) else typed)
    return found


def _resolved(word: str) -> str:
    """``plugin=FILE`` so that it is the same from anywhere."""
    (override,) = read([word])
    file = str(override.value() or "")
    return f"plugin={quote(str(path_of(file).resolve()))}" if file else word


def _names(ours: list[str]) -> list[str]:
    """Where a run goes, or a sweep, in Hydra's words: a preset may make one of what was typed as a run."""
    given = next((str(o.value()) for o in reversed(read(ours)) if o.key_or_group == "run_dir"), "")
    excluded = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(map(quote, _fixed(ours)))}]"
    return [excluded, *(f"hydra.{kind}.dir={quote(given)}" for kind in ("sweep", "run") if given)]


def _run(argv: list[str], quiet: bool) -> None:
    """``hydra.main`` of a command line, with its complaints on one line."""
    before, sys.argv = sys.argv, ["hamljax", *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that exceptions arrive here
    handlers, level = logging.root.handlers[:], logging.root.level
    application = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)
    said = io.StringIO()  # by Hydra, which ends the process after some complaints
    quietly = contextlib.redirect_stderr(WithoutOverrides(sys.stderr) if quiet else said)
    try:
        with quietly, warnings.catch_warnings():
            # Of a sweeper that is older than the package that it calls.
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"hydra_plugins\.|optuna\.")
            application()
        sys.stderr.write(said.getvalue())
    except (ConfigError, Stopped):
        raise
    except SystemExit as ended:
        if not ended.code or quiet:
            raise
        raise ConfigError(" ".join(said.getvalue().split())) from None
    except (HydraException, OmegaConfBaseException) as error:
        cause = f": {one_line(error.__cause__)}" if isinstance(error.__cause__, Exception) else ""
        raise ConfigError(f"{one_line(error)}{cause}{_to_install(argv)}") from None
    except ValueError as error:
        if "No trials are completed" not in str(error):
            raise
        raise Stopped("no trial came to a number that could be compared; each has said why", 1) from None
    finally:
        logging.root.handlers[:], logging.root.level = handlers, level
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]


def _to_install(argv: list[str]) -> str:
    """What is missing, if a launcher or sweeper is."""
    for word in argv:
        group, _, name = word.lstrip("+").partition("=")
        name = "optuna" if name == "tune" else name
        for package, command in MISSING.items():
            plugin = f"hydra_plugins.hydra_{package}_{group.removeprefix('hydra/')}"
            if group in ("hydra/launcher", "hydra/sweeper") and name.startswith(package) and not _is_installed(plugin):
                return f"; to have it: {command}"
    return ""


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def task(composed: DictConfig) -> float:
    """One job, in whatever process a launcher begins it. Returns how well it went, larger is better."""
    global stopped
    if stopped:
        raise Stopped("not begun, because a signal came", 128 + stopped)
    job = _job(composed)
    from ..configuration import machine
    from ..runs.run import train as train_one

    prepare = machine.prepare if _is_here() else machine.prepare_worker
    prepare(job.run.num_seeds, devices_of([path_of(job.run.run_dir)]), job.run.devices_per_seed)
    try:
        if not _is_here():  # others may print beside it
            ours = Prefixed(sys.stdout, f"[{Path(job.run.run_dir).name}] ")
            with contextlib.closing(ours), contextlib.redirect_stdout(ours):
                return objective(train_one(job).path, job.run.objective)
        return objective(train_one(job).path, job.run.objective)
    except (ConfigError, Stopped) as error:
        code = getattr(error, "code", 2)
        if REQUEUE and code == 128 + REQUEUE:
            print(error, flush=True)
            signal.raise_signal(REQUEUE)  # it is saved: now to who submitted the job, and does not come back
        stopped = max(code - 128, 0)
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise
        print(f"hamljax: {job.run.run_dir}: {error}", file=sys.stderr, flush=True)
        raise Stopped("a job failed; the same command tries it again", code if stopped else 1) from None


def _job(composed: DictConfig) -> Job:
    """The job of what Hydra composed, in the folder that Hydra chose."""
    from ..configuration.plugins import load_plugin

    values: Any = OmegaConf.to_container(composed, resolve=True)
    if values["plugin"]:
        load_plugin(values["plugin"])
    return job_of(values | {"run_dir": from_here(Path(HydraConfig.get().runtime.output_dir))})


def _is_here() -> bool:
    """Whether a job runs in the process in which its command was typed."""
    return os.environ.get(PROCESS) == str(os.getpid())


def objective(run: Path, name: str = "") -> float:
    """How well a run went, larger is better: a mean over seeds, of the best teams over fresh episodes.

    Without such episodes it is the last evaluation's.

    Args:
        run: its directory. name: of the number; empty: the win rate, or the return where nobody wins.

    Raises:
        ConfigError: there is no such number, or it is not finite, and a sweeper goes by it.
    """
    summary = read_json(run / "summary.json")
    numbers = summary.get("absolute") or summary.get("final") or {}
    names = [name] if name else ["eval/won", "eval/return"]
    means = [(numbers.get(name) or {}).get("mean") for name in names]
    found = next((float(mean) for mean in means if mean is not None), math.nan)
    if not math.isfinite(found) and (sweeper := HydraConfig.get().runtime.choices["hydra/sweeper"]) != "basic":
        known = nearest(name, numbers) if name else ""
        raise ConfigError(f"there is no finite {names[-1]}{known}, and hydra/sweeper={sweeper} goes by it")
    return found
