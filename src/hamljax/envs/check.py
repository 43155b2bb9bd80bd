"""Whether an environment keeps the protocol, found without running it."""

import jax
import jax.numpy as jnp

from ..errors import ConfigError
from .protocol import Environment


def check_environment(env: Environment, name: str = "this environment") -> None:
    """Raise ConfigError where shapes are not those that ``env.team`` announces, or the state changes its form.

    Nothing is simulated: ``reset`` and ``step`` are only traced. What they raise themselves passes through.
    """
    for attribute in ("team", "max_episode_length"):
        if not hasattr(env, attribute):
            raise ConfigError(f"{name} has no '{attribute}'; set it in __init__")
    team = env.team
    if len(team.obs_sizes) != len(team.action_sizes):
        raise ConfigError(
            f"{name}: team.obs_sizes names {len(team.obs_sizes)} agents, team.action_sizes {len(team.action_sizes)}"
        )
    agents, actions = team.num_agents, team.action_size
    key = jax.random.key(0)
    action = jnp.zeros(agents, jnp.int32) if team.discrete else jnp.zeros((agents, actions))
    state, observation = jax.eval_shape(env.reset, key)
    after, step = jax.eval_shape(env.step, key, state, action)
    seen = {"obs": (agents, team.obs_size), "world_state": (team.world_state_size,)}
    seen |= {"avail_actions": (agents, actions), "alive": (agents,)}
    for where, given in (("reset", observation), ("step", step.observation)):
        for field, shape in seen.items():
            _compare(f"{name}: {field} of {where}'s observation", getattr(given, field).shape, shape)
    for field in ("reward", "terminated", "truncated"):
        _compare(f"{name}: {field} of the step", getattr(step, field).shape, ())
    for metric, value in step.metrics.items():
        _compare(f"{name}: metric '{metric}'", value.shape, ())
    if jax.tree.structure(state) != jax.tree.structure(after):
        raise ConfigError(f"{name}: step returns a state built otherwise than reset's")
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ConfigError(
                f"{name}: step turns a part of the state from {old.dtype}{list(old.shape)} into {new.dtype}{list(new.shape)}"
            )


def _compare(what: str, shape, wanted) -> None:
    if shape != wanted:
        raise ConfigError(f"{what} has shape {shape}; its team says {wanted}")
