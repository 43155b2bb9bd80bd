"""The critics: action-values of (state, joint action), the lowest of which counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ...envs.protocol import Team
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent, gradient_step
from ...nn import networks
from ..config import Config


@struct.dataclass
class ActionValueCritics:
    """Networks and regression of the critics, stacked on a leading axis; pure functions.

    Shapes: B samples, N agents, A action dimensions, S the size of the world state.
    """

    config: Config
    team: Team = struct.field(pytree_node=False)
    count: int = struct.field(pytree_node=False)

    @property
    def network(self) -> networks.Critic:
        return networks.Critic(self.config.network)

    @property
    def optimiser(self):
        return self.config.adam(self.config.algo.critic_lr, self.config.algo.gradient_steps)

    def init(self, key: jax.Array, world_state: jax.Array, joint: jax.Array) -> Agent:
        """Fresh critics for inputs like ``world_state`` (B, S) and ``joint`` (B, N, A)."""
        inputs = self._inputs(world_state, joint)[:, :1]
        memory = networks.initial_carry(self.config.network, 1)
        arguments = (memory, inputs, jnp.ones((1, 1), bool), self._masks(inputs))
        params = jax.vmap(lambda key: self.network.init(key, *arguments))(jax.random.split(key, self.count))
        return Agent(params, self.optimiser.init(params))

    @staticmethod
    def _inputs(world_state: jax.Array, joint: jax.Array):
        return jnp.concatenate([world_state, joint.reshape(*joint.shape[:-2], -1)], axis=-1)[None]

    def _masks(self, inputs):
        """Which entries of ``inputs`` are real; None: all, or nobody asks."""
        mask = np.concatenate([np.ones(self.team.world_state_size, bool), self.team.action_mask.ravel()])
        return jnp.broadcast_to(mask, inputs.shape) if self.config.network.input_norm and not mask.all() else None

    def all_values(self, params: Any, world_state: jax.Array, joint: jax.Array) -> jax.Array:
        """Every critic's value of joint actions as ``distribution.encode`` gives them: (critics, B)."""
        inputs = self._inputs(world_state, joint)
        memory = networks.initial_carry(self.config.network, inputs.shape[1])
        start = jnp.zeros(inputs.shape[:2], bool)
        return jax.vmap(lambda p: self.network.apply(p, memory, inputs, start, self._masks(inputs))[2][0])(params)

    def value(self, params: Any, world_state: jax.Array, joint: jax.Array) -> jax.Array:
        """(B,): the lowest of all critics' values (Fujimoto et al., 2018)."""
        return jnp.min(self.all_values(params, world_state, joint), axis=0)

    def fit(
        self, critic: Agent, world_state: jax.Array, joint: jax.Array, target: jax.Array, weight: jax.Array = None
    ) -> tuple[Agent, dict[str, jax.Array]]:
        """One step of every critic towards ``target`` (B,) by squared error, where ``weight`` (B,) is true."""

        def loss(params):
            errors = (self.all_values(params, world_state, joint) - target) ** 2
            return jnp.sum(
                jnp.mean(errors, axis=-1) if weight is None else jax.vmap(weighted_mean, (0, None))(errors, weight)
            )

        critic, value, norm = gradient_step(self.optimiser, loss, critic)
        return critic, {"critic_loss": value, "critic_grad_norm": norm}
