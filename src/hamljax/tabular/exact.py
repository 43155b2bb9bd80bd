"""The exact update of one agent (HAMO, Definition 3, maximised) and a sweep over all of them.

The samples of the library's objective are here all joint actions of all states, each with its probability as its weight. The
drift, the limit, the order and the coordination are the registered ones.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..errors import ConfigError
from ..haml import BoundDrift, Divergence, Order, bind_order, drifts
from . import simplex
from .closed_forms import CLOSED_FORMS, PIECES
from .game import Game
from .simplex import Solution
from .values import evaluate, occupancy, policy_of_others

FLOOR = 1e-60  # of an old probability where something is divided by it


class Update(NamedTuple):
    """Of one agent, in every state. hamo: gain - drift, with gain <x - old, q>. gap: what of the maximum was missed at most."""

    hamo: Float[Array, " S"]
    gain: Float[Array, " S"]
    drift: Float[Array, " S"]
    gap: Float[Array, " S"]


class Surrogate(NamedTuple):
    """What the update of one agent sees: its old policy, and the others' actions as samples.

    weight: (S, J) the others' old probabilities; ``weight * m`` is what they play now.
    """

    log_old: Float[Array, "S A"]
    mask: Bool[Array, " A"]
    plays: Float[Array, "A J"]
    action: Int[Array, " J"]
    weight: Float[Array, "S J"]
    m: Float[Array, "S J"]
    advantage: Float[Array, "S J"]
    given: Mapping[str, Any]

    @property
    def old(self) -> Float[Array, "S A"]:
        return jnp.exp(self.log_old)

    @property
    def divisor(self) -> Float[Array, "S A"]:
        """The old policy, for dividing: no entry is 0."""
        return jnp.maximum(self.old, FLOOR)

    @property
    def q(self) -> Float[Array, "S A"]:
        """(S, A) E of M A for every action; -inf of one that the agent has not."""
        return jnp.where(self.mask, self.mean(self.m * self.advantage), -jnp.inf)

    @property
    def worth(self) -> Float[Array, "S A"]:
        """``q``, and 0 of an action that the agent has not: for sums."""
        return jnp.where(self.mask, self.q, 0.0)

    def mean(self, x: Float[Array, "S J"]) -> Float[Array, "S A"]:
        """Over the others' old actions, for each of one's own."""
        return jnp.einsum("sj,aj->sa", self.weight * x, self.plays)

    def costs(self, drift: BoundDrift, x: Float[Array, "S A"], kl: Any = 0.0, reverse_kl: Any = 0.0) -> jax.Array:
        """(S, A) old_a E[drift] at the policy x; the two divergences of a state as numbers."""
        ratio = (x / self.divisor)[:, self.action]
        shape = ratio.shape
        given = {
            "m": self.m,
            "advantage": self.advantage,
            "old_prob": self.divisor[:, self.action],
            "kl": jnp.broadcast_to(kl, shape),
            "reverse_kl": jnp.broadcast_to(reverse_kl, shape),
            **self.given,
        }
        return self.divisor * self.mean(drift(ratio, self.m * self.advantage, given))

    def weights_of_kl(self, drift: BoundDrift) -> tuple[Any, Any]:
        """What the drift costs per unit of KL(old || x) and of KL(x || old)."""
        none = jnp.sum(self.costs(drift, self.old), -1, keepdims=True)
        asked = drift.drift.asks
        forward = jnp.sum(self.costs(drift, self.old, kl=1.0), -1, keepdims=True) - none if "kl" in asked else 0.0
        backward = jnp.sum(self.costs(drift, self.old, reverse_kl=1.0), -1, keepdims=True) - none
        return forward, backward if "reverse_kl" in asked else 0.0


def divergences(old: Float[Array, "S A"], x: Float[Array, "S A"]) -> tuple[Float[Array, "S A"], Float[Array, "S A"]]:
    """The terms of KL(old || x) and of KL(x || old), which sum to them; with - old and - x added, each is of one sign."""

    def term(p, r):
        return jnp.where(p > 0, p * (jnp.log(jnp.where(p > 0, p, 1.0)) - jnp.log(r)), 0.0)

    return term(old, x), term(x, old)


def _cost_of_samples(drift: BoundDrift, ratio: np.ndarray, gain: np.ndarray, **divergence: np.ndarray) -> np.ndarray:
    """What samples cost, of an agent that has not moved by its divergences unless these are given."""
    one = np.ones(ratio.shape)
    given = {"m": one, "advantage": gain, "old_prob": one / 2, "agent": 0, "progress": 0.5, "num_updates": 10}
    given |= {
        "num_agents": 2,
        "obs": one[..., None],
        "world_state": one[..., None],
        "kl": 0 * one,
        "reverse_kl": 0 * one,
    }
    with jax.enable_x64(True), jax.core.eval_context():  # now, also where a game is being traced
        return np.asarray(drift(jnp.asarray(ratio), jnp.asarray(gain), given | divergence))


def is_convex(drift: BoundDrift) -> bool:
    """Whether a drift's cost is convex in the ratio, at points of a grid."""
    ratio, gain = np.meshgrid(np.linspace(0.0, 8.0, 161), [-10.0, -1.0, -0.1, 0.1, 1.0, 10.0], indexing="ij")
    bends = np.diff(_cost_of_samples(drift, ratio, gain), 2, axis=0)
    return bool((bends >= -1e-9 * np.abs(gain[:1])).all())


def check_drift(drift: BoundDrift) -> None:
    """Raises ConfigError for a drift whose cost is no sum over the actions of a state, which is what can be solved exactly."""
    rng = np.random.default_rng(0)
    cost = functools.partial(_cost_of_samples, drift, np.exp(rng.normal(size=64)), rng.normal(size=64))
    for name in {"kl", "reverse_kl"} & set(drift.drift.asks):
        slopes = [(cost(**{name: np.full(64, size)}) - cost()) / size for size in (1e-3, 1.0, 30.0)]
        if not np.allclose(slopes, slopes[0][0], rtol=1e-6, atol=1e-9):
            raise ConfigError(
                f"exact updates need a drift that adds a multiple of {name}, and not another function of it"
            )


def total_cost(drift: BoundDrift, surrogate: Surrogate, x: Float[Array, "S A"]) -> Float[Array, "S A"]:
    """(S, A) the drift's terms, which sum over the actions to D(x | s)."""
    forward, backward = surrogate.weights_of_kl(drift)
    own = surrogate.costs(drift, x)
    terms = divergences(surrogate.old, x)
    weighed = (
        jnp.where(weight > 0, weight * term, 0.0) for weight, term in zip((forward, backward), terms, strict=True)
    )
    return jnp.where(surrogate.mask, own + sum(weighed), 0.0)


def maximise(
    drift: BoundDrift,
    surrogate: Surrogate,
    low: Float[Array, "S A"] | None = None,
    high: Float[Array, "S A"] | None = None,
    penalty: Float[Array, "..."] | None = None,
) -> Solution:
    """The maximiser of <x, q> - D(x | s) - penalty KL(old || x) over the simplex, in every state (section 3.1).

    A shipped drift has its closed form where there is one; any other problem goes to ``simplex.separable``.

    Args:
      low, high: (S, A) bounds of the policy; None: 0 and 1.
      penalty: () or (S, 1); None: none.
    """
    function = drift.drift.function
    if penalty is None and low is None and high is None and function in CLOSED_FORMS:
        return Solution.exact(CLOSED_FORMS[function](drift, surrogate))
    if penalty is None and function in PIECES:
        lengths, slopes = PIECES[function](drift, surrogate)
        poured = simplex.pour(lengths, slopes, 0.0 if low is None else low, 1.0 if high is None else high)
        return Solution.exact(poured)
    if low is None and high is None and function in (drifts.none, drifts.kl):
        coef = penalty + surrogate.weights_of_kl(drift)[0]
        return Solution.exact(simplex.forward_kl(surrogate.q, surrogate.old, coef))
    return general(drift, surrogate, low, high, penalty)


def general(
    drift: BoundDrift,
    surrogate: Surrogate,
    low: Float[Array, "S A"] | None = None,
    high: Float[Array, "S A"] | None = None,
    penalty: Float[Array, "..."] | None = None,
) -> Solution:
    """``maximise`` without closed forms."""
    q, old = surrogate.worth, surrogate.old
    offset = total_cost(drift, surrogate, old)

    def gain(x):
        value = (x - old) * q - (total_cost(drift, surrogate, x) - offset)
        if penalty is not None:
            value = value - penalty * divergences(old, x)[0]
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    bounds = jnp.zeros_like(old), jnp.broadcast_to(surrogate.mask.astype(old.dtype), old.shape)
    low, high = bounds[0] if low is None else low, bounds[1] if high is None else high
    return simplex.separable(gain, old, low, high, leaps=not is_convex(drift))


def divergence_of(surrogate: Surrogate, x: Float[Array, "S A"], beta: Float[Array, " S"]) -> Divergence:
    """How far x is from the old policy, over all states and joint actions, as a limit sees it; every field (S, J)."""
    old = surrogate.old
    log_ratio = jnp.where(old > 0, jnp.log(x) - surrogate.log_old, 0.0)[:, surrogate.action]  # however small they are
    kl, reverse_kl = (
        jnp.broadcast_to(jnp.sum(term, -1, keepdims=True), log_ratio.shape) for term in divergences(old, x)
    )
    weight = beta[:, None] * old[:, surrogate.action] * surrogate.weight
    return Divergence(log_ratio, kl, reverse_kl, weight)


def surrogate_of(
    game: Game,
    log_policies: Float[Array, "N S A"],
    advantage: Float[Array, "S J"],
    log_m: Float[Array, "S J"],
    agent: Int[Array, ""],
    given: Mapping[str, Any],
) -> Surrogate:
    """What agent i's update sees after those have moved whose joint log-ratio is ``log_m``; log_policies: the old ones."""
    others = policy_of_others(game, jnp.maximum(jnp.exp(log_policies), FLOOR), jnp.arange(game.num_agents) == agent)
    plays, mask, digits = (jnp.asarray(x)[agent] for x in (game.plays, game.action_mask, game.digits))
    eye = jnp.broadcast_to(jnp.eye(game.num_states)[:, None], (*advantage.shape, game.num_states))
    offered = {"agent": agent, "num_agents": game.num_agents, "obs": eye, "world_state": eye, **given}
    dtype = advantage.dtype
    return Surrogate(log_policies[agent], mask, plays.astype(dtype), digits, others, jnp.exp(log_m), advantage, offered)


def log_ratio(game: Game, old: Float[Array, "S A"], new: Float[Array, "S A"], action: Int[Array, " J"]) -> jax.Array:
    """(S, J) log of new over old of one agent's part of every joint action."""
    return (jnp.log(new) - jnp.log(jnp.maximum(old, FLOOR)))[:, action]


class Sweep(NamedTuple):
    """Who moves how: registered parts, bound to their hyper-parameters.

    choose: ``(drift, surrogate, beta) -> Solution``, the maximiser, as ``within.chooser`` makes it. compound: ``(log_m, log
    ratio of who moved) -> log_m``, what the next agent is told.
    """

    drift: BoundDrift
    coordination: Callable
    order: Order
    choose: Callable
    compound: Callable = jnp.add

    def __call__(
        self,
        game: Game,
        log_policies: Float[Array, "N S A"],
        key: jax.Array,
        progress: Any = 0.0,
        num_updates: Any = 100,
        advantage: Float[Array, "S J"] | None = None,
    ) -> tuple[Float[Array, "N S A"], Update]:
        """One update of all agents.

        Args:
          advantage: what the agents believe; None: that of the old policies, exactly.

        Returns: the new log-policies and every agent's ``Update``, (N, S) each.
        """
        old = jnp.exp(log_policies)
        advantage = evaluate(game, old).advantage if advantage is None else advantage
        beta = occupancy(game, old)
        given = {"progress": progress, "num_updates": num_updates}

        def update(own, log_m, agent):
            seen = surrogate_of(game, log_policies, advantage, log_m, agent, given)
            solution = self.choose(self.drift, seen, beta)
            info = measure(self.drift, seen, solution)
            moved = log_ratio(game, seen.old, solution.policy, seen.action)
            return jnp.log(solution.policy), self.compound(log_m, moved), info

        def score(agents, log_m):
            def of(agent):
                seen = surrogate_of(game, log_policies, advantage, log_m, agent, given)
                slope = seen.old * (
                    seen.worth - jnp.sum(seen.old * seen.worth, -1, keepdims=True)
                )  # of softmax's logits
                return jnp.sum((beta[:, None] * slope) ** 2)

            return jax.vmap(of)(jnp.arange(game.num_agents))

        choose = bind_order(self.order, key, game.num_agents, score)
        return self.coordination(update, log_policies, jnp.zeros_like(advantage), choose)


def measure(drift: BoundDrift, surrogate: Surrogate, solution: Solution) -> Update:
    """HAMO of a new policy and its parts, in every state."""
    gain = jnp.sum((solution.policy - surrogate.old) * surrogate.worth, -1)
    cost = jnp.sum(total_cost(drift, surrogate, solution.policy), -1)
    return Update(gain - cost, gain, cost, solution.gap)
