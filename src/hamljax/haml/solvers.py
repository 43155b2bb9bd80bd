"""How an agent goes where it may: solvers of the mirror objective within a neighbourhood (see ``Solve``)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from .divergence import Divergence, Measure, Objective
from .natural_gradient import natural_direction
from .parameters import Parameters, asked_by, check_name, of_agent, summary

GIVEN = ("optimiser",)


class Agent(NamedTuple):
    """What a solver improves: parameters and the state of its optimiser (empty where the solver uses none)."""

    params: Any
    opt_state: Any


class Solve(Protocol):
    """A solver: the mirror objective of one agent, maximised within a neighbourhood."""

    def __call__(
        self,
        objective: Objective,
        divergence: Measure,
        limit: Callable[[Divergence], Float[Array, ""]] | None,
        agent: Agent,
        batch: Any,
        context: Mapping[str, Any],
        key: Key[Array, ""] | None,
        /,
    ) -> tuple[Agent, dict[str, Array]]:
        """Improve one agent.

        Args:
            objective: ``(params, batch) -> ()``, to be maximised.
            divergence: ``(params, batch) -> Divergence`` over the samples of the batch.
            limit: ``(divergence) -> ()``, at most 0 inside of the neighbourhood, of the divergence over the whole batch;
                None where that is the whole space.
            agent: where to begin.
            batch: leaves that share a leading axis of B samples.
            context: what the agent knows beside it: ``agent`` (whose policy it is), ``log_m``, ``progress`` and, where the
                neighbourhood divides something among the policies, its ``share``.
            key: of minibatches; None where there are none.

        Returns:
            The improved agent, and named numbers.
        """
        ...


class Solver(NamedTuple):
    """How to make a solver."""

    make: Callable[..., Solve]  # ([optimiser,] hyper-parameters by name) -> solve
    # It follows an optimiser's steps, on an objective with an entropy bonus; a natural gradient has neither.
    uses_optimiser: bool
    parameters: Parameters
    given: tuple[str, ...]  # what of GIVEN it asks for
    summary: str


Factory = TypeVar("Factory", bound=Callable[..., Any])
Carry = TypeVar("Carry")


SOLVERS: dict[str, Solver] = {}
SHIPPED: set[str] = set()  # filled once this module is complete


def register_solver(name: str, uses_optimiser: bool = True) -> Callable[[Factory], Factory]:
    """Decorator: make a factory of solvers known to ``register_neighbourhood(..., solver=name)``.

    A parameter called like a number of ``algo`` (``update_epochs``, ``max_kl``, ...) is that number; any other is set by
    ``+algo.neighbourhood_params.PARAMETER=VALUE``, or has its default.

    Args:
        name: for ``register_neighbourhood``.
        uses_optimiser: whether it takes an optimiser's steps, on an objective with an entropy bonus.

    Raises:
        ValueError: for the name of a shipped solver, and for a factory that does not take its parameters by name.
    """

    check_name("solver", name, SHIPPED)

    def register(make: Factory) -> Factory:
        own, given = asked_by("solver", name, make, (), GIVEN)
        SOLVERS[name] = Solver(make, uses_optimiser, own, given, summary(make))
        return make

    return register


def bind_solver(
    solver: Solver, values: Mapping[str, Any], optimiser: optax.GradientTransformation, context: Mapping[str, Any]
) -> Solve:
    """A solver with every hyper-parameter that its factory names filled in.

    Args:
        solver: a registered one. optimiser: for a factory that asks for one.
        values: hyper-parameters by name; of a tuple of one number per agent each agent has its own.
        context: as of ``Solve``; it says whose they are.
    """
    given = {"optimiser": optimiser}
    own = {name: of_agent(value, context) for name, value in solver.parameters.chosen(values).items()}
    return solver.make(**{name: given[name] for name in solver.given}, **own)


def gradient_step(
    optimiser: optax.GradientTransformation, loss: Callable[..., Float[Array, ""]], agent: Agent, *arguments: Any
) -> tuple[Agent, Float[Array, ""], Float[Array, ""]]:
    """One step of an optimiser down a loss.

    Args:
        optimiser: of optax. loss: ``(params, *arguments) -> ()``. agent: where to begin.
        *arguments: of the loss, beside the parameters.

    Returns:
        The agent afterwards, the loss before, and the norm of its gradient.
    """
    value, gradient = jax.value_and_grad(loss)(agent.params, *arguments)
    updates, opt_state = optimiser.update(gradient, agent.opt_state, agent.params)
    return Agent(optax.apply_updates(agent.params, updates), opt_state), value, optax.tree.norm(gradient)


def over_devices(batch: Any) -> Any:
    """Samples spread over the devices of a mesh's axis ``batch``, where the program has one: each computes with its share.

    Args:
        batch: leaves that share a leading axis of samples; where it cannot be divided they stay as they are.
    """
    devices = dict(jax.sharding.get_abstract_mesh().shape).get("batch", 1)
    if devices == 1 or jax.tree.leaves(batch)[0].shape[0] % devices:
        return batch
    return jax.lax.with_sharding_constraint(batch, jax.sharding.PartitionSpec("batch"))


def minibatches(
    step: Callable[[Carry, Any], tuple[Carry, Any]],
    carry: Carry,
    batch: Any,
    key: Key[Array, ""] | None,
    epochs: int,
    num_minibatches: int,
) -> tuple[Carry, Any]:
    """Scan over reshuffled passes through a batch, a minibatch at a time.

    Args:
        step: ``(carry, minibatch) -> carry, info``.
        carry: before the first step.
        batch: leaves that share a leading axis of B samples, a multiple of ``num_minibatches``.
        key: of the shuffling; not asked for where a minibatch is all.
        epochs: passes. num_minibatches: steps in each.

    Returns:
        The last carry, and the infos, whose leaves are (epochs * num_minibatches, ...).
    """
    if num_minibatches == 1:  # the order of a full batch does not matter, so it is not shuffled
        whole = over_devices(batch)
        return jax.lax.scan(lambda carry, _: step(carry, whole), carry, None, length=epochs)
    size = jax.tree.leaves(batch)[0].shape[0]

    def epoch(carry, key):
        chunks = jax.random.permutation(key, size).reshape(num_minibatches, -1)
        return jax.lax.scan(lambda carry, rows: step(carry, over_devices(chosen(rows))), carry, chunks)

    def chosen(rows):
        return jax.tree.map(lambda x: x[rows], batch)

    assert key is not None  # of a full batch alone there is none
    carry, infos = jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
    return carry, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), infos)


@register_solver("ascent")
def ascent(optimiser: optax.GradientTransformation, update_epochs: int, num_minibatches: int = 1) -> Solve:
    """``update_epochs`` x ``num_minibatches`` steps of an optax optimiser; one that would lead outside is not taken.

    So the result is the last iterate within the limit, with the optimiser's state that belongs to it. The limit is held over
    the whole batch, whatever the minibatch; ``inside`` is the share of steps that were taken.

    Args:
        optimiser: of optax. update_epochs: passes through the samples. num_minibatches: steps in each.
    """

    def solve(objective, divergence, limit, agent, batch, context, key):
        del context

        def step(agent, minibatch):
            after, value, norm = gradient_step(optimiser, lambda params: -objective(params, minibatch), agent)
            info = {"objective": -value, "grad_norm": norm}
            if limit is None:
                return after, info
            inside = limit(divergence(after.params, batch)) <= 0
            after = jax.tree.map(lambda new, old: jnp.where(inside, new, old), after, agent)
            return after, info | {"inside": inside.astype(jnp.float32)}

        agent, infos = minibatches(step, agent, batch, key, update_epochs, num_minibatches)
        return agent, jax.tree.map(jnp.mean, infos)

    return solve


@register_solver("natural_gradient", uses_optimiser=False)
def natural_gradient(
    max_kl: float | Array,
    cg_iters: int,
    cg_damping: float | Array,
    backtrack_iters: int,
    backtrack_coef: float | Array,
    accept_ratio: float | Array,
) -> Solve:
    """One natural-gradient step as long as a mean KL of ``max_kl`` allows, with backtracking (TRPO).

    HAML's guarantee is of the maximiser within the exact ball in every state; this is one step on samples of a quadratic model
    of it, with parameters that states share, so that improvement is of the sampled objective alone.

    All step lengths of the line search are evaluated as one batch. The first that stays within the limit and improves by
    more than ``accept_ratio`` of what the gradient promised is taken; if none does, the old parameters are kept.

    Args:
        max_kl: of the full step, in nats, times the policy's share where one is divided.
        cg_iters, cg_damping: of conjugate gradients (``natural_direction``).
        backtrack_iters: step lengths tried. backtrack_coef: each of the one before it.
        accept_ratio: of the improvement that the gradient promised.

    References:
        Schulman et al., 2015 (arXiv 1502.05477), Appendix C; HAML, Section 4.3: HATRPO's neighbourhood.
    """

    def solve(objective, divergence, limit, agent, batch, context, key):
        del key
        start, unravel = ravel_pytree(agent.params)
        value, gradient, direction, quadratic = natural_direction(
            objective, divergence, agent.params, batch, cg_iters, cg_damping
        )
        radius = max_kl * context["share"] if "share" in context else max_kl
        scale = jnp.where(quadratic > 0, jnp.sqrt(2 * radius / jnp.where(quadratic > 0, quadratic, 1.0)), 0.0)
        full_step = scale * direction

        fractions = (backtrack_coef ** jnp.arange(backtrack_iters)).astype(start.dtype)
        candidates = start + fractions[:, None] * full_step
        improvement = jax.vmap(lambda x: objective(unravel(x), batch))(candidates) - value
        moved = jax.vmap(lambda x: divergence(unravel(x), batch))(candidates)
        distance, excess = jax.vmap(lambda moved: moved.mean(moved.kl))(moved), jax.vmap(limit)(moved)
        expected = fractions * (gradient @ full_step)
        passed = (excess <= 0) & (improvement > 0) & (improvement > accept_ratio * expected)
        first = jnp.argmax(passed)
        accepted = passed[first]
        params = unravel(jnp.where(accepted, candidates[first], start))
        info = {
            "objective": value,
            "grad_norm": jnp.linalg.norm(gradient),
            "step_kl": jnp.where(accepted, distance[first], 0.0),
            "step_fraction": jnp.where(accepted, fractions[first], 0.0),
        }
        return Agent(params, agent.opt_state), info

    return solve


SHIPPED.update(SOLVERS)
