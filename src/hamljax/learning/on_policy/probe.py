"""That a drift or a neighbourhood of a user's own fits the loop: tried on shapes alone, before anything is trained."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ...algorithms import Algorithm, hyper_parameters, resolve
from ...errors import ConfigError, in_line
from ...haml import DRIFTS, NEIGHBOURHOODS, bind_drift, bind_neighbourhood, drifts, neighbourhoods
from ...haml.neighbourhoods import Agent
from ..config import Algo, AnyAlgo
from .sweep import PolicyBatch

PROBES = (5, 1), (7, 3)  # samples of L steps; two shapes, because an array in a drift may go with one by chance


def check_kernel(algo: AnyAlgo) -> None:
    """Raise ConfigError where the drift or the neighbourhood of a row is a user's own and cannot be trained with."""
    row = resolve(algo)
    if not isinstance(row, Algorithm):
        return
    if row.drift not in drifts.SHIPPED:
        _check_drift(algo, row.drift)
    if row.neighbourhood not in neighbourhoods.SHIPPED:
        _check_neighbourhood(algo, row.neighbourhood)


def _check_drift(algo: Algo, name: str) -> None:
    drift = DRIFTS[name]

    def costs(values, ratio):
        return bind_drift(drift, values)(ratio, ratio, dict.fromkeys(drifts.DIVERGENCES, ratio))

    for shape in PROBES:
        ratio = jax.ShapeDtypeStruct(shape, jnp.float32)
        cost = _traced(f"drift '{name}'", drift.function, costs, hyper_parameters(algo, "drift_params"), ratio)
        if not _is_float(cost) or cost.shape != shape:
            raise ConfigError(
                f"drift '{name}' costs {_said(cost)} where the ratio is {_said(ratio)}: a cost has the ratio's shape"
            )


def _check_neighbourhood(algo: Algo, name: str) -> None:
    neighbourhood = NEIGHBOURHOODS[name]
    optimiser = optax.adam(1e-3) if neighbourhood.uses_optimiser else optax.identity()

    def objective(params, batch):
        return jnp.mean(batch.m_advantage * params["bias"]) + jnp.mean(batch.obs @ params["kernel"])

    def kl(params, batch):
        return objective(params, batch) ** 2

    def improve(values, params, batch, key):
        agent = Agent(params, optimiser.init(params))
        return agent, bind_neighbourhood(neighbourhood, values, optimiser)(objective, kl, agent, batch, key)

    params = {"kernel": jax.ShapeDtypeStruct((4,), jnp.float32), "bias": jax.ShapeDtypeStruct((), jnp.float32)}
    batch, key = _batch(6 * algo.num_minibatches, 2), jax.eval_shape(jax.random.key, 0)
    values, what = hyper_parameters(algo, "neighbourhood_params"), f"neighbourhood '{name}'"
    before, found = _traced(what, neighbourhood.make, improve, values, params, batch, key)
    if not (isinstance(found, tuple) and len(found) == 2 and _are_numbers(found[1])):
        raise ConfigError(
            f"{what}: its solver must return (agent, info), info a dictionary of numbers, not {_said(found)}"
        )
    if wrong := _difference(before, found[0]):
        raise ConfigError(f"{what}: its solver must return the agent as it is given, with other numbers; {wrong}")


def _difference(before, after) -> str:
    """In what two trees of shapes differ; empty where they do not."""
    was, now = ({jax.tree_util.keystr(p): _said(x) for p, x in jax.tree.leaves_with_path(t)} for t in (before, after))
    for place in [*was, *now]:
        if was.get(place) != now.get(place):
            return f"agent{place} was {was.get(place, 'not there')} and is {now.get(place, 'not there')}"
    return "" if jax.tree.structure(before) == jax.tree.structure(after) else "an empty part of it has become another"


def _batch(samples: int, length: int) -> PolicyBatch:
    """The shapes of what one policy learns from."""
    number, truth = (jax.ShapeDtypeStruct((samples, length), kind) for kind in (jnp.float32, jnp.bool_))
    wide = jax.ShapeDtypeStruct((samples, length, 4), jnp.float32)
    return PolicyBatch(
        obs=wide,
        mask=None,
        start=truth,
        avail=jax.ShapeDtypeStruct(wide.shape, jnp.bool_),
        alive=truth,
        action=jax.ShapeDtypeStruct(number.shape, jnp.int32),
        log_prob=number,
        logits=wide,
        m_advantage=number,
        carry=jax.ShapeDtypeStruct((samples, 0), jnp.float32),
    )


def _traced(what: str, function: Callable, call: Callable, values: dict, *arguments):
    """The shapes of ``call(values, *arguments)``, which calls a user's ``function``; floats are traced, as in training."""
    whole = {name: x for name, x in values.items() if isinstance(x, int)}
    floats = {name: x for name, x in values.items() if name not in whole}
    try:
        return jax.eval_shape(lambda floats, *arguments: call(whole | floats, *arguments), floats, *arguments)
    except Exception as error:
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        raise ConfigError(f"{what}, traced as in training, failed{in_line(error, file)}") from error


def _are_numbers(info) -> bool:
    return isinstance(info, dict) and all(
        isinstance(name, str) and isinstance(x, jax.ShapeDtypeStruct) for name, x in info.items()
    )


def _is_float(x) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct) and jnp.issubdtype(x.dtype, jnp.floating)


def _said(x) -> str:
    return f"{x.dtype}{list(x.shape)}" if isinstance(x, jax.ShapeDtypeStruct) else f"a {type(x).__name__}"
