"""The functions of a learner, compiled over all seeds of a job and the devices that they are spread over."""

import copy
import functools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...algorithms.config import Config, nearest_divisor
from ...algorithms.state import RunnerState
from ...errors import ConfigError
from ...training.evaluate import Best
from ...training.seeds import over_seeds, placement, seed_by_seed, seed_sharding, stacked, unstacked
from ...training.train import Trainer, make_learner
from ..configuration.per_seed import floats_are_arguments
from ..configuration.plugins import TABLES
from .failures import failures_of
from .memory import check_memory, check_programs, size_of
from .progress import Progress, begin_progress, progress_shapes

# Updates between two looks of the host, at most. One number for all, because another one is another program: a run that is
# made longer would round differently from the one that was long from the start.
CAPACITY = 1024
KEPT = 8  # programs of a process: each is some ten megabytes
# What JAX looks at when it traces.
TRACED_IN = ("jax_enable_x64", "jax_default_matmul_precision", "jax_debug_nans", "jax_disable_jit")


class Programs:
    """``advance(state, count)``, ``evaluate(actors, round)`` and ``choose(best, actors, metrics)``, over all seeds.

    ``advance`` makes up to ``CAPACITY`` updates, gives up the state that it is given, and returns metrics (seeds,
    CAPACITY) of which the first ``count`` hold. However the updates of a run are divided among calls, they are the same. The
    floats of its settings are arguments of all of them, so that runs which differ in floats alone have one program, and so
    have the seeds of a run.

    Args:
        trainer: of the run.
        num_seeds: of the run.
        evaluates: whether ``evaluate`` is wanted.
        devices: over which each seed's environments and minibatches are spread.
        configs: of every seed; empty: that of the trainer for all.

    Raises:
        ConfigError: this machine has too little memory, or too few devices.
    """

    def __init__(
        self, trainer: Trainer, num_seeds: int, evaluates: bool, devices: int = 1, configs: Sequence[Config] = ()
    ):
        self.trainer, self.num_seeds = trainer, num_seeds
        self.floats = trainer.floats_of_seeds(configs) if configs else trainer.floats
        self.sharding = seed_sharding(num_seeds, devices)
        if trainer.config.num_envs % devices:
            raise ConfigError(
                f"devices_per_seed={devices} does not divide num_envs={trainer.config.num_envs}; nearest divisor: "
                f"{nearest_divisor(trainer.config.num_envs, devices)}"
            )
        self.shapes = progress_shapes(trainer, num_seeds)
        by_seed = jax.tree.map(lambda x: self.sharding, self.shapes)
        states = placement(self.shapes.state, trainer.config.num_envs, self.sharding)
        self.placement = by_seed._replace(state=states)
        placed = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), self.shapes, self.placement
        )
        check_memory(trainer, self.shapes)
        began = time.perf_counter()

        def begin(key, floats):
            return begin_progress(trainer.with_floats(floats), key)

        def advance(state, floats, count):
            return trainer.with_floats(floats).run_updates(state, count, CAPACITY)

        def evaluate(actors, floats, round):
            return trainer.with_floats(floats).evaluate(actors, round)

        same = 0 if configs else 1  # whether all seeds have the floats of one
        self._begin = jax.jit(over_seeds(begin, num_seeds, shared=same, per_seed=devices))
        # Said outright, because the compiler forgets where empty arrays (memories of feed-forward networks) are.
        out = (states, self.sharding)
        updates = over_seeds(advance, num_seeds, shared=same + 1, per_seed=devices)
        updates = jax.jit(updates, donate_argnums=0, out_shardings=out)
        self._advance = updates.lower(placed.state, self.floats, jnp.int32(1)).compile()
        self._evaluate: Callable[..., Any] | None = None
        if evaluates:
            episodes = jax.jit(over_seeds(evaluate, num_seeds, shared=same + 1, per_seed=devices))
            self._evaluate = episodes.lower(trainer.actor_state(placed.state), self.floats, jnp.int32(0)).compile()
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
        return self.place(self._begin(keys, self.floats))

    def advance(self, state: RunnerState, count: Int[Any, ""]) -> tuple[RunnerState, dict[str, Array]]:
        """``count`` updates of every seed."""
        return self._advance(state, self.floats, count)

    @property
    def evaluate(self) -> Callable[..., Any] | None:
        """``Trainer.evaluate`` of every seed's actors, in the round that is its second argument; None: not wanted."""
        if self._evaluate is None:
            return None
        measure, floats = self._evaluate, self.floats
        return lambda actors, round: measure(actors, floats, round)

    def of(self, trainer: Trainer, configs: Sequence[Config] = ()) -> "Programs":
        """The same for another run, whose settings differ in floats alone (``program_of``).

        Args:
            trainer, configs: of it.
        """
        other = copy.copy(self)
        other.trainer, other.seconds = trainer, 0.0
        other.floats = trainer.floats_of_seeds(configs) if configs else trainer.floats
        return other

    def place(self, progress: Any) -> Any:
        """``progress`` on the devices where the compiled functions want it, in buffers of its own."""
        return jax.device_put(progress, self.placement, may_alias=False)

    @property
    def bytes(self) -> int:
        """What the compiler says ``advance`` needs on one device."""
        found = self._advance.memory_analysis()
        assert found is not None
        arguments = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        return arguments + found.temp_size_in_bytes


class HostPrograms:
    """``Programs`` for environments in host processes: each seed with workers of its own, and a thread.

    So the device computes for one seed while the workers of another move. No seed waits for what it does not need, and none
    acts by parameters that are not its latest. Arguments and errors are those of ``Programs``; a callback trains one seed.
    """

    def __init__(
        self, trainer: Trainer, num_seeds: int, evaluates: bool, devices: int = 1, configs: Sequence[Config] = ()
    ):
        if devices > 1:
            raise ConfigError(
                f"devices_per_seed={devices} is for environments on the device; those of {trainer.config.env.name} are in "
                f"processes, and env.envs_per_worker spreads them over processors"
            )
        if num_seeds > 1 and not trainer.env.on_host:
            raise ConfigError(
                f"env.front_end=callback trains one seed, because a program cannot call the same workers for "
                f"{num_seeds}; env.front_end=loop gives each seed workers of its own"
            )
        by_seed = configs or [trainer.config] * num_seeds
        first = make_learner(by_seed[0]) if configs else trainer
        self.trainers = [first, *map(make_learner, by_seed[1:])]
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
        self._updates = [each.update if each.host else _in_one_program(each) for each in self.trainers]
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
        begin = [jax.jit(functools.partial(begin_progress, each)) for each in self.trainers]
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


def _in_one_program(trainer: Trainer) -> Callable[[RunnerState], tuple[RunnerState, dict[str, Array]]]:
    update = jax.jit(lambda state, floats: trainer.with_floats(floats).update(state), donate_argnums=0)
    return lambda state: update(state, trainer.floats)


AnyPrograms = Programs | HostPrograms


def make_programs(
    trainer: Trainer, num_seeds: int, evaluates: bool, devices: int = 1, configs: Sequence[Config] = ()
) -> AnyPrograms:
    """What a run consists of; arguments and errors as of ``Programs``."""
    kind = HostPrograms if trainer.env.in_processes else Programs
    return kind(trainer, num_seeds, evaluates, devices, configs)


def program_of(config: Config, num_seeds: int) -> Hashable:
    """What runs have in common that have one program: all of their settings, but floats only where they are no arguments.

    Args:
        config: of the run. num_seeds: as of ``Programs``.
    """
    return jax.tree.structure(config), num_seeds, () if floats_are_arguments(config) else tuple(jax.tree.leaves(config))


class CompiledOnce:
    """The programs of one run after another: of those that differ in floats alone they are compiled once.

    It keeps those of the last ``KEPT`` kinds of runs, and what they were made of: what is registered anew has its own.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Programs, list[Any]]] = {}

    def make(
        self,
        trainer: Trainer,
        num_seeds: int,
        evaluates: bool,
        devices: int = 1,
        configs: Sequence[Config] = (),
        files: Hashable = (),
    ) -> AnyPrograms:
        """``make_programs``.

        Args:
            trainer, num_seeds, evaluates, devices, configs: as of ``Programs``.
            files: what is known of those that the run is made of.
        """
        entries = [entry for table in TABLES for entry in table.values()]
        machine = tuple(map(id, jax.devices())), *(getattr(jax.config, name) for name in TRACED_IN)
        same = program_of(trainer.config, num_seeds), bool(configs)
        mine = same, evaluates, devices, files, machine, tuple(map(id, entries))
        found, _ = self._kept.pop(mine, (None, None))
        programs = (
            found.of(trainer, configs) if found else make_programs(trainer, num_seeds, evaluates, devices, configs)
        )
        if isinstance(programs, Programs):
            self._kept[mine] = programs, entries  # the last one
            for old in [*self._kept][:-KEPT]:
                del self._kept[old]
        return programs

    def forget(self) -> None:
        """Keep none of them any longer."""
        self._kept.clear()


compiled = CompiledOnce()  # by the runs of this process
