"""Policies that decide without each other: each sees its own agent's observation.

Shapes: E environments, N agents, A action dimensions, P policies of B samples per step (see ``layout``).
"""

import dataclasses
from typing import Any, Generic, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from ...envs.protocol import Observation, Team
from ...haml import Divergence
from ...nn.distributions import Evaluation
from ...nn.networks import Actor, Network, initial_carry
from ...nn.protocols import Distribution, RolloutDistribution
from ..base import Action
from ..config import Sharing
from ..rollout import time_major, to_chunks
from .layout import Layout, policy_of


class PolicyBatch(NamedTuple):
    """What one policy learns from: samples of L consecutive steps, leaves (samples, L, ...)."""

    obs: Float[Array, "samples L O"]
    mask: Bool[Array, "samples L O"] | None  # which entries of obs are real; None: all, or nobody asks
    start: Bool[Array, "samples L"]
    avail: Bool[Array, "samples L A"]
    alive: Bool[Array, "samples L"] | Float[Array, "*P samples L"]  # bool, or weights
    action: Int[Array, "samples L"] | Float[Array, "*P samples L A"]
    log_prob: Float[Array, "samples L"]
    logits: Float[Array, "samples L ..."]
    m_advantage: Float[Array, "samples L"]
    memory: Float[Array, "samples H"]
    asked: dict[str, Shaped[Array, "samples L ..."]]  # what the drift asks for beside these, by name


D = TypeVar("D", bound=Distribution)


@struct.dataclass
class IndependentPolicies(Generic[D]):
    """A network per policy, and the action distribution on its head; pure functions of their parameters."""

    network: Network
    distribution: D
    layout: Layout = struct.field(pytree_node=False)

    @classmethod
    def create(cls, network: Network, distribution: D, sharing: Sharing, team: Team) -> "IndependentPolicies[D]":
        """Policies for the agents of a team.

        Args:
            network: the body of each. distribution: on its head.
            sharing: who shares one (``layout.policy_of``). team: the agents.

        Raises:
            ConfigError: ``sharing`` is no partition of the team.
        """
        return cls(network, distribution, Layout(team, policy_of(sharing, team)))

    def for_team(self, team: Team) -> Self:
        """The same policies in another team of the same shapes, whose bounds may be others."""
        return dataclasses.replace(self, layout=Layout(team, self.layout.policy_of))

    @property
    def groups(self) -> list[list[int]]:
        """The agents of every policy."""
        return self.layout.groups

    @property
    def num_policies(self) -> int:
        """P."""
        return self.layout.num_policies

    @property
    def actor(self) -> Actor:
        """The network of each."""
        return Actor(self.network, self.layout.team.action_size, self.distribution.head)

    def inputs(
        self, obs: Float[Array, "*batch E N O"], axis: int
    ) -> tuple[Float[Array, "P *batch B OM"], Bool[Array, "P *batch B OM"] | None]:
        """What networks are given of observations.

        Args:
            obs: (..., E, N, O). axis: that of N.

        Returns:
            Policy inputs (P, ..., B, O'), and which of their entries are real (None: all, or nobody asks).
        """
        inputs = self.layout.policy_input(obs)
        asked = self.network.input_norm and not self.layout.team.obs_mask.all()
        mask = self.layout.policy_mask(inputs.shape) if asked else None
        return self.layout.split(inputs, axis), None if mask is None else self.layout.split(mask, axis)

    # ACTING

    def init(self, key: Key[Array, ""], observation: Observation) -> Any:
        """Fresh parameters, stacked on the policy axis; observation (E, N, ...)."""
        memory = self.initial_memory(observation.alive.shape[0])
        obs, mask = self.inputs(observation.obs, 1)
        mask = None if mask is None else mask[0, None, :1]
        sample = (memory[0, :1], obs[0, None, :1], jnp.ones((1, 1), bool), mask)
        return jax.vmap(lambda key: self.actor.init(key, *sample))(jax.random.split(key, self.num_policies))

    def initial_memory(self, num_envs: int) -> Float[Array, "P B H"]:
        """Empty memory (P, B, H); H = 0 without recurrence."""
        carry = initial_carry(self.network, num_envs * self.layout.group_size)
        return jnp.broadcast_to(carry, (self.num_policies, *carry.shape))

    def act(
        self,
        params: Any,
        memory: Float[Array, "P B H"],
        key: Key[Array, "..."],
        observation: Observation,
        start: Bool[Array, " E"],
        greedy: bool = False,
    ) -> tuple[Float[Array, "P B H"], Action, dict[str, Array]]:
        """One decision of the team.

        Args:
            params, memory: as ``init`` and ``initial_memory`` give them.
            key: for all environments together, or one for each of them, (E,).
            observation: (E, N, ...) as the networks see it. start: (E,) bool, an episode begins.
            greedy: the mode of the distribution instead of a sample.

        Returns:
            The new memory, actions (E, N[, A]) in units of the bounds, and ``{"log_prob": (E, N), "logits": (E, N, ...)}``.
        """
        split, one_key = self.layout.split, key.ndim == 0
        obs, mask = self.inputs(observation.obs, 1)
        start = split(jnp.broadcast_to(start[:, None], observation.alive.shape), 1)
        avail = split(observation.avail_actions, 1)
        greedy_now = greedy or not one_key

        def decide(params, memory, key, obs, mask, start, avail):
            mask = None if mask is None else mask[None]
            memory, _, logits = self.actor.apply(params, memory, obs[None], start[None], mask)
            logits = logits[0]
            choose = self.distribution
            action = choose.mode(logits, avail) if greedy_now else choose.sample(key, logits, avail)
            return memory, action, choose.log_prob(logits, avail, action), logits

        keys = jax.random.split(key if one_key else key[0], self.num_policies)
        memory, *decisions = jax.vmap(decide)(params, memory, keys, obs, mask, start, avail)
        action, log_prob, logits = (self.layout.merge(x, 1) for x in decisions)
        if not (one_key or greedy):  # each environment with randomness of its own, whichever others are beside it
            action = jax.vmap(self.distribution.sample)(key, logits, observation.avail_actions)
            log_prob = self.distribution.log_prob(logits, observation.avail_actions, action)
        return memory, action, {"log_prob": log_prob, "logits": logits}

    def log_policies(self, params: Any, observation: Observation) -> Float[Array, "E N A"]:
        """Log-probabilities of all discrete actions where episodes begin, -inf of illegal ones.

        Args:
            params: as ``init`` gives them. observation: (E, N, ...) as the networks see it.
        """
        teams, avail = observation.alive.shape[0], observation.avail_actions
        first = (self.initial_memory(teams), jax.random.key(0), observation, jnp.ones(teams, bool))
        logits = self.act(params, *first, greedy=True)[2]["logits"]

        def of(action):
            return self.distribution.log_prob(logits, avail, jnp.broadcast_to(action, avail.shape[:-1]))

        return jnp.where(avail, jax.vmap(of, out_axes=-1)(jnp.arange(avail.shape[-1])), -jnp.inf)

    def to_env_action(self, action: Action) -> Action:
        """Actions (..., N[, A]) as an environment takes them: a policy's [-1, 1] is the interval between its bounds."""
        return self.layout.team.clip(self.layout.team.from_unit(action))

    # LEARNING FROM ROLLOUTS

    def batches(
        self,
        steps: Any,
        memory: Float[Array, "chunks P B H"],
        advantage: Float[Array, "T E N"],
        asked: dict[str, Shaped[Array, "T E N ..."]],
        length: int,
    ) -> PolicyBatch:
        """A rollout as every policy sees it, in samples of ``length`` steps: leaves (P, samples, L, ...).

        Args:
            steps: ``Transition`` (T, E, ...) whose observations are as the networks see them.
            memory: (T / L, P, B, H) at the start of every chunk.
            advantage: (T, E, N). asked: further arrays (T, E, N, ...) by name.
        """
        observation = steps.observation

        def prepare(x):
            return jax.vmap(lambda x: to_chunks(x, length))(x)

        def split(x):
            return prepare(self.layout.split(x, 2))

        obs, mask = self.inputs(observation.obs, 2)
        return PolicyBatch(
            obs=prepare(obs),
            mask=None if mask is None else prepare(mask),
            start=split(jnp.broadcast_to(steps.start[..., None], observation.alive.shape)),
            avail=split(observation.avail_actions),
            alive=prepare(self.layout.split_alive(observation.alive, 2)),
            action=split(steps.action),
            log_prob=split(steps.log_prob),
            logits=split(steps.logits),
            m_advantage=split(advantage),
            memory=self._of_samples(jnp.moveaxis(memory, 1, 0), observation.alive.shape, length),
            asked={name: split(x) for name, x in asked.items()},
        )

    def _of_samples(
        self, memory: Float[Array, "P chunks B H"], teams: tuple[int, ...], length: int
    ) -> Float[Array, "P samples H"]:
        """(P, T / L, B, H) -> (P, samples, H); without recurrence H = 0 and only the number of samples matters."""
        samples = teams[0] // length * teams[1] * self.layout.group_size
        if not self.network.gru_size:
            return jnp.zeros((memory.shape[0], samples, 0), memory.dtype)
        return memory.reshape(memory.shape[0], samples, memory.shape[-1])

    def evaluate_actions(
        self: "IndependentPolicies[RolloutDistribution]", params: Any, batch: PolicyBatch
    ) -> Evaluation:
        """Log-probabilities, entropies (samples, L) and logits of stored actions.

        Args:
            params, batch: of one policy.
        """
        _, _, logits = self.actor.apply(
            params, batch.memory, time_major(batch.obs), time_major(batch.start), time_major(batch.mask)
        )
        logits = time_major(logits)
        return Evaluation(
            self.distribution.log_prob(logits, batch.avail, batch.action),
            self.distribution.entropy(logits, batch.avail),
            logits,
        )

    def divergence(self: "IndependentPolicies[RolloutDistribution]", new: Evaluation, batch: PolicyBatch) -> Divergence:
        """How far one policy has moved from the one that acted, sample by sample: leaves (samples, L).

        Args:
            new: of the policy now. batch: what it was made of.
        """
        return Divergence(
            new.log_prob - batch.log_prob,
            self.distribution.kl(batch.logits, new.logits, batch.avail),
            self.distribution.kl(new.logits, batch.logits, batch.avail),
            batch.alive,
        )

    def entropies(self: "IndependentPolicies[RolloutDistribution]", steps: Any) -> Float[Array, "T E N"]:
        """Exact entropies of the distributions that a rollout's actions were drawn from."""
        return self.distribution.entropy(steps.logits, steps.observation.avail_actions)

    def by_team(self, x: Shaped[Array, "samples L"]) -> Shaped[Array, "teams L M"]:
        """One policy's samples (samples, L) -> (teams, L, M): those of a team at one time beside each other."""
        return jnp.moveaxis(x.reshape(-1, self.layout.group_size, x.shape[-1]), 1, -1)

    def of_members(self, x: Shaped[Array, "teams L"]) -> Shaped[Array, "samples L"]:
        """What is one number for a team, (teams, L), for each of a policy's samples: (samples, L)."""
        return jnp.repeat(x, self.layout.group_size, axis=0)

    def of_agents(self, per_policy: Shaped[Array, " P"]) -> Shaped[Array, " N"]:
        """One number per policy -> per agent."""
        return per_policy[np.array(self.layout.policy_of)]
