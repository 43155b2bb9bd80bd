"""What the states of both loops have in common: who plays, how a run is guarded, how an observation is seen."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.autoreset import VecEnv
from ..envs.protocol import Observation, Team
from .normalisation import Moments


class Players(NamedTuple):
    """What of a run plays: enough to act and to evaluate."""

    params: Any  # stacked on the policy axis (P, ...)
    obs_norm: Moments | None  # of what the agents see; None: observations reach the networks as they are
    eval_key: jax.Array
    num_updates: jax.Array  # () int32: after how many updates

    def see(self, team: Team, observation: Observation) -> Observation:
        """``observation`` with ``obs`` as the actors see it."""
        seen = team.visible(observation)
        return seen if self.obs_norm is None else seen._replace(obs=self.obs_norm.normalise(seen.obs))


def players_of(state) -> Players:
    """The team that the runner state of either loop has come to."""
    seen = None if state.obs_norm is None else state.obs_norm.obs
    return Players(state.agents.params, seen, state.eval_key, state.num_updates)


def see(state, team: Team, observation: Observation) -> Observation:
    """``observation`` as the networks of a runner state see it: what is visible, normalised if this run does so."""
    seen = team.visible(observation)
    return seen if state.obs_norm is None else state.obs_norm.normalise(seen)


def guard(before, after, info: dict, learnt: tuple[str, ...]):
    """``after``; or, where something learnt or a scalar of ``info`` is not finite, ``after`` with nothing learnt.

    ``learnt``: the fields of the runner state that an update improves. Returns also 1.0 if the update was not taken,
    else 0.0.
    """
    watched = ([getattr(after, name) for name in learnt], info)
    numbers = [x for x in jax.tree.leaves(watched) if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in numbers]))
    kept = {
        name: jax.tree.map(lambda new, old: jnp.where(finite, new, old), getattr(after, name), getattr(before, name))
        for name in learnt
    }
    return after._replace(**kept, skipped=jnp.where(finite, 0, before.skipped + 1)), 1.0 - finite


class Stage(NamedTuple):
    """Where E environments and those who act in them are; a runner state has the same fields among others."""

    env_state: Any  # of a ``VecEnv`` or what stands for it
    observation: Observation  # (E, ...)
    start: jax.Array  # (E,) bool: the next step begins an episode
    actor_carry: jax.Array  # (P, B, H)
    key: jax.Array

    @classmethod
    def of(cls, state) -> "Stage":
        return cls(*(getattr(state, name) for name in cls._fields))

    @classmethod
    def reopen(cls, vec: VecEnv, actor_carry, state) -> "Stage":
        """Fresh episodes for a runner state whose own cannot be gone on with."""
        key, env_key = jax.random.split(state.key)
        return cls.open(vec, env_key, actor_carry, key)

    @classmethod
    def open(cls, vec: VecEnv, env_key, actor_carry, key) -> "Stage":
        """The start of every environment's first episode."""
        env_state, observation = vec.reset(env_key)
        return cls(env_state, observation, jnp.ones(vec.num_envs, bool), actor_carry, key)


def play_on(vec: VecEnv, act, keep, stage: Stage, num_steps: int):
    """``num_steps`` steps of all environments from ``stage`` on.

    ``act(stage, key) -> carry, action, decision`` decides; ``keep(stage, action, decision, step)`` is what remains of a
    step, and comes back stacked over time.
    """

    def step(stage, _):
        key, act_key = jax.random.split(stage.key)
        actor_carry, action, decision = act(stage, act_key)
        env_state, out = vec.step(stage.env_state, action)
        after = Stage(env_state, out.observation, out.terminated | out.truncated, actor_carry, key)
        return after, keep(stage, action, decision, out)

    return jax.lax.scan(step, stage, None, length=num_steps)


def episode_metrics(steps, observation: Observation) -> dict[str, jax.Array]:
    """Means over the episodes that ended in a rollout (NaN when none did) and their number, ``episodes``.

    Where steps can be lost, ``lost`` is the number of episodes that ended so, and these do not count in the others.
    ``no_legal_action``: how often an agent of ``observation``, what the team saw, was alive and had none.
    """
    done, lost = steps.terminated | steps.truncated, {}
    if steps.valid is not None:
        lost = {"lost": jnp.sum(done & ~steps.valid)}
        done = done & steps.valid
    count = jnp.sum(done)
    means = {name: jnp.sum(jnp.where(done, x, 0)) / count for name, x in steps.metrics.items()}
    stuck = jnp.sum(observation.alive & ~observation.avail_actions.any(-1))
    return {**means, "episodes": count, "no_legal_action": stuck, **lost}
