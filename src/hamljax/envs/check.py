"""Whether an environment keeps the protocol, found without running it."""

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ConfigError
from .protocol import Environment, Observation, Step, Team

# Numbers of an episode that are reported beside an environment's own.
OURS = ("return", "length", "lost", "episode_return", "episode_length", "episodes", "no_legal_action")


def checked(env: Environment, name: str = "this environment") -> Environment:
    """``env``, after ``check_environment`` where it is not one of ours, which are held by tests.

    Args:
        env: the environment.
        name: how a message calls it.

    Raises:
        ConfigError: as ``check_environment``.
    """
    if not type(env).__module__.startswith("hamljax."):
        check_environment(env, name)
    return env


def check_environment(env: Environment, name: str = "this environment") -> None:
    """Check that an environment is as the protocol and its own ``team`` say.

    Nothing is simulated: ``reset`` and ``step`` are only traced. What they raise themselves passes through. Flags (``alive``,
    ``avail_actions``, ``terminated``, ``truncated``) and rewards may be numbers of any kind: ``Environment.reset_many`` and
    ``step_many`` convert them.

    Args:
        env: an object that may be an environment.
        name: how a message calls it.

    Raises:
        ConfigError: it is not, with the first thing that is wrong.
    """
    if not isinstance(env, Environment):
        raise ConfigError(f"{name} is a {type(env).__name__}, not a hamljax.Environment: subclass that")
    for attribute in ("team", "max_episode_length"):
        if not hasattr(env, attribute):
            raise ConfigError(f"{name} has no '{attribute}'; set it in __init__")
    check_team(env.team, name)
    check_length(env.max_episode_length, name)
    team, key = env.team, jax.random.key(0)
    action = jnp.zeros(team.num_agents, jnp.int32) if team.discrete else jnp.zeros((team.num_agents, team.action_size))
    state, observation = _traced(f"{name}: reset", env.reset, "state, Observation", Observation, key=key)
    after, step = _traced(f"{name}: step", env.step, "state, Step", Step, key=key, state=state, action=action)
    if not isinstance(step.observation, Observation):
        raise ConfigError(
            f"{name}: observation of the step is a {type(step.observation).__name__}, not a hamljax.Observation"
        )
    _check_observation(f"{name}: {{}} of reset's observation", observation, team)
    _check_observation(f"{name}: {{}} of step's observation", step.observation, team)
    for field in ("obs", "world_state"):
        old, new = (getattr(seen, field).dtype for seen in (observation, step.observation))
        if old != new:
            raise ConfigError(f"{name}: {field} is {old} after reset and {new} after a step; give both the same dtype")
    for field in ("reward", "terminated", "truncated"):
        _check_array(f"{name}: {field} of the step", getattr(step, field), ())
    check_metrics(step.metrics, name)
    for metric, value in step.metrics.items():
        _check_array(f"{name}: metric '{metric}'", value, ())
    built: tuple[Any, Any] = jax.tree.structure(state), jax.tree.structure(after)
    if built[0] != built[1]:
        raise ConfigError(f"{name}: step returns a state built otherwise than reset's")
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ConfigError(
                f"{name}: step turns a part of the state from {old.dtype}{list(old.shape)} into {new.dtype}{list(new.shape)}"
            )


def check_team(team: Team, name: str = "this environment") -> None:
    """Check that ``team`` describes a team that can be trained. Its bounds are its own to check.

    Args:
        team: of an environment.
        name: how a message calls the environment.

    Raises:
        ConfigError: it describes none.
    """
    if not isinstance(team, Team):
        raise ConfigError(f"{name}: team is a {type(team).__name__}, not a hamljax.Team")
    if not isinstance(team.discrete, bool | np.bool_):
        raise ConfigError(
            f"{name}: team.discrete is {team.discrete!r}; it is True or False for the whole team, because mixed teams, "
            f"with discrete and continuous agents, are not supported"
        )
    for field in ("obs_sizes", "action_sizes"):
        sizes = getattr(team, field)
        if not isinstance(sizes, tuple | list) or not sizes:
            raise ConfigError(f"{name}: team.{field} is {sizes!r}; it wants one whole number per agent, such as (5, 5)")
        for size in sizes:
            if field == "action_sizes" and isinstance(size, tuple | list | np.ndarray):
                raise ConfigError(
                    f"{name}: team.action_sizes has {size!r} for one agent; actions of several parts (MultiDiscrete) are "
                    f"not supported: number all their combinations"
                )
            _check_size(f"{name}: team.{field} has", size)
    _check_size(f"{name}: team.world_state_size is", team.world_state_size)
    if len(team.obs_sizes) != len(team.action_sizes):
        raise ConfigError(
            f"{name}: team.obs_sizes names {len(team.obs_sizes)} agents, team.action_sizes {len(team.action_sizes)}"
        )


def check_length(length: int, name: str = "this environment") -> None:
    """Raise ConfigError unless ``length`` is a number of steps."""
    _check_size(f"{name}: max_episode_length is", length)


def check_metrics(metrics: Any, name: str = "this environment") -> None:
    """Raise ConfigError where the names of ``metrics`` are no names, or already taken."""
    if not isinstance(metrics, dict):
        raise ConfigError(
            f"{name}: metrics of the step is a {type(metrics).__name__}, not a dictionary of named numbers"
        )
    for metric in metrics:
        if not isinstance(metric, str) or metric in OURS:
            raise ConfigError(
                f"{name}: a metric cannot be called {metric!r}; every episode has {', '.join(OURS)} of ours"
            )


def _check_size(what: str, size: Any) -> None:
    if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
        raise ConfigError(f"{what} {size!r}; it must be a whole number of at least 1")


def _traced(what: str, function: Callable, wanted: str, kind: type, **arguments: Any) -> Any:
    """The shapes of the two things that ``function`` of ``arguments`` returns, the second a ``kind``."""
    takes = ", ".join(arguments)
    try:
        inspect.signature(function).bind(*arguments.values())
    except TypeError:
        raise ConfigError(f"{what} must take ({takes})") from None

    def run(*arguments: Any) -> Any:
        found = function(*arguments)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], kind)):
            raise ConfigError(f"{what} must return {wanted} (of hamljax), not {_described(found)}")
        for part in jax.tree.leaves(found):
            if not isinstance(part, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
                raise ConfigError(f"{what} returns a {type(part).__name__}, which is no array: JAX cannot carry it")
        return found

    return jax.eval_shape(run, *arguments.values())


def _described(found: Any) -> str:
    if type(found) is tuple:
        return "(" + ", ".join(type(part).__name__ for part in found) + ")"
    return type(found).__name__


def _check_observation(what: str, seen: Observation, team: Team) -> None:
    agents = team.num_agents
    shapes: dict[str, tuple[int, ...]] = {"obs": (agents, team.obs_size), "world_state": (team.world_state_size,)}
    shapes |= {"avail_actions": (agents, team.action_size), "alive": (agents,)}
    for field, shape in shapes.items():
        _check_array(what.format(field), getattr(seen, field), shape)


def _check_array(what: str, found: Any, shape: tuple[int, ...]) -> None:
    if not hasattr(found, "shape"):
        raise ConfigError(
            f"{what} is {'missing' if found is None else f'a {type(found).__name__}'}; it must be an array"
        )
    if found.shape != shape:
        raise ConfigError(f"{what} has shape {found.shape}; its team says {shape}")
    if not (jnp.issubdtype(found.dtype, jnp.number) or found.dtype == bool) or found.dtype.kind == "c":
        raise ConfigError(f"{what} has dtype {found.dtype}; it must be real numbers")
