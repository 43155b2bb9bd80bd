"""Critics of states, fitted to the targets of a rollout: one value of the team (``ep``) or one for every agent (``fp``).

Shapes: T steps, E environments, N agents, K values per step (1 or N), S the size of one critic input.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from ...envs.protocol import Observation, Team
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent, gradient_step, minibatches
from ...nn import networks
from ...nn.normalisation import ValueNorm
from ..base import Estimate
from ..config import Config
from ..rollout import merge_leading, time_major, to_chunks
from ..state import without
from .registry import register_critic
from .returns import calculate_gae, value_loss
from .settings import Algo
from .trajectory import Trajectory


class CriticState(NamedTuple):
    """What is learnt of a critic of states."""

    agent: Agent
    value_norm: ValueNorm


class CriticBatch(NamedTuple):
    """What the critic learns from, in samples of L steps."""

    inputs: Float[Array, "samples L S"]
    mask: Bool[Array, "samples L S"] | None  # which entries of inputs are real; None: all, or nobody asks
    start: Bool[Array, "samples L"]
    old_value: Float[Array, "samples L"]
    target: Float[Array, "samples L"] | None  # in units of the reward; None until it is known
    memory: Float[Array, "samples H"]
    weight: Bool[Array, "samples L"]  # what to learn from


@struct.dataclass
class StateCritic:
    """V of a state, by a network like the actors', in ValueNorm's units; advantages by GAE (Schulman et al., 2016).

    Args:
        config: of the run. team: of the environment.
        per_agent: a value of every agent's own view (FP), or of the team (EP).

    References:
        Yu et al., 2022 (MAPPO, arXiv 2103.01955), for ValueNorm and the inputs.
    """

    config: Config[Algo]
    team: Team = struct.field(pytree_node=False)
    per_agent: bool = struct.field(pytree_node=False)

    @property
    def network(self) -> networks.Critic:
        """That of the values."""
        return networks.Critic(self.config.network)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam at ``algo.critic_lr``."""
        algo = self.config.algo
        return self.config.adam(algo.critic_lr, algo.critic_epochs * algo.critic_minibatches)

    @property
    def input_mask(self) -> np.ndarray:
        """(K, S) bool: which entries of ``inputs`` are real."""
        team = self.team
        world = np.ones((1, team.world_state_size), bool)
        if not self.per_agent:
            return world
        everything = np.ones((team.num_agents, team.num_agents), bool)
        return np.concatenate([world.repeat(team.num_agents, 0), team.obs_mask, everything], axis=-1)

    @property
    def num_values(self) -> int:
        """K."""
        return self.team.num_agents if self.per_agent else 1

    def init(self, key: Key[Array, ""], observation: Observation) -> CriticState:
        """A fresh critic; observation (E, N, ...)."""
        inputs = self.inputs(observation).reshape(1, -1, self.input_mask.shape[1])
        memory = networks.initial_carry(self.config.network, inputs.shape[1])
        params = self.network.init(key, memory, inputs, jnp.ones(inputs.shape[:2], bool), self._masks(1))
        agent = Agent(params, self.optimiser.init(params))
        return CriticState(agent, ValueNorm.create(self.config.algo.value_norm))

    def parameters(self, critic: CriticState) -> Any:
        """Those of its network."""
        return critic.agent.params

    def initial_memory(self, num_envs: int) -> Float[Array, "EK H"]:
        """(E * K, H) zeros."""
        return networks.initial_carry(self.config.network, num_envs * self.num_values)

    def view(self, observation: Observation) -> Observation:
        """What of an observation ``inputs`` looks at; None for the rest, which need not be stored."""
        unseen = ("avail_actions",) if self.per_agent else ("obs", "avail_actions", "alive")
        return without(observation, *unseen)

    def inputs(self, observation: Observation) -> Float[Array, "*batch K S"]:
        """What the critic sees, (..., K, S). EP: the world state, K = 1. FP: world state, own observation and id, K = N.

        A dead agent's observation does not reach the critic.
        """
        if not self.per_agent:
            return observation.world_state[..., None, :]
        count, state = self.team.num_agents, observation.world_state
        obs = jnp.where(observation.alive[..., None], observation.obs, 0.0)
        state = jnp.broadcast_to(state[..., None, :], (*obs.shape[:-1], state.shape[-1]))
        ids = jnp.broadcast_to(jnp.eye(count, dtype=jnp.float32), (*obs.shape[:-1], count))
        return jnp.concatenate([state, obs, ids], axis=-1)

    def _masks(self, steps: int) -> Bool[Array, "steps EK S"] | None:
        """Which entries of ``steps`` times E critic inputs are real, (steps, E * K, S); None: all, or nobody asks."""
        mask = self.input_mask
        if not self.config.network.input_norm or mask.all():
            return None
        shape = (steps, self.config.num_envs, *mask.shape)
        return jnp.broadcast_to(mask, shape).reshape(steps, -1, mask.shape[1])

    def estimate(
        self, critic: CriticState, memory: Float[Array, "EK H"], traj: Trajectory, teaches: Bool[Array, "T E"]
    ) -> tuple[Float[Array, "EK H"], Estimate]:
        """Values of all steps of a rollout and of their true successors, in one batched pass each; advantages; targets.

        Args:
            critic: what is learnt of it.
            memory: (E * K, H) before the first step.
            traj: a rollout whose observations are as the networks see them.
            teaches: (T, E) bool, which steps to learn from.

        Returns:
            The memory after the last step, and the estimate.
        """
        memory, values, batch = self.values(critic.agent.params, memory, traj, teaches)
        advantage, target = self._returns(critic.value_norm, traj, values, teaches)
        chunks = to_chunks(target.reshape(target.shape[0], -1), self.config.chunk_length)
        return memory, Estimate(advantage, target, batch._replace(target=chunks))

    def values(
        self, params: Any, memory: Float[Array, "EK H"], traj: Trajectory, teaches: Bool[Array, "T E"]
    ) -> tuple[Float[Array, "EK H"], tuple[Float[Array, "T E K"], Float[Array, "T E K"]], CriticBatch]:
        """What the network says of a rollout.

        Args:
            params: of the network. memory, traj, teaches: as of ``estimate``.

        Returns:
            The memory, the values and successor values (T, E, K), in ValueNorm's units, and a batch whose targets are yet
            to be filled in.
        """
        steps, length = traj.transitions, self.config.chunk_length
        num_steps, size = self.config.num_steps, self.input_mask.shape[1]
        inputs = self.inputs(steps.observation).reshape(num_steps, -1, size)
        start = jnp.repeat(steps.start, self.num_values, axis=1)
        mask = self._masks(num_steps)
        last, memories, value = self.network.apply(params, memory, inputs, start, mask)

        flat_mask = None if mask is None else mask.reshape(1, -1, size)
        final_inputs = self.inputs(steps.final).reshape(1, -1, size)
        no_start = jnp.zeros(final_inputs.shape[:2], bool)
        _, _, next_value = self.network.apply(params, merge_leading(memories), final_inputs, no_start, flat_mask)

        before = jnp.concatenate([memory[None], memories[:-1]])[::length]
        batch = CriticBatch(
            to_chunks(inputs, length),
            None if mask is None else to_chunks(mask, length),
            to_chunks(start, length),
            to_chunks(value, length),
            None,
            merge_leading(before),
            to_chunks(jnp.repeat(teaches, self.num_values, axis=1), length),
        )
        per_step = (num_steps, self.config.num_envs, self.num_values)
        return last, (value.reshape(per_step), next_value.reshape(per_step)), batch

    def _returns(
        self, value_norm: ValueNorm, traj: Trajectory, values: tuple[Array, Array], teaches: Bool[Array, "T E"]
    ) -> tuple[Float[Array, "T E K"], Float[Array, "T E K"]]:
        """Advantages and value targets, (T, E, K) each, by GAE of values in ``value_norm``'s units."""
        steps, config = traj.transitions, self.config
        value, next_value = (value_norm.denormalise(v) for v in values)
        reward, terminated, truncated = (x[..., None] for x in (steps.reward, steps.terminated, steps.truncated))
        if config.truncation == "terminal":
            terminated = terminated | truncated
        return calculate_gae(
            reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda, ~teaches[..., None]
        )

    def fit(self, critic: CriticState, estimate: Estimate, key: Key[Array, ""]) -> tuple[CriticState, dict[str, Array]]:
        """Epochs x minibatches of regression onto the targets, in ValueNorm's units."""
        algo = self.config.algo

        def loss(params, target, minibatch):
            inputs = (time_major(x) for x in (minibatch.inputs, minibatch.start, minibatch.mask))
            _, _, value = self.network.apply(params, minibatch.memory, *inputs)
            errors = value_loss(
                time_major(value),
                minibatch.old_value,
                target,
                algo.critic_loss,
                algo.huber_delta,
                algo.value_clip,
                algo.clip_value,
            )
            return weighted_mean(errors, minibatch.weight)

        def step(critic, minibatch):
            value_norm = critic.value_norm.update(minibatch.target, seen=minibatch.weight)
            target = value_norm.normalise(minibatch.target)
            agent, value, norm = gradient_step(self.optimiser, loss, critic.agent, target, minibatch)
            return CriticState(agent, value_norm), {"critic_loss": value, "critic_grad_norm": norm}

        critic, info = minibatches(step, critic, estimate.batch, key, algo.critic_epochs, algo.critic_minibatches)
        return critic, jax.tree.map(jnp.mean, info)


@register_critic("ep")
def of_the_team(config: Config[Algo], team: Team) -> StateCritic:
    """Environment-provided state: one value of the world state."""
    return StateCritic(config, team, per_agent=False)


@register_critic("fp")
def of_every_agent(config: Config[Algo], team: Team) -> StateCritic:
    """Featurised per agent: a value of world state, own observation and identity for every agent."""
    return StateCritic(config, team, per_agent=True)
