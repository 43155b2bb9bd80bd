"""The policies of a team, as they act. How they improve is the business of ``on_policy`` and ``off_policy``.

Shapes: E environments, N agents, P policies of B samples per step (see ``layout``).
"""

import jax
import jax.numpy as jnp

from .. import haml
from ..algorithms import resolve
from ..envs.protocol import Observation, Team
from .config import Config
from .distributions import distribution
from .layout import Layout, policy_of
from .networks import Actor, initial_carry


class Policies:
    """Networks and distribution of the policies that ``config`` describes; pure functions of their parameters."""

    def __init__(self, config: Config, team: Team):
        self.config, self.row = config, resolve(config.algo)
        self.coordination = haml.COORDINATIONS[self.row.coordination]
        self.layout = Layout(team, config.num_envs, policy_of(self.row.sharing, team))
        self.distribution = distribution(config.algo, self.row, team.discrete)
        self.actor = Actor(config.network, team.action_size, self.distribution.head)

    def inputs(self, obs, axis: int):
        """Observations (..., E, N, O) -> policy inputs (P, ..., B, O') and which of their entries are real (None: all)."""
        inputs = self.layout.policy_input(obs)
        asked = self.config.network.input_norm and not self.layout.team.obs_mask.all()
        mask = self.layout.policy_mask(inputs.shape) if asked else None
        return self.layout.split(inputs, axis), None if mask is None else self.layout.split(mask, axis)

    def init_params(self, key, observation: Observation):
        """Fresh parameters, stacked on the policy axis."""
        carry = self.initial_carry()
        obs, mask = self.inputs(observation.obs, 1)
        mask = None if mask is None else mask[0, None, :1]
        sample = (carry[0, :1], obs[0, None, :1], jnp.ones((1, 1), bool), mask)
        return jax.vmap(lambda key: self.actor.init(key, *sample))(jax.random.split(key, self.layout.num_policies))

    def initial_carry(self) -> jax.Array:
        """Empty memory (P, B, H); H = 0 without recurrence."""
        carry = initial_carry(self.config.network, self.layout.batch_size)
        return jnp.broadcast_to(carry, (self.layout.num_policies, *carry.shape))

    def act(self, params, carry, key, observation: Observation, start, greedy: bool = False):
        """One decision of the team. carry (P, B, H), observation (E, N, ...), start (E,).

        Returns the new carry, actions (E, N[, A]), log-probabilities (E, N) and logits (E, N, ...). What an environment
        is to be given is ``as_played`` of the actions.
        """
        split = self.layout.split
        obs, mask = self.inputs(observation.obs, 1)
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

    def as_played(self, action):
        """Actions (..., N[, A]) as an environment takes them: a policy's [-1, 1] is the interval between its bounds."""
        return self.layout.team.clip(self.layout.team.from_unit(action))
