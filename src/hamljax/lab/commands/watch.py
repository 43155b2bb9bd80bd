"""``hamljax watch``: an episode of a trained team as a picture that moves."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ...envs.mamujoco.environment import MultiAgentMujoco
from ...envs.protocol import Environment
from ...envs.smax import Smax
from ...errors import ConfigError
from ...training.episode import Episode, make_record
from ..configuration.arguments import boolean, checkpoint, file, read_arguments, whole
from ..runs import trained
from ..storage.files import replaced
from ..storage.paths import output_file

SUFFIXES = (".gif", ".html")
MAX_FRAMES = 120


class Request(NamedTuple):
    """What to watch. ``seed`` None: the run's first. ``out`` None: ``episode.gif`` in the run. See ``watch``."""

    run: Path
    seed: int | None = None
    episode: int = 0
    greedy: bool = True
    checkpoint: str = "last"
    out: Path | None = None
    plugin: str = ""
    max_frames: int = MAX_FRAMES


READERS: dict[str, Callable[[str, str], Any]] = {
    "seed": whole(0),
    "episode": whole(0),
    "greedy": boolean,
    "checkpoint": checkpoint,
    "plugin": file,
    "out": functools.partial(output_file, suffixes=SUFFIXES),
    "max_frames": whole(1),
}


def read(arguments: list[str]) -> Request:
    """``RUN key=value...`` -> what to watch. Raises ConfigError for anything else."""
    run, values = read_arguments("watch", arguments, READERS)
    return Request(run, **values)


def _painter(env: Environment, suffix: str) -> tuple[Callable[[Any], Any], Callable[..., str]]:
    """(what to keep of a state, ``paint(env, name, episode, out, max_frames) -> what is shown``) of an environment."""
    if isinstance(env, MultiAgentMujoco):
        from ..drawing import robots

        return robots.keep, robots.write_page if suffix == ".html" else robots.draw
    if isinstance(env, Smax):
        if suffix == ".html":
            raise ConfigError("battles of smax/... are drawn as .gif only; .html is for mamujoco/...")
        from ..drawing import battles

        return battles.keep, battles.draw
    raise ConfigError("only teams of mamujoco/... and smax/... can be watched")


def make_player(team: trained.Trained, greedy: bool, keep: Callable[[Any], Any]) -> Callable[[int, int], Episode]:
    """``play(seed, number)``: that episode of that seed's team, up to its end.

    Args:
        team: of a run.
        greedy: whether it takes the best actions instead of samples.
        keep: what to write down of each state of the environment.
    """
    record = jax.jit(functools.partial(make_record(team.team_policy, team.env, keep), greedy=greedy))
    return lambda seed, number: record(team.of_seed(seed), np.uint32(number)).cut()


def watch(request: Request) -> str:
    """Play one episode, write its picture and return a line that says what was played and where it was written.

    A GIF shows at most ``max_frames`` pictures, and so the beginning of a long episode; an HTML page shows all of it.

    Raises:
        ConfigError: before anything is written, where the run, the seed, the environment or the file will not do.
    """
    team = trained.load(request.run, request.checkpoint, request.plugin)
    name = team.config.env.name
    out = request.out or request.run / "episode.gif"
    keep, paint = _painter(team.env, out.suffix)
    seed = team.seeds[0] if request.seed is None else request.seed
    episode = make_player(team, request.greedy, keep)(seed, request.episode)
    try:
        with replaced(out) as unfinished:
            shown = paint(team.env, name, episode, unfinished, request.max_frames)
    except OSError as error:
        raise ConfigError(f"cannot write '{out}': {error.strerror or error}") from None
    won = {True: ", won", False: ", not won"}[bool(episode.metrics["won"][-1])] if "won" in episode.metrics else ""
    steps, total = len(episode.reward), float(np.sum(episode.reward))
    how = "greedy" if request.greedy else "sampled"
    played = f"{name}, seed {seed}, episode {request.episode} ({how}): {steps} steps, return {total:.2f}{won}"
    return f"{played}; {shown} -> {out}"
