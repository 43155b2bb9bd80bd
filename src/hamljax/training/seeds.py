"""How the seeds of a job share one machine."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def seed_sharding(num_seeds: int) -> NamedSharding:
    """Where arrays with a leading axis of seeds live: spread over as many devices as divide ``num_seeds``."""
    devices = jax.devices()
    count = max(d for d in range(1, len(devices) + 1) if num_seeds % d == 0)
    return NamedSharding(Mesh(np.array(devices[:count]), ("seeds",)), PartitionSpec("seeds"))


def over_seeds(function: Callable[..., Any], num_seeds: int, shared: int = 0) -> Callable[..., Any]:
    """A function vmapped over an axis of seeds, and that axis spread over the devices.

    Every device works on its own seeds and never waits for another.

    Args:
        function: of one seed. num_seeds: the length of the leading axis of its arguments.
        shared: how many of the last arguments are the same for all seeds.
    """
    sharding = seed_sharding(num_seeds)
    mesh, by_seed = sharding.mesh, sharding.spec

    def spread(*arguments):
        own = len(arguments) - shared
        batched = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        specs = (by_seed,) * own + (PartitionSpec(),) * shared
        return jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=by_seed, check_vma=False)(*arguments)

    return spread


def seed_by_seed(function: Callable[..., Any], num_seeds: int, shared: int = 0) -> Callable[..., Any]:
    """``over_seeds`` for a function that no ``vmap`` can do, because it calls upon the host: one seed after another.

    Args:
        function, num_seeds, shared: as of ``over_seeds``.
    """

    def in_turn(*arguments):
        own = len(arguments) - shared
        seeds = unstacked(arguments[:own], num_seeds)
        return stacked([function(*seed, *arguments[own:]) for seed in seeds])

    return in_turn


def stacked(trees: list[Any]) -> Any:
    """Trees of one structure as one tree, whose leaves have a new leading axis."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def unstacked(tree: Any, count: int) -> list[Any]:
    """The inverse of ``stacked`` for ``count`` trees."""
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]
