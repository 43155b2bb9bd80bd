"""How policies improve on a rollout: one after another, by the mirror objective (Algorithm Template 1).

Nothing here asks for an algorithm's name: the row of the table has become a sweep, a drift and a solver.
Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ... import haml
from ...algorithms import hyper_parameters
from ...envs.protocol import Observation, Team
from ...haml.neighbourhoods import Agent
from ...haml.objective import masked_mean
from ..config import Config
from ..distributions import Evaluation
from ..optimiser import adam
from ..policies import Policies
from .trajectory import Trajectory, time_major, to_chunks


class PolicyBatch(NamedTuple):
    """What one policy learns from: samples of L consecutive steps, leaves (samples, L, ...)."""

    obs: jax.Array
    mask: Any  # which entries of obs are real; None: all, or nobody asks
    start: jax.Array
    avail: jax.Array
    alive: jax.Array
    action: jax.Array
    log_prob: jax.Array
    logits: jax.Array
    m_advantage: jax.Array
    carry: jax.Array  # (samples, H)


class MirrorSweep(Policies):
    """Policies that learn from rollouts; pure functions of ``agents``."""

    def __init__(self, config: Config, team: Team):
        super().__init__(config, team)
        algo, row = config.algo, self.row
        self.drift = haml.bind_drift(haml.DRIFTS[row.drift], hyper_parameters(algo, "drift_params"))
        self.drift_needs_old = bool(haml.DRIFTS[row.drift].divergences)
        neighbourhood = haml.NEIGHBOURHOODS[row.neighbourhood]
        steps = algo.update_epochs * algo.num_minibatches
        self.optimiser = adam(config, algo.actor_lr, steps) if neighbourhood.uses_optimiser else optax.identity()
        parameters = hyper_parameters(algo, "neighbourhood_params")
        self.solve = haml.bind_neighbourhood(neighbourhood, parameters, self.optimiser)
        self.ent_coef = algo.ent_coef if neighbourhood.uses_optimiser else 0.0

    def init(self, key, observation: Observation) -> Agent:
        """Fresh agents, stacked on the policy axis."""
        params = self.init_params(key, observation)
        return Agent(params, jax.vmap(self.optimiser.init)(params))

    def evaluate_actions(self, params, batch: PolicyBatch) -> Evaluation:
        """One policy's log-probabilities, entropies (samples, L) and logits of the stored actions."""
        _, _, logits = self.actor.apply(
            params, batch.carry, time_major(batch.obs), time_major(batch.start), time_major(batch.mask)
        )
        logits = time_major(logits)
        return Evaluation(
            self.distribution.log_prob(logits, batch.avail, batch.action),
            self.distribution.entropy(logits, batch.avail),
            logits,
        )

    def batches(self, traj: Trajectory, advantage) -> PolicyBatch:
        """The rollout as every policy sees it, stacked: leaves (P, samples, L, ...)."""
        steps, length = traj.transitions, self.config.chunk_length
        observation = steps.observation

        def prepare(x):
            return jax.vmap(lambda x: to_chunks(x, length))(x)

        def split(x):
            return prepare(self.layout.split(x, 2))

        obs, mask = self.inputs(observation.obs, 2)
        memory = jnp.moveaxis(traj.carry, 1, 0)
        return PolicyBatch(
            obs=prepare(obs),
            mask=None if mask is None else prepare(mask),
            start=split(jnp.broadcast_to(steps.start[..., None], observation.alive.shape)),
            avail=split(observation.avail_actions),
            alive=split(observation.alive),
            action=split(steps.action),
            log_prob=split(steps.log_prob),
            logits=split(steps.logits),
            m_advantage=split(advantage),
            carry=self._sample_carry(memory),
        )

    def _sample_carry(self, memory):
        """(P, T / L, B, H) -> (P, samples, H); without recurrence H = 0 and only the number of samples matters."""
        samples = self.config.num_steps // self.config.chunk_length * self.layout.batch_size
        if not self.config.network.gru_size:
            return jnp.zeros((memory.shape[0], samples, 0), memory.dtype)
        return memory.reshape(memory.shape[0], samples, memory.shape[-1])

    def sweep(self, agents: Agent, traj: Trajectory, advantage, order_key, key):
        """Visit the policies in a random order; each sees M A, with M the joint ratio of those before it."""
        batches = self.batches(traj, advantage)
        count = self.layout.num_policies
        keys = jax.random.split(key, count)

        def divergences(new_logits, batch):
            return {
                "kl": self.distribution.kl(batch.logits, new_logits, batch.avail),
                "reverse_kl": self.distribution.kl(new_logits, batch.logits, batch.avail),
            }

        def objective(params, batch):
            new = self.evaluate_actions(params, batch)
            old = divergences(new.logits, batch) if self.drift_needs_old else None
            gain = haml.mirror_objective(new.log_prob, batch.log_prob, batch.m_advantage, batch.alive, self.drift, old)
            return gain + self.ent_coef * masked_mean(new.entropy, batch.alive)

        def kl(params, batch):
            new = self.evaluate_actions(params, batch)
            return masked_mean(divergences(new.logits, batch)["kl"], batch.alive)

        def improve(agent, log_m, i):
            batch = jax.tree.map(lambda x: x[i], batches)
            batch = batch._replace(m_advantage=jnp.exp(log_m) * batch.m_advantage)
            agent, info = self.solve(objective, kl, agent, batch, keys[i])
            new = self.evaluate_actions(agent.params, batch)
            info["entropy"] = masked_mean(new.entropy, batch.alive)
            info["kl"] = masked_mean(divergences(new.logits, batch)["kl"], batch.alive)
            return agent, haml.compound(log_m, new.log_prob, batch.log_prob, batch.alive), info

        order = jnp.arange(count) if self.config.algo.fixed_order else jax.random.permutation(order_key, count)
        agents, info = self.coordination.sweep(improve, agents, jnp.zeros_like(batches.log_prob[0]), order)
        return agents, jax.tree.map(jnp.mean, info)
