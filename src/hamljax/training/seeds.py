"""How the seeds of a job share one machine."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..algorithms.state import RunnerState
from ..errors import ConfigError


def seed_sharding(num_seeds: int, per_seed: int = 1) -> NamedSharding:
    """Where arrays with a leading axis of seeds live: spread over as many devices as divide ``num_seeds``.

    Args:
        num_seeds: the length of that axis.
        per_seed: devices that share each seed: an axis ``batch`` of the mesh, over which its environments and samples are spread.

    Raises:
        ConfigError: there are fewer devices than one seed is to have.
    """
    devices = jax.devices()
    if per_seed > len(devices):
        raise ConfigError(f"devices_per_seed={per_seed} is more than the {len(devices)} device(s) here")
    count = max(d for d in range(1, len(devices) // per_seed + 1) if num_seeds % d == 0)
    if per_seed == 1:
        return NamedSharding(Mesh(np.array(devices[:count]), ("seeds",)), PartitionSpec("seeds"))
    mesh = Mesh(np.array(devices[: count * per_seed]).reshape(count, per_seed), ("seeds", "batch"))
    return NamedSharding(mesh, PartitionSpec("seeds"))


def over_seeds(function: Callable[..., Any], num_seeds: int, shared: int = 0, per_seed: int = 1) -> Callable[..., Any]:
    """A function vmapped over an axis of seeds, and that axis spread over the devices.

    Every device works on its own seeds and never waits for another; where several share a seed the compiler divides its work
    by where its arguments are (``placement``) and by ``haml.solvers.over_devices``, and whatever is a sum over the seed's
    environments or samples is one over all of its devices.

    Args:
        function: of one seed. num_seeds: the length of the leading axis of its arguments.
        shared: how many of the last arguments are the same for all seeds. per_seed: devices that share each seed.
    """
    sharding = seed_sharding(num_seeds, per_seed)
    mesh, by_seed = sharding.mesh, sharding.spec
    # A seed that is alone on its device is not batched: it is traced and compiled a quarter sooner.
    alone = num_seeds == mesh.shape["seeds"]

    def spread(*arguments):
        own = len(arguments) - shared
        axes, specs = (0,) * own + (None,) * shared, (by_seed,) * own + (PartitionSpec(),) * shared
        of_device = seed_by_seed(function, 1, shared) if alone else jax.vmap(function, in_axes=axes)
        return jax.shard_map(
            of_device, mesh=mesh, in_specs=specs, out_specs=by_seed, axis_names={"seeds"}, check_vma=False
        )(*arguments)

    return spread


def placement(state: RunnerState, num_envs: int, sharding: NamedSharding) -> RunnerState:
    """Where each array of the stacked runner states of all seeds lives, a tree of shardings.

    What is learnt is with every device of its seed; of a rollout and a replay each has the share of its environments.

    Args:
        state: arrays or shapes (seeds, ...). num_envs: of each seed. sharding: of ``seed_sharding``.
    """

    def divided(x: Any) -> NamedSharding:
        sizes = (num_envs, 2 * num_envs)  # environments, and a pool of their next episodes
        axis = next((i for i in range(1, x.ndim) if x.shape[i] in sizes), None)
        if axis is None:
            return sharding
        return NamedSharding(sharding.mesh, PartitionSpec("seeds", *[None] * (axis - 1), "batch"))

    placed = jax.tree.map(lambda x: sharding, state)
    if sharding.mesh.size == sharding.mesh.shape["seeds"]:
        return placed
    return placed._replace(rollout=jax.tree.map(divided, state.rollout), replay=jax.tree.map(divided, state.replay))


def seed_by_seed(function: Callable[..., Any], num_seeds: int, shared: int = 0) -> Callable[..., Any]:
    """A function of the seeds one after another, without ``vmap``: of one that calls upon the host, or of a lone seed.

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
