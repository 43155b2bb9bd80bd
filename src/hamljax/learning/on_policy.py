"""The on-policy loop of HAML, written once: collect a rollout, estimate advantages, sweep the agents, fit the critic.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``), K values per step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.autoreset import VecEnv, VecState
from ..envs.protocol import Environment, Observation
from ..haml.neighbourhoods import Agent
from .batching import one_at_a_time_on_cpu
from .config import Config
from .critics import Critics
from .normalisation import Moments, ObsNorm, ValueNorm, normalise_advantages
from .policies import Policies
from .returns import calculate_gae
from .trajectory import Trajectory, Transition, episode_metrics, to_chunks


class Players(NamedTuple):
    """What of a run plays: enough to act and to evaluate."""

    params: Any  # stacked on the policy axis (P, ...)
    obs_norm: Moments | None  # of what the agents see; None: observations reach the networks as they are
    eval_key: jax.Array
    num_updates: jax.Array  # () int32: after how many updates

    def see(self, obs):
        """Observations (..., N, O) as the actors see them."""
        return obs if self.obs_norm is None else self.obs_norm.normalise(obs)


class RunnerState(NamedTuple):
    """All that training carries from one update to the next; saving it saves the run."""

    agents: Agent  # stacked on the policy axis (P, ...)
    critic: Agent
    value_norm: ValueNorm
    obs_norm: ObsNorm | None
    env_state: VecState
    observation: Observation  # (E, ...)
    start: jax.Array  # (E,) bool: the next step begins an episode
    actor_carry: jax.Array  # (P, B, H)
    critic_carry: jax.Array  # (E * K, H)
    key: jax.Array
    eval_key: jax.Array  # never changes: evaluations derive their keys from it
    num_updates: jax.Array  # () int32
    skipped: jax.Array  # () int32: how many updates in a row, up to now, were not taken because of a non-finite number

    @property
    def players(self) -> Players:
        seen = None if self.obs_norm is None else self.obs_norm.obs
        return Players(self.agents.params, seen, self.eval_key, self.num_updates)


LEARNT = ("agents", "critic", "value_norm", "obs_norm")  # fields of a runner state that an update improves


def see(state: RunnerState, observation: Observation) -> Observation:
    """``observation`` as the networks of ``state`` see it: normalised, if this run does so."""
    return observation if state.obs_norm is None else state.obs_norm.normalise(observation)


def guard(before: RunnerState, after: RunnerState, info: dict) -> tuple[RunnerState, jax.Array]:
    """``after``; or, where something learnt or a scalar of ``info`` is not finite, ``after`` with nothing learnt.

    Returns also 1.0 if the update was not taken, else 0.0.
    """
    watched = ([getattr(after, name) for name in LEARNT], info)
    numbers = [x for x in jax.tree.leaves(watched) if jnp.issubdtype(x.dtype, jnp.floating)]
    finite = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in numbers]))
    kept = {
        name: jax.tree.map(lambda new, old: jnp.where(finite, new, old), getattr(after, name), getattr(before, name))
        for name in LEARNT
    }
    return after._replace(**kept, skipped=jnp.where(finite, 0, before.skipped + 1)), 1.0 - finite


class OnPolicy:
    """The pure functions of one configuration: ``init``, ``collect``, ``learn`` and their composition ``update``."""

    def __init__(self, config: Config, env: Environment):
        self.config, self.env, self.vec = config, env, VecEnv(env, config.num_envs)
        self.policies = Policies(config, env.team)
        self.critics = Critics(config, self.policies.layout)
        self.normalises = config.obs_norm == "always" or (config.obs_norm == "auto" and env.needs_obs_norm)

    def init(self, key) -> RunnerState:
        """The state of a run that has not begun."""
        env_key, policy_key, critic_key, run_key, eval_key = jax.random.split(key, 5)
        env_state, observation = self.vec.reset(env_key)
        agents, actor_carry = self.policies.init(policy_key, observation)
        critic, critic_carry = self.critics.init(critic_key, observation)
        return RunnerState(
            agents,
            critic,
            ValueNorm.create(self.config.algo.value_norm),
            ObsNorm.create(self.env.team) if self.normalises else None,
            env_state,
            observation,
            jnp.ones(self.config.num_envs, bool),
            actor_carry,
            critic_carry,
            run_key,
            eval_key,
            num_updates=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
        )

    def collect(self, state: RunnerState) -> tuple[RunnerState, Trajectory]:
        """Act for T steps in E environments with the policies of ``state``."""
        config = self.config
        chunk = config.chunk_length if config.network.gru_size else config.num_steps

        def step(carry, _):
            env_state, observation, start, actor_carry, key = carry
            key, act_key = jax.random.split(key)
            actor_carry, action, log_prob, logits = self.policies.act(
                state.agents.params, actor_carry, act_key, see(state, observation), start
            )
            env_state, out = self.vec.step(env_state, action)
            transition = Transition(
                observation,
                start,
                action,
                log_prob,
                logits,
                out.reward,
                out.terminated,
                out.truncated,
                self.critics.inputs(see(state, out.final)),
                out.metrics,
            )
            done = out.terminated | out.truncated
            return (env_state, out.observation, done, actor_carry, key), transition

        def chunk_of_steps(carry, _):
            memory = carry[3]
            carry, transitions = jax.lax.scan(step, carry, None, length=chunk)
            return carry, (transitions, memory)

        carry = (state.env_state, state.observation, state.start, state.actor_carry, state.key)
        carry, (transitions, memory) = jax.lax.scan(chunk_of_steps, carry, None, length=config.num_steps // chunk)
        transitions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions)
        env_state, observation, start, actor_carry, key = carry
        state = state._replace(
            env_state=env_state, observation=observation, start=start, actor_carry=actor_carry, key=key
        )
        return state, Trajectory(transitions, memory)

    def learn(self, state: RunnerState, traj: Trajectory) -> tuple[RunnerState, dict[str, jax.Array]]:
        """Improve policies and critic on a rollout. Returns scalar metrics (``train/...``).

        An update that made anything non-finite is not taken, and counts in ``train/skipped``.
        """

        def learn(config, state, traj):  # the floats of the configuration may be batched too, so they are an argument
            return OnPolicy(config, self.env)._learn(state, traj)

        learnt, info = one_at_a_time_on_cpu(learn)(self.config, state, traj)
        state, skipped = guard(state, learnt, info)
        metrics = {**episode_metrics(traj.transitions), **info, "skipped": skipped}
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def _learn(self, state, traj):
        key, order_key, actor_key, critic_key = jax.random.split(state.key, 4)
        seen = traj.transitions.observation
        traj = traj._replace(transitions=traj.transitions._replace(observation=see(state, seen)))

        # ADVANTAGES
        critic_carry, values, batch = self.critics.values(state.critic.params, state.critic_carry, traj)
        advantage, target = self._advantages(state.value_norm, traj, values)

        # POLICIES
        agents, actor_info = self.policies.sweep(state.agents, traj, advantage, order_key, actor_key)

        # CRITIC
        batch = batch._replace(target=to_chunks(target.reshape(target.shape[0], -1), self.config.chunk_length))
        critic, value_norm, critic_info = self.critics.fit(state.critic, state.value_norm, batch, critic_key)

        state = state._replace(
            agents=agents,
            critic=critic,
            value_norm=value_norm,
            obs_norm=state.obs_norm and state.obs_norm.update(seen),  # the rollout was seen through the old one
            critic_carry=critic_carry,
            key=key,
            num_updates=state.num_updates + 1,
        )
        return state, {**actor_info, **critic_info, "value_target": jnp.mean(target)}

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: ``collect`` and ``learn``."""
        return self.learn(*self.collect(state))

    def _advantages(self, value_norm: ValueNorm, traj: Trajectory, values):
        """Advantages (T, E, N), normalised over alive samples, and value targets (T, E, K)."""
        steps, config = traj.transitions, self.config
        value, next_value = (value_norm.denormalise(v) for v in values)
        reward, terminated, truncated = (x[..., None] for x in (steps.reward, steps.terminated, steps.truncated))
        if config.truncation == "terminal":
            terminated = terminated | truncated
        dropped = truncated if config.truncation == "drop" else False
        advantage, target = calculate_gae(
            reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda, dropped
        )
        alive = steps.observation.alive
        advantage = jnp.broadcast_to(advantage, alive.shape)
        if config.algo.normalise_advantages:
            advantage = normalise_advantages(advantage, alive)
        return advantage, target
