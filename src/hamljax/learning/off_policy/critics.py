"""The critics: action-values of (state, joint action), the lowest of which counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ..config import Config
from ..layout import Layout
from ..networks import Critic, initial_carry
from ..optimiser import adam


class Critics:
    """Networks and regression of the critics that ``config`` describes, stacked on a leading axis; pure functions.

    Shapes: B samples, N agents, A action dimensions, S the size of the world state.
    """

    def __init__(self, config: Config, layout: Layout, count: int):
        team = layout.team
        self.count, self.network = count, Critic(config.network)
        self._carry = initial_carry(config.network, 1)
        self.optimiser = adam(config, config.algo.critic_lr, config.algo.gradient_steps)
        mask = np.concatenate([np.ones(team.world_state_size, bool), team.action_mask.ravel()])
        self._mask = mask if config.network.input_norm and not mask.all() else None

    def init(self, key, world_state, joint) -> Agent:
        """Fresh critics for inputs like ``world_state`` (B, S) and ``joint`` (B, N, A)."""
        inputs = self._inputs(world_state, joint)[:, :1]
        arguments = (self._carry, inputs, jnp.ones((1, 1), bool), self._masks(inputs))
        params = jax.vmap(lambda key: self.network.init(key, *arguments))(jax.random.split(key, self.count))
        return Agent(params, self.optimiser.init(params))

    @staticmethod
    def _inputs(world_state, joint):
        return jnp.concatenate([world_state, joint.reshape(*joint.shape[:-2], -1)], axis=-1)[None]

    def _masks(self, inputs):
        return None if self._mask is None else jnp.broadcast_to(self._mask, inputs.shape)

    def all_values(self, params: Any, world_state, joint):
        """Every critic's value of joint actions as ``distribution.encode`` gives them: (critics, B)."""
        inputs = self._inputs(world_state, joint)
        carry = jnp.zeros((inputs.shape[1], *self._carry.shape[1:]), self._carry.dtype)
        start = jnp.zeros(inputs.shape[:2], bool)
        return jax.vmap(lambda p: self.network.apply(p, carry, inputs, start, self._masks(inputs))[2][0])(params)

    def value(self, params: Any, world_state, joint):
        """(B,): the lowest of all critics' values (Fujimoto et al., 2018)."""
        return jnp.min(self.all_values(params, world_state, joint), axis=0)

    def fit(self, critic: Agent, world_state, joint, target, weight=None) -> tuple[Agent, dict[str, jax.Array]]:
        """One step of every critic towards ``target`` (B,) by squared error, where ``weight`` (B,) is true."""

        def loss(params):
            errors = (self.all_values(params, world_state, joint) - target) ** 2
            return jnp.sum(
                jnp.mean(errors, axis=-1) if weight is None else jax.vmap(weighted_mean, (0, None))(errors, weight)
            )

        value, gradient = jax.value_and_grad(loss)(critic.params)
        updates, opt_state = self.optimiser.update(gradient, critic.opt_state, critic.params)
        info = {"critic_loss": value, "critic_grad_norm": optax.tree.norm(gradient)}
        return Agent(optax.apply_updates(critic.params, updates), opt_state), info
