"""The critics: action-values of (state, joint action), the lowest of which counts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from ...envs.protocol import Team
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent, gradient_step
from ...nn import networks
from ...nn.transforms import lowest
from ..config import Config
from .settings import OffPolicyAlgo


@struct.dataclass
class ActionValueCritics:
    """Networks and regression of the critics, stacked on a leading axis; pure functions.

    Shapes: B samples, N agents, A action dimensions, S the size of the world state.
    """

    config: Config[OffPolicyAlgo]
    team: Team = struct.field(pytree_node=False)
    count: int = struct.field(pytree_node=False)

    @property
    def network(self) -> networks.Critic:
        """That of the values."""
        return networks.Critic(self.config.network)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam at ``algo.critic_lr``."""
        return self.config.adam(self.config.algo.critic_lr, self.config.algo.gradient_steps)

    def init(self, key: Key[Array, ""], world_state: Float[Array, "B S"], joint: Float[Array, "B N A"]) -> Agent:
        """Fresh critics.

        Args:
            key: of the initialisation. world_state, joint: inputs, of which only the shapes matter.
        """
        inputs = self._inputs(world_state, joint)[:, :1]
        memory = networks.initial_carry(self.config.network, 1)
        arguments = (memory, inputs, jnp.ones((1, 1), bool), self._masks(inputs))
        params = jax.vmap(lambda key: self.network.init(key, *arguments))(jax.random.split(key, self.count))
        return Agent(params, self.optimiser.init(params))

    @staticmethod
    def _inputs(world_state: Float[Array, "B S"], joint: Float[Array, "B N A"]) -> Float[Array, "1 B F"]:
        return jnp.concatenate([world_state, joint.reshape(*joint.shape[:-2], -1)], axis=-1)[None]

    def _masks(self, inputs: Float[Array, "1 B F"]) -> Bool[Array, "1 B F"] | None:
        """Which entries of ``inputs`` are real; None: all, or nobody asks."""
        mask = np.concatenate([np.ones(self.team.world_state_size, bool), self.team.action_mask.ravel()])
        return jnp.broadcast_to(mask, inputs.shape) if self.config.network.input_norm and not mask.all() else None

    def all_values(
        self, params: Any, world_state: Float[Array, "B S"], joint: Float[Array, "B N A"]
    ) -> Float[Array, "critics B"]:
        """Every critic's value of joint actions.

        Args:
            params: stacked on the axis of critics. world_state: as the networks see it.
            joint: actions as ``distribution.encode`` gives them.
        """
        inputs = self._inputs(world_state, joint)
        memory = networks.initial_carry(self.config.network, inputs.shape[1])
        start = jnp.zeros(inputs.shape[:2], bool)
        return jax.vmap(lambda p: self.network.apply(p, memory, inputs, start, self._masks(inputs))[2][0])(params)

    def value(self, params: Any, world_state: Float[Array, "B S"], joint: Float[Array, "B N A"]) -> Float[Array, " B"]:
        """The lowest of all critics' values (TD3, arXiv 1802.09477).

        Args:
            params, world_state, joint: as of ``all_values``.
        """
        return lowest(self.all_values(params, world_state, joint))

    def fit(
        self,
        critic: Agent,
        world_state: Float[Array, "B S"],
        joint: Float[Array, "B N A"],
        target: Float[Array, " B"],
        weight: Bool[Array, " B"] | None = None,
    ) -> tuple[Agent, dict[str, Array]]:
        """One step of every critic towards a target by squared error.

        Args:
            critic: parameters and optimiser's state of all. world_state, joint: as of ``all_values``.
            target: in units of the reward. weight: which samples count; None: all.

        Returns:
            The critics, the sum of their losses, and the norm of its gradient.
        """

        def loss(params):
            errors = (self.all_values(params, world_state, joint) - target) ** 2
            return jnp.sum(
                jnp.mean(errors, axis=-1) if weight is None else jax.vmap(weighted_mean, (0, None))(errors, weight)
            )

        critic, value, norm = gradient_step(self.optimiser, loss, critic)
        return critic, {"critic_loss": value, "critic_grad_norm": norm}
