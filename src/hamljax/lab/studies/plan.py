"""The runs of a study: what each stage trains, as words of the command line and as presets."""

import functools
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConfigError
from ..configuration.groups import GROUPS
from ..configuration.jobs import Job, make_job, parse
from ..configuration.overrides import as_typed
from ..storage.files import write_text
from ..storage.paths import writing
from ..storage.saved_config import write_yaml
from .study import Budget, Range, Study, Words

STAGES = ("tune", "tuned", "preset")
FIRST_SEED = {"tune": 100_000, "tuned": 0, "preset": 0}  # those of the search are its own
Draw = dict[str, float]  # a value for each setting that is searched; empty: the preset


class Cell(NamedTuple):
    """One run of a study.

    draws: numbers of the draws that it tries; each has as many seeds, in this order. first: how many seeds of its stage come
    before it, which are runs of their own.
    """

    stage: str
    task: str
    arm: str
    words: Words
    draws: tuple[int, ...] = ()
    first: int = 0

    @property
    def name(self) -> str:
        """Of its preset and its folder: no two cells of a study have one."""
        few = "-".join(map(str, self.draws)) or (f"from-{self.first}" if self.first else "")
        return f"{self.stage}/{self.task}/{self.arm}" + (f"/{few}" if few else "")

    @property
    def command(self) -> str:
        """What trains it anywhere."""
        return shlex.join(["hamljax", "train", *self.words])


def draws_of(study: Study, budget: Budget) -> list[Draw]:
    """The settings that are tried, the same for every arm and task; the first are the preset's."""
    generator, found = np.random.default_rng(0), [Draw()]
    for number in range(1, budget.draws if study.tuning else 1):
        draw = {}
        for key, where in study.tuning.items():
            share = generator.uniform()
            if where.choices:  # in turn, so that each is tried as often
                number, index = divmod(number, len(where.choices))
                draw[key] = where.choices[index]
            elif where.log:
                draw[key] = _short(where.low * (where.high / where.low) ** share)
            else:
                draw[key] = _short(where.low + (where.high - where.low) * share)
        found.append(draw)
    return found


def _short(value: float) -> float:
    """With three digits, which a person can read and no search can tell from the others."""
    return float(f"{value:.3g}")


def written(value: float) -> str:
    """A number with all of its digits, a whole one without a fraction."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def searched(study: Study, budget: Budget, arm: str) -> dict[str, Range]:
    """The ranges that an arm is tuned in: those of the study, but for settings that the arm itself names, or the budget."""
    named = {word.partition("=")[0] for word in (*study.arms[arm], *budget.settings)}
    return {key: where for key, where in study.tuning.items() if key not in named}


def base(study: Study, budget: Budget, task: str, arm: str) -> Words:
    """What all runs of an arm on a task say."""
    return (*study.tasks[task], *study.settings, *study.arms[arm], *budget.settings)


def tuning(study: Study, budget: Budget, task: str, arm: str) -> list[Cell]:
    """The runs in which an arm is tuned on a task: one for each combination of choices, its floats drawn seed by seed."""
    draws, ranges, words = draws_of(study, budget), searched(study, budget, arm), base(study, budget, task, arm)
    if len(draws) < 2 or not ranges:
        return []
    preset = presets_values(study, ranges, words)
    drawn = [preset, *({key: draw[key] for key in ranges} for draw in draws[1:])]
    fixed = [key for key, where in ranges.items() if where.choices]
    alike: dict[tuple[float, ...], list[int]] = {}
    for number, draw in enumerate(drawn):
        if draw not in drawn[:number]:  # of an arm that names most settings
            alike.setdefault(tuple(draw[key] for key in fixed), []).append(number)
    cells = []
    for chosen, numbers in alike.items():
        lists = {
            key: ",".join(written(drawn[n][key]) for n in numbers for _ in range(budget.tuning_seeds))
            for key in ranges
            if key not in fixed
        }
        own = [f"{key}={written(value)}" for key, value in zip(fixed, chosen, strict=True)]
        own += [f"per_seed.{key}=[{values}]" for key, values in lists.items()]
        own += [f"seed={FIRST_SEED['tune']}", f"num_seeds={len(numbers) * budget.tuning_seeds}"]
        own += [f"total_timesteps={budget.tuning_timesteps}", "absolute_metric=false", "on_nan=skip"]
        cells.append(Cell("tune", task, arm, (*words, *own), tuple(numbers)))
    return cells


def presets_values(study: Study, ranges: Mapping[str, Range], words: Words) -> Draw:
    """What a preset has for the settings that are searched. Raises ConfigError where one is no number there."""
    resolved, found = _job(words).resolved, Draw()
    for key in ranges:
        value: Any = resolved
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"study '{study.name}': tuning.{key} is '{value}' in {' '.join(words)}, and no number")
        found[key] = float(value)
    return found


def measuring(study: Study, budget: Budget, stage: str, task: str, arm: str, draw: Draw, seeds: int = 0) -> list[Cell]:
    """The runs in which an arm is measured on a task, on fresh seeds.

    Args:
        stage: ``tuned`` or ``preset``. draw: what tuning chose; empty: the preset. seeds: more than the budget's, which are
            runs of their own after it; 0: those.
    """
    ranges, cells = searched(study, budget, arm), []
    own = [f"{key}={written(value)}" for key, value in draw.items() if key in ranges] + ["on_nan=skip"]
    for first in range(0, seeds or budget.seeds, budget.seeds):
        count = min(budget.seeds, (seeds or budget.seeds) - first)
        some = [f"seed={FIRST_SEED[stage] + first}", f"num_seeds={count}", f"total_timesteps={budget.total_timesteps}"]
        cells.append(Cell(stage, task, arm, (*base(study, budget, task, arm), *own, *some), first=first))
    return cells


def job_of_cell(cell: Cell) -> Job:
    """What it trains, checked."""
    return _job(cell.words)


@functools.lru_cache(4096)  # a study asks again and again, and to compose one takes a quarter of a second
def _job(words: Words) -> Job:
    return make_job(list(words))


def pairs(study: Study, budget: Budget) -> Iterator[tuple[str, str]]:
    """(task, arm) in the order in which they are made: those of the primary comparison first."""
    first = [arm for arm in budget.arms if arm in (study.primary.x, study.primary.y)]
    for arms in (first, [arm for arm in budget.arms if arm not in first]):
        yield from ((task, arm) for task in budget.tasks for arm in arms)


def write_preset(cell: Cell, folder: Path, title: str) -> str:
    """Write a cell as a preset that ``hamljax train --config-dir FOLDER experiment=...`` takes.

    Args:
        folder: of presets. title: of the study.

    Returns:
        The value of ``experiment``.
    """
    name = cell.name.replace("/", "-")
    settings, groups = dict[str, object](), dict[str, str]()
    for override in parse(list(cell.words)):
        key, value = override.key_or_group.lstrip("+"), override.value()
        if key in GROUPS:
            groups[key] = as_typed(override).partition("=")[2].strip("'\"")
            continue
        inside, *path = (
            settings,
            *(["per_seed", key.partition(".")[2]] if key.startswith("per_seed.") else key.split(".")),
        )
        for part in path[:-1]:
            inside = inside.setdefault(part, {})  # type: ignore[assignment]  # a dictionary
        inside[path[-1]] = value
    defaults = [groups.pop("experiment")] if "experiment" in groups else []
    data = {
        "defaults": [*defaults, *({f"override /{key}": value} for key, value in groups.items()), "_self_"],
        **settings,
    }
    file = folder / "experiment" / f"{name}.yaml"
    with writing(folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(
            file, f"# @package _global_\n# {title} - {cell.stage}: {cell.arm} on {cell.task}.\n{write_yaml(data)}"
        )
    return name
