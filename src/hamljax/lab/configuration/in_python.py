"""Configurations and environments by name, for Python, in the words of the command line."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ...algorithms.config import Config, validate
from ...algorithms.table import check_row
from ...bridge import configure, make
from ...coercion import typed
from ...envs import Environment, schema
from ...errors import ConfigError, nearest
from .jobs import kinds_of, make_job, parse
from .overrides import quote


def make_env(env: Any, name: str | None, words: Sequence[str]) -> tuple[Any, Environment]:
    """The settings of an environment, and the environment.

    Args:
        env: settings to begin with.
        name: of another environment, with its default settings; None: that of ``env``.
        words: overrides ``env.key=value`` on top.

    Raises:
        ConfigError: there is no such environment or setting, or a value will not do.
    """
    name = name or env.name
    kinds = kinds_of(schema(name))
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
    algo: str = "happo", env: Any = "smax/3m", network: str = "mlp", experiment: str = "", **overrides: Any
) -> Config:
    """The configuration that the command line would train, for ``make_train``.

    Args:
        algo: a row, such as ``happo``.
        env: the name of an environment, or its settings: ``hamljax.configure("my/meet", length=7)``.
        network: ``mlp`` or ``gru``.
        experiment: a preset; empty: none.
        overrides: settings of any group by name, such as ``total_timesteps=1e6, clip_eps=0.1, drift="square",
            drift_params={"weight": 2.0}``.

    Raises:
        ConfigError: there is no such name or setting, or a value will not do.
    """
    named, settings = isinstance(env, str), dataclasses.is_dataclass(env)
    if not named and not settings:
        raise ConfigError(f"env must be a name or what hamljax.configure(name, ...) returns, not {env!r}")
    groups = {
        "algo": algo,
        "env": env if named else env.name,
        "network": network,
        "experiment": experiment,
    }
    words = [f"{key}={quote(typed(key, value, str))}" for key, value in groups.items() if value]
    base = make_job(words).config
    if not named:
        base = dataclasses.replace(base, env=env)
    made = base.replace(**overrides)
    validate(made)
    check_row(made.algo)
    return made
