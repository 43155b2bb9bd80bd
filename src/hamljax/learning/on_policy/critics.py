"""The critic: one value of the team (EP) or one per agent (FP), fitted to the targets of a rollout.

Shapes: T steps, E environments, K values per step (1 or N), S the size of one critic input.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ...envs.protocol import Observation
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent, minibatches
from ..config import Config
from ..layout import Layout
from ..networks import Critic, initial_carry
from ..normalisation import ValueNorm
from ..optimiser import adam
from .returns import value_loss
from .trajectory import Trajectory, merge_leading, time_major, to_chunks


class CriticBatch(NamedTuple):
    """What the critic learns from, leaves (samples, L, ...)."""

    inputs: jax.Array
    mask: Any  # which entries of inputs are real; None: all, or nobody asks
    start: jax.Array
    old_value: jax.Array
    target: jax.Array
    carry: jax.Array  # (samples, H)
    weight: jax.Array  # (samples, L) bool: what to learn from


class Critics:
    """Network and regression of the critic that ``config`` describes; pure functions of ``critic``."""

    def __init__(self, config: Config, layout: Layout):
        self.config, self.layout = config, layout
        self.network = Critic(config.network)
        self.optimiser = adam(config, config.algo.critic_lr, config.algo.critic_epochs * config.algo.critic_minibatches)
        self._mask = layout.critic_mask(config.algo.critic)
        self.num_values = self._mask.shape[0]

    def init(self, key, observation: Observation) -> tuple[Agent, jax.Array]:
        """A fresh critic and its empty memory (E * K, H)."""
        inputs = self.inputs(observation).reshape(1, -1, self._mask.shape[1])
        carry = initial_carry(self.config.network, inputs.shape[1])
        params = self.network.init(key, carry, inputs, jnp.ones(inputs.shape[:2], bool), self._masks(1))
        return Agent(params, self.optimiser.init(params)), carry

    def view(self, observation: Observation) -> Observation:
        """What of an observation ``inputs`` looks at, and None for the rest."""
        return self.layout.critic_view(observation, self.config.algo.critic)

    def inputs(self, observation: Observation) -> jax.Array:
        """What the critic sees: (..., K, S)."""
        return self.layout.critic_input(observation, self.config.algo.critic)

    def _masks(self, steps: int):
        """Which entries of ``steps`` times E critic inputs are real, (steps, E * K, S); None: all, or nobody asks."""
        if not self.config.network.input_norm or self._mask.all():
            return None
        shape = (steps, self.config.num_envs, *self._mask.shape)
        return jnp.broadcast_to(self._mask, shape).reshape(steps, -1, self._mask.shape[1])

    def values(self, params, carry, traj: Trajectory, teaches):
        """Values of all steps of a rollout as the networks see it, and of their true successors, in one batched pass each.

        carry (E * K, H) is the critic's memory before the first step. teaches (T, E) bool: which steps to learn from.
        Returns the memory after the last step, the values and successor values (T, E, K), and a batch to learn from
        that lacks its targets.
        """
        steps, length = traj.transitions, self.config.chunk_length
        num_steps, size = self.config.num_steps, self._mask.shape[1]
        inputs = self.inputs(steps.observation).reshape(num_steps, -1, size)
        start = jnp.repeat(steps.start, self.num_values, axis=1)
        mask = self._masks(num_steps)
        last_carry, carries, value = self.network.apply(params, carry, inputs, start, mask)

        flat_mask = None if mask is None else mask.reshape(1, -1, size)
        final_inputs = self.inputs(steps.final).reshape(1, -1, size)
        memory = merge_leading(carries)
        _, _, next_value = self.network.apply(
            params, memory, final_inputs, jnp.zeros(final_inputs.shape[:2], bool), flat_mask
        )

        before = jnp.concatenate([carry[None], carries[:-1]])[::length]
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
        return last_carry, (value.reshape(per_step), next_value.reshape(per_step)), batch

    def fit(self, critic: Agent, value_norm: ValueNorm, batch: CriticBatch, key):
        """Epochs x minibatches of regression onto the targets, in ValueNorm's units."""
        algo = self.config.algo

        def loss(params, target, minibatch):
            _, _, value = self.network.apply(
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
            return weighted_mean(errors, minibatch.weight)

        def step(carry, minibatch):
            critic, value_norm = carry
            value_norm = value_norm.update(minibatch.target, seen=minibatch.weight)
            target = value_norm.normalise(minibatch.target)
            value, gradient = jax.value_and_grad(loss)(critic.params, target, minibatch)
            updates, opt_state = self.optimiser.update(gradient, critic.opt_state, critic.params)
            critic = Agent(optax.apply_updates(critic.params, updates), opt_state)
            return (critic, value_norm), {"critic_loss": value, "critic_grad_norm": optax.tree.norm(gradient)}

        carry = (critic, value_norm)
        (critic, value_norm), info = minibatches(step, carry, batch, key, algo.critic_epochs, algo.critic_minibatches)
        return critic, value_norm, jax.tree.map(jnp.mean, info)
