"""``hamljax evaluate``: how well a trained team plays, with intervals."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Num
from scipy import stats

from ...envs.protocol import Environment, Team
from ...errors import ConfigError
from ...training.evaluate import make_evaluate
from ...training.exact import episode_values, reader
from ...training.seeds import over_seeds, seed_by_seed
from ..configuration.arguments import boolean, checkpoint, file, read_arguments, whole
from ..configuration.in_python import make_env
from ..runs.failures import failures_of
from ..runs.trained import Trained, load
from ..statistics.intervals import half_width
from ..storage.files import number, write_json
from ..storage.paths import output_file, writing

BATCH = 256  # episodes played side by side
FIRST_ROUND = 1000  # training and the absolute metric use rounds below, so these are fresh episodes


class Request(NamedTuple):
    """What to measure. ``env`` and ``settings`` None and empty: the environment of the run. ``out`` None: in the run."""

    run: Path
    num_episodes: int = 1000
    checkpoint: str = "last"
    greedy: bool = True
    env: str | None = None
    settings: tuple[str, ...] = ()  # env.KEY=VALUE, as typed
    out: Path | None = None
    plugin: str = ""


READERS: dict[str, Callable[[str, str], Any]] = {
    "num_episodes": whole(1),
    "checkpoint": checkpoint,
    "plugin": file,
    "greedy": boolean,
    "env": lambda key, text: text,
    "out": functools.partial(output_file, suffixes=(".json",)),
}


def read(arguments: list[str]) -> Request:
    """``RUN key=value...`` -> what to measure. Raises ConfigError for anything else."""
    settings = tuple(word for word in arguments if word.startswith("env."))
    run, values = read_arguments("evaluate", [word for word in arguments if word not in settings], READERS)
    return Request(run, **values, settings=settings)


def check_team(trained: Team, there: Team, name: str) -> None:
    """Check that a trained team can play in another environment.

    Args:
        trained: as it was trained.
        there: as the environment has it.
        name: the environment's.

    Raises:
        ConfigError: its agents, observations or actions are others.
    """
    for what in ("num_agents", "obs_sizes", "action_sizes", "discrete"):
        mine, theirs = getattr(trained, what), getattr(there, what)
        if mine != theirs:
            raise ConfigError(f"this team cannot play {name}: {what} {_short(mine)} here, {_short(theirs)} there")


def _short(value: Any) -> str:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return f"{len(value)} x {value[0]}"
    return str(value)


def play_episodes(
    team: Trained, env: Environment, num_episodes: int, greedy: bool = True
) -> dict[str, Num[np.ndarray, "seeds num_episodes"]]:
    """Fresh episodes of every seed's team, none of which was played in training.

    Args:
        team: of a run, as ``load`` returns it.
        env: where to play: ``team.env``, or one with the same agents, observations and actions.
        num_episodes: of every seed.
        greedy: whether the best actions are taken instead of samples.

    Returns:
        ``return``, ``length`` and the environment's own metrics of every episode, by name.

    Raises:
        ConfigError: the team cannot play there.
    """
    check_team(team.env.team, env.team, "this environment")
    size, count = min(BATCH, num_episodes), len(team.seeds)
    one_team = functools.partial(make_evaluate(team.team_policy.for_team(env.team), env, size), greedy=greedy)
    spread = seed_by_seed if env.in_processes else over_seeds
    all_teams = jax.jit(spread(one_team, count, shared=1))
    with failures_of(env):
        rounds = [all_teams(team.actors, np.int32(FIRST_ROUND + n)) for n in range(-(-num_episodes // size))]
    return {name: np.concatenate([r[name] for r in rounds], axis=1)[:, :num_episodes] for name in rounds[0]}


def interval(values: Num[np.ndarray, " n"]) -> tuple[float, float, float]:
    """Mean and 95 % interval of independent values: Wilson's for 0 and 1 in single precision, else Student's t."""
    values = np.asarray(values)
    n = len(values)
    if n == 0:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if values.dtype.kind in "bf" and values.dtype != np.float64 and set(np.unique(values)) <= {0, 1}:
        found = stats.binomtest(int(values.sum()), n).proportion_ci(0.95, method="wilson")
        return mean, float(found.low), float(found.high)
    half = float(half_width(values))
    return mean, mean - half, mean + half


def summarise(
    episodes: dict[str, Num[np.ndarray, "seeds num_episodes"]], seeds: Iterable[int]
) -> dict[str, dict[str, dict[str, float]]]:
    """Per seed an interval over episodes; over all seeds, which are the independent runs, one over their means.

    Args:
        episodes: as ``play_episodes`` returns them. Lost ones count in ``lost`` alone.
        seeds: in order.

    Returns:
        ``mean``, ``low`` and ``high``, by metric and by seed (or ``all seeds``).
    """
    found, whole = {}, 1 - episodes.get("lost", np.zeros_like(episodes["return"])) > 0
    for name, played in episodes.items():
        values = [x if name == "lost" else x[w] for x, w in zip(played, whole, strict=True)]
        if name in ("return", "length"):  # which may be 0 or 1 by chance, and are no shares
            values = [x.astype(np.float64) for x in values]
        rows = {str(seed): interval(x) for seed, x in zip(seeds, values, strict=True)}
        if len(values) > 1:
            rows["all seeds"] = interval(np.array([x.mean(dtype=np.float64) for x in values if len(x)]))
        found[name] = {who: dict(zip(("mean", "low", "high"), row, strict=True)) for who, row in rows.items()}
    return found


def exact_values(team: Trained, env: Environment, greedy: bool = True) -> dict[str, dict[str, float]]:
    """Where the tables of a game are known: what ``play_episodes`` estimates, by name and by seed (or ``all seeds``).

    Args:
        team, env, greedy: as of ``play_episodes``.
    """
    read, _ = reader(team.team_policy.for_team(env.team), env, most_work=math.inf)
    if read is None:
        return {}
    try:
        values = episode_values(env, float(team.config.gamma), jax.jit(jax.vmap(read))(team.actors), greedy)
    except ConfigError:  # too large, or no game: the estimate stands alone
        return {}
    more = {name: {"all seeds": float(x.mean())} if len(x) > 1 else {} for name, x in values.items()}
    return {
        name: {str(seed): float(one) for seed, one in zip(team.seeds, x, strict=True)} | more[name]
        for name, x in values.items()
    }


def evaluate(request: Request) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Play, and write JSON.

    Returns:
        A table: its columns, its rows, and a line that says what was played.

    Raises:
        ConfigError: the run, the environment or the file will not do.
    """
    python = [word for word in request.settings if word.startswith("env.python=")]  # which changes nothing else
    team = load(request.run, request.checkpoint, request.plugin, *(word.partition("=")[2] for word in python[-1:]))
    settings, env = make_env(team.config.env, request.env, request.settings)
    name = settings.name
    check_team(team.env.team, env.team, name)
    found = summarise(play_episodes(team, env, request.num_episodes, request.greedy), team.seeds)
    exact = exact_values(team, env, request.greedy)
    own = name == team.config.env.name and len(request.settings) == len(python)
    default = "evaluation.json" if own else f"evaluation_{name.replace('/', '-')}.json"
    out = request.out or request.run / default
    how = "greedy" if request.greedy else "sampled"
    played = {
        "run": str(request.run),
        "env": name,
        "settings": dataclasses.asdict(settings),
        "checkpoint": request.checkpoint,
        "update": np.asarray(team.actors.num_updates).tolist(),
        "actions": how,
        "episodes_per_seed": request.num_episodes,
    }
    with writing(out.parent):
        write_json(out, played | {"metrics": found} | ({"exact": exact} if exact else {}))
    which = (
        f"last checkpoint (update {team.update})"
        if request.checkpoint == "last"
        else f"checkpoint {request.checkpoint}"
    )
    line = f"{name}, {how}, {which}: {request.num_episodes} episodes per seed, 95 % intervals -> {out}"
    columns, rows = _table(found, exact)
    return columns, rows, line


def _table(
    found: dict[str, dict[str, dict[str, float]]], exact: dict[str, dict[str, float]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: intervals, and after that of the return what it is exactly, where that is known."""
    columns: dict[str, dict[str, str]] = {}
    for name, rows in found.items():
        columns[name] = {who: "{} [{}, {}]".format(*map(number, row.values())) for who, row in rows.items()}
        for known, values in exact.items() if name == "return" else ():
            columns[f"exact {known.replace('_', ' ')}"] = {who: number(value) for who, value in values.items()}
    return ("seed", *columns), [(who, *(of[who] for of in columns.values())) for who in found["return"]]
