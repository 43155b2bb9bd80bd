"""The on-policy loop of HAML, written once: collect a rollout, estimate advantages, sweep the agents, fit the critic.

Nothing here asks for an algorithm's name: the row of the table has become a sweep, a drift and a solver.
Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``), K values per step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .. import haml
from ..algorithms import drift_parameters, resolve
from ..envs.autoreset import VecEnv, VecState
from ..envs.protocol import Environment, Observation
from ..haml.neighbourhoods import Agent, minibatches
from ..haml.objective import masked_mean
from .config import Config
from .distributions import Evaluation, distribution
from .layout import Layout
from .networks import Actor, Critic, initial_carry
from .normalisation import ValueNorm, normalise_advantages
from .returns import calculate_gae, value_loss


class RunnerState(NamedTuple):
    """All that training carries from one update to the next; saving it saves the run."""

    agents: Agent  # stacked on the policy axis (P, ...)
    critic: Agent
    value_norm: ValueNorm
    env_state: VecState
    observation: Observation  # (E, ...)
    start: jax.Array  # (E,) bool: the next step begins an episode
    actor_carry: jax.Array  # (P, B, H)
    critic_carry: jax.Array  # (E * K, H)
    key: jax.Array
    seed_key: jax.Array  # never changes: evaluation derives its keys from it
    num_updates: jax.Array  # () int32


class Transition(NamedTuple):
    """One step of E environments; a trajectory stacks T of them on the leading axis."""

    observation: Observation
    start: jax.Array  # (E,) bool: the first step of an episode
    action: jax.Array  # (E, N) or (E, N, A)
    log_prob: jax.Array  # (E, N), of the sample, before any clipping of it
    logits: jax.Array  # (E, N, ...) of the policy that acted
    reward: jax.Array  # (E,)
    terminated: jax.Array  # (E,)
    truncated: jax.Array  # (E,)
    final_input: jax.Array  # (E, K, S): the critic's view of the true next observation
    metrics: dict[str, jax.Array]  # (E,) each


class Trajectory(NamedTuple):
    """A rollout, from whatever collected it. ``carry`` (T / L, P, B, H): actor memory at the start of every chunk."""

    transitions: Transition
    carry: jax.Array


class PolicyBatch(NamedTuple):
    """What one policy learns from: samples of L consecutive steps, leaves (samples, L, ...)."""

    obs: jax.Array
    mask: Any  # which entries of obs are real; None when the network does not ask
    start: jax.Array
    avail: jax.Array
    alive: jax.Array
    action: jax.Array
    log_prob: jax.Array
    logits: jax.Array
    m_advantage: jax.Array
    carry: jax.Array  # (samples, H)


class CriticBatch(NamedTuple):
    """What the critic learns from, leaves (samples, L, ...)."""

    inputs: jax.Array
    mask: Any
    start: jax.Array
    old_value: jax.Array
    target: jax.Array
    carry: jax.Array  # (samples, H)


def to_chunks(x, length: int):
    """(T, B, ...) -> (T / length * B, length, ...)."""
    x = x.reshape(-1, length, *x.shape[1:]).swapaxes(1, 2)
    return x.reshape(-1, length, *x.shape[3:])


def merge_leading(x):
    """(T, B, H) -> (T * B, H), also for H = 0, where -1 would be ambiguous."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def time_major(x):
    return None if x is None else x.swapaxes(0, 1)


class OnPolicy:
    """The pure functions of one configuration: ``init``, ``collect``, ``learn`` and their composition ``update``."""

    def __init__(self, config: Config, env: Environment):
        row = resolve(config.algo)
        algo, team = config.algo, env.team
        self.config, self.env, self.vec = config, env, VecEnv(env, config.num_envs)
        self.coordination = haml.COORDINATIONS[row.coordination]
        self.layout = Layout(team, config.num_envs, self.coordination.one_policy)
        self.drift = haml.bind_drift(haml.DRIFTS[row.drift], drift_parameters(algo))
        self.drift_needs_old = haml.DRIFTS[row.drift].needs_old
        self.distribution = distribution(team.discrete)
        self.actor = Actor(config.network, team.action_size, team.discrete)
        self.critic = Critic(config.network)
        self.num_values = 1 if algo.critic == "ep" else team.num_agents
        self.actor_optimiser, self.solve = self._make_solver(row.neighbourhood)
        self.critic_optimiser = self._adam(algo.critic_lr, algo.critic_epochs * algo.critic_minibatches)

    # SOLVERS

    def _adam(self, learning_rate, steps_per_update: int):
        """Adam behind a global-norm clip; with ``anneal_lr`` the rate falls linearly to 0 over the run."""
        algo, num_updates = self.config.algo, self.config.num_updates

        def annealed(count):
            return learning_rate * (1.0 - (count // steps_per_update) / num_updates)

        rate = annealed if algo.anneal_lr else learning_rate
        return optax.chain(optax.clip_by_global_norm(algo.max_grad_norm), optax.adam(rate, eps=algo.adam_eps))

    def _make_solver(self, neighbourhood: str):
        """The actor's optimiser (none for a natural gradient) and the solver of the row's neighbourhood."""
        algo = self.config.algo
        if neighbourhood == "kl_ball":
            solve = haml.kl_ball(
                algo.max_kl,
                algo.cg_iters,
                algo.cg_damping,
                algo.backtrack_iters,
                algo.backtrack_coef,
                algo.accept_ratio,
            )
            return optax.identity(), solve
        optimiser = self._adam(algo.actor_lr, algo.update_epochs * algo.num_minibatches)
        return optimiser, haml.everywhere(optimiser, algo.update_epochs, algo.num_minibatches)

    # INITIALISE

    def init(self, key) -> RunnerState:
        """The state of a run that has not begun."""
        config, layout = self.config, self.layout
        keys = jax.random.split(key, 4)
        env_state, observation = self.vec.reset(keys[0])
        start = jnp.ones(config.num_envs, bool)
        actor_carry = initial_carry(config.network, layout.batch_size)
        obs, mask = self._policy_input(observation.obs, 1)
        sample = (actor_carry[:1], obs[0, None, :1], start[None, :1], None if mask is None else mask[0, None, :1])
        params = jax.vmap(lambda key: self.actor.init(key, *sample))(jax.random.split(keys[1], layout.num_policies))
        agents = Agent(params, jax.vmap(self.actor_optimiser.init)(params))

        inputs = layout.critic_input(observation, config.algo.critic).reshape(1, -1, self._critic_input_size())
        critic_carry = initial_carry(config.network, inputs.shape[1])
        start_k = jnp.ones((1, inputs.shape[1]), bool)
        critic_params = self.critic.init(keys[2], critic_carry, inputs, start_k, self._critic_mask(1))
        critic = Agent(critic_params, self.critic_optimiser.init(critic_params))
        return RunnerState(
            agents,
            critic,
            ValueNorm.create(config.algo.value_norm),
            env_state,
            observation,
            start,
            jnp.broadcast_to(actor_carry, (layout.num_policies, *actor_carry.shape)),
            critic_carry,
            keys[3],
            key,
            jnp.zeros((), jnp.int32),
        )

    def _policy_input(self, obs, axis: int):
        """Observations (..., E, N, O) -> policy inputs and their masks (P, ..., B, O')."""
        inputs = self.layout.policy_input(obs)
        mask = self.layout.policy_mask(inputs.shape) if self.config.network.input_norm else None
        return self.layout.split(inputs, axis), None if mask is None else self.layout.split(mask, axis)

    def _critic_input_size(self) -> int:
        return self.layout.critic_mask(self.config.algo.critic).shape[1]

    def _critic_mask(self, steps: int):
        """Which entries of ``steps`` times E critic inputs are real, (steps, E * K, S); None when nobody asks."""
        if not self.config.network.input_norm:
            return None
        mask = self.layout.critic_mask(self.config.algo.critic)
        return jnp.broadcast_to(mask, (steps, self.config.num_envs, *mask.shape)).reshape(steps, -1, mask.shape[1])

    # COLLECT

    def act(self, params, carry, key, observation: Observation, start, greedy: bool = False):
        """One decision of the team. carry (P, B, H), observation (E, N, ...), start (E,).

        Returns the new carry, actions (E, N[, A]), log-probabilities (E, N) and logits (E, N, ...).
        """
        split = self.layout.split
        obs, mask = self._policy_input(observation.obs, 1)
        start = split(jnp.broadcast_to(start[:, None], observation.alive.shape), 1)
        avail = split(observation.avail_actions, 1)

        def decide(params, carry, key, obs, mask, start, avail):
            mask = None if mask is None else mask[None]
            carry, _, logits = self.actor.apply(params, carry, obs[None], start[None], mask)
            logits = logits[0]
            action = self.distribution.mode(logits, avail) if greedy else self.distribution.sample(key, logits, avail)
            return carry, action, self.distribution.log_prob(logits, avail, action), logits

        keys = jax.random.split(key, self.layout.num_policies)
        carry, *decisions = jax.vmap(decide)(params, carry, keys, obs, mask, start, avail)
        return carry, *(self.layout.merge(x, 1) for x in decisions)

    def collect(self, state: RunnerState) -> tuple[RunnerState, Trajectory]:
        """Act for T steps in E environments with the policies of ``state``."""
        config = self.config
        chunk = config.chunk_length if config.network.gru_size else config.num_steps

        def step(carry, _):
            env_state, observation, start, actor_carry, key = carry
            key, act_key = jax.random.split(key)
            actor_carry, action, log_prob, logits = self.act(
                state.agents.params, actor_carry, act_key, observation, start
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
                self.layout.critic_input(out.final, config.algo.critic),
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

    # LEARN

    def learn(self, state: RunnerState, traj: Trajectory) -> tuple[RunnerState, dict[str, jax.Array]]:
        """Improve policies and critic on a rollout. Returns scalar metrics (``train/...``)."""
        critic_carry, values, critic_batch = self._values(state, traj)
        advantage, target = self._advantages(state, traj, values)
        critic_batch = critic_batch._replace(
            target=to_chunks(target.reshape(target.shape[0], -1), self.config.chunk_length)
        )

        key, order_key, actor_key, critic_key = jax.random.split(state.key, 4)
        agents, actor_info = self._sweep(state.agents, traj, advantage, order_key, actor_key)
        critic, value_norm, critic_info = self._fit_critic(state, critic_batch, critic_key)

        metrics = {**episode_metrics(traj.transitions), **actor_info, **critic_info}
        metrics["value_target"] = jnp.mean(target)
        state = state._replace(
            agents=agents,
            critic=critic,
            value_norm=value_norm,
            critic_carry=critic_carry,
            key=key,
            num_updates=state.num_updates + 1,
        )
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: ``collect`` and ``learn``."""
        return self.learn(*self.collect(state))

    def _values(self, state: RunnerState, traj: Trajectory):
        """Values of all steps, and of their true successors, in one batched pass each, with the critic that acts now."""
        steps, length = traj.transitions, self.config.chunk_length
        num_steps, size = self.config.num_steps, self._critic_input_size()
        inputs = self.layout.critic_input(steps.observation, self.config.algo.critic).reshape(num_steps, -1, size)
        start = jnp.repeat(steps.start, self.num_values, axis=1)
        mask = self._critic_mask(num_steps)
        params = state.critic.params
        last_carry, carries, value = self.critic.apply(params, state.critic_carry, inputs, start, mask)

        flat_mask = None if mask is None else mask.reshape(1, -1, size)
        final_inputs = steps.final_input.reshape(1, -1, size)
        memory = merge_leading(carries)
        _, _, next_value = self.critic.apply(
            params, memory, final_inputs, jnp.zeros(final_inputs.shape[:2], bool), flat_mask
        )

        before = jnp.concatenate([state.critic_carry[None], carries[:-1]])[::length]
        batch = CriticBatch(
            to_chunks(inputs, length),
            None if mask is None else to_chunks(mask, length),
            to_chunks(start, length),
            to_chunks(value, length),
            None,
            merge_leading(before),
        )
        per_step = (num_steps, self.config.num_envs, self.num_values)
        return last_carry, (value.reshape(per_step), next_value.reshape(per_step)), batch

    def _advantages(self, state: RunnerState, traj: Trajectory, values):
        """Advantages (T, E, N), normalised over alive samples, and value targets (T, E, K)."""
        steps, config = traj.transitions, self.config
        value, next_value = (state.value_norm.denormalise(v) for v in values)
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

    def evaluate_actions(self, params, batch: PolicyBatch) -> Evaluation:
        """One policy's log-probabilities, entropies (samples, L) and logits of the stored actions."""
        _, _, logits = self.actor.apply(
            params, batch.carry, time_major(batch.obs), time_major(batch.start), time_major(batch.mask)
        )
        logits = time_major(logits)
        return Evaluation(
            self.distribution.log_prob(logits, batch.avail, batch.action),
            self.distribution.entropy(logits, batch.avail),
            logits,
        )

    def _policy_batches(self, traj: Trajectory, advantage) -> PolicyBatch:
        """The rollout as every policy sees it, stacked: leaves (P, samples, L, ...)."""
        steps, length = traj.transitions, self.config.chunk_length
        observation = steps.observation

        def prepare(x):
            return jax.vmap(lambda x: to_chunks(x, length))(x)

        def split(x):
            return prepare(self.layout.split(x, 2))

        obs, mask = self._policy_input(observation.obs, 2)
        memory = jnp.moveaxis(traj.carry, 1, 0)
        return PolicyBatch(
            obs=prepare(obs),
            mask=None if mask is None else prepare(mask),
            start=split(jnp.broadcast_to(steps.start[..., None], observation.alive.shape)),
            avail=split(observation.avail_actions),
            alive=split(observation.alive),
            action=split(steps.action),
            log_prob=split(steps.log_prob),
            logits=split(steps.logits),
            m_advantage=split(advantage),
            carry=self._sample_carry(memory),
        )

    def _sample_carry(self, memory):
        """(P, T / L, B, H) -> (P, samples, H); without recurrence H = 0 and only the number of samples matters."""
        samples = self.config.num_steps // self.config.chunk_length * self.layout.batch_size
        if not self.config.network.gru_size:
            return jnp.zeros((memory.shape[0], samples, 0))
        return memory.reshape(memory.shape[0], samples, memory.shape[-1])

    def _sweep(self, agents: Agent, traj: Trajectory, advantage, order_key, key):
        """Visit the policies in a random order; each sees M A, with M the joint ratio of those before it."""
        batches = self._policy_batches(traj, advantage)
        count = self.layout.num_policies
        keys = jax.random.split(key, count)

        def divergences(new_logits, batch):
            return {
                "kl": self.distribution.kl(batch.logits, new_logits, batch.avail),
                "reverse_kl": self.distribution.kl(new_logits, batch.logits, batch.avail),
            }

        def objective(params, batch):
            new = self.evaluate_actions(params, batch)
            old = divergences(new.logits, batch) if self.drift_needs_old else None
            gain = haml.mirror_objective(new.log_prob, batch.log_prob, batch.m_advantage, batch.alive, self.drift, old)
            return gain + self.config.algo.ent_coef * masked_mean(new.entropy, batch.alive)

        def kl(params, batch):
            new = self.evaluate_actions(params, batch)
            return masked_mean(divergences(new.logits, batch)["kl"], batch.alive)

        def improve(agent, log_m, i):
            batch = jax.tree.map(lambda x: x[i], batches)
            batch = batch._replace(m_advantage=jnp.exp(log_m) * batch.m_advantage)
            agent, info = self.solve(objective, kl, agent, batch, keys[i])
            new = self.evaluate_actions(agent.params, batch)
            info["entropy"] = masked_mean(new.entropy, batch.alive)
            info["kl"] = masked_mean(divergences(new.logits, batch)["kl"], batch.alive)
            return agent, haml.compound(log_m, new.log_prob, batch.log_prob, batch.alive), info

        order = jnp.arange(count) if self.config.algo.fixed_order else jax.random.permutation(order_key, count)
        agents, info = self.coordination.sweep(improve, agents, jnp.zeros(batches.log_prob.shape[1:]), order)
        return agents, jax.tree.map(jnp.mean, info)

    def _fit_critic(self, state: RunnerState, batch: CriticBatch, key):
        """Epochs x minibatches of regression onto the targets, in ValueNorm's units."""
        algo = self.config.algo

        def loss(params, target, minibatch):
            _, _, value = self.critic.apply(
                params,
                minibatch.carry,
                time_major(minibatch.inputs),
                time_major(minibatch.start),
                time_major(minibatch.mask),
            )
            errors = value_loss(
                time_major(value),
                minibatch.old_value,
                target,
                algo.critic_loss,
                algo.huber_delta,
                algo.value_clip,
                algo.clip_value,
            )
            return jnp.mean(errors)

        def step(carry, minibatch):
            critic, value_norm = carry
            value_norm = value_norm.update(minibatch.target)
            target = value_norm.normalise(minibatch.target)
            value, gradient = jax.value_and_grad(loss)(critic.params, target, minibatch)
            updates, opt_state = self.critic_optimiser.update(gradient, critic.opt_state, critic.params)
            critic = Agent(optax.apply_updates(critic.params, updates), opt_state)
            return (critic, value_norm), {"critic_loss": value, "critic_grad_norm": optax.tree.norm(gradient)}

        carry = (state.critic, state.value_norm)
        (critic, value_norm), info = minibatches(step, carry, batch, key, algo.critic_epochs, algo.critic_minibatches)
        return critic, value_norm, jax.tree.map(jnp.mean, info)


def episode_metrics(steps: Transition) -> dict[str, jax.Array]:
    """Means over the episodes that ended in a rollout (NaN when none did) and their number, ``episodes``."""
    done = steps.terminated | steps.truncated
    count = jnp.sum(done)
    means = {name: jnp.sum(jnp.where(done, x, 0)) / count for name, x in steps.metrics.items()}
    return {**means, "episodes": count}
