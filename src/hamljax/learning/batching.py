"""How a batch of runs (vmapped seeds or hyper-parameters) shares one machine."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def one_at_a_time_on_cpu(function):
    """``function``, which under ``vmap`` handles its batch in turn on a CPU, and all at once elsewhere.

    Eight rollouts at once do not fit into a CPU's caches: learning from them took 1.6 times as long as in turn. Each
    turn is a batch of one, because the compiler does that a fifth faster than no batch.
    """
    if jax.default_backend() != "cpu":
        return function
    batch_of_one = jax.custom_batching.sequential_vmap(jax.vmap(function))

    def in_turn(*arguments):
        arguments = jax.tree.map(lambda x: jnp.asarray(x)[None], arguments)
        return jax.tree.map(lambda x: x[0], batch_of_one(*arguments))

    return in_turn


def seed_sharding(num_seeds: int) -> NamedSharding:
    """Where arrays with a leading axis of seeds live: spread over as many devices as divide ``num_seeds``."""
    devices = jax.devices()
    count = max(d for d in range(1, len(devices) + 1) if num_seeds % d == 0)
    return NamedSharding(Mesh(np.array(devices[:count]), ("seeds",)), PartitionSpec("seeds"))


def over_seeds(function, num_seeds: int, shared: int = 0):
    """``function`` vmapped over the leading axis (num_seeds) of its arguments, and that axis spread over the devices.

    Every device works on its own seeds and never waits for another. The last ``shared`` arguments are the same for all
    seeds.
    """
    sharding = seed_sharding(num_seeds)
    mesh, by_seed = sharding.mesh, sharding.spec

    def spread(*arguments):
        own = len(arguments) - shared
        batched = jax.vmap(function, in_axes=(0,) * own + (None,) * shared)
        specs = (by_seed,) * own + (PartitionSpec(),) * shared
        return jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=by_seed, check_vma=False)(*arguments)

    return spread


def seed_by_seed(function, num_seeds: int, shared: int = 0):
    """``over_seeds`` for a function that no ``vmap`` can do, because it calls upon the host: one seed after another."""

    def in_turn(*arguments):
        own = len(arguments) - shared
        seeds = unstacked(arguments[:own], num_seeds)
        return stacked([function(*seed, *arguments[own:]) for seed in seeds])

    return in_turn


def stacked(trees: list):
    """Trees of one structure as one tree, whose leaves have a new leading axis."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees)


def unstacked(tree, count: int) -> list:
    """The inverse of ``stacked`` for ``count`` trees."""
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]


def blanked(record, kept, fields: tuple[str, ...]):
    """``record``, a named tuple, with zeros in ``fields`` where ``kept`` (bool, the leading axes of their arrays) is false."""

    def blank(x):
        return jnp.where(kept.reshape(kept.shape + (1,) * (x.ndim - kept.ndim)), x, jnp.zeros_like(x))

    return record._replace(**{name: jax.tree.map(blank, getattr(record, name)) for name in fields})


@jax.custom_batching.custom_vmap
def same_for_all(x):
    """``x``, a scalar of which the caller knows that every run of a batch has the same.

    Under ``vmap`` it stays one scalar, so that a branch on it remains a branch (not a choice between two results) and a
    slice at it remains a slice (not a scatter, which would copy what it writes to).
    """
    return x


@same_for_all.def_vmap
def _(axis_size, in_batched, x):
    del axis_size
    return same_for_all(x[0] if in_batched[0] else x), False


@jax.custom_batching.custom_vmap
def in_any_run(x):
    """``x``, a scalar bool; under ``vmap``, whether it holds in any run of the batch.

    As the condition of a loop it stays one scalar, so that what a loop carries is not chosen anew for every run in every
    turn. Runs in which it does not hold must not mind another turn.
    """
    return x


@in_any_run.def_vmap
def _(axis_size, in_batched, x):
    del axis_size
    return in_any_run(jnp.any(x) if in_batched[0] else x), False
