"""A counterfactual critic (COMA; Foerster et al., 2018): how much better was what an agent did than what it does on average?

    hamljax train plugin=examples/new_critic.py algo.critic=coma env=game/penalty

HAML keeps its objective: what is subtracted from Q is the same whatever the agent does, so that it turns no gradient in the mean.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

import hamljax
from hamljax.haml import Agent, gradient_step, minibatches, weighted_mean
from hamljax.nn.distributions import Categorical


def counterfactual(q, policy, did):
    """Q(did) - sum_a policy(a) Q(a), (...), of arrays (..., A); ``did`` is one-hot."""
    return jnp.sum((did - policy) * q, axis=-1)


@struct.dataclass
class Coma(hamljax.StateCritic):
    """Beside V a Q(state, the others' actions, agent) -> (A,) in ValueNorm's units, which learns V's targets."""

    def q_network(self):
        hidden = [layer for width in self.config.network.hidden_sizes for layer in (nn.Dense(width), nn.relu)]
        return nn.Sequential([*hidden, nn.Dense(self.team.action_size)])

    def q_inputs(self, seen, did):
        """(..., N, S + N A + N), of actions (..., N, A): the dead, and oneself, did nothing."""
        who = jnp.broadcast_to(jnp.eye(self.team.num_agents), (*seen.alive.shape, self.team.num_agents))
        others = (did * seen.alive[..., None])[..., None, :, :] * (1 - who[..., None])
        state = jnp.repeat(seen.world_state[..., None, :], self.team.num_agents, axis=-2)
        return jnp.concatenate([state, others.reshape(*seen.alive.shape, -1), who], axis=-1)

    def init(self, key, observation):
        inputs = self.q_inputs(observation, jnp.zeros((*observation.alive.shape, self.team.action_size)))
        params = self.q_network().init(jax.random.fold_in(key, 1), inputs)
        return super().init(key, observation), Agent(params, self.optimiser.init(params))

    def parameters(self, critic):
        return {"v": super().parameters(critic[0]), "q": critic[1].params}

    def estimate(self, critic, memory, traj, teaches):
        (v, q), steps, seen = critic, traj.transitions, traj.transitions.observation
        memory, of_v = super().estimate(v, memory, traj, teaches)
        did, learns = jax.nn.one_hot(steps.action, self.team.action_size), seen.alive & teaches[..., None]
        inputs = self.q_inputs(seen, did)
        values = v.value_norm.denormalise(self.q_network().apply(q.params, inputs))
        advantage = counterfactual(values, Categorical.probs(steps.logits, seen.avail_actions), did)
        batch = inputs, did, jnp.broadcast_to(of_v.target, learns.shape), learns  # to be leaves (T E, N, ...)
        batch = of_v.batch, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        return memory, of_v._replace(advantage=jnp.where(learns, advantage, 0.0), batch=batch)

    def fit(self, critic, estimate, key):
        (v, q), (of_v, (inputs, did, target, learns)), algo = critic, estimate.batch, self.config.algo
        v, info = super().fit(v, estimate._replace(batch=of_v), key)

        def loss(params, inputs, did, target, learns):
            error = jnp.sum(did * self.q_network().apply(params, inputs), axis=-1) - target
            return weighted_mean(0.5 * error**2, learns)

        def step(q, minibatch):
            q, value, _ = gradient_step(self.optimiser, loss, q, *minibatch)
            return q, {"q_loss": value}

        batch = inputs, did, v.value_norm.normalise(target), learns
        q, infos = minibatches(step, q, batch, key, algo.critic_epochs, algo.critic_minibatches)
        return (v, q), info | jax.tree.map(jnp.mean, infos)


@hamljax.register_critic("coma")
def coma(config, team):
    """Counterfactual: Q of what an agent did minus its mean over what it might have done; discrete actions."""
    if not team.discrete:
        raise hamljax.ConfigError("algo.critic=coma is for discrete actions, and this team's are continuous")
    return Coma(config, team, per_agent=False)
