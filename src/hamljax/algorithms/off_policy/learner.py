"""The off-policy loop, written once: collect into a replay, then gradient steps of critics, policies and targets.

Shapes: T steps, E environments, N agents, A action dimensions, P policies, B samples of a gradient step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

from ...envs.protocol import Environment, Observation
from ...envs.vector import VectorEnv
from ...errors import ConfigError
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ...nn.distributions import Categorical, Deterministic, SquashedGaussian, perturb
from ...nn.normalisation import ObsNorm
from ...nn.protocols import ReplayDistribution
from ...nn.transforms import unvmap
from ..base import Action, Metrics
from ..config import Config
from ..learner import no_update, normalises_observations, traced_once
from ..policies.independent import IndependentPolicies
from ..state import RolloutState, RunnerState, see, without
from ..sweep import check_team
from ..table import resolve
from .critics import ActionValueCritics
from .replay import Sample
from .replay_learner import ReplayLearner
from .rows import OffPolicyAlgorithm
from .settings import OffPolicyAlgo
from .state import Learnt, Targets
from .sweep import PolicyState, ValueSweep


@struct.dataclass
class OffPolicy(ReplayLearner):
    """A row that learns from a replay. ``RunnerState.carried`` () int32 counts gradient steps; all seeds make as many."""

    config: Config[OffPolicyAlgo]
    policy: IndependentPolicies[ReplayDistribution]
    env: Environment = struct.field(pytree_node=False)
    vec: VectorEnv = struct.field(pytree_node=False)
    step: Callable = struct.field(
        pytree_node=False
    )  # ``_step``, traced once for a program however often JAX looks at it

    @classmethod
    def create(cls, config: Config[OffPolicyAlgo], env: Environment) -> "OffPolicy":
        """The learner of a checked configuration.

        Args:
            config: of the run, as ``validate`` takes it. env: on which it learns.

        Raises:
            ConfigError: it does not fit the team.
        """
        check_team(config, env.team)
        algo, row = config.algo, resolve(config.algo)
        distribution: ReplayDistribution
        if row.actor == "stochastic":
            distribution = Categorical() if env.team.discrete else SquashedGaussian()
        elif env.team.discrete:
            raise ConfigError(f"{algo.name} needs continuous actions, and here they are discrete; try algo=hasac")
        else:
            distribution = Deterministic(algo.exploration_noise)
        policy: IndependentPolicies[ReplayDistribution] = IndependentPolicies.create(
            config.network, distribution, row.sharing, env.team
        )
        step = traced_once(cls._step)
        return cls(config, policy, env, env.vectorise(config.num_envs), step)

    @property
    def row(self) -> OffPolicyAlgorithm:
        """The row, with what the settings say otherwise."""
        return resolve(self.config.algo)

    @property
    def sweep(self) -> ValueSweep:
        """How its policies improve."""
        return ValueSweep(self.config, self.policy)

    @property
    def critics(self) -> ActionValueCritics:
        """Of joint actions."""
        return ActionValueCritics(self.config, self.env.team, self.row.critics)

    @property
    def stochastic(self) -> bool:
        """Whether its policies have entropies and temperatures."""
        return self.sweep.stochastic

    @property
    def looks_within(self) -> bool:
        """Entropies count in all of a window's states."""
        return self.stochastic and self.config.algo.n_step > 1

    @property
    def warm_up(self) -> int:
        """In updates: until then actions are random."""
        return -(-self.config.algo.learning_starts // (self.config.num_envs * self.config.num_steps))

    def init(self, key: Key[Array, ""]) -> RunnerState:
        """The state of a run that has not begun."""
        env_key, policy_key, critic_key, run_key, eval_key = jax.random.split(key, 5)
        rollout = self.begin_rollout(env_key, run_key)
        seen = rollout.observation
        agents = self.sweep.init(policy_key, seen)
        critic = self.critics.init(critic_key, seen.world_state, jnp.zeros(seen.avail_actions.shape, jnp.float32))
        targets = Targets(None if self.stochastic else agents.params, critic.params)
        obs_norm = ObsNorm.create(self.env.team) if normalises_observations(self.config, self.env) else None
        learnt = Learnt(agents, critic, targets, obs_norm)
        state = RunnerState.begin(learnt, rollout, jnp.zeros((), jnp.int32), eval_key)
        return state._replace(replay=self.empty_replay(state))

    def parameters(self, state: RunnerState) -> dict[str, Any]:
        """The parameters of its networks by what they are."""
        return {"actors": state.learnt.agents.params, "critic": state.learnt.critic.params}

    # COLLECT: at random at first, then with the policies of the state and some noise

    def act(
        self, state: RunnerState, rollout: RolloutState, key: Key[Array, ""]
    ) -> tuple[Float[Array, "P B H"], Action, Action]:
        """One decision, random while the run warms up."""
        key, random_key = jax.random.split(key)
        seen = without(see(state.learnt.obs_norm, self.env.team, rollout.observation), "world_state")
        memory, chosen, _ = self.policy.act(state.learnt.agents.params, rollout.memory, key, seen, rollout.start)
        anything = self.policy.distribution.uniform(random_key, seen.avail_actions)
        action = jnp.where(state.num_updates < self.warm_up, anything, chosen)
        return memory, self.policy.to_env_action(action), action

    # LEARN

    def _step(
        self, learnt: Learnt, count: Int[Array, ""], sample: Sample, key: Key[Array, ""]
    ) -> tuple[tuple[Learnt, Int[Array, ""]], tuple[Metrics, Metrics]]:
        """One gradient step, number ``count`` from 0 on, on a sample as the networks see it.

        Returns what is learnt and the next number, and what there is to say of the critics and of the policies, which is NaN
        where they did not move.
        """
        target_key, others_key, order_key, policy_key = jax.random.split(key, 4)
        sample = sample.without_lost()
        observation, (agents, critic, targets, _) = sample.observation, learnt
        count = count + 1

        # CRITICS
        joint = self.policy.distribution.encode(sample.action, observation.avail_actions)
        target = self._target(agents, targets, sample, target_key)
        critic, info = self.critics.fit(critic, observation.world_state, joint, target, sample.weight)

        # POLICIES
        before = self.first_update * self.config.algo.gradient_steps  # which were left out
        progress = (before + count - 1) / (self.config.num_updates * self.config.algo.gradient_steps)

        def move_policies(agents):
            keys = others_key, order_key, policy_key
            return self._sweep(agents, critic, observation, joint, keys, progress)

        delay = self.row.policy_delay
        moves = unvmap(count) % delay == 0
        agents, more = (
            move_policies(agents)
            if delay == 1
            else jax.lax.cond(moves, move_policies, no_update(move_policies), agents)
        )

        # TARGETS
        fresh = Targets(None if self.stochastic else agents.params, critic.params)
        tau, period = self.config.algo.tau, self.config.algo.target_every or delay
        moved = optax.incremental_update(fresh, targets, jnp.where(count % period == 0, tau, 0.0))
        info["value_target"] = jnp.mean(target) if sample.weight is None else weighted_mean(target, sample.weight)
        return (Learnt(agents, critic, moved, learnt.obs_norm), count), (info, more)

    def _target(self, agents: PolicyState, targets: Targets, sample: Sample, key: Key[Array, ""]) -> Float[Array, " B"]:
        """The n-step target of the joint action's value, a' by the target policies.

        Deterministic: ``R + discount min Q'(s', a')``. Stochastic: that plus the entropies, weighed by the temperatures, of
        the policies in every state of the window after the first, and in s'. Left out, the states between would make a
        temperature mean another thing for every n (Haarnoja et al., 2018, have n = 1).
        """
        policy_key, noise_key = jax.random.split(key)
        algo, final, reward = self.config.algo, sample.final, sample.reward
        acting = agents.params if self.stochastic else targets.actors
        action, log_prob = self.sweep.sample_all(acting, final, policy_key)
        if not self.stochastic:
            action = perturb(noise_key, action, final.avail_actions, self.row.target_noise, algo.target_noise_clip)
        value = self.critics.value(targets.critic, final.world_state, action)
        if self.stochastic:
            value = value + self._entropy(agents, final, log_prob)
        if sample.later is not None:
            reward = reward + self._later_entropies(agents, *sample.later, noise_key)
        return reward + jnp.where(sample.discount > 0, sample.discount * value, 0.0)

    def _entropy(
        self, agents: PolicyState, observation: Observation, log_prob: Float[Array, "*batch N"]
    ) -> Float[Array, "*batch"]:
        """``-sum_i alpha_i log pi_i`` of log-probabilities (..., N), over the living agents of ``observation``."""
        alpha = self.policy.of_agents(jnp.exp(agents.log_alpha))
        return -jnp.sum(jnp.where(observation.alive, alpha * log_prob, 0.0), axis=-1)

    def _later_entropies(
        self, agents: PolicyState, observation: Observation, discounts: Float[Array, "B n-1"], key: Key[Array, ""]
    ) -> Float[Array, " B"]:
        """The discounted sum of ``_entropy`` over the states (B, n - 1, ...) between the ends of a window."""
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observation)
        log_prob = self.sweep.sample_all(agents.params, flat, key)[1]
        entropy = self._entropy(agents, flat, log_prob).reshape(discounts.shape)
        return jnp.sum(jnp.where(discounts > 0, discounts * entropy, 0.0), axis=-1)

    def _sweep(
        self,
        agents: PolicyState,
        critic: Agent,
        observation: Observation,
        joint: Float[Array, "B N A"],
        keys: tuple[Key[Array, ""], Key[Array, ""], Key[Array, ""]],
        progress: float | Array,
    ) -> tuple[PolicyState, Metrics]:
        others_key, order_key, key = keys
        if self.config.algo.others == "policy":
            joint = self.sweep.sample_all(agents.params, observation, others_key)[0]
        # A deterministic policy climbs the first critic alone (Fujimoto et al., 2018).
        params = critic.params if self.stochastic else jax.tree.map(lambda x: x[:1], critic.params)

        def value(joint, times):
            return self.critics.value(params, jnp.repeat(observation.world_state, times, axis=0), joint)

        return self.sweep.improve(agents, value, observation, joint, order_key, key, progress)
