"""What a study is: a YAML file (conf/study/) that says its question, its arms and tasks, and the comparison that decides."""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...coercion import typed
from ...errors import ConfigError, nearest, one_line, one_of
from ..configuration.groups import conf_dir
from ..storage.files import read_text
from ..storage.paths import path_of
from ..storage.saved_config import read_yaml

Words = tuple[str, ...]
BUDGETS = ("smoke", "cpu", "gpu", "paper")
# What may decide: the bootstrap of these tells ten equal runs apart in one of twenty comparisons (of a mean: one of twelve).
STATISTICS = ("iqm", "improvement")


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a setting is drawn from: an interval of floats, or some choices.

    Floats are drawn within one program; every choice, such as a number of epochs, has one of its own.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Primary:
    """The comparison that a study is made for: ``x`` against ``y``, two arms, by one number over all tasks.

    statistic: ``iqm`` of the metric, X minus Y; or ``improvement``, the probability that a run of X ends above one of Y, for
    tasks whose returns have no common scale.
    """

    question: str
    x: str
    y: str
    statistic: str = "iqm"


@dataclasses.dataclass(frozen=True)
class Budget:
    """How large a study is made. ``tasks`` and ``arms``: names; empty: all.

    seeds: of every arm on every task, fresh ones. draws: settings tried for every arm on every task, of which the first is the
    preset; 1: no tuning. presets: whether the untuned preset is measured on the fresh seeds too.
    """

    seeds: int = 10
    total_timesteps: int = 1_000_000
    draws: int = 8
    tuning_seeds: int = 2
    tuning_timesteps: int = 200_000
    presets: bool = True
    tasks: Words = ()
    arms: Words = ()
    settings: Words = ()


# What a budget is unless a study says something else.
DEFAULTS = {
    "smoke": Budget(2, 32_768, 2, 1, 16_384, False, settings=("num_evals=3", "num_eval_episodes=16")),
    "cpu": Budget(),
    "gpu": Budget(10, 5_000_000, 16, 3, 1_000_000),
    "paper": Budget(10, 10_000_000, 32, 5, 2_000_000),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A study as its file has it.

    metric: what is compared, of ``summary.json``. settings: words of every run. arms, tasks: words by name. tuning: ranges by
    dotted setting. scope: what its answers are about, and what not.
    """

    name: str
    title: str
    question: str
    primary: Primary
    arms: dict[str, Words]
    tasks: dict[str, Words]
    metric: str = "eval/return"
    settings: Words = ()
    tuning: dict[str, Range] = dataclasses.field(default_factory=dict)
    budgets: dict[str, Budget] = dataclasses.field(default_factory=dict)
    scope: str = ""

    def budget(self, name: str) -> Budget:
        """One of ``BUDGETS``, with all of its tasks and arms named. Raises ConfigError for another name."""
        found = self.budgets[one_of("budget", name, BUDGETS)]
        return dataclasses.replace(found, tasks=found.tasks or tuple(self.tasks), arms=found.arms or tuple(self.arms))


def known() -> list[str]:
    """The names of the studies that there are."""
    return sorted(p.stem for p in (conf_dir() / "study").glob("*.yaml"))


def read_study(name: str) -> Study:
    """A study by its name, or by the name of a file of one's own (``my_study.yaml``).

    Raises:
        ConfigError: there is none, or its file does not say what a study needs.
    """
    if name.endswith((".yaml", ".yml")):
        file = path_of(name)
        if not file.is_file():
            raise ConfigError(f"'{name}' is not a file; a study is one of: {', '.join(known())}")
    else:
        file = conf_dir() / "study" / f"{one_of('study', name, known())}.yaml"
    values = read_file(file)
    try:
        return study_of(file.stem, values)
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error}") from None


def read_file(file: Path) -> Any:
    """What a file about a study holds. Raises ConfigError where it is damaged."""
    try:
        return read_yaml(read_text(file))
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"cannot read '{file}': {one_line(error)}") from None


def study_of(name: str, values: Any) -> Study:
    """The study of what a file holds. Raises ConfigError for what is missing, unknown or does not go together."""
    values = _fields("", Study, values, {"name": name})
    values["primary"] = Primary(**_fields("primary.", Primary, values["primary"]))
    values["arms"], values["tasks"] = (_words(kind, values[kind]) for kind in ("arms", "tasks"))
    values["tuning"] = {key: _range(key, said) for key, said in _mapping("tuning", values.get("tuning", {})).items()}
    said = _mapping("budgets", values.get("budgets", {}))
    for key in said:
        one_of("budget", key, BUDGETS)
    values["budgets"] = {
        key: dataclasses.replace(budget, **_fields(f"budgets.{key}.", Budget, said.get(key, {}), some=True))
        for key, budget in DEFAULTS.items()
    }
    study = Study(**values)
    _check(study)
    return study


def _check(study: Study) -> None:
    for arm in (study.primary.x, study.primary.y):
        one_of("primary arm", arm, study.arms)
    if study.primary.x == study.primary.y:
        raise ConfigError(f"primary.x and primary.y are both '{study.primary.x}'")
    one_of("primary.statistic", study.primary.statistic, STATISTICS)
    called = [f"{task}-{arm}" for task in study.tasks for arm in study.arms]
    if twice := next((name for name in called if called.count(name) > 1), ""):
        raise ConfigError(f"two runs would be called '{twice}'; call a task or an arm something else")
    for key, budget in study.budgets.items():
        for kind, names, there in (("arms", budget.arms, study.arms), ("tasks", budget.tasks, study.tasks)):
            for name in names:
                one_of(f"name in budgets.{key}.{kind}", name, there)
        if budget.arms and not {study.primary.x, study.primary.y} <= set(budget.arms):
            raise ConfigError(f"budgets.{key}.arms lacks an arm of the primary comparison")
        for name in ("seeds", "total_timesteps", "draws", "tuning_seeds", "tuning_timesteps"):
            if getattr(budget, name) < 1:
                raise ConfigError(f"budgets.{key}.{name} must be at least 1")


def _mapping(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name or 'a study'} must be names with values, not '{str(values)[:40]}'")
    return {str(key): value for key, value in values.items()}


def _fields(
    prefix: str, kind: type, values: Any, more: dict[str, Any] | None = None, some: bool = False
) -> dict[str, Any]:
    """``values`` as the fields of a dataclass want them; ``some``: none of them is needed."""
    said = _mapping(prefix.rstrip("."), values) | (more or {})
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in said:
        if key not in fields:
            raise ConfigError(f"unknown '{prefix}{key}'{nearest(key, fields)}")
    for key, field in fields.items():
        plain = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if plain and key not in said and not some:
            raise ConfigError(f"'{prefix}{key}' is missing")
    kinds = typing.get_type_hints(kind)
    nested = {key for key in said if isinstance(said[key], Mapping) or key in ("primary", "arms", "tasks")}
    return {key: x if key in nested else typed(prefix + key, x, kinds[key]) for key, x in said.items()}


def _words(kind: str, values: Any) -> dict[str, Words]:
    found = {key: typed(f"{kind}.{key}", words, Words) for key, words in _mapping(kind, values).items()}
    if not found:
        raise ConfigError(f"there are no {kind}")
    for key in found:
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", key):
            raise ConfigError(f"the name '{key}' of {kind} must be of letters, digits and _ . + -")
    return found


def _range(key: str, said: Any) -> Range:
    if isinstance(said, list) and said:
        return Range(choices=typed(f"tuning.{key}", said, tuple[float, ...]))
    found = Range(**_fields(f"tuning.{key}.", Range, said))
    inside = math.isfinite(found.high - found.low) and found.low < found.high
    if not found.choices and not inside or found.log and found.low <= 0:
        raise ConfigError(f"tuning.{key} is no interval: low={found.low:g} high={found.high:g}")
    return found


def file_of(folder: Path) -> Path:
    """Where a study's folder keeps its question, as it was when it began."""
    return folder / "study.yaml"
