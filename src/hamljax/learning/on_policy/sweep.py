"""How policies improve on a rollout: one after another, by the mirror objective (Algorithm Template 1).

Nothing here asks for an algorithm's name: the row of the table has become a sweep, a drift and a solver.
Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ... import haml
from ...algorithms import hyper_parameters
from ...envs.protocol import Observation, Team
from ...haml import Agent, Divergence, weighted_mean
from ..config import Config
from ..distributions import Evaluation
from ..optimiser import adam, squared_norms
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
    asked: dict[str, jax.Array]  # what the drift asks for beside these, by name


class MirrorSweep(Policies):
    """Policies that learn from rollouts; pure functions of ``agents``."""

    def __init__(self, config: Config, team: Team):
        super().__init__(config, team)
        algo, row = config.algo, self.row
        drift, neighbourhood = haml.DRIFTS[row.drift], haml.NEIGHBOURHOODS[row.neighbourhood]
        solver, own = haml.SOLVERS[neighbourhood.solver], hyper_parameters(algo, "neighbourhood_params")
        self.drift = haml.bind_drift(drift, hyper_parameters(algo, "drift_params"))
        self.limit = haml.bind_limit(neighbourhood, own)
        steps = algo.update_epochs * algo.num_minibatches
        self.optimiser = adam(config, algo.actor_lr, steps) if solver.uses_optimiser else optax.identity()
        self.solve = haml.bind_solver(solver, own, self.optimiser)
        self.ent_coef = algo.ent_coef if solver.uses_optimiser else 0.0

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

        teams = observation.alive.shape  # (T, E, N)
        asked = {
            "advantage": lambda: advantage,
            "agent": lambda: jnp.broadcast_to(jnp.arange(teams[-1]), teams),
            "world_state": lambda: jnp.broadcast_to(
                observation.world_state[..., None, :], (*teams, observation.world_state.shape[-1])
            ),
        }
        obs, mask = self.inputs(observation.obs, 2)
        memory = jnp.moveaxis(traj.carry, 1, 0)
        return PolicyBatch(
            obs=prepare(obs),
            mask=None if mask is None else prepare(mask),
            start=split(jnp.broadcast_to(steps.start[..., None], teams)),
            avail=split(observation.avail_actions),
            alive=prepare(self.layout.split_alive(observation.alive, 2)),
            action=split(steps.action),
            log_prob=split(steps.log_prob),
            logits=split(steps.logits),
            m_advantage=split(advantage),
            carry=self._sample_carry(memory),
            asked={name: split(x()) for name, x in asked.items() if name in self.drift.asks},
        )

    def _sample_carry(self, memory):
        """(P, T / L, B, H) -> (P, samples, H); without recurrence H = 0 and only the number of samples matters."""
        samples = self.config.num_steps // self.config.chunk_length * self.layout.batch_size
        if not self.config.network.gru_size:
            return jnp.zeros((memory.shape[0], samples, 0), memory.dtype)
        return memory.reshape(memory.shape[0], samples, memory.shape[-1])

    def _by_team(self, x):
        """One policy's samples (samples, L) -> (teams, L, M): those of a team at one time beside each other."""
        return jnp.moveaxis(x.reshape(-1, self.layout.group_size, x.shape[-1]), 1, -1)

    def _of_members(self, x):
        """What is one number for a team, (teams, L), for each of a policy's samples: (samples, L)."""
        return jnp.repeat(x, self.layout.group_size, axis=0)

    def divergence(self, params, batch: PolicyBatch) -> Divergence:
        """How far one policy has moved from the one that acted, sample by sample: leaves (samples, L)."""
        return self._divergence(self.evaluate_actions(params, batch), batch)

    def _divergence(self, new: Evaluation, batch: PolicyBatch) -> Divergence:
        return Divergence(
            new.log_prob - batch.log_prob,
            self.distribution.kl(batch.logits, new.logits, batch.avail),
            self.distribution.kl(new.logits, batch.logits, batch.avail),
            batch.alive,
        )

    def given(self, new: Evaluation, batch: PolicyBatch, progress) -> dict[str, jax.Array]:
        """What the drift asks for by name (``haml.drifts.OFFERED``)."""
        config, team = self.config, self.layout.team
        offers = batch.asked | {"obs": batch.obs, "progress": progress}
        offers |= {"num_updates": config.num_updates, "num_agents": team.num_agents}
        asks = [name for name in self.drift.asks if name not in offers]
        if "old_prob" in asks:
            offers["old_prob"] = jnp.exp(batch.log_prob)
        if "kl" in asks or "reverse_kl" in asks:
            offers |= self._divergence(new, batch)._asdict()
        return {name: offers[name] for name in self.drift.asks}

    def sweep(self, agents: Agent, traj: Trajectory, advantage, order_key, key, progress=0.0):
        """Visit the policies one after another; each sees M A, with M the joint ratio of all agents before it.

        ``progress`` (): the share of the run that is over.
        """
        batches = self.batches(traj, advantage)
        count = self.layout.num_policies
        keys = jax.random.split(key, count)

        def objective(params, batch):
            new = self.evaluate_actions(params, batch)
            given = self.given(new, batch, progress)
            gain = haml.mirror_objective(
                new.log_prob, batch.log_prob, batch.m_advantage, batch.alive, self.drift, given
            )
            return gain + self.ent_coef * weighted_mean(new.entropy, batch.alive)

        def batch_of(log_m, i):
            batch = jax.tree.map(lambda x: x[i], batches)
            m = jnp.exp(self._of_members(log_m))
            asked = batch.asked | ({"m": m} if "m" in self.drift.asks else {})
            return batch._replace(m_advantage=m * batch.m_advantage, asked=asked)

        def improve(agent, log_m, i):
            batch = batch_of(log_m, i)
            context = {"agent": i, "log_m": self._of_members(log_m), "progress": progress}
            limit = self.limit and partial(self.limit, given=context)
            agent, info = self.solve(objective, self.divergence, limit, agent, batch, context, keys[i])
            new = self.evaluate_actions(agent.params, batch)
            info["entropy"] = weighted_mean(new.entropy, batch.alive)
            info["kl"] = weighted_mean(self._divergence(new, batch).kl, batch.alive)
            return agent, haml.compound(log_m, *map(self._by_team, (new.log_prob, batch.log_prob, batch.alive))), info

        def slope(agent, log_m, i):
            return jax.grad(objective)(agent.params, batch_of(log_m, i))

        def score(agents, log_m):
            return squared_norms(jax.vmap(slope, (0, None, 0))(agents, log_m, jnp.arange(count)))

        choose = haml.bind_order(haml.ORDERS[self.config.algo.order], order_key, count, score)
        nobody_moved = jnp.zeros_like(self._by_team(batches.log_prob[0])[..., 0])
        agents, info = self.coordination(improve, agents, nobody_moved, choose)
        return agents, jax.tree.map(jnp.mean, info)
