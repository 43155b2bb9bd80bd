"""Floats that differ from seed to seed (``per_seed.algo.actor_lr=[1e-4,3e-4]``): a search over them is one compiled program."""

from collections.abc import Mapping
from typing import Any

import jax

from ...algorithms.config import Config, validate
from ...algorithms.on_policy.registry import SHIPPED
from ...algorithms.table import check_row, family_of
from ...errors import ConfigError, nearest, one_line

PerSeed = Mapping[str, tuple[float, ...]]  # dotted name of a setting -> its value for each seed


def dotted(values: Any, prefix: str = "") -> dict[str, Any]:
    """``{"algo": {"actor_lr": x}}`` as ``{"algo.actor_lr": x}``, which may be how it was written.

    Raises:
        ConfigError: it is neither.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"per_seed must be lists by the names of settings (per_seed.algo.actor_lr=[1e-4,3e-4]), not '{values}'"
        )
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def floats_are_arguments(config: Config) -> bool:
    """Whether all floats that training uses are leaves of its learner.

    A family, a critic or a policy of a user's own may hold floats elsewhere, which a compiled program would keep.

    Args:
        config: of a run.
    """
    named = all(getattr(config.algo, what, None) in (None, *SHIPPED[what]) for what in SHIPPED)
    return named and family_of(config.algo.name).learner.__module__.startswith("hamljax.")


def configs_by_seed(config: Config, num_seeds: int, per_seed: PerSeed) -> list[Config]:
    """The configuration of every seed, which differ in floats alone; empty where none differs.

    Args:
        config: of the run. num_seeds: of the run. per_seed: as of ``RunSettings``.

    Raises:
        ConfigError: there is no such float, not one value for each seed, or a value that will not do.
    """
    if not per_seed:
        return []
    if not floats_are_arguments(config):
        raise ConfigError(
            "per_seed goes with shipped families, critics and policies; others take a job for each value: -m"
        )
    known = [name for name, _ in _leaves(config) if not name.startswith("env.")]
    for name, values in per_seed.items():
        if name not in known:
            raise ConfigError(
                f"per_seed has floats of algo, network and the run, and no '{name}'{nearest(name, known)}"
            )
        if len(values) != num_seeds:
            raise ConfigError(
                f"per_seed.{name} has {len(values)} value(s), and num_seeds={num_seeds} takes one for each"
            )
    return [_with(config, {name: values[seed] for name, values in per_seed.items()}) for seed in range(num_seeds)]


def _leaves(config: Config) -> list[tuple[str, float]]:
    """The floats of a configuration by dotted name."""
    leaves = jax.tree.leaves_with_path(config)
    return [(jax.tree_util.keystr(place, simple=True, separator="."), x) for place, x in leaves if isinstance(x, float)]


def _with(config: Config, values: dict[str, float]) -> Config:
    """A checked configuration with other floats."""
    leaves, structure = jax.tree.flatten(config)
    names = [jax.tree_util.keystr(place, simple=True, separator=".") for place, _ in jax.tree.leaves_with_path(config)]
    other = jax.tree.unflatten(structure, [values.get(name, x) for name, x in zip(names, leaves, strict=True)])
    try:
        validate(other)
        check_row(other.algo)
    except ConfigError as error:
        raise ConfigError(f"per_seed: {one_line(error)}") from None
    return other
