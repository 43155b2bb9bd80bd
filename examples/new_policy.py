"""A team policy of one's own: a small transformer that decides for the agents one after another (MAT; Wen et al., 2022).

An encoder attends over all agents' observations; a decoder writes the actions down in the order of the agents, each knowing
those before it: pi(a | o) = prod_i pi_i(a_i | o, a_1, ..., a_{i-1}). Teams that live alike and have discrete actions.

    hamljax train plugin=examples/new_policy.py algo=mappo_s algo.policy=transformer env=smax/3m total_timesteps=2e5

The team is one policy (P = 1), so that a sweep has one step: M is never needed, and HAPPO and MAPPO are the same.
Shapes: E environments, N agents, O numbers seen, A actions, B samples of a whole team, D width.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

import hamljax
from hamljax.haml import Divergence
from hamljax.nn.distributions import Categorical, Evaluation
from hamljax.nn.networks import orthogonal

WIDTH, HEADS, BLOCKS = 64, 2, 1


class Block(nn.Module):
    """Attention over the agents (B, N, D), then a small network, each with a residual."""

    @nn.compact
    def __call__(self, x, mask):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(HEADS)(y, y, mask=mask)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(WIDTH)(nn.LayerNorm()(x))))


class Transformer(nn.Module):
    """Logits (B, N, A): those of agent i know all observations, and the actions (one-hot, (B, N, A)) of agents before i."""

    num_actions: int

    @nn.compact
    def __call__(self, obs, alive, actions):
        num_agents = obs.shape[1]
        place = self.param("place", nn.initializers.normal(0.02), (num_agents, WIDTH), jnp.float32)
        seen = jnp.broadcast_to(
            alive[:, None, None, :], (len(obs), 1, num_agents, num_agents)
        )  # nobody looks at the dead
        x = nn.Dense(WIDTH, name="obs")(obs) + place
        for _ in range(BLOCKS):
            x = Block()(x, seen | jnp.eye(num_agents, dtype=bool))
        before = jnp.pad(actions, ((0, 0), (1, 0), (0, 0)))[:, :-1]  # agent i is shown the action of agent i - 1 ...
        y = x + nn.Dense(WIDTH, use_bias=False, name="action")(before)
        for _ in range(BLOCKS):  # ... and, by attention, those of all before it
            y = Block()(y, jnp.tril(jnp.ones((num_agents, num_agents), bool)))
        # What the encoder says of later agents is known from the start; only their actions are not.
        y = nn.Dense(WIDTH)(jnp.concatenate([nn.LayerNorm()(x), nn.LayerNorm()(y)], axis=-1))
        return nn.Dense(self.num_actions, kernel_init=orthogonal(0.01), name="head")(nn.gelu(y))


class TeamBatch(NamedTuple):
    """What the policy learns from: samples of a whole team at one time, leaves (B, 1, N, ...)."""

    obs: jax.Array
    avail: jax.Array
    alive: jax.Array
    action: jax.Array
    log_prob: jax.Array
    logits: jax.Array
    m_advantage: jax.Array
    asked: dict[str, jax.Array]


@struct.dataclass
class TransformerPolicy:
    """A ``hamljax.algorithms.base.TeamPolicy``; pure functions of its parameters."""

    team: Any = struct.field(pytree_node=False)

    num_policies = 1

    @property
    def groups(self):
        return [list(range(self.team.num_agents))]

    @property
    def network(self):
        return Transformer(self.team.action_size)

    def for_team(self, team):
        return self.replace(team=team)

    # ACTING

    def init(self, key, observation):
        obs, legal = observation.obs[:1], observation.avail_actions[:1]
        params = self.network.init(key, obs, jnp.ones(obs.shape[:2], bool), jnp.zeros(legal.shape))
        return jax.tree.map(lambda x: x[None], params)  # the axis of policies

    def initial_memory(self, num_envs):
        return jnp.zeros((1, num_envs, 0))

    def act(self, params, memory, key, observation, start, greedy=False):
        del start  # it remembers nothing
        params = jax.tree.map(lambda x: x[0], params)
        alive, legal = observation.alive, observation.avail_actions
        keys = jax.random.split(key, len(alive)) if key.ndim == 0 else key  # one for each environment
        keys = jax.vmap(lambda key: jax.random.split(key, self.team.num_agents))(keys)

        def decide(actions, i):
            logits = self.network.apply(params, observation.obs, alive, actions)[:, i]
            drawn = jax.vmap(Categorical.sample)(keys[:, i], logits, legal[:, i])
            action = Categorical.mode(logits, legal[:, i]) if greedy else drawn
            return actions.at[:, i].set(Categorical.encode(action, legal[:, i])), (action, logits)

        agents = jnp.arange(self.team.num_agents)
        _, (action, logits) = jax.lax.scan(decide, jnp.zeros(legal.shape), agents)
        action, logits = (jnp.swapaxes(x, 0, 1) for x in (action, logits))
        return memory, action, {"log_prob": Categorical.log_prob(logits, legal, action), "logits": logits}

    def to_env_action(self, action):
        return action

    # LEARNING FROM ROLLOUTS

    def batches(self, steps, memory, advantage, asked, length):
        del memory, length  # every step is a sample

        def samples(x):  # (T, E, N, ...) -> (1, T * E, 1, N, ...)
            return x.reshape(1, -1, 1, *x.shape[2:])

        seen = steps.observation
        fields = (seen.obs, seen.avail_actions, seen.alive, steps.action, steps.log_prob, steps.logits, advantage)
        return TeamBatch(*map(samples, fields), {name: samples(x) for name, x in asked.items()})

    def evaluate_actions(self, params, batch):
        """All agents at once: the actions are known, and the mask of the decoder keeps the later ones from the earlier."""
        obs, avail, alive, action = (x[:, 0] for x in (batch.obs, batch.avail, batch.alive, batch.action))
        logits = self.network.apply(params, obs, alive, Categorical.encode(action, avail))
        found = Categorical.log_prob(logits, avail, action), Categorical.entropy(logits, avail), logits
        return Evaluation(*(x[:, None] for x in found))

    def divergence(self, new, batch):
        forward = Categorical.kl(batch.logits, new.logits, batch.avail)
        backward = Categorical.kl(new.logits, batch.logits, batch.avail)
        return Divergence(new.log_prob - batch.log_prob, forward, backward, batch.alive)

    def entropies(self, steps):
        return Categorical.entropy(steps.logits, steps.observation.avail_actions)

    def by_team(self, x):
        return x  # (teams, 1, N) already

    def of_members(self, x):
        return x[..., None]  # one number a team, for each of its agents


@hamljax.register_policy("transformer")
def transformer(config, team):
    """A transformer that decides for the agents one after another (MAT)."""
    if not team.discrete:
        raise hamljax.ConfigError("algo.policy=transformer has discrete actions, and here they are continuous")
    if config.network.gru_size:
        raise hamljax.ConfigError("algo.policy=transformer has no memory; use network=mlp")
    return TransformerPolicy(team)
