"""How policies improve on samples of a replay: one after another, by the value of the joint action (Algorithm 3).

What an agent learns of its predecessors is the joint action of the batch, in which theirs are already the new ones.
Shapes: B samples, N agents, A action dimensions, P policies of B' = B or B * N samples (see ``layout``).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ... import haml
from ...envs.protocol import Observation, Team
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ..config import Config
from ..networks import initial_carry
from ..optimiser import adam, squared_norms
from ..policies import Policies


class Learner(NamedTuple):
    """What is learnt of one policy; stacked on the policy axis (P, ...)."""

    params: Any
    opt_state: Any
    log_alpha: jax.Array  # (): its temperature; without effect for a deterministic policy
    alpha_opt_state: Any


class View(NamedTuple):
    """What one policy sees of a batch, leaves (B', ...)."""

    obs: jax.Array
    mask: Any  # which entries of obs are real; None: all, or nobody asks
    avail: jax.Array
    alive: jax.Array
    agent: jax.Array  # (B',) int: who of the team this is


class ValueSweep(Policies):
    """Policies that climb the value of the joint action; pure functions of their parameters."""

    def __init__(self, config: Config, team: Team):
        super().__init__(config, team)
        algo = config.algo
        self.optimiser = adam(config, algo.actor_lr, algo.update_epochs * algo.gradient_steps / self.row.policy_delay)
        self.alpha_optimiser = optax.adam(algo.alpha_lr, eps=algo.adam_eps)
        self.solve = haml.ascent(self.optimiser, algo.update_epochs, num_minibatches=1)
        self.stochastic = self.row.actor == "stochastic"

    def init(self, key, observation: Observation) -> Learner:
        """Fresh learners, stacked on the policy axis."""
        params = self.init_params(key, observation)
        log_alpha = jnp.full(self.layout.num_policies, jnp.log(self.config.algo.alpha), jnp.float32)
        alpha_states = jax.vmap(self.alpha_optimiser.init)(log_alpha)
        return Learner(params, jax.vmap(self.optimiser.init)(params), log_alpha, alpha_states)

    def views(self, observation: Observation) -> View:
        """A batch of observations (B, N, ...) as every policy sees it: leaves (P, B', ...)."""
        obs, mask = self.inputs(observation.obs, 1)
        agent = jnp.broadcast_to(jnp.arange(self.layout.team.num_agents), observation.alive.shape)
        avail, agent = (self.layout.split(x, 1) for x in (observation.avail_actions, agent))
        return View(obs, mask, avail, self.layout.split_alive(observation.alive, 1), agent)

    def logits(self, params, view: View):
        """One policy's head on what it sees, (B', ...)."""
        carry = initial_carry(self.config.network, view.obs.shape[0])
        mask = None if view.mask is None else view.mask[None]
        return self.actor.apply(params, carry, view.obs[None], jnp.zeros((1, len(view.obs)), bool), mask)[2][0]

    def propose(self, params, view: View, key):
        """One policy's actions as a critic sees them, (B', A), through which gradients pass, and log-probabilities."""
        return self.distribution.propose(key, self.logits(params, view), view.avail)

    def propose_all(self, params, observation: Observation, key):
        """The team's joint action (B, N, A) and log-probabilities (B, N)."""
        keys = jax.random.split(key, self.layout.num_policies)
        proposals = jax.vmap(self.propose)(params, self.views(observation), keys)
        return tuple(self.layout.merge(x, 1) for x in proposals)

    def of_agents(self, per_policy):
        """One number per policy (P,) -> per agent (N,)."""
        return per_policy[jnp.array(self.layout.policy_of)]

    def sweep(self, learners: Learner, value, observation: Observation, joint, order_key, key):
        """Visit the policies in the order of the row; each climbs the value of its own new actions among the others'.

        joint (B, N, A): the actions that the first to move takes for granted. ``value(joint, times)`` is to give the
        values of joint actions (B * times, N, A), of which ``times`` in a row belong to one sample. Returns the learners
        and their mean infos.
        """
        views = self.views(observation)
        count, members = self.layout.num_policies, self.layout.group_size
        keys = jax.random.split(key, (count, 2))
        agents = jnp.asarray(self.layout.members)

        def view_of(i):
            return jax.tree.map(lambda x: x[i], views)

        def gain(params, view, learner, joint, i):
            action, log_prob = self.propose(params, view, keys[i, 0])
            own = view.agent[:, None, None] == jnp.arange(joint.shape[1])[:, None]
            values = value(jnp.where(own, action[:, None], jnp.repeat(joint, members, axis=0)), members)
            return weighted_mean(values - jnp.exp(learner.log_alpha) * log_prob, view.alive)

        def improve(learner, joint, i):
            view, agent = view_of(i), Agent(learner.params, learner.opt_state)
            objective = partial(gain, learner=learner, joint=joint, i=i)
            agent, info = self.solve(objective, None, None, agent, view, {"agent": i}, None)
            action, log_prob = self.propose(agent.params, view, keys[i, 1])
            action = jax.lax.stop_gradient(action).reshape(-1, members, action.shape[-1])
            learner, more = self._temper(learner._replace(**agent._asdict()), log_prob, view)
            return learner, joint.at[:, agents[i]].set(action, mode="drop"), info | more  # padding is nobody's

        def slope(learner, joint, i):
            return jax.grad(gain)(learner.params, view_of(i), learner, joint, i)

        def score(learners, joint):
            return squared_norms(jax.vmap(slope, (0, None, 0))(learners, joint, jnp.arange(count)))

        choose = haml.bind_order(haml.ORDERS[self.config.algo.order], order_key, count, score)
        learners, info = self.coordination(improve, learners, joint, choose)
        return learners, jax.tree.map(jnp.mean, info)

    def _temper(self, learner: Learner, log_prob, view: View):
        """Move a temperature so that the policy's entropy approaches its target (Haarnoja et al., 2018)."""
        if not self.stochastic:
            return learner, {}
        info = {"alpha": jnp.exp(learner.log_alpha), "entropy": -weighted_mean(log_prob, view.alive)}
        if not self.config.algo.auto_alpha:
            return learner, info
        target = self.distribution.target_entropy(view.avail, self.config.algo.target_entropy_scale)
        surplus = weighted_mean(-log_prob - target, view.alive)
        updates, opt_state = self.alpha_optimiser.update(surplus, learner.alpha_opt_state, learner.log_alpha)
        log_alpha = optax.apply_updates(learner.log_alpha, updates)
        return learner._replace(log_alpha=log_alpha, alpha_opt_state=opt_state), info
