"""Whether this machine can hold a run."""

import math
from typing import Any

import jax

from ...errors import ConfigError
from ...training.train import Trainer
from ..configuration.machine import memory
from .progress import Progress, split_replay


def size_of(tree: Any) -> tuple[int, int]:
    """(numbers, bytes) of a tree of arrays or shapes."""
    leaves = [x for x in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(math.prod(x.shape) for x in leaves), sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def check_memory(trainer: Trainer, shapes: Progress) -> None:
    """Check that this machine can hold the state of all seeds, and the rollouts that they collect side by side.

    Args:
        trainer: of the run.
        shapes: of its ``Progress``, stacked over the seeds.

    Raises:
        ConfigError: it cannot; with the sizes that make it so.
    """
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes.state)
    rollout = jax.eval_shape(trainer.learner.collect, one)[1]
    seeds, (rest, replay) = shapes.state.eval_key.shape[0], split_replay(shapes)
    parts = {"rollouts": seeds * size_of(rollout)[1], "replays": size_of(replay)[1], "the rest": size_of(rest)[1]}
    needed, there = sum(parts.values()), memory()
    if needed <= there:
        return
    config, most = trainer.config, max(parts, key=parts.__getitem__)
    said = ", ".join(f"{gib(size)} {name}" for name, size in parts.items() if size)
    said = f"this run takes {gib(needed)} GiB ({said}; {seeds} seed(s)), and this machine has {gib(there)}"
    if most == "replays":
        algo: Any = config.algo  # of a family that has a replay
        size, held = algo.buffer_size, parts["replays"]
        fits = int(size * max(there / 2 - (needed - held), 0) / held)
        raise ConfigError(f"{said}: algo.buffer_size={size} is too much of a replay, and {fits} would fit")
    place, largest = max(jax.tree.leaves_with_path(rollout), key=lambda x: size_of(x[1])[1])
    name = jax.tree_util.keystr(place, simple=True, separator=".").split("transitions.")[-1]
    raise ConfigError(
        f"{said}: most of it is {name} of {config.num_steps} steps x {config.num_envs} environments, "
        f"{list(largest.shape[2:])} {largest.dtype}; fewer num_steps, num_envs or num_seeds"
    )


def check_programs(needed: int) -> None:
    """Check that this machine has the bytes that the compiled programs of a run need.

    Raises:
        ConfigError: it has fewer.
    """
    if needed > memory():
        raise ConfigError(
            f"this run needs {gib(needed)} GiB by the compiler, and this machine has {gib(memory())}; fewer num_steps, "
            f"num_envs or num_seeds, or more minibatches"
        )


def gib(size: float) -> str:
    """Bytes in GiB, in words."""
    return f"{size / 2**30:,.1f}"
