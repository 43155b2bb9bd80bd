"""How policies improve on samples of a replay: one after another, by the value of the joint action (Algorithm 3).

What an agent learns of its predecessors is the joint action of the batch, in which theirs are already the new ones. A drift and
a neighbourhood are about how far a policy moves in one gradient step of ``update_epochs``, in the states of its sample.
Shapes: B samples, N agents, A action dimensions, P policies of B' samples, B times the size of a group (see ``policies.layout``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from ... import haml
from ...envs.protocol import Observation
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ...nn.networks import initial_carry
from ...nn.optimiser import squared_norms
from ...nn.protocols import ReplayDistribution
from ..base import Metrics
from ..config import Config
from ..policies.independent import IndependentPolicies
from ..sweep import Sweep
from .settings import OffPolicyAlgo


class PolicyState(NamedTuple):
    """What is learnt of one policy; stacked on the policy axis (P, ...)."""

    params: Any
    opt_state: Any
    log_alpha: Float[Array, "*P"]  # of its temperature; without effect for a deterministic policy
    alpha_opt_state: Any


class View(NamedTuple):
    """What one policy sees of a batch, leaves (B', ...)."""

    obs: Float[Array, "B O"]
    mask: Bool[Array, "B O"] | None  # which entries of obs are real; None: all, or nobody asks
    avail: Bool[Array, "B A"]
    alive: Bool[Array, " B"]
    agent: Int[Array, " B"]  # who of the team this is


@struct.dataclass
class ValueSweep(Sweep):
    """Policies that climb the value of the joint action; pure functions of their parameters."""

    config: Config[OffPolicyAlgo]
    policy: IndependentPolicies[ReplayDistribution]

    @property
    def stochastic(self) -> bool:
        """Whether its policies have entropies and temperatures."""
        return self.row.actor == "stochastic"

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam at ``algo.actor_lr``."""
        algo = self.config.algo
        return self.config.adam(algo.actor_lr, algo.update_epochs * algo.gradient_steps / self.row.policy_delay)

    @property
    def alpha_optimiser(self) -> optax.GradientTransformation:
        """Adam at ``algo.alpha_lr``, which is not annealed."""
        return optax.adam(self.config.algo.alpha_lr, eps=self.config.algo.adam_eps)

    def init(self, key: Key[Array, ""], observation: Observation) -> PolicyState:
        """Fresh policies, stacked on the policy axis.

        Args:
            key: of the initialisation. observation: (E, N, ...) as the networks see it.
        """
        params = self.policy.init(key, observation)
        log_alpha = jnp.full(self.policy.num_policies, jnp.log(self.config.algo.alpha), jnp.float32)
        alpha_states = jax.vmap(self.alpha_optimiser.init)(log_alpha)
        return PolicyState(params, jax.vmap(self.optimiser.init)(params), log_alpha, alpha_states)

    def views(self, observation: Observation) -> View:
        """A batch of observations (B, N, ...) as every policy sees it: leaves (P, B', ...)."""
        layout = self.policy.layout
        obs, mask = self.policy.inputs(observation.obs, 1)
        agent = jnp.broadcast_to(jnp.arange(layout.team.num_agents), observation.alive.shape)
        avail, agent = (layout.split(x, 1) for x in (observation.avail_actions, agent))
        return View(obs, mask, avail, layout.split_alive(observation.alive, 1), agent)

    def logits(self, params: Any, view: View) -> Float[Array, "B ..."]:
        """One policy's head on what it sees.

        Args:
            params, view: of one policy.
        """
        memory = initial_carry(self.config.network, view.obs.shape[0])
        mask = None if view.mask is None else view.mask[None]
        start = jnp.zeros((1, len(view.obs)), bool)
        return self.policy.actor.apply(params, memory, view.obs[None], start, mask)[2][0]

    def sample_and_log_prob(
        self, params: Any, view: View, key: Key[Array, ""]
    ) -> tuple[Float[Array, "B A"], Float[Array, " B"]]:
        """One policy's actions as a critic sees them, through which gradients pass, and their log-probabilities.

        Args:
            params, view: of one policy. key: of the draw.
        """
        return self.policy.distribution.sample_and_log_prob(key, self.logits(params, view), view.avail)

    def sample_all(
        self, params: Any, observation: Observation, key: Key[Array, ""]
    ) -> tuple[Float[Array, "B N A"], Float[Array, "B N"]]:
        """The team's joint action and its log-probabilities.

        Args:
            params: of all policies. observation: (B, N, ...) as the networks see it. key: of the draw.
        """
        keys = jax.random.split(key, self.policy.num_policies)
        samples = jax.vmap(self.sample_and_log_prob)(params, self.views(observation), keys)
        action, log_prob = (self.policy.layout.merge(x, 1) for x in samples)
        return action, log_prob

    def divergence(self, old_params: Any, params: Any, view: View) -> haml.Divergence:
        """How far one policy has moved, sample by sample: KLs, of no action in particular.

        Args:
            old_params, params: from where, and where it is now. view: what it sees.
        """
        old, new, kl = self.logits(old_params, view), self.logits(params, view), self.policy.distribution.kl
        forward, backward = kl(old, new, view.avail), kl(new, old, view.avail)
        return haml.Divergence(jnp.zeros_like(forward), forward, backward, view.alive)

    def drift_cost(
        self, params: Any, view: View, policy: PolicyState, progress: float | Array
    ) -> Float[Array, " B"] | float:
        """What the drift asks for one policy's having moved; 0.0 where there is none.

        Args:
            params: where it is now. view: what it sees. policy: where it began. progress: the share of the run that is over.
        """
        drift = self.drift
        if not drift.asks:
            return 0.0
        offers = self.divergence(policy.params, params, view)._asdict() | {"agent": view.agent, "progress": progress}
        offers |= {"num_updates": self.config.num_updates, "num_agents": self.policy.layout.team.num_agents}
        one = jnp.ones(view.alive.shape)
        return drift(one, jnp.zeros_like(one), {name: offers[name] for name in drift.asks})

    def _gain(
        self,
        params: Any,
        view: View,
        policy: PolicyState,
        joint: Float[Array, "B N A"],
        key: Key[Array, ""],
        value: Callable[[Array, int], Array],
        progress: float | Array,
    ) -> Float[Array, ""]:
        """What a policy climbs: the value of its own new actions among the others', less what its drift asks."""
        members = self.policy.layout.group_size
        action, log_prob = self.sample_and_log_prob(params, view, key)
        own = view.agent[:, None, None] == jnp.arange(joint.shape[1])[:, None]
        values = value(jnp.where(own, action[:, None], jnp.repeat(joint, members, axis=0)), members)
        worth = values - jnp.exp(policy.log_alpha) * log_prob
        return weighted_mean(worth - self.drift_cost(params, view, policy, progress), view.alive)

    def _mirror_gain(
        self,
        objective: haml.Objective,
        params: Any,
        view: View,
        policy: PolicyState,
        progress: float | Array,
    ) -> Metrics:
        """``hamo`` and ``drift`` of one policy's move (``haml.MirrorGain``), on the sample and the draw that it learnt from.

        Only of rows with a drift or a limit: elsewhere a move is a gradient step like any other, and no mirror step.
        """
        if (self.row.drift, self.row.neighbourhood) == ("none", "everywhere"):
            return {}
        drift = weighted_mean(self.drift_cost(params, view, policy, progress) + jnp.zeros(view.alive.shape), view.alive)
        return {"hamo": objective(params, view) - objective(policy.params, view), "drift": drift}

    def improve(
        self,
        policies: PolicyState,
        value: Callable[[Array, int], Array],
        observation: Observation,
        joint: Float[Array, "B N A"],
        order_key: Key[Array, ""],
        key: Key[Array, ""],
        progress: float | Array = 0.0,
    ) -> tuple[PolicyState, Metrics]:
        """Visit the policies in the order of the row; each climbs the value of its own new actions among the others'.

        Args:
            policies: stacked on the policy axis. observation: (B, N, ...) as the networks see it.
            value: ``(joint, times) -> (B * times,)``, the values of joint actions (B * times, N, A), of which ``times`` in a
                row belong to one sample.
            joint: (B, N, A), the actions that the first to move takes for granted.
            order_key: of the order. key: of the actions.
            progress: () the share of the run that is over.

        Returns:
            The improved policies, and means over them of what there is to say.

        References:
            HAML, equation 7 and Algorithm 3.
        """
        config, layout = self.config, self.policy.layout
        views = self.views(observation)
        count, members = layout.num_policies, layout.group_size
        keys = jax.random.split(key, (count, 2))
        agents = jnp.asarray(layout.members)
        within = self.limit

        def view_of(i):
            return jax.tree.map(lambda x: x[i], views)

        gain = partial(self._gain, value=value, progress=progress)

        def improve_one(policy, joint, i):
            view, agent = view_of(i), Agent(policy.params, policy.opt_state)
            objective = partial(gain, policy=policy, joint=joint, key=keys[i, 0])
            context, moved = {"agent": i, "progress": progress}, partial(self.divergence, policy.params)
            limit = None if within is None else partial(within, given=context)
            agent, info = self.solver_of(context)(objective, moved, limit, agent, view, context, None)
            info |= self._mirror_gain(objective, agent.params, view, policy, progress)
            action, log_prob = self.sample_and_log_prob(agent.params, view, keys[i, 1])
            action = jax.lax.stop_gradient(action).reshape(-1, members, action.shape[-1])
            policy, more = self._update_temperature(policy._replace(**agent._asdict()), log_prob, view)
            return policy, joint.at[:, agents[i]].set(action, mode="drop"), info | more  # padding is nobody's

        def slope(policy, joint, i):
            return jax.grad(gain)(policy.params, view_of(i), policy, joint, keys[i, 0])

        def score(policies, joint):
            return squared_norms(jax.vmap(slope, (0, None, 0))(policies, joint, jnp.arange(count)))

        choose = haml.bind_order(haml.ORDERS[config.algo.order], order_key, count, score)
        policies, info = haml.COORDINATIONS[self.row.coordination](improve_one, policies, joint, choose)
        return policies, jax.tree.map(jnp.mean, info)

    def _update_temperature(
        self, policy: PolicyState, log_prob: Float[Array, " B"], view: View
    ) -> tuple[PolicyState, Metrics]:
        """Move a temperature so that the policy's entropy approaches its target (Haarnoja et al., 2018)."""
        if not self.stochastic:
            return policy, {}
        info = {"alpha": jnp.exp(policy.log_alpha), "entropy": -weighted_mean(log_prob, view.alive)}
        if not self.config.algo.auto_alpha:
            return policy, info
        target = self.policy.distribution.target_entropy(view.avail, self.config.algo.target_entropy_scale)
        surplus = weighted_mean(-log_prob - target, view.alive)
        updates, opt_state = self.alpha_optimiser.update(surplus, policy.alpha_opt_state, policy.log_alpha)
        log_alpha = optax.apply_updates(policy.log_alpha, updates)
        return policy._replace(log_alpha=log_alpha, alpha_opt_state=opt_state), info
