"""From words to a configuration: Hydra composes the groups, dataclasses check the types, and a typo never passes."""

import dataclasses
import itertools
import math
import typing
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ...algorithms import FAMILIES
from ...algorithms.config import Config, validate
from ...algorithms.table import check_row, family_of, resolve
from ...bridge import configure
from ...coercion import typed
from ...envs import ENVIRONMENTS, schema
from ...errors import ConfigError, lookup, nearest, one_line
from ...nn.networks import Network
from ..storage.paths import path_of
from . import overrides as grammar
from .groups import GROUPS, choices, conf_dir, plain, register_groups, search_path, values_once
from .overrides import LARGEST_SWEEP, values_of
from .per_seed import configs_by_seed, dotted
from .plugins import load_plugin
from .run_settings import (
    LOGGER_SETTINGS,
    ONCE,
    RUN_CHOICES,
    LoggerSettings,
    RunSettings,
    validate_logger,
    validate_run,
)


@dataclasses.dataclass(frozen=True)
class Job:
    """What one ``hamljax train`` does: the configuration, and everything around it."""

    config: Config
    run: RunSettings
    logger: dict[str, Any]
    resolved: dict[str, Any]  # plain data, as written to config.yaml

    @property
    def configs(self) -> list[Config]:
        """Of every seed, where they differ; else empty."""
        return configs_by_seed(self.config, self.run.num_seeds, self.run.per_seed)


def parse(words: list[str], env: str = "") -> list[Override]:
    """Hydra's reading of ``key=value`` words; what settings of a run, of its logger and of ``env`` want as texts are texts.

    Args:
        words: as typed.
        env: the name of an environment; empty, or another: its settings are not known.

    Raises:
        ConfigError: one cannot be read; with Hydra's complaint on one line.
    """
    return grammar.parse(words, _texts(env))


def _texts(env: str) -> set[str]:
    """The dotted keys of settings that are texts of the user's own."""
    groups: dict[str, type] = {"": RunSettings, "logger.": LoggerSettings}
    if env in ENVIRONMENTS:
        groups |= {"env.": schema(env)}
    texts = {prefix + name for prefix, kind in groups.items() for name, k in kinds_of(kind).items() if k is str}
    short = {key.removeprefix("env.") for key in texts if key.startswith("env.")} - set(GROUPS) - {"name"}
    return (texts | short) - set(RUN_CHOICES) - {"env.name", "logger.kind", "logger.mode"}


def read(words: list[str]) -> list[Override]:
    """``parse`` of a whole command line, after the plugins that it names."""
    for override in parse([w for w in words if w.startswith("plugin=")]):
        for one in parse(values_of(override, ())):
            if one.value():
                load_plugin(str(one.value()))
    env = next((w.removeprefix("env=") for w in reversed(words) if w.startswith("env=")), "")
    return parse(words, env)


def expand(words: list[str]) -> list[list[str]]:
    """A sweep's jobs, each as words: the product of all comma-separated values, each once.

    Raises:
        ConfigError: a word cannot be read, or there are too many jobs.
    """
    axes = []
    for override in read(words):
        key = override.key_or_group
        if key == "run_dir" and override.is_sweep_override():
            raise ConfigError(
                f"'{override.input_line}': a sweep has one folder; a name with a comma stands in quotes: \"run_dir='...'\""
            )
        axes.append(values_once(override))
    if (count := math.prod(map(len, axes))) > LARGEST_SWEEP:
        raise ConfigError(f"these are {count:,} combinations; at most {LARGEST_SWEEP:,} can be trained")
    return [list(job) for job in itertools.product(*axes)]


def settings_of(algo_name: str, env_name: str) -> set[str]:
    """Every dotted key that may be overridden when these are chosen."""
    own = {f.name for f in dataclasses.fields(Config)} - {"algo", "network", "env"}
    keys = own | set(kinds_of(RunSettings)) | set(LOGGER_SETTINGS)
    for prefix, kind in (("algo", family_of(algo_name).settings), ("network", Network), ("env", schema(env_name))):
        keys |= {f"{prefix}.{f.name}" for f in dataclasses.fields(kind)}
    return keys


def _check_groups(overrides: list[Override]) -> None:
    """Name a mistaken group choice, and the nearest valid one, before Hydra sees it."""
    for override in overrides:
        key = override.key_or_group
        if override.is_sweep_override():
            raise ConfigError(
                f"'{override.input_line}' has several values; add -m to train them all"
                + (
                    f", or put them in quotes to make them one: \"{key}='...'\""
                    if "," in grammar.as_typed(override)
                    else ""
                )
            )
        if override.is_delete():
            raise ConfigError(f"'{override.input_line}': nothing can be deleted; set a value instead")
        if key in GROUPS:
            lookup(
                {"algo": "algorithm", "env": "environment"}.get(key, key),
                str(override.value()),
                dict.fromkeys(choices(key)),
            )


def in_full(overrides: list[Override]) -> list[Override]:
    """Overrides with ``map=3m`` spelt ``env.map=3m``: what only the environment has may be said without its group."""
    chosen = next((o for o in reversed(overrides) if o.key_or_group == "env"), None)
    if chosen is None:
        return overrides
    envs = [word.partition("=")[2].strip("'") for word in values_once(chosen)]  # of a sweep several
    elsewhere = {key.split(".")[0] for key in settings_of("happo", envs[0]) if not key.startswith("env.")} | set(GROUPS)
    short = {f.name for env in envs for f in dataclasses.fields(schema(env))} - elsewhere
    return parse([("env." if o.key_or_group in short else "") + grammar.as_typed(o) for o in overrides], envs[0])


def is_own(override: Override) -> bool:
    """Whether it is about a parameter of a user's own function, or all of them: ``+algo.drift_params.weight=2``.

    Nobody can know their names beforehand, so they are no part of what Hydra composes. Nor is ``per_seed``.
    """
    if override.key_or_group.split(".")[0] == "per_seed":
        return True
    fields = [f for family in FAMILIES.values() for f in dataclasses.fields(family.settings)]
    own = {f"algo.{f.name}" for f in fields if typing.get_origin(f.type) is dict}
    return ".".join(override.key_or_group.split(".")[:2]) in own


def _check_keys(overrides: list[Override], chosen: DictConfig) -> None:
    """Name a mistaken key, and the nearest valid one, before Hydra sees it."""
    known = settings_of(chosen.algo.name, chosen.env.name)
    for override in overrides:
        key = override.key_or_group
        if key in LOGGER_SETTINGS[1:] and chosen.logger.kind != "wandb":
            raise ConfigError(f"'{key}' is a setting of logger=wandb, and this is logger={chosen.logger.kind}")
        if key not in GROUPS and not is_own(override) and key not in known:
            raise ConfigError(f"unknown setting '{key}'{nearest(key, known)}")


def _check_preset(overrides: list[Override], algo: dict[str, Any]) -> None:
    """A preset for the other kind of algorithm sets what the chosen one does not have."""
    family = family_of(str(algo.get("name")))
    known = {name for other in FAMILIES.values() for name in kinds_of(other.settings)}  # else it is a typo
    foreign = sorted(set(algo) & known - set(kinds_of(family.settings)))
    preset = next((o.value() for o in overrides if o.key_or_group == "experiment" and o.value()), None)
    if foreign and preset:
        raise ConfigError(
            f"experiment={preset} is not for {algo['name']}, which is {family.name} and has no algo.{foreign[0]}; "
            f"leave one of the two out"
        )


def _typed(prefix: str, values: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """``values`` as ``kinds`` wants them, or a ConfigError that names the key."""
    for name in values:
        if name not in kinds:
            raise ConfigError(f"unknown setting '{prefix}{name}'{nearest(name, kinds)}")
    return {name: typed(f"{prefix}{name}", value, kinds[name]) for name, value in values.items()}


def kinds_of(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass, by field."""
    return {f.name: f.type for f in dataclasses.fields(kind)}


def _compose(overrides: list[Override]) -> DictConfig:
    """Hydra's composition of conf/ under ``overrides``, or a ConfigError with its complaint on one line."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", [*map(grammar.as_typed, overrides), *search_path()])
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # it has all three for wrong words
        raise ConfigError(one_line(error)) from None


def make_job(words: list[str]) -> Job:
    """What a command line trains.

    Args:
        words: ``key=value``, as typed.

    Raises:
        ConfigError: a word cannot be read, names what there is not, or holds what does not go together.
    """
    overrides = read(words)
    _check_groups(overrides)
    overrides = in_full(overrides)
    register_groups()
    try:
        composed = _compose([o for o in overrides if not is_own(o)])
    except ConfigError:  # Hydra knows no nearest setting
        _check_keys(overrides, _compose([o for o in overrides if o.key_or_group in GROUPS]))
        raise
    _check_keys(overrides, composed)
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise ConfigError(one_line(error)) from None
    _check_preset(overrides, values["algo"])
    for override in filter(is_own, overrides):
        part, said = override.key_or_group, override.value()
        inside, group = (values["algo"], part.split(".")[1]) if part.startswith("algo.") else (values, "per_seed")
        name = part.partition(f"{group}.")[2]
        inside[group] = {**inside.get(group, {}), name: said} if name else said
    try:
        return job_of(values)
    except ConfigError as error:
        raise ConfigError(f"{error}{_of_preset(overrides, str(error))}") from None


def _of_preset(overrides: list[Override], complaint: str) -> str:
    """Where a setting that nobody typed comes from, if a complaint is about one."""
    preset = next((str(o.value()) for o in overrides if o.key_or_group == "experiment" and o.value()), "")
    named = complaint.partition("unknown setting '")[2].partition("'")[0]
    typed_here = {o.key_or_group for o in overrides}
    return f"; it stands in experiment={preset}" if preset and named and named not in typed_here else ""


def job_of(values: dict[str, Any]) -> Job:
    """The job of a configuration.

    Args:
        values: plain data, as composed or as read back from a run's ``config.yaml``.

    Raises:
        ConfigError: a setting is unknown, holds what it may not, or does not go with another.
    """
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    values.pop("experiment", None)
    logger = LoggerSettings(**_typed("logger.", values.pop("logger"), kinds_of(LoggerSettings)))
    algo_values = values.pop("algo")
    kind = family_of(str(algo_values.get("name"))).settings
    algo = kind(**_typed("algo.", algo_values, kinds_of(kind)))
    network = Network(**_typed("network.", values.pop("network"), kinds_of(Network)))
    env_values = values.pop("env")
    name = env_values.pop("name")
    env = configure(name, **env_values)
    run_kinds = kinds_of(RunSettings)
    kinds = {k: t for k, t in kinds_of(Config).items() if k not in ("algo", "network", "env")} | run_kinds
    values["per_seed"] = dotted(values.get("per_seed") or {})
    flat = _typed("", values, kinds)
    run = RunSettings(**{key: flat.pop(key) for key in run_kinds if key in flat})
    config = Config(algo, network, env, **flat)
    validate(config)
    check_row(algo)
    validate_run(run)
    configs_by_seed(config, run.num_seeds, run.per_seed)
    validate_logger(logger)
    row = {key: value for key, value in dataclasses.asdict(resolve(algo)).items() if hasattr(algo, key)}
    resolved = {
        "algo": plain(dataclasses.asdict(algo) | row),
        "network": dataclasses.asdict(network) | {"hidden_sizes": list(network.hidden_sizes)},
        "env": plain(dataclasses.asdict(env)),
        "logger": plain(dataclasses.asdict(logger)),
        **flat,
        **plain({key: value for key, value in dataclasses.asdict(run).items() if key not in ONCE}),
        "plugin": str(path_of(run.plugin).resolve()) if run.plugin else "",
    }
    return Job(config, run, resolved["logger"], resolved)
