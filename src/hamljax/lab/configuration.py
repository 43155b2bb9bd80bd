"""From words to a configuration: Hydra composes the groups, dataclasses check the types, and a typo never passes."""

import dataclasses
import functools
import importlib.util
import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..algorithms import ALGORITHMS, is_off_policy, resolve
from ..bridge import configure, make
from ..envs import ENVIRONMENTS, Environment, schema
from ..errors import ConfigError, in_line, lookup, nearest, one_line, one_of
from ..kinds import typed
from ..learning.config import Algo, Config, Network, OffPolicyAlgo, algo_kind, validate
from ..learning.on_policy.probe import check_kernel
from . import overrides as grammar
from .overrides import LARGEST_SWEEP, quote, values_of
from .rundir import path_of

# Parameters of a user's own functions, whose names nobody can know beforehand: ``algo.drift_params.weight``.
OWN = tuple(f"algo.{f.name}" for f in dataclasses.fields(Algo) if f.name.endswith("_params"))
GROUPS = ("algo", "network", "env", "logger", "experiment")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What is around a run and training never sees; conf/config.yaml says what each means."""

    seed: int = 0
    num_seeds: int = 1
    log_every: int = 0
    checkpoint_every: int = 0
    checkpoint_replay: bool = True
    absolute_metric: bool = True
    on_nan: str = "stop"
    nan_patience: int = 10
    plugin: str = ""
    run_dir: str = ""
    resume: str = "auto"
    dry_run: bool = False


@dataclasses.dataclass(frozen=True)
class LoggerSettings:
    """Where metrics go besides the run's directory; all but ``kind`` is for ``logger=wandb`` and means what it does there.

    Empty: as the service, or its own environment variables, have it.
    """

    kind: str = "files"
    project: str = "hamljax"
    mode: str = "offline"
    entity: str = ""
    group: str = ""
    tags: tuple[str, ...] = ()
    name: str = ""


LOGGER_SETTINGS = tuple(f"logger.{f.name}" for f in dataclasses.fields(LoggerSettings))
LOGGER_MODES = ("offline", "online", "disabled")
NOT_IN_A_PROJECT = "/\\#?%:"  # the service takes none of these in its name
RUN_CHOICES = {"on_nan": ("stop", "skip", "raise"), "resume": ("auto", "never", "must")}
ONCE = ("resume", "dry_run")  # said of one start, not of a run


@dataclasses.dataclass(frozen=True)
class Job:
    """What one ``hamljax train`` does: the configuration, and everything around it."""

    config: Config
    run: RunSettings
    logger: dict[str, Any]
    resolved: dict[str, Any]  # plain data, as written to config.yaml


def conf_dir() -> Path:
    """The YAML files: beside the package in a wheel, two levels up in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parents[1] / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise FileNotFoundError("hamljax's conf/ folder is missing: the installation is damaged")


def load_plugin(path: str) -> None:
    """Import a user's Python file, so that what it registers is known; it may import what lies beside it."""
    file = path_of(path)
    if not file.is_file():
        raise ConfigError(f"plugin '{path}' does not exist")
    spec = importlib.util.spec_from_file_location(f"hamljax_plugin_{file.stem}", file)
    if spec is None:
        raise ConfigError(f"plugin '{path}' is not a Python file")
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"plugin '{path}' is not Python: {error.msg} in line {error.lineno}") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"plugin '{path}' failed{in_line(error, str(file))}") from error


def choices(group: str) -> list[str]:
    """Valid values of a group; a file whose name begins with ``_`` is a part of others."""
    files = [p for p in (conf_dir() / group).rglob("*.yaml") if not p.name.startswith("_")]
    names = {p.relative_to(conf_dir() / group).with_suffix("").as_posix() for p in files}
    return sorted(names | {"algo": set(ALGORITHMS), "env": set(ENVIRONMENTS)}.get(group, set()))


def _register_groups() -> None:
    """The defaults of the dataclasses, below every YAML file; rows and environments without a file are groups too."""
    rows = tuple((name, is_off_policy(name)) for name in ALGORITHMS)
    _store_groups(ConfigStore.instance(), rows, tuple((name, schema(name)) for name in ENVIRONMENTS))


@functools.lru_cache(1)  # a hundred environments take longer than all else that is done for a job
def _store_groups(store: ConfigStore, rows: tuple[tuple[str, bool], ...], environments: tuple[tuple[str, type], ...]):
    network = dataclasses.asdict(Network()) | {"hidden_sizes": list(Network().hidden_sizes)}
    store.store(name="dataclass_defaults", node={"network": network}, package="_global_")
    for name, kind in (("_on_policy_defaults", Algo), ("_off_policy_defaults", OffPolicyAlgo)):
        store.store(group="algo", name=name, node=dataclasses.asdict(kind()))
    for name, off_policy in rows:
        if not (conf_dir() / "algo" / f"{name}.yaml").is_file():
            base = "_off_policy" if off_policy else "_on_policy_defaults"
            store.store(group="algo", name=name, node={"defaults": [base, "_self_"], "name": name})
    for name, settings in environments:
        folder, _, leaf = f"env/{name}".rpartition("/")
        fields = {f.name: f.default for f in dataclasses.fields(settings)}
        store.store(group=folder, name=leaf, node=fields, package="env")


def parse(words: list[str], env: str = "") -> list:
    """Hydra's reading of ``key=value`` words; what settings of a run, of its logger and of ``env`` want as texts are texts.

    Raises ConfigError, with Hydra's complaint on one line.
    """
    return grammar.parse(words, _texts(env))


def _texts(env: str) -> set[str]:
    """The dotted keys of settings that are texts of the user's own."""
    groups = {"": RunSettings, "logger.": LoggerSettings}
    if env in ENVIRONMENTS:
        groups |= {"env.": schema(env)}
    texts = {prefix + name for prefix, kind in groups.items() for name, k in _kinds(kind).items() if k is str}
    short = {key.removeprefix("env.") for key in texts if key.startswith("env.")} - set(GROUPS) - {"name"}
    return (texts | short) - set(RUN_CHOICES) - {"env.name", "logger.kind", "logger.mode"}


def read(words: list[str]) -> list:
    """``parse`` of a whole command line, after the plugins that it names."""
    for override in parse([w for w in words if w.startswith("plugin=")]):
        for one in parse(values_of(override, ())):
            if one.value():
                load_plugin(str(one.value()))
    env = next((w.removeprefix("env=") for w in reversed(words) if w.startswith("env=")), "")
    return parse(words, env)


def expand(words: list[str]) -> list[list[str]]:
    """A sweep's jobs: the product of all comma-separated values, each once. Raises ConfigError."""
    axes = []
    for override in read(words):
        key = override.key_or_group
        if key == "run_dir" and override.is_sweep_override():
            raise ConfigError(
                f"'{override.input_line}': a sweep has one folder; a name with a comma stands in quotes: \"run_dir='...'\""
            )
        axes.append(list(dict.fromkeys(values_of(override, choices(key) if key in GROUPS else ()))))
    if (count := math.prod(map(len, axes))) > LARGEST_SWEEP:
        raise ConfigError(f"these are {count:,} combinations; at most {LARGEST_SWEEP:,} can be trained")
    return [list(job) for job in itertools.product(*axes)]


def _settings(algo_name: str, env_name: str) -> set[str]:
    """Every dotted key that may be overridden when these are chosen."""
    own = {f.name for f in dataclasses.fields(Config)} - {"algo", "network", "env"}
    keys = own | set(_kinds(RunSettings)) | set(LOGGER_SETTINGS)
    for prefix, kind in (("algo", algo_kind(algo_name)), ("network", Network), ("env", schema(env_name))):
        keys |= {f"{prefix}.{f.name}" for f in dataclasses.fields(kind)}
    return keys


def _check_groups(overrides) -> None:
    """Name a mistaken group choice, and the nearest valid one, before Hydra sees it."""
    for override in overrides:
        key = override.key_or_group
        if override.is_sweep_override():
            raise ConfigError(
                f"'{override.input_line}' has several values; add -m to train them all"
                + (f", or put them in quotes to make them one: \"{key}='...'\"" if "," in override.input_line else "")
            )
        if override.is_delete():
            raise ConfigError(f"'{override.input_line}': nothing can be deleted; set a value instead")
        if key in GROUPS:
            lookup(
                {"algo": "algorithm", "env": "environment"}.get(key, key),
                str(override.value()),
                dict.fromkeys(choices(key)),
            )


def _in_full(overrides) -> list:
    """Overrides with ``map=3m`` spelt ``env.map=3m``: what only the environment has may be said without its group."""
    env = next((str(o.value()) for o in reversed(overrides) if o.key_or_group == "env"), None)
    if env is None:
        return overrides
    elsewhere = {key.split(".")[0] for key in _settings("happo", env)} | set(GROUPS)
    short = {f.name for f in dataclasses.fields(schema(env))} - elsewhere
    return parse([("env." if o.key_or_group in short else "") + o.input_line for o in overrides], env)


def _is_own(override) -> bool:
    """Whether it is about a parameter of a user's own function, or all of them: ``+algo.drift_params.weight=2``."""
    return ".".join(override.key_or_group.split(".")[:2]) in OWN


def _check_keys(overrides, chosen) -> None:
    """Name a mistaken key, and the nearest valid one, before Hydra sees it."""
    known = _settings(chosen.algo.name, chosen.env.name)
    for override in overrides:
        key = override.key_or_group
        if key in LOGGER_SETTINGS[1:] and chosen.logger.kind != "wandb":
            raise ConfigError(f"'{key}' is a setting of logger=wandb, and this is logger={chosen.logger.kind}")
        if key not in GROUPS and not _is_own(override) and key not in known:
            raise ConfigError(f"unknown setting '{key}'{nearest(key, known)}")


def _check_preset(overrides, algo: dict) -> None:
    """A preset for the other kind of algorithm sets what the chosen one does not have."""
    foreign = sorted(set(algo) - set(_kinds(algo_kind(str(algo.get("name"))))))
    preset = next((o.value() for o in overrides if o.key_or_group == "experiment" and o.value()), None)
    if foreign and preset:
        kind = "off-policy" if is_off_policy(algo["name"]) else "on-policy"
        raise ConfigError(
            f"experiment={preset} is not for {algo['name']}, which is {kind} and has no algo.{foreign[0]}; "
            f"leave one of the two out"
        )


def _typed(prefix: str, values: dict, kinds: dict[str, Any]) -> dict:
    """``values`` as ``kinds`` wants them, or a ConfigError that names the key."""
    for name in values:
        if name not in kinds:
            raise ConfigError(f"unknown setting '{prefix}{name}'{nearest(name, kinds)}")
    return {name: typed(f"{prefix}{name}", value, kinds[name]) for name, value in values.items()}


def _kinds(kind) -> dict[str, Any]:
    return {f.name: f.type for f in dataclasses.fields(kind)}


def _compose(overrides):
    """Hydra's composition of conf/ under ``overrides``, or a ConfigError with its complaint on one line."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", [o.input_line for o in overrides])
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # it has all three for wrong words
        raise ConfigError(one_line(error)) from None


def make_job(words: list[str]) -> Job:
    """Overrides, as typed -> a checked job. Raises ConfigError."""
    overrides = read(words)
    _check_groups(overrides)
    overrides = _in_full(overrides)
    _register_groups()
    try:
        composed = _compose([o for o in overrides if not _is_own(o)])
    except ConfigError:  # Hydra knows no nearest setting
        _check_keys(overrides, _compose([o for o in overrides if o.key_or_group in GROUPS]))
        raise
    _check_keys(overrides, composed)
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise ConfigError(one_line(error)) from None
    _check_preset(overrides, values["algo"])
    for override in filter(_is_own, overrides):
        _, group, *name = override.key_or_group.split(".", 2)
        before, said = values["algo"].get(group, {}), override.value()
        values["algo"][group] = {**before, name[0]: said} if name else said
    return job_of(values)


def job_of(values: dict) -> Job:
    """Plain data, as composed or as read back from a run's config.yaml -> a checked job. Raises ConfigError."""
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    values.pop("experiment", None)
    logger = LoggerSettings(**_typed("logger.", values.pop("logger"), _kinds(LoggerSettings)))
    algo_values = values.pop("algo")
    kind = algo_kind(str(algo_values.get("name")))
    algo = kind(**_typed("algo.", algo_values, _kinds(kind)))
    network = Network(**_typed("network.", values.pop("network"), _kinds(Network)))
    env_values = values.pop("env")
    name = env_values.pop("name")
    env = configure(name, **env_values)
    run_kinds = _kinds(RunSettings)
    kinds = {k: t for k, t in _kinds(Config).items() if k not in ("algo", "network", "env")} | run_kinds
    flat = _typed("", values, kinds)
    run = RunSettings(**{key: flat.pop(key) for key in run_kinds if key in flat})
    config = Config(algo, network, env, **flat)
    validate(config)
    check_kernel(algo)
    _validate_run(run)
    _validate_logger(logger)
    row = {key: value for key, value in dataclasses.asdict(resolve(algo)).items() if hasattr(algo, key)}
    resolved = {
        "algo": _plain(dataclasses.asdict(algo) | row),
        "network": dataclasses.asdict(network) | {"hidden_sizes": list(network.hidden_sizes)},
        "env": _plain(dataclasses.asdict(env)),
        "logger": _plain(dataclasses.asdict(logger)),
        **flat,
        **{key: value for key, value in dataclasses.asdict(run).items() if key not in ONCE},
        "plugin": str(path_of(run.plugin).resolve()) if run.plugin else "",
    }
    return Job(config, run, resolved["logger"], resolved)


def _plain(value):
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


def _validate_run(run: RunSettings) -> None:
    for name, known in RUN_CHOICES.items():
        if getattr(run, name) not in known:
            raise ConfigError(f"unknown {name} '{getattr(run, name)}'{nearest(getattr(run, name), known)}")
    for name, least in {"seed": 0, "num_seeds": 1, "log_every": 0, "checkpoint_every": 0, "nan_patience": 1}.items():
        if getattr(run, name) < least:
            raise ConfigError(f"{name} must be at least {least}, not {getattr(run, name)}")
    if run.seed + run.num_seeds > 2**31:
        raise ConfigError(f"seed={run.seed} is too large; the largest seed is {2**31 - 1}")


def _validate_logger(logger: LoggerSettings) -> None:
    one_of("logger", logger.kind, choices("logger"))
    one_of("logger.mode", logger.mode, LOGGER_MODES)
    if wrong := set(logger.project) & set(NOT_IN_A_PROJECT):
        raise ConfigError(f"logger.project={logger.project} must be without {' '.join(sorted(wrong))}")
    for name, longest in (("project", 128), ("name", 128), ("group", 128), ("entity", 128)):
        if len(getattr(logger, name)) > longest:
            raise ConfigError(f"logger.{name} must be at most {longest} characters, not {len(getattr(logger, name))}")
    for tag in logger.tags:
        if not 1 <= len(tag) <= 64:
            raise ConfigError(f"logger.tags must be of 1 to 64 characters each, and '{tag[:40]}' has {len(tag)}")


def whole_rollouts(config: Config) -> str:
    """What is trained where ``total_timesteps`` is no whole number of rollouts, in words; empty where it is one."""
    rollout = config.num_envs * config.num_steps
    trained, wanted = config.num_updates * rollout, int(config.total_timesteps)
    if trained == wanted:
        return ""
    return (
        f"total_timesteps={wanted:,} is not a whole number of rollouts of num_envs * num_steps = {config.num_envs} * "
        f"{config.num_steps} = {rollout:,} steps: {trained:,} steps are trained; the next number is {trained + rollout:,}"
    )


def make_env(env: Any, name: str | None, words: Sequence[str]) -> tuple[Any, Environment]:
    """Settings and environment: ``env`` (settings), or another by ``name``, with overrides ``env.key=value`` on top.

    Raises ConfigError.
    """
    name = name or env.name
    kinds = _kinds(schema(name))
    values = dataclasses.asdict(env) if name == env.name else {}
    for override in parse(list(words), name):
        key = override.key_or_group.removeprefix("env.")
        if key not in kinds or key == "name":
            raise ConfigError(f"unknown setting 'env.{key}'{nearest('env.' + key, {f'env.{k}' for k in kinds})}")
        if override.is_sweep_override():
            raise ConfigError(f"'{override.input_line}' has several values, and one is wanted")
        values[key] = override.value()
    values.pop("name", None)
    settings = configure(name, **values)
    return settings, make(settings)


def config(
    algo: str = "happo", env: str = "smax/3m", network: str = "mlp", experiment: str = "", **overrides
) -> Config:
    """The configuration that the command line would train, for ``make_train``.

    ``overrides`` are settings of any group by name (``total_timesteps=1e6, clip_eps=0.1, drift="square",
    drift_params={"weight": 2.0}``). An environment with settings of its own: ``env=hamljax.configure("my/meet", length=7)``.
    Raises ConfigError.
    """
    if not isinstance(env, str) and not dataclasses.is_dataclass(env):
        raise ConfigError(f"env must be a name or what hamljax.configure(name, ...) returns, not {env!r}")
    groups = {
        "algo": algo,
        "env": env if isinstance(env, str) else env.name,
        "network": network,
        "experiment": experiment,
    }
    words = [f"{key}={quote(typed(key, value, str))}" for key, value in groups.items() if value]
    base = make_job(words).config
    if not isinstance(env, str):
        base = dataclasses.replace(base, env=env)
    made = base.replace(**overrides)
    validate(made)
    resolve(made.algo)
    return made
