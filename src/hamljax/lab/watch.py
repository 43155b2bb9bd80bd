"""``hamljax watch``: an episode of a trained team as a picture that moves."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ..envs.mamujoco.environment import MultiAgentMujoco
from ..envs.smax import Smax
from ..errors import ConfigError, nearest
from ..learning.episode import Episode, make_record
from . import trained
from .rundir import existing, output_file

SUFFIXES = (".gif", ".html")
MAX_FRAMES = 120


class Request(NamedTuple):
    """What to watch. ``seed`` None: the run's first. ``out`` None: ``episode.gif`` in the run. See ``watch``."""

    run: Path
    seed: int | None = None
    episode: int = 0
    greedy: bool = True
    out: Path | None = None
    max_frames: int = MAX_FRAMES


def _whole(key: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{key} must be a whole number, at least {least}, not '{text}'")
    return int(text)


def _boolean(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ConfigError(f"{key} must be true or false, not '{text}'")
    return text.lower() == "true"


READERS = {
    "seed": functools.partial(_whole, least=0),
    "episode": functools.partial(_whole, least=0),
    "greedy": _boolean,
    "out": functools.partial(output_file, suffixes=SUFFIXES),
    "max_frames": functools.partial(_whole, least=1),
}


def read(arguments: list[str]) -> Request:
    """``RUN key=value...`` -> what to watch. Raises ConfigError for anything else."""
    runs, values = [], {}
    for word in arguments:
        key, equals, text = word.partition("=")
        if not key.isidentifier() or not equals or Path(word).exists():  # a path may hold a "="
            runs.append(word)
        elif key not in READERS:
            raise ConfigError(f"watch knows no '{key}'{nearest(key, READERS)}")
        else:
            values[key] = READERS[key](key, text)
    if len(runs) != 1:
        raise ConfigError(f"watch takes one run directory, not {len(runs)}; such as: hamljax watch runs/demo")
    return Request(existing(runs[0]), **values)


def _painter(env, suffix: str):
    """(what to keep of a state, ``paint(env, name, episode, out, max_frames) -> what is shown``) of an environment."""
    if isinstance(env, MultiAgentMujoco):
        from . import robots

        return robots.keep, robots.write_page if suffix == ".html" else robots.draw
    if isinstance(env, Smax):
        if suffix == ".html":
            raise ConfigError("battles of smax/... are drawn as .gif only; .html is for mamujoco/...")
        from . import battles

        return battles.keep, battles.draw
    raise ConfigError("only teams of mamujoco/... and smax/... can be watched")


def make_player(team: trained.Trained, greedy: bool, keep) -> Callable[[int, int], Episode]:
    """``play(seed, number)``: that episode of that seed's team, up to its end; ``keep`` as in ``make_record``."""
    record = jax.jit(functools.partial(make_record(team.job.config, team.learner.env, keep), greedy=greedy))
    return lambda seed, number: record(team.of_seed(seed), np.uint32(number)).cut()


def watch(request: Request) -> str:
    """Play one episode, write its picture and return a line that says what was played and where it was written.

    A GIF shows at most ``max_frames`` pictures, and so the beginning of a long episode; an HTML page shows all of it.
    Raises ConfigError, before anything is written, where the run, the seed, the environment or the file will not do.
    """
    team = trained.load(request.run)
    name = team.job.config.env.name
    out = request.out or request.run / "episode.gif"
    keep, paint = _painter(team.learner.env, out.suffix)
    seed = team.job.seed if request.seed is None else request.seed
    episode = make_player(team, request.greedy, keep)(seed, request.episode)
    unfinished = out.with_name(f".unfinished{out.suffix}")  # the writer tells the format from the suffix
    try:
        shown = paint(team.learner.env, name, episode, unfinished, request.max_frames)
        os.replace(unfinished, out)
    except OSError as error:
        raise ConfigError(f"cannot write '{out}': {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    won = {True: ", won", False: ", not won"}[bool(episode.metrics["won"][-1])] if "won" in episode.metrics else ""
    steps, total = len(episode.reward), float(np.sum(episode.reward))
    how = "greedy" if request.greedy else "sampled"
    played = f"{name}, seed {seed}, episode {request.episode} ({how}): {steps} steps, return {total:.2f}{won}"
    return f"{played}; {shown} -> {out}"
