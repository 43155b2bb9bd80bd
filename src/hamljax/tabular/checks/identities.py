"""The paper's identities, by tables of their own: nothing that an update computes is used on both sides."""

import jax
import jax.numpy as jnp
import numpy as np

from ...haml import DRIFTS, bind_drift, mirror_objective
from ..exact import Surrogate, divergence_of, log_ratio, surrogate_of, total_cost
from ..families import random_games, random_policies
from ..game import Game, batched
from ..values import evaluate, joint_policy, multi_agent_advantage, occupancy
from .report import Claim, Progress, Report, Request

FAMILIES = ((4, (3, 3)), (3, (2, 2, 3)), (2, (2, 3, 2, 2)))
TOLERANCE = 1e-12


def lemma1(game: Game, policies: jax.Array, order: jax.Array) -> jax.Array:
    """A(s, a) = sum over m of A^{i_m}(s, a of the agents before it, a_m), for the agents in their own order."""
    values = evaluate(game, policies)
    total = jnp.zeros(())
    for m in range(game.num_agents):
        term = multi_agent_advantage(game, policies, values.q, tuple(range(m)), (m,))
        total = total + term.reshape(term.shape + (1,) * (game.num_agents - 1 - m))
    return jnp.max(jnp.abs(total - values.advantage.reshape(-1, *game.actions)))


def policy_difference(game: Game, policies: jax.Array, new: jax.Array) -> jax.Array:
    """J(new) - J(old) = sum_s rho_new(s) E_new[A_old(s, a)]."""
    before, after = evaluate(game, policies), evaluate(game, new)
    mean = jnp.sum(joint_policy(game, new) * before.advantage, -1)
    return jnp.abs(after.expected_return - before.expected_return - occupancy(game, new, normalised=False) @ mean)


def _seen(game: Game, policies: jax.Array, new: jax.Array, agent: int, advantage: jax.Array) -> Surrogate:
    """The surrogate of an agent after all before it have moved from ``policies`` to ``new``."""
    log_m = sum((log_ratio(game, policies[j], new[j], jnp.asarray(game.digits[j])) for j in range(agent)), start=0.0)
    log_m = log_m + jnp.zeros_like(advantage)
    return surrogate_of(
        game, jnp.log(policies), advantage, log_m, jnp.asarray(agent), {"progress": 0.0, "num_updates": 1}
    )


def telescope(game: Game, policies: jax.Array, new: jax.Array) -> jax.Array:
    """Lemma 2: the gains of all agents, each after those before it, add up to E_new[A] in every state."""
    advantage = evaluate(game, policies).advantage
    gains = jnp.zeros(())
    for agent in range(game.num_agents):
        seen = _seen(game, policies, new, agent, advantage)
        gains = gains + jnp.sum((new[agent] - policies[agent]) * seen.worth, -1)
    return jnp.max(jnp.abs(gains - jnp.sum(joint_policy(game, new) * advantage, -1)))


def appendix_d(game: Game, policies: jax.Array, new: jax.Array, eps: float = 0.2) -> jax.Array:
    """E_old[min(r M A, clip(r) M A)] = E_x[q] - D of the registered clip, for the last agent."""
    agent = game.num_agents - 1
    seen = _seen(game, policies, new, agent, evaluate(game, policies).advantage)
    ratio = (new[agent] / policies[agent])[:, seen.action]
    gain = seen.m * seen.advantage
    clipped = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - eps, 1 + eps) * gain)
    left = jnp.sum(policies[agent][:, seen.action] * seen.weight * clipped, -1)
    cost = jnp.sum(total_cost(bind_drift(DRIFTS["clip"], {"clip_eps": eps}), seen, new[agent]), -1)
    return jnp.max(jnp.abs(left - (jnp.sum(new[agent] * seen.worth, -1) - cost)))


def objective(game: Game, policies: jax.Array, new: jax.Array) -> jax.Array:
    """The objective that training maximises, on all joint actions with their probabilities, is HAMO here (Definition 3)."""
    agent, worst = game.num_agents - 1, jnp.zeros(())
    beta = occupancy(game, policies)
    seen = _seen(game, policies, new, agent, evaluate(game, policies).advantage)
    moved = divergence_of(seen, new[agent], beta)
    old = policies[agent][:, seen.action]
    given = {"kl": moved.kl, "reverse_kl": moved.reverse_kl, "progress": 0.0, "num_updates": 1.0, "agent": agent}
    for name in ("none", "clip", "spo", "kl", "reverse_kl", "dpo"):
        drift = bind_drift(DRIFTS[name], {"clip_eps": 0.2, "kl_coef": 0.7, "dpo_alpha": 2.0, "dpo_beta": 0.6})
        gain = seen.m * seen.advantage
        sampled = mirror_objective(moved.log_ratio + jnp.log(old), jnp.log(old), gain, moved.weight, drift, given)
        cost = jnp.sum(total_cost(drift, seen, new[agent]), -1)
        exact = beta @ (jnp.sum(new[agent] * seen.worth, -1) - cost)
        error = jnp.abs(sampled - exact) / (1 + jnp.abs(exact))  # spo: of the size of a ratio's square
        worst = jnp.maximum(worst, error)
    return worst


IDENTITIES = {
    "Lemma 1: A is the sum of the agents' advantages": lemma1,
    "Lemma 2: gains add up to E_new[A]": telescope,
    "Appendix D: clip is a drift": appendix_d,
    "policy difference: J' - J = rho' E_new[A]": policy_difference,
    "the objective of training is HAMO": objective,
}


def identities(request: Request, progress: Progress) -> Report:
    """Every identity on random games of two, three and four agents, and between random policies."""
    worst = dict.fromkeys(IDENTITIES, 0.0)
    count = max(1, min(request.games, 900) // len(FAMILIES))
    for number, (states, actions) in enumerate(FAMILIES):
        progress(f"{len(actions)} agents")
        games = random_games(request.seed + number, count, states, actions)
        old, new = (random_policies(games, request.seed + 10 * number + k) for k in (1, 2))
        for name, identity in IDENTITIES.items():
            worst[name] = max(worst[name], float(np.max(batched(identity)(games, old, new))))
    rows = [(name, f"{error:.1e}", f"{TOLERANCE:.0e}") for name, error in worst.items()]
    claims = [Claim(name, error, "<=", TOLERANCE) for name, error in worst.items()]
    title = f"identities on {len(FAMILIES) * count} random games"
    return Report("identities", title, ("identity", "largest error", "allowed"), rows, claims)
