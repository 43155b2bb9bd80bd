"""The functions of a learner, compiled over all seeds of a job and the devices that they are spread over."""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ...algorithms.state import RunnerState
from ...errors import ConfigError
from ...training.evaluate import Best
from ...training.seeds import over_seeds, seed_by_seed, seed_sharding, stacked, unstacked
from ...training.train import Trainer, make_learner
from ..configuration.machine import memory
from .failures import failures_of

# Updates between two looks of the host, at most. One number for all, because another one is another program: a run that is
# made longer would round differently from the one that was long from the start.
CAPACITY = 1024


class Progress(NamedTuple):
    """All of a run that changes, stacked over its seeds; a checkpoint of it is a checkpoint of the run."""

    state: RunnerState
    best: Best


def split_replay(progress: Progress) -> tuple[Progress, Any]:
    """A run's progress without its replay, and the replay; None where there is none."""
    return with_replay(progress, None), progress.state.replay


def with_replay(progress: Progress, replay: Any) -> Progress:
    """The inverse of ``split_replay``."""
    return progress._replace(state=progress.state._replace(replay=replay))


def progress_shapes(trainer: Trainer, num_seeds: int) -> Progress:
    """The shapes of a run's ``Progress``, without making one."""
    one = jax.eval_shape(lambda key: _begin(trainer, key), jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), one)


def _begin(trainer: Trainer, key: Key[Array, ""]) -> Progress:
    state = trainer.init(key)
    return Progress(state, Best.none_yet(trainer.actor_state(state)))


def size_of(tree: Any) -> tuple[int, int]:
    """(numbers, bytes) of a tree of arrays or shapes."""
    leaves = [x for x in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(math.prod(x.shape) for x in leaves), sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def check_memory(trainer: Trainer, shapes: Progress) -> None:
    """Check that this machine can hold the state of all seeds, and the rollouts that they collect side by side.

    Args:
        trainer: of the run.
        shapes: of its progress, stacked over the seeds.

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


class Programs:
    """``advance(state, count)``, ``evaluate(actors, round)`` and ``choose(best, actors, metrics)``, over all seeds.

    ``advance`` makes up to ``CAPACITY`` updates, gives up the state that it is given, and returns metrics (seeds,
    CAPACITY) of which the first ``count`` hold. However the updates of a run are divided among calls, they are the same.

    Args:
        trainer: of the run.
        num_seeds: of the run.
        evaluates: whether ``evaluate`` is wanted.

    Raises:
        ConfigError: this machine has too little memory.
    """

    def __init__(self, trainer: Trainer, num_seeds: int, evaluates: bool):
        self.trainer, self.num_seeds = trainer, num_seeds
        self.sharding = seed_sharding(num_seeds)
        self.shapes = progress_shapes(trainer, num_seeds)
        placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.sharding), self.shapes)
        check_memory(trainer, self.shapes)
        began = time.perf_counter()
        advance = over_seeds(functools.partial(trainer.run_updates, capacity=CAPACITY), num_seeds, shared=1)
        # Said outright, because the compiler forgets where empty arrays (memories of feed-forward networks) are.
        out = (self.sharding, self.sharding)
        self.advance = jax.jit(advance, donate_argnums=0, out_shardings=out).lower(placed.state, jnp.int32(1)).compile()
        self.evaluate: Callable[..., Any] | None = None
        if evaluates:
            evaluate = jax.jit(over_seeds(trainer.evaluate, num_seeds, shared=1))
            self.evaluate = evaluate.lower(trainer.actor_state(placed.state), jnp.int32(0)).compile()
        self.choose = jax.jit(jax.vmap(Best.update))
        self.seconds = time.perf_counter() - began
        check_programs(self.bytes * self.sharding.mesh.size)

    spent: Mapping[str, float] = MappingProxyType({})  # see ``HostPrograms``
    losses: Sequence[str] = ()
    notes: Mapping[str, str] = MappingProxyType({})

    def close(self) -> None:
        """End what the environment holds outside of this process."""
        self.trainer.env.close()

    def begin(self, seeds: Sequence[int] | np.ndarray) -> Progress:
        """A run that has not begun, for every one of ``seeds``."""
        keys = jnp.stack([jax.random.key(int(seed)) for seed in seeds])
        return self.place(jax.jit(over_seeds(functools.partial(_begin, self.trainer), self.num_seeds))(keys))

    def place(self, progress: Any) -> Any:
        """``progress`` on the devices where the compiled functions want it, in buffers of its own."""
        return jax.device_put(progress, self.sharding, may_alias=False)

    @property
    def bytes(self) -> int:
        """What the compiler says ``advance`` needs on one device."""
        found = self.advance.memory_analysis()
        assert found is not None
        arguments = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        return arguments + found.temp_size_in_bytes


class HostPrograms:
    """``Programs`` for environments in host processes: each seed with workers of its own, and a thread.

    So the device computes for one seed while the workers of another move. No seed waits for what it does not need, and none
    acts by parameters that are not its latest. Arguments and errors are those of ``Programs``; a callback trains one seed.
    """

    def __init__(self, trainer: Trainer, num_seeds: int, evaluates: bool):
        if num_seeds > 1 and not trainer.env.on_host:
            raise ConfigError(
                f"env.front_end=callback trains one seed, because a program cannot call the same workers for "
                f"{num_seeds}; env.front_end=loop gives each seed workers of its own"
            )
        self.trainers = [trainer, *(make_learner(trainer.config) for _ in range(1, num_seeds))]
        self.shapes = progress_shapes(trainer, num_seeds)
        check_memory(trainer, self.shapes)
        self.sharding, began = seed_sharding(1), time.perf_counter()
        self.evaluate = jax.jit(seed_by_seed(trainer.evaluate, num_seeds, shared=1)) if evaluates else None
        self.choose = jax.jit(jax.vmap(Best.update))
        self._restart = [jax.jit(each.learner.restart) for each in self.trainers]
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.shapes.state)
        self.bytes = num_seeds * max(
            [each.host.compile(one) for each in self.trainers if each.host] or [size_of(one)[1]]
        )
        check_programs(self.bytes)
        self._updates = [each.update if each.host else jax.jit(each.update, donate_argnums=0) for each in self.trainers]
        self.seconds = time.perf_counter() - began
        self._took = [0.0] * num_seeds  # seconds of updates so far

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of updates so far, of all seeds: waiting for workers, waiting for the device, and what the host itself did."""
        total, workers = sum(self._took), sum(each.env.waited for each in self.trainers)
        hosts = [each.host for each in self.trainers if each.host]
        device = sum(host.waited for host in hosts) if hosts else total - workers
        return {"workers": workers, "device": device, "host": total - workers - device}

    @property
    def losses(self) -> list[str]:
        """What became of the workers that were replaced so far, of all seeds."""
        return [loss for each in self.trainers for loss in each.env.losses]

    @property
    def notes(self) -> dict[str, str]:
        """What is to be said once of the episodes of all seeds so far, by what it is about; the first seed's where several."""
        return {what: note for each in reversed(self.trainers) for what, note in each.env.notes.items()}

    def close(self) -> None:
        """End the workers of all seeds."""
        for each in self.trainers:
            each.env.close()

    def begin(self, seeds: Sequence[int] | np.ndarray) -> Progress:
        """A run that has not begun, for every one of ``seeds``."""
        begin = [jax.jit(functools.partial(_begin, each)) for each in self.trainers]
        return self._in_turn(begin, [jax.random.key(int(seed)) for seed in seeds])

    def place(self, progress: Progress) -> Progress:
        """``progress`` on the device; a process cannot be restored, so that all its episodes begin anew."""
        progress = jax.device_put(progress)
        return progress._replace(state=self._in_turn(self._restart, unstacked(progress.state, len(self.trainers))))

    def _in_turn(self, functions: Sequence[Callable[[Any], Any]], arguments: Sequence[Any]) -> Any:
        """What each seed's function gives of its argument, stacked."""
        found = []
        for each, function, argument in zip(self.trainers, functions, arguments, strict=True):
            with failures_of(each.env):
                found.append(jax.block_until_ready(function(argument)))
        return stacked(found)

    def advance(
        self, state: RunnerState, count: Int[Any, ""]
    ) -> tuple[RunnerState, dict[str, Float[Array, "seeds count"]]]:
        """``count`` updates of every seed, from their stacked ``state``. Returns the state and metrics."""

        def train(i: int, state: RunnerState) -> tuple[RunnerState, dict[str, Array]]:
            began, rows = time.perf_counter(), []
            for _ in range(int(count)):
                state, row = jax.block_until_ready(self._updates[i](state))
                rows.append(row)
            self._took[i] += time.perf_counter() - began
            return state, stacked(rows)

        states = unstacked(state, len(self.trainers))
        with ThreadPoolExecutor(len(states)) as threads:
            done = list(threads.map(train, range(len(states)), states))
        states, rows = zip(*done, strict=True)
        return stacked(states), stacked(rows)


AnyPrograms = Programs | HostPrograms


def make_programs(trainer: Trainer, num_seeds: int, evaluates: bool) -> AnyPrograms:
    """What a run consists of; arguments and errors as of ``Programs``."""
    kind = HostPrograms if trainer.env.in_processes else Programs
    return kind(trainer, num_seeds, evaluates)
