"""That a drift, a limit or a solver of a user's own fits the loop: tried on shapes alone, before anything is trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ... import haml
from ...errors import ConfigError, in_line, one_of
from ...haml import drifts, neighbourhoods, solvers
from ..base import Learner
from ..policies.independent import PolicyBatch
from ..table import hyper_parameters, resolve
from .registry import CRITICS, POLICIES
from .rows import check_names
from .settings import Algo

PROBES = (5, 1), (7, 3)  # samples of L steps; two shapes, because an array in a drift may go with one by chance


def _stand_in(shape: tuple[int, ...], kind: Any = jnp.float32) -> Any:
    """What stands for an array of these numbers where a function is only traced."""
    return jax.ShapeDtypeStruct(shape, kind)


NUMBER = _stand_in(())


def check_kernel(algo: Algo) -> None:
    """Hold a row to what is registered, and what a user wrote to the loop.

    Raises:
        ConfigError: it names what there is not, or what cannot be trained with.
    """
    check_names(algo)
    one_of("algo.critic", algo.critic, CRITICS)
    one_of("algo.policy", algo.policy, POLICIES)
    row = resolve(algo)
    neighbourhood = haml.NEIGHBOURHOODS[row.neighbourhood]
    if row.drift not in drifts.SHIPPED:
        _check_drift(algo, row.drift)
    if row.neighbourhood not in neighbourhoods.SHIPPED:
        _check_limit(algo, row.neighbourhood)
    if neighbourhood.solver not in solvers.SHIPPED:
        _check_solver(algo, neighbourhood)


def check_traces(what: str, name: str, learner: Learner) -> None:
    """Hold a critic or a policy of a user's own to the loop, traced on shapes alone.

    Args:
        what: ``critic`` or ``policy``. name: of it. learner: that has it.

    Raises:
        ConfigError: it cannot be trained with.
    """
    tables: dict[str, dict[str, Any]] = {"critic": CRITICS, "policy": POLICIES}
    factory = tables[what][name]
    try:
        before = jax.eval_shape(learner.init, jax.random.key(0))
        after, _ = jax.eval_shape(learner.update, before)
    except Exception as error:
        file = getattr(getattr(factory, "__code__", None), "co_filename", "")
        raise ConfigError(f"{what} '{name}', traced as in training, failed{in_line(error, file)}") from error
    if wrong := _difference(before, after, "state"):
        raise ConfigError(f"{what} '{name}' must leave all shapes and types as they are; {wrong}")


def _context(shape: tuple[int, ...]) -> dict[str, Any]:
    """The shapes of all that a drift or a limit may ask for beside its first arguments, for samples of ``shape``."""
    each, wide = _stand_in(shape), _stand_in((*shape, 4))
    named = dict.fromkeys([*drifts.OFFERED, *neighbourhoods.OFFERED], each)
    numbers = dict.fromkeys(["progress", "num_updates", "num_agents", "share"], NUMBER)
    return named | numbers | {"obs": wide, "world_state": wide}


def _check_drift(algo: Algo, name: str) -> None:
    drift = haml.DRIFTS[name]

    def costs(values, ratio, given):
        return haml.bind_drift(drift, values)(ratio, ratio, given)

    for shape in PROBES:
        ratio = _stand_in(shape)
        given = _context(shape) | {"agent": _stand_in(shape, jnp.int32)}
        cost = _traced(f"drift '{name}'", drift.function, costs, hyper_parameters(algo, "drift_params"), ratio, given)
        if not _is_float(cost) or cost.shape != shape:
            raise ConfigError(
                f"drift '{name}' costs {_said(cost)} where the ratio is {_said(ratio)}: a cost has the ratio's shape"
            )


def _check_limit(algo: Algo, name: str) -> None:
    neighbourhood = haml.NEIGHBOURHOODS[name]
    assert neighbourhood.limit is not None  # the whole space is shipped

    def excess(values, divergence, given):
        limit = haml.bind_limit(neighbourhood, values)
        return limit and limit(divergence, given)

    for shape in PROBES:
        number, alive = _stand_in(shape), _stand_in(shape, jnp.bool_)
        given = _context(shape) | {"agent": _stand_in((), jnp.int32)}
        divergence, values = (
            haml.Divergence(number, number, number, alive),
            hyper_parameters(algo, "neighbourhood_params"),
        )
        found = _traced(f"neighbourhood '{name}'", neighbourhood.limit, excess, values, divergence, given)
        if not _is_float(found) or found.shape:
            raise ConfigError(f"neighbourhood '{name}': its limit must return one number, not {_said(found)}")


def _check_solver(algo: Algo, neighbourhood: haml.Neighbourhood) -> None:
    solver = haml.SOLVERS[neighbourhood.solver]
    optimiser = optax.adam(1e-3) if solver.uses_optimiser else optax.identity()

    def objective(params, batch):
        return jnp.mean(batch.m_advantage * params["bias"]) + jnp.mean(batch.obs @ params["kernel"])

    def divergence(params, batch):
        moved = batch.obs @ params["kernel"]
        return haml.Divergence(moved, moved**2, moved**2, batch.alive)

    def improve(values, params, batch, context, key):
        agent = haml.Agent(params, optimiser.init(params))
        within = haml.bind_limit(neighbourhood, values)
        limit = None if within is None else partial(within, given=context)
        solve = haml.bind_solver(solver, values, optimiser, context)
        return agent, solve(objective, divergence, limit, agent, batch, context, key)

    params = {"kernel": _stand_in((4,)), "bias": NUMBER}
    batch, key = _batch(6 * algo.num_minibatches, 2), jax.eval_shape(jax.random.key, 0)
    context = {"agent": _stand_in((), jnp.int32), "log_m": batch.log_prob, "progress": NUMBER}
    values, what = hyper_parameters(algo, "neighbourhood_params"), f"solver '{neighbourhood.solver}'"
    before, found = _traced(what, solver.make, improve, values, params, batch, context, key)
    if not (isinstance(found, tuple) and len(found) == 2 and _are_numbers(found[1])):
        raise ConfigError(f"{what} must return (agent, info), info a dictionary of numbers, not {_said(found)}")
    if wrong := _difference(before, found[0]):
        raise ConfigError(f"{what} must return the agent as it is given, with other numbers; {wrong}")


def _difference(before: Any, after: Any, whole: str = "agent") -> str:
    """In what two trees of shapes differ; empty where they do not."""
    was, now = ({jax.tree_util.keystr(p): _said(x) for p, x in jax.tree.leaves_with_path(t)} for t in (before, after))
    for place in [*was, *now]:
        if was.get(place) != now.get(place):
            return f"{whole}{place} was {was.get(place, 'not there')} and is {now.get(place, 'not there')}"
    structures: list[Any] = [jax.tree.structure(tree) for tree in (before, after)]
    return "" if structures[0] == structures[1] else "an empty part of it has become another"


def _batch(samples: int, length: int) -> PolicyBatch:
    """The shapes of what one policy learns from."""
    number, truth = (_stand_in((samples, length), kind) for kind in (jnp.float32, jnp.bool_))
    wide = _stand_in((samples, length, 4))
    return PolicyBatch(
        obs=wide,
        mask=None,
        start=truth,
        avail=_stand_in(wide.shape, jnp.bool_),
        alive=truth,
        action=_stand_in(number.shape, jnp.int32),
        log_prob=number,
        logits=wide,
        m_advantage=number,
        memory=_stand_in((samples, 0)),
        asked={},
    )


def _traced(
    what: str, function: Callable[..., Any], call: Callable[..., Any], values: dict[str, Any], *arguments: Any
) -> Any:
    """The shapes of ``call(values, *arguments)``, which calls a user's ``function``; floats are traced, as in training."""
    whole = {name: x for name, x in values.items() if isinstance(x, int)}
    floats = {name: x for name, x in values.items() if name not in whole}
    try:
        return jax.eval_shape(lambda floats, *arguments: call(whole | floats, *arguments), floats, *arguments)
    except Exception as error:
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        raise ConfigError(f"{what}, traced as in training, failed{in_line(error, file)}") from error


def _are_numbers(info: Any) -> bool:
    return isinstance(info, dict) and all(
        isinstance(name, str) and isinstance(x, jax.ShapeDtypeStruct) for name, x in info.items()
    )


def _is_float(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct) and jnp.issubdtype(x.dtype, jnp.floating)


def _said(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}" if isinstance(x, jax.ShapeDtypeStruct) else f"a {type(x).__name__}"
