"""The off-policy loop, written once: collect into a replay, then gradient steps of critics, policies and targets.

Shapes: T steps, E environments, N agents, A action dimensions, P policies, B samples of a gradient step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...envs.autoreset import vectorise
from ...envs.protocol import Environment, Observation
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ..batching import one_at_a_time_on_cpu, same_for_all
from ..config import Config
from ..distributions import perturb
from ..normalisation import ObsNorm, normalises
from ..state import Players, Stage, episode_metrics, guard, play_on, players_of, see
from .critics import Critics
from .replay import Replay, Sample, Transition
from .sweep import Learner, ValueSweep


class Targets(NamedTuple):
    """Slow copies of what is learnt. actors: None where policies are stochastic, for then they are their own targets."""

    actors: Any
    critic: Any


class RunnerState(NamedTuple):
    """All that training carries from one update to the next; saving it saves the run."""

    agents: Learner  # stacked on the policy axis (P, ...)
    critic: Agent  # stacked on the axis of critics
    targets: Targets
    num_gradient_steps: jax.Array  # () int32
    obs_norm: ObsNorm | None
    env_state: Any
    observation: Observation  # (E, ...)
    start: jax.Array  # (E,) bool: the next step begins an episode
    actor_carry: jax.Array  # (P, B, 0)
    key: jax.Array
    replay: Replay
    eval_key: jax.Array  # never changes: evaluations derive their keys from it
    num_updates: jax.Array  # () int32
    skipped: jax.Array  # () int32: how many updates in a row, up to now, were not taken because of a non-finite number

    @property
    def players(self) -> Players:
        return players_of(self)


LEARNT = ("agents", "critic", "targets", "num_gradient_steps")  # fields of a runner state that gradient steps improve
# Fields that stay as they were where an update is not taken. The counter goes on: it is the same for all seeds.
GUARDED = ("agents", "critic", "targets", "obs_norm")


class Rollout(NamedTuple):
    """T steps of E environments on their way into the replay, leaves (T, E, ...), and what is reported of them."""

    transitions: Transition
    metrics: dict[str, jax.Array]

    @property
    def terminated(self):
        return self.transitions.terminated

    @property
    def truncated(self):
        return self.transitions.truncated

    @property
    def valid(self):
        return self.transitions.valid


class OffPolicy:
    """The pure functions of one configuration: ``init``, ``collect``, ``learn`` and their composition ``update``."""

    def __init__(self, config: Config, env: Environment):
        self.config, self.env, self.vec = config, env, vectorise(env, config.num_envs)
        self.policies = ValueSweep(config, env.team)
        self.row = self.policies.row
        self.critics = Critics(config, self.policies.layout, self.row.critics)
        rollout = config.num_envs * config.num_steps
        # In updates: until then actions are random. In steps of each environment: until then nothing is learnt.
        self.warm_up = -(-config.algo.learning_starts // rollout)
        self.enough = max(config.algo.n_step, -(-config.algo.learning_starts // config.num_envs))
        self.capacity = config.algo.buffer_size // rollout * config.num_steps  # whole rollouts

        def step(config, learnt, sample, key):  # as in ``OnPolicy``
            return OffPolicy(config, env).step(learnt, sample, key)

        self._step_in_turn = one_at_a_time_on_cpu(jax.jit(step, inline=True))

    def init(self, key) -> RunnerState:
        """The state of a run that has not begun."""
        env_key, policy_key, critic_key, run_key, eval_key = jax.random.split(key, 5)
        stage = Stage.open(self.vec, env_key, self.policies.initial_carry(), run_key)
        agents = self.policies.init(policy_key, stage.observation)
        joint = jnp.zeros(stage.observation.avail_actions.shape, jnp.float32)
        critic = self.critics.init(critic_key, stage.observation.world_state, joint)
        zero = jnp.zeros((), jnp.int32)
        state = RunnerState(
            agents,
            critic,
            Targets(None if self.policies.stochastic else agents.params, critic.params),
            num_gradient_steps=zero,
            obs_norm=ObsNorm.create(self.env.team) if normalises(self.config, self.env) else None,
            **stage._asdict(),
            replay=None,
            eval_key=eval_key,
            num_updates=zero,
            skipped=zero,
        )
        return state._replace(replay=self.empty_replay(state))

    def empty_replay(self, state: RunnerState) -> Replay:
        """A replay that holds nothing yet; ``state`` may be of shapes."""
        steps = jax.eval_shape(self.collect, state)[1].transitions
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), steps)
        return Replay.create(one, self.capacity)

    def reopen(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes; in the replay, those that were not finished are cut off."""
        stage = Stage.reopen(self.vec, self.policies.initial_carry(), state)
        return state._replace(**stage._asdict(), replay=state.replay.cut())

    def collect(self, state: RunnerState) -> tuple[RunnerState, Rollout]:
        """Act for T steps in E environments: at random at first, then with the policies of ``state`` and some noise."""
        act, keep = partial(self.act, state), partial(self.keep, state)
        stage, rollout = play_on(self.vec, act, keep, Stage.of(state), self.config.num_steps)
        return state._replace(**stage._asdict()), self.pack(rollout)

    @property
    def chunk(self) -> int:
        """As ``OnPolicy``'s; nothing remembers here."""
        return self.config.num_steps

    @staticmethod
    def pack(rollout: Rollout, memory=None) -> Rollout:
        """What ``collect`` gives of the steps of a rollout."""
        del memory
        return rollout

    def act(self, state: RunnerState, stage: Stage, key):
        """What ``play_on`` asks for: one decision, random while the run warms up."""
        seen, key = see(state, self.env.team, stage.observation), jax.random.split(key)
        carry, chosen, *_ = self.policies.act(state.agents.params, stage.actor_carry, key[0], seen, stage.start)
        anything = self.policies.distribution.uniform(key[1], seen.avail_actions)
        action = jnp.where(state.num_updates < self.warm_up, anything, chosen)
        return carry, self.policies.as_played(action), action

    def keep(self, state: RunnerState, stage: Stage, played, action, out) -> Rollout:
        """What remains of a step."""
        del state, played
        end = (out.reward, out.terminated, out.truncated, out.final, out.valid)
        return Rollout(Transition(stage.observation, action, *end), out.metrics)

    def learn(self, state: RunnerState, rollout: Rollout) -> tuple[RunnerState, dict[str, jax.Array]]:
        """Remember a rollout, and improve critics and policies on samples of the replay. Returns scalar metrics.

        Learning that made anything non-finite is not taken, and counts in ``train/skipped``.
        """
        before, (state, keys) = state, self._remember(state, rollout)

        def improve(learnt):
            after, (of_critics, of_policies) = jax.lax.scan(
                lambda learnt, key: self._gradient_step(state, learnt, key), learnt, keys
            )
            return after, (jax.tree.map(jnp.mean, of_critics), jax.tree.map(jnp.nanmean, of_policies))

        enough = same_for_all(state.replay.added) >= self.enough
        after, (of_critics, of_policies) = jax.lax.cond(enough, improve, _no_numbers(improve), self.learnt(state))
        checked = jax.tree.map(lambda x: jnp.where(enough, x, 0.0), of_critics)
        state, skipped = guard(before, state._replace(**after), checked, GUARDED)
        seen = rollout.transitions.observation
        metrics = {**episode_metrics(rollout, seen), **of_critics, **of_policies, "skipped": skipped}
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: ``collect`` and ``learn``."""
        return self.learn(*self.collect(state))

    def evidence(self, state: RunnerState) -> Sample:
        """What the next update would learn from: the samples of all its gradient steps."""
        state, keys = self._remember(*self.collect(state))
        return jax.vmap(lambda key: self._sample(state, key)[0])(keys)

    @staticmethod
    def learnt(state: RunnerState) -> dict:
        """The fields of a runner state that gradient steps improve."""
        return {name: getattr(state, name) for name in LEARNT}

    def _remember(self, state: RunnerState, rollout: Rollout):
        """The state with a rollout in its replay, and a key for each gradient step."""
        key, learn_key = jax.random.split(state.key)
        steps = rollout.transitions
        visible = self.env.team.visible(steps.observation)
        state = state._replace(
            key=key,
            replay=state.replay.add(steps),
            obs_norm=state.obs_norm and state.obs_norm.update(visible, steps.valid),
            num_updates=state.num_updates + 1,
        )
        return state, jax.random.split(learn_key, self.config.algo.gradient_steps)

    def _sample(self, state: RunnerState, key):
        """A batch of the replay, as the environment gave it, and a key to use it with."""
        algo, (sample_key, key) = self.config.algo, jax.random.split(key)
        replay, config, soft = state.replay, self.config, self.policies.stochastic and algo.n_step > 1
        return replay.sample(sample_key, algo.batch_size, algo.n_step, config.gamma, config.truncation, soft), key

    def _gradient_step(self, state: RunnerState, learnt: dict, key):
        sample, key = self._sample(state, key)
        sample = self._seen(state, sample)

        return self._step_in_turn(self.config, learnt, sample, key)

    def _seen(self, state: RunnerState, sample: Sample) -> Sample:
        """``sample`` as the networks see it."""
        look = partial(see, state, self.env.team)
        later = None if sample.later is None else (look(sample.later[0]), sample.later[1])
        return sample._replace(observation=look(sample.observation), final=look(sample.final), later=later)

    def step(self, learnt: dict, sample: Sample, key) -> tuple[dict, tuple[dict, dict]]:
        """One gradient step of ``learnt`` (the fields of a runner state that ``LEARNT`` names) on a normalised sample.

        Returns also what there is to say of the critics and of the policies, which has no numbers where they did not move.
        """
        target_key, others_key, order_key, policy_key = jax.random.split(key, 4)
        sample = sample.without_lost()
        observation = sample.observation
        agents, critic, targets, count = (learnt[name] for name in LEARNT)
        count = count + 1

        # CRITICS
        joint = self.policies.distribution.encode(sample.action, observation.avail_actions)
        target = self._target(agents, targets, sample, target_key)
        critic, info = self.critics.fit(critic, observation.world_state, joint, target, sample.weight)

        # POLICIES
        def move_policies(agents):
            return self._sweep(agents, critic, observation, joint, others_key, order_key, policy_key)

        delay = self.row.policy_delay
        moves = same_for_all(count) % delay == 0
        agents, more = (
            move_policies(agents)
            if delay == 1
            else jax.lax.cond(moves, move_policies, _no_numbers(move_policies), agents)
        )

        # TARGETS
        fresh = Targets(None if self.policies.stochastic else agents.params, critic.params)
        tau, period = self.config.algo.tau, self.config.algo.target_every or delay
        moved = optax.incremental_update(fresh, targets, jnp.where(count % period == 0, tau, 0.0))
        info["value_target"] = jnp.mean(target) if sample.weight is None else weighted_mean(target, sample.weight)
        return dict(zip(LEARNT, (agents, critic, moved, count), strict=True)), (info, more)

    def _target(self, agents: Learner, targets: Targets, sample: Sample, key):
        """(B,): the n-step target of the joint action's value, a' by the target policies.

        Deterministic: ``R + discount min Q'(s', a')``. Stochastic: that plus the entropies, weighed by the temperatures, of
        the policies in every state of the window after the first, and in s'. Left out, the states between would make a
        temperature mean another thing for every n (Haarnoja et al., 2018, have n = 1).
        """
        policy_key, noise_key = jax.random.split(key)
        policies, algo, final, reward = self.policies, self.config.algo, sample.final, sample.reward
        acting = agents.params if policies.stochastic else targets.actors
        action, log_prob = policies.propose_all(acting, final, policy_key)
        if not policies.stochastic:
            action = perturb(noise_key, action, final.avail_actions, self.row.target_noise, algo.target_noise_clip)
        value = self.critics.value(targets.critic, final.world_state, action)
        if policies.stochastic:
            value = value + self._entropy(agents, final, log_prob)
        if sample.later is not None:
            reward = reward + self._later_entropies(agents, *sample.later, noise_key)
        return reward + jnp.where(sample.discount > 0, sample.discount * value, 0.0)

    def _entropy(self, agents: Learner, observation: Observation, log_prob):
        """(...,): ``-sum_i alpha_i log pi_i`` of log-probabilities (..., N), over the living agents of ``observation``."""
        alpha = self.policies.of_agents(jnp.exp(agents.log_alpha))
        return -jnp.sum(jnp.where(observation.alive, alpha * log_prob, 0.0), axis=-1)

    def _later_entropies(self, agents: Learner, observation: Observation, discounts, key):
        """(B,): the discounted sum of ``_entropy`` over the states (B, n - 1, ...) between the ends of a window."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observation)
        log_prob = self.policies.propose_all(agents.params, flat, key)[1]
        entropy = self._entropy(agents, flat, log_prob).reshape(discounts.shape)
        return jnp.sum(jnp.where(discounts > 0, discounts * entropy, 0.0), axis=-1)

    def _sweep(self, agents, critic, observation, joint, others_key, order_key, key):
        if self.config.algo.others == "policy":
            joint = self.policies.propose_all(agents.params, observation, others_key)[0]
        # A deterministic policy climbs the first critic alone (Fujimoto et al., 2018).
        params = critic.params if self.policies.stochastic else jax.tree.map(lambda x: x[:1], critic.params)

        def value(joint, times):
            return self.critics.value(params, jnp.repeat(observation.world_state, times, axis=0), joint)

        return self.policies.sweep(agents, value, observation, joint, order_key, key)


def _no_numbers(improve):
    """A function that leaves alone what ``improve(x) -> x, info`` would improve, and has nothing to say of it."""
    return lambda x: (x, jax.tree.map(lambda i: jnp.full(i.shape, jnp.nan, i.dtype), jax.eval_shape(improve, x)[1]))
