"""How policies improve on a rollout: one after another, by the mirror objective (Algorithm Template 1).

Nothing here asks for an algorithm's name: the row of the table has become a sweep, a drift and a solver.
Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``policies.layout``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key, Shaped

from ... import haml
from ...envs.protocol import Observation
from ...haml import Agent, weighted_mean
from ...nn.distributions import Evaluation
from ...nn.optimiser import squared_norms
from ..base import Metrics, TeamPolicy
from ..config import Config
from ..sweep import Sweep
from ..table import hyper_parameters
from .settings import Algo
from .trajectory import Trajectory

# Numbers of an update from which nothing follows but what ``algo.keep_if_worse`` makes of them.
REPORTED = ("hamo", "drift")


@struct.dataclass
class MirrorSweep(Sweep):
    """How the policies of a row learn from rollouts; pure functions of ``agents``."""

    config: Config[Algo]
    policy: TeamPolicy

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam at ``algo.actor_lr``; none where the solver has no use for one."""
        algo = self.config.algo
        steps = algo.update_epochs * algo.num_minibatches
        return self.config.adam(algo.actor_lr, steps) if self.solver.uses_optimiser else optax.identity()

    def init(self, key: Key[Array, ""], observation: Observation) -> Agent:
        """Fresh agents, stacked on the policy axis.

        Args:
            key: of the initialisation. observation: (E, N, ...) as the networks see it.
        """
        params = self.policy.init(key, observation)
        return Agent(params, jax.vmap(self.optimiser.init)(params))

    def asked(self, traj: Trajectory, advantage: Float[Array, "T E N"]) -> dict[str, Shaped[Array, "T E N ..."]]:
        """What is asked for of a rollout, by the drift and by ``algo.occupancy``: arrays by name.

        Args:
            traj: whose observations are as the networks see them. advantage: of each agent.
        """
        steps = traj.transitions
        observation = steps.observation
        teams = observation.alive.shape  # (T, E, N)

        def of_agents(x):  # (T, E, ...) -> (T, E, N, ...)
            return jnp.broadcast_to(x[:, :, None], (*teams, *x.shape[2:]))

        offers = {
            "advantage": lambda: advantage,
            "agent": lambda: jnp.broadcast_to(jnp.arange(teams[-1]), teams),
            "world_state": lambda: of_agents(observation.world_state),
            "occupancy": lambda: of_agents(self.config.gamma ** (steps.metrics["episode_length"] - 1)),
        }
        asks = (*self.drift.asks, *(["occupancy"] if self.config.algo.occupancy == "discounted" else []))
        return {name: offers[name]() for name in asks if name in offers}

    def batches(self, traj: Trajectory, advantage: Float[Array, "T E N"]) -> Any:
        """The rollout as every policy learns from it: leaves (P, samples, L, ...).

        ``alive`` is the weight of each sample: whether the agent lives, times gamma^t where the occupancy is discounted.

        Args:
            traj, advantage: as of ``asked``.
        """
        asked = self.asked(traj, advantage)
        found = self.policy.batches(traj.transitions, traj.memory, advantage, asked, self.config.chunk_length)
        if "occupancy" not in asked:
            return found
        rest = {name: x for name, x in found.asked.items() if name != "occupancy"}
        return found._replace(alive=found.alive * found.asked["occupancy"], asked=rest)

    def given(self, new: Evaluation, batch: Any, progress: float | Array) -> dict[str, Any]:
        """What the drift asks for by name (``haml.drifts.OFFERED``).

        Args:
            new: of the policy now. batch: what it learns from. progress: the share of the run that is over.
        """
        offers = batch.asked | {"obs": batch.obs, "progress": progress}
        offers |= {"num_updates": self.config.num_updates, "num_agents": sum(map(len, self.policy.groups))}
        asks = [name for name in self.drift.asks if name not in offers]
        if "old_prob" in asks:
            offers["old_prob"] = jnp.exp(batch.log_prob)
        if "kl" in asks or "reverse_kl" in asks:
            offers |= self.moved(new, batch)._asdict()
        return {name: offers[name] for name in self.drift.asks}

    def objective(self, params: Any, batch: Any, progress: float | Array, bonus: float | Array) -> Float[Array, ""]:
        """The mirror objective of one policy, plus an entropy bonus.

        Args:
            params, batch: of the policy. progress: the share of the run that is over. bonus: what its entropy counts.
        """
        samples, given, entropy = self._samples(self.policy.evaluate_actions(params, batch), batch, progress)
        gain = haml.mirror_objective(*samples, self.drift, given)
        return gain + bonus * weighted_mean(entropy, samples[-1])

    def _samples(
        self, new: Evaluation, batch: Any, progress: float | Array
    ) -> tuple[tuple[Array, Array, Array, Array], dict[str, Any], Array]:
        """The first arguments of ``haml.mirror_objective``, what the drift asks for, and entropies: of members, or of groups."""
        samples = new.log_prob, batch.log_prob, batch.m_advantage, batch.alive
        given = self.given(new, batch, progress)
        return self._of_groups(*samples, given, new.entropy) if self.joint else (samples, given, new.entropy)

    def settle(
        self, before: Agent, after: Agent, batch: Any, progress: float | Array, bonus: float | Array
    ) -> tuple[Agent, Evaluation, Metrics]:
        """What a solver's step came to; where ``algo.keep_if_worse`` is set and HAMO fell, the step is not taken.

        Where entropies are paid with the reward they are part of HAMO; a bonus is not, for it is no drift.

        Args:
            before, after: the agent, and what the solver made of it. batch: what it learnt from.
            progress, bonus: as of ``objective``.

        Returns:
            The agent, its policy on the batch, and numbers: ``hamo`` and ``drift`` (``haml.mirror_gain``), ``entropy``, ``kl``.
        """
        evaluate = partial(self.policy.evaluate_actions, batch=batch)

        def worth(new):
            samples, given, entropy = self._samples(new, batch, progress)
            hamo, drift = haml.mirror_gain(*samples, self.drift, given)
            if self.row.entropy == "reward":
                old = self._samples(evaluate(before.params), batch, progress)[2]
                hamo += bonus * weighted_mean(entropy - old, samples[-1])
            return {"hamo": hamo, "drift": drift}

        new = evaluate(after.params)
        info = worth(new)
        if self.config.algo.keep_if_worse:
            kept = ~(info["hamo"] >= 0)  # also where it is no number
            after = jax.tree.map(lambda old, new: jnp.where(kept, old, new), before, after)
            new = evaluate(after.params)
            info = {name: jnp.where(kept, 0.0, x) for name, x in info.items()} | {"kept": kept.astype(jnp.float32)}
        moved = self.moved(new, batch)
        return after, new, info | {"entropy": weighted_mean(new.entropy, batch.alive), "kl": moved.mean(moved.kl)}

    @property
    def joint(self) -> bool:
        """Whether a group's ratio is that of its members' joint action (``algo.group_ratio``)."""
        return self.config.algo.group_ratio == "joint" and max(map(len, self.policy.groups)) > 1

    def _total(self, x: Float[Array, "samples L"], alive: Shaped[Array, "samples L"]) -> Float[Array, "teams L"]:
        """Of one number a sample, (samples, L): the sums over the living members of each group, (teams, L)."""
        there, x = self.policy.by_team(alive) > 0, self.policy.by_team(x)
        return jnp.sum(jnp.where(there, x, 0.0), axis=-1)

    def _of_groups(
        self,
        log_prob: Array,
        old_log_prob: Array,
        m_advantage: Array,
        alive: Array,
        given: dict[str, Any],
        entropy: Array,
    ) -> tuple[tuple[Array, Array, Array, Array], dict[str, Any], Array]:
        """Samples of members -> samples of groups, (teams, L): the group is one agent, which acts as its living members do.

        Its advantage is the mean of theirs, which is the team's where the critic's baselines are of the state alone.
        """
        total, members = partial(self._total, alive=alive), self.policy.by_team(alive)

        def mean(x):
            return total(x) / jnp.maximum(jnp.sum(members > 0, axis=-1), 1)

        found: dict[str, Array] = {name: mean(given[name]) for name in ("m", "advantage") if name in given}
        if "old_prob" in given:
            found["old_prob"] = jnp.exp(total(old_log_prob))
        weight = jnp.max(members, axis=-1)
        return (total(log_prob), total(old_log_prob), mean(m_advantage), weight), given | found, total(entropy)

    def moved(self, new: Evaluation, batch: Any) -> haml.Divergence:
        """How far one policy has moved: each member, or a group where its ratio is joint.

        Args:
            new: of the policy now. batch: what it learns from.
        """
        moved = self.policy.divergence(new, batch)
        if not self.joint:
            return moved
        total = partial(self._total, alive=batch.alive)
        weight = jnp.max(self.policy.by_team(batch.alive), axis=-1)
        return haml.Divergence(total(moved.log_ratio), total(moved.kl), total(moved.reverse_kl), weight)

    def divergence(self, params: Any, batch: Any) -> haml.Divergence:
        """How far a policy with these parameters has moved.

        Args:
            params, batch: of one policy.
        """
        return self.moved(self.policy.evaluate_actions(params, batch), batch)

    def _batch_of(self, batches: Any, log_m: Float[Array, "teams L"], i: Int[Array, ""]) -> Any:
        """What policy ``i`` learns from, M times its advantages."""
        batch = jax.tree.map(lambda x: x[i], batches)
        m = jnp.exp(self.policy.of_members(log_m))
        asked = batch.asked | ({"m": m} if "m" in self.drift.asks else {})
        return batch._replace(m_advantage=m * batch.m_advantage, asked=asked)

    def shares(self, objective: haml.Objective, agents: Agent, batches: Callable[[], Any]) -> Float[Array, " P"] | None:
        """The policies' shares in what the neighbourhood divides among them.

        Of a budget of the team each member of a policy takes a share, or a group one where its ratio is joint.

        Args:
            objective: of one policy. agents: before the sweep.
            batches: ``() -> batches`` of all policies where M is 1, called where something is divided.

        Returns:
            (P,); None: nothing is divided.
        """
        neighbourhood = self.neighbourhood
        if neighbourhood.divide is None:
            return None
        own = hyper_parameters(self.config.algo, "neighbourhood_params")
        members = jnp.array([1 if self.joint else len(group) for group in self.policy.groups])
        return haml.shares(neighbourhood, own, objective, self.divergence, agents.params, batches(), members)

    def improve(
        self,
        agents: Agent,
        traj: Trajectory,
        advantage: Float[Array, "T E N"],
        order_key: Key[Array, ""],
        key: Key[Array, ""],
        progress: float | Array = 0.0,
        bonus: float | Array | None = None,
    ) -> tuple[Agent, Metrics]:
        """Visit the policies one after another; each sees M A, with M the joint ratio of all agents before it.

        Args:
            agents: stacked on the policy axis. traj: a rollout whose observations are as the networks see them.
            advantage: (T, E, N). order_key: of the order. key: of minibatches.
            progress: () the share of the run that is over.
            bonus: () what entropy counts in the objective; None: ``algo.ent_coef``, or nothing for a natural gradient.

        Returns:
            The improved agents, and means over them of what there is to say.

        References:
            HAML, Algorithm Template 1 and Proposition 3.
        """
        policy, batches = self.policy, self.batches(traj, advantage)
        count = policy.num_policies
        keys = jax.random.split(key, count)
        within = self.limit
        if bonus is None:
            bonus = self.config.algo.ent_coef if self.solver.uses_optimiser else 0.0
        objective = partial(self.objective, progress=progress, bonus=bonus)

        batch_of = partial(self._batch_of, batches)
        # log M, one number a team and step: (T / L * E, L), which is (T * E, 1) without recurrence. The dead add nothing.
        nobody_moved = jnp.zeros_like(policy.by_team(batches.log_prob[0])[..., 0])
        shares = self.shares(objective, agents, lambda: jax.vmap(partial(batch_of, nobody_moved))(jnp.arange(count)))

        def improve_one(agent, log_m, i):
            batch = batch_of(log_m, i)
            of_samples = log_m if self.joint else policy.of_members(log_m)
            context = {"agent": i, "log_m": of_samples, "progress": progress}
            context |= {} if shares is None else {"share": shares[i]}
            limit = None if within is None else partial(within, given=context)
            after, info = self.solver_of(context)(objective, self.divergence, limit, agent, batch, context, keys[i])
            agent, new, found = self.settle(agent, after, batch, progress, bonus)
            log_m = haml.compound(log_m, *map(policy.by_team, (new.log_prob, batch.log_prob, batch.alive)))
            return agent, log_m, info | found

        def slope(agent, log_m, i):
            return jax.grad(objective)(agent.params, batch_of(log_m, i))

        def score(agents, log_m):
            return squared_norms(jax.vmap(slope, (0, None, 0))(agents, log_m, jnp.arange(count)))

        choose = haml.bind_order(haml.ORDERS[self.config.algo.order], order_key, count, score)
        agents, info = haml.COORDINATIONS[self.row.coordination](improve_one, agents, nobody_moved, choose)
        return agents, jax.tree.map(jnp.mean, info)
