"""The on-policy loop of HAML, written once: collect a rollout, estimate advantages, sweep the agents, fit the critic.

From an update to PPO's clip: ``BaseLearner.update`` -> ``learn`` -> ``_learn`` -> ``MirrorSweep.improve`` (sweep.py) ->
``haml.sequential`` -> a solver, such as ``haml.ascent`` -> ``MirrorSweep.objective`` -> ``haml.mirror_objective`` -> the drift
``clip``.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``policies.layout``), K values per step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from ...envs.protocol import Environment, Team
from ...envs.vector import VecStep, VectorEnv
from ...errors import lookup
from ...haml import Agent, weighted_mean
from ...nn.distributions import Categorical, Gaussian
from ...nn.normalisation import ObsNorm, normalise_advantages
from ...nn.protocols import RolloutDistribution
from ..base import Action, Critic, DebugBatch, Metrics, TeamPolicy
from ..config import Config
from ..learner import BaseLearner, normalises_observations, traced_once
from ..policies.independent import IndependentPolicies
from ..rollout import episode_metrics
from ..state import RolloutState, RunnerState, guard, see, without
from ..sweep import check_team
from ..table import resolve
from . import critics  # noqa: F401  (importing it registers its critics)
from .probe import check_traces
from .registry import CRITICS, POLICIES, SHIPPED, register_policy
from .settings import Algo
from .sweep import REPORTED, MirrorSweep
from .trajectory import Trajectory, Transition


class Learnt(NamedTuple):
    """What an update improves."""

    agents: Agent  # stacked on the policy axis (P, ...)
    critic: Any
    obs_norm: ObsNorm | None


@struct.dataclass
class OnPolicy(BaseLearner):
    """A row that learns from rollouts. ``RunnerState.carried`` is its critic's memory."""

    config: Config[Algo]
    policy: TeamPolicy
    critic: Critic
    env: Environment = struct.field(pytree_node=False)
    vec: VectorEnv = struct.field(pytree_node=False)
    # ``_learn``, traced once for a program however often JAX looks at it.
    compiled_learn: Callable = struct.field(pytree_node=False)

    @classmethod
    def create(cls, config: Config[Algo], env: Environment) -> "OnPolicy":
        """The learner of a checked configuration.

        Args:
            config: of the run, as ``validate`` takes it. env: on which it learns.

        Raises:
            ConfigError: it does not fit the team.
        """
        check_team(config, env.team)
        policy = lookup("policy", config.algo.policy, POLICIES)(config, env.team)
        critic = lookup("critic", config.algo.critic, CRITICS)(config, env.team)
        learn = traced_once(cls._learn)
        learner = cls(config, policy, critic, env, env.vectorise(config.num_envs), learn)
        for what, name in (("policy", config.algo.policy), ("critic", config.algo.critic)):
            if name not in SHIPPED[what] and not env.in_processes:
                check_traces(what, name, learner)
        return learner

    @property
    def sweep(self) -> MirrorSweep:
        """How its policies improve."""
        return MirrorSweep(self.config, self.policy)

    def init(self, key: Key[Array, ""]) -> RunnerState:
        """The state of a run that has not begun."""
        env_key, policy_key, critic_key, run_key, eval_key = jax.random.split(key, 5)
        rollout = self.begin_rollout(env_key, run_key)
        learnt = Learnt(
            self.sweep.init(policy_key, rollout.observation),
            self.critic.init(critic_key, rollout.observation),
            ObsNorm.create(self.env.team) if normalises_observations(self.config, self.env) else None,
        )
        return RunnerState.begin(learnt, rollout, self.critic.initial_memory(self.config.num_envs), eval_key)

    def parameters(self, state: RunnerState) -> dict[str, Any]:
        """The parameters of its networks by what they are."""
        return {"actors": state.learnt.agents.params, "critic": self.critic.parameters(state.learnt.critic)}

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes."""
        return super().restart(state)._replace(carried=jnp.zeros_like(state.carried))

    # COLLECT

    def act(
        self, state: RunnerState, rollout: RolloutState, key: Key[Array, ""]
    ) -> tuple[Float[Array, "P B H"], Action, dict[str, Array]]:
        """One decision of the policies of ``state``."""
        seen = without(see(state.learnt.obs_norm, self.env.team, rollout.observation), "world_state")
        memory, action, more = self.policy.act(state.learnt.agents.params, rollout.memory, key, seen, rollout.start)
        return memory, self.policy.to_env_action(action), {"action": action, **more}

    def make_transition(self, state: RunnerState, rollout: RolloutState, decision: Any, step: VecStep) -> Transition:
        """What remains of a step."""
        del state
        return Transition(
            rollout.observation,
            rollout.start,
            **decision,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            final=self.critic.view(step.final),
            metrics=step.metrics,
            valid=step.valid,
        )

    def stack(self, transitions: Transition, memory: Float[Array, "chunks P B H"]) -> Trajectory:
        """The rollout."""
        return Trajectory(transitions, memory)

    # LEARN

    def learn(self, state: RunnerState, rollout: Trajectory) -> tuple[RunnerState, Metrics]:
        """Improve policies and critic on a rollout. Returns scalar metrics (``train/...``).

        An update that made anything non-finite is not taken, and counts in ``train/skipped``.
        """
        after, info = self.compiled_learn(self, state, rollout)
        # Of what is only reported a ratio may overflow where all that is learnt is finite.
        state, skipped = guard(state, after, {name: x for name, x in info.items() if name not in REPORTED})
        steps = rollout.transitions
        metrics = {**episode_metrics(steps, steps.observation), **info, "skipped": skipped}
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def _learn(self, state: RunnerState, traj: Trajectory) -> tuple[RunnerState, Metrics]:
        key, order_key, actor_key, critic_key = jax.random.split(state.rollout.key, 4)
        learnt, steps, team = state.learnt, traj.transitions, self.env.team
        if steps.valid is None:
            # All true, which the compiler is not to know: so sums have one order, whether steps can be lost or not.
            steps = steps._replace(valid=jnp.full(steps.start.shape, state.num_updates >= 0))
        steps = steps.without_lost()
        visible, teaches = team.visible(steps.observation), self.step_mask(steps)
        observation, final = (see(learnt.obs_norm, team, x) for x in (steps.observation, steps.final))
        steps = mask_excluded(steps._replace(observation=observation, final=final), teaches)
        traj = traj._replace(transitions=steps)

        if self.sweep.row.entropy == "reward":
            traj = traj._replace(transitions=steps._replace(reward=steps.reward + self.entropy_reward(steps)))

        # ADVANTAGES
        critic_memory, estimate = self.critic.estimate(learnt.critic, state.carried, traj, teaches)
        advantage, scale = self.agent_advantages(estimate.advantage, steps.observation.alive)
        bonus = None
        if self.sweep.row.entropy == "reward":  # in units of the advantages, which may all be 0
            bonus = self.config.algo.ent_coef / jnp.where(scale > 0, scale, 1.0)

        # POLICIES
        progress = state.num_updates / self.config.num_updates
        agents, actor_info = self.sweep.improve(learnt.agents, traj, advantage, order_key, actor_key, progress, bonus)

        # CRITIC
        critic, critic_info = self.critic.fit(learnt.critic, estimate, critic_key)

        obs_norm = learnt.obs_norm and learnt.obs_norm.update(
            visible, steps.valid
        )  # the rollout was seen through the old one
        state = state._replace(
            learnt=Learnt(agents, critic, obs_norm),
            rollout=state.rollout._replace(key=key),
            carried=critic_memory,
            num_updates=state.num_updates + 1,
        )
        aim = weighted_mean(jnp.mean(estimate.target, axis=-1), teaches)
        return state, {**actor_info, **critic_info, "value_target": aim}

    def agent_advantages(
        self, advantage: Float[Array, "T E #N"], alive: Bool[Array, "T E N"]
    ) -> tuple[Float[Array, "T E N"], Float[Array, ""] | float]:
        """A critic's advantages as the agents learn from them: normalised over the living, where that is set.

        Args:
            advantage: (T, E, N), or (T, E, 1) for all agents. alive: (T, E, N).

        Returns:
            The advantages (T, E, N), and what they were divided by.
        """
        advantage = jnp.broadcast_to(advantage, alive.shape)
        return normalise_advantages(advantage, alive) if self.config.algo.normalise_advantages else (advantage, 1.0)

    def entropy_reward(self, steps: Transition) -> Float[Array, "T E"]:
        """``alpha sum_i H(pi_i)`` over the living, exact, of the policies that acted (MEHAML, arXiv 2306.10715)."""
        entropy = self.policy.entropies(steps)
        alive = steps.observation.alive
        return self.config.algo.ent_coef * jnp.sum(jnp.where(alive, entropy, 0.0), axis=-1)

    def step_mask(self, steps: Transition) -> Bool[Array, "T E"]:
        """The steps to learn from, which are neither lost nor dropped at a time limit."""
        assert steps.valid is not None  # by now it says so of every step
        return steps.valid & ~steps.truncated if self.config.truncation == "drop" else steps.valid

    def debug_batch(self, state: RunnerState) -> DebugBatch:
        """What the next update would learn from."""
        return self.collect(state)[1].debug_batch(self.config.truncation)


def mask_excluded(steps: Transition, teaches: Bool[Array, "T E"]) -> Transition:
    """Steps whose agents count as dead where the step does not teach: policies learn from living agents alone.

    Args:
        steps: (T, E, ...). teaches: (T, E), which of them to learn from.
    """
    observation = steps.observation
    return steps._replace(observation=observation._replace(alive=observation.alive & teaches[..., None]))


@register_policy("independent")
def independent(config: Config[Algo], team: Team) -> IndependentPolicies[RolloutDistribution]:
    """A network per policy that sees its own agent's observation."""
    distribution: RolloutDistribution = Categorical() if team.discrete else Gaussian()
    return IndependentPolicies.create(config.network, distribution, resolve(config.algo).sharing, team)
