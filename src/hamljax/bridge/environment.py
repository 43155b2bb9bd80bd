"""Environments in host processes, as the trainer sees them.

All that JAX does for a step is in two pure functions, ``HostVec.request`` and ``HostVec.receive``; between them lies
``answer``, which the host loop calls, or a callback from inside one program. Shapes: E environments.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.random import key_data  # keys (E,) as the numbers (E, 2) that a worker gets
from jaxtyping import Array, Int, Key, UInt8, UInt32

from ..envs.autoreset import EpisodeStats, Numbering
from ..envs.protocol import Action, Environment, Observation, Step, Team
from ..envs.vector import VecStep, VectorEnv
from ..errors import ConfigError, one_of
from .pool import Pool
from .process import Launch
from .spec import team_of
from .worker import wire

Arrays = dict[str, Any]  # by the names that ``wire.reply_type`` has: numpy's, JAX's or shapes of them, (E, ...)
Answer = tuple[Any, Any, Any]  # records of what is seen and of what is final, as bytes (E, size), and which are valid
FRONT_ENDS = ("loop", "callback")

# What a pool counts, in words.
NON_FINITE = {
    "obs": "the observation of an agent that was alive",
    "world_state": "the world state",
    "reward": "the reward",
}
ANOMALIES = {
    name: f"{{}} time(s) so far {words} was not finite, first {{}}; an update that it spoils is not taken"
    for name, words in NON_FINITE.items()
}
ANOMALIES["no_legal_action"] = (
    "{} time(s) so far an agent was alive and had no legal action, first {}; it took any of them"
)


KEPT = "is_kept"  # the mark of an exception that is kept, to be raised again as it was


def _news(record: logging.LogRecord) -> bool:
    """Whether JAX should print what a callback raised: not what is kept."""
    return not (record.exc_info and getattr(record.exc_info[1], KEPT, False))


logging.getLogger("jax._src.callback").addFilter(_news)


class HostState(NamedTuple):
    """What is known here of E episodes elsewhere, which are numbered as in ``envs.autoreset.Numbering``."""

    pool_key: Key[Array, ""]
    head: Int[Array, ""]  # the number of the next episode
    stats: EpisodeStats
    key: Key[Array, ""]


def arrays_of(records: np.ndarray) -> dict[str, np.ndarray]:
    """Records (E,) -> arrays (E, ...) by name, in memory of their own: a CPU device goes on using what it was given."""
    return {name: np.array(records[name]) for name in records.dtype.names or ()}


def bytes_of(records: np.ndarray) -> UInt8[np.ndarray, "E size"]:
    """Records (E,) as they lie in memory, copied: one array goes to a device in the time of one."""
    return np.frombuffer(records.tobytes(), np.uint8).reshape(len(records), -1)


def unpacked(layout: np.dtype, records: UInt8[Array, "E size"]) -> dict[str, Array]:
    """``arrays_of`` on the device, of ``bytes_of`` records."""
    found = {}
    for name in layout.names or ():
        dtype, first = layout[name].base, layout.fields[name][1]  # type: ignore[index]  # a layout with names has fields
        flat = records[:, first : first + layout[name].itemsize]
        if dtype.itemsize > 1:
            flat = jax.lax.bitcast_convert_type(flat.reshape(len(flat), -1, dtype.itemsize), dtype.newbyteorder("="))
        elif dtype.kind == "b":
            flat = flat != 0
        found[name] = flat.reshape(len(flat), *layout[name].shape)
    return found


def observation_of(arrays: Arrays) -> Observation:
    """What the teams see, of all that a reply holds."""
    return Observation(*(arrays[name] for name in Observation._fields))


class HostEnvironment(Environment):
    """A host (see ``worker.hosts``) as an environment. Its processes start when they are first needed and end with it.

    Args:
        launch: how to start a worker.
        front_end: who steps the workers: ``loop``, the host loop, or ``callback``, the compiled program.

    Raises:
        ConfigError: there is no such front end, or a number of ``launch`` is out of its range.
    """

    at_once = 4  # processes of an evaluation
    in_processes = True

    def __init__(self, launch: Launch, front_end: str = "loop"):
        one_of("env.front_end", front_end, FRONT_ENDS)
        if not 0 < launch.timeout < 1e6 or launch.max_restarts < 0:
            raise ConfigError("env.timeout must be above 0 and below 1e6, and env.max_restarts at least 0")
        if launch.envs_per_worker < 0:
            raise ConfigError(f"env.envs_per_worker must not be negative, not {launch.envs_per_worker}")
        self.launch, self.on_host = launch, front_end == "loop"
        self._pools: dict[tuple[int, str], Pool] = {}
        self.failure: Exception | None = None  # what a callback raised, which JAX passes on as a text

    def pool(self, size: int, purpose: str = "training", keys: Sequence[int] | np.ndarray = ()) -> Pool:
        """Workers that serve one purpose, started at the first call.

        Args:
            size: how many.
            purpose: what for: ``training``, ``evaluation``, or ``asking`` what the host says of itself.
            keys: (size, 2), of their first episodes, from which their seeds come.

        Raises:
            ConfigError: the environment cannot be started.
        """
        if (size, purpose) not in self._pools:
            self._pools[size, purpose] = Pool(self.launch, size, seeds=np.ravel(keys))
            if purpose != "asking" and (1, "asking") in self._pools:
                self._pools.pop((1, "asking")).close()
        return self._pools[size, purpose]

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        """What the host says of itself."""
        if not self._pools:
            self.pool(1, "asking")
        return next(iter(self._pools.values())).spec

    @functools.cached_property
    def _layout(self) -> np.dtype[np.void]:
        """Of a reply."""
        return wire.reply_type(self.spec)

    @functools.cached_property
    def team(self) -> Team:  # type: ignore[override]  # read from the host when it is first asked for
        return team_of(self.spec, self.launch.host)

    @property
    def max_episode_length(self) -> int:  # type: ignore[override]  # likewise
        return self.spec["max_episode_length"]

    @property
    def needs_obs_norm(self) -> bool:  # type: ignore[override]  # likewise
        return self.spec["needs_obs_norm"]

    def vectorise(self, num_envs: int) -> "HostVec":
        return HostVec(self, num_envs)

    @property
    def losses(self) -> Sequence[str]:  # type: ignore[override]  # counted by the pools; others may assign theirs
        """What became of the workers that were replaced so far."""
        return [loss for pool in self._pools.values() for loss in pool.losses]

    @property
    def notes(self) -> Mapping[str, str]:  # type: ignore[override]  # counted by the pools; others may assign theirs
        """What is to be said once of its episodes so far, by the name that ``ANOMALIES`` has for it."""
        found = [(name, pool.anomalies[name]) for pool in self._pools.values() for name in pool.anomalies]
        counts = {name: sum(count for other, (count, _) in found if other == name) for name, _ in found}
        places = {name: where for name, (_, where) in reversed(found)}
        return {name: ANOMALIES[name].format(counts[name], places[name]) for name in counts}

    @property
    def waited(self) -> float:  # type: ignore[override]  # counted by the pools; others may assign theirs
        """Seconds that training spent waiting for workers so far."""
        return sum(pool.waited for (_, purpose), pool in self._pools.items() if purpose == "training")

    def close(self) -> None:
        """End all processes."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    # EPISODES WITHOUT AUTOMATIC RESETS, for evaluation: by callbacks into a pool of their own.

    def reset_many(self, keys: Key[Array, " E"]) -> tuple[Any, Observation]:
        size = len(keys)

        def reset(keys: np.ndarray) -> Arrays:
            return arrays_of(self.pool(size, "evaluation", keys).reset(keys))

        seen = self.call(reset, self._shapes(size), key_data(keys))
        return jnp.zeros(size, jnp.float32), observation_of(seen)

    def step_many(self, keys: Key[Array, " E"], states: Any, action: Action) -> tuple[Any, Step]:
        size = len(keys)

        def step(action: np.ndarray, keys: np.ndarray) -> tuple[Arrays, np.ndarray]:
            reply = self.pool(size, "evaluation").step(action, keys)
            return arrays_of(reply.final), reply.valid

        shapes = (self._shapes(size), jax.ShapeDtypeStruct((size,), bool))
        final, valid = self.call(step, shapes, self.team.clip(action), key_data(keys))
        metrics = {**dict(zip(self.spec["metrics"], final["metrics"].T, strict=True)), "lost": 1.0 - valid}
        return states, Step(observation_of(final), final["reward"], final["terminated"], final["truncated"], metrics)

    def call(self, function: Callable[..., Any], shapes: Any, *arguments: Array) -> Any:
        """What a function on the host returns, from inside a program.

        Args:
            function: it is given numpy arrays, and must not use JAX.
            shapes: of what it returns.
            arguments: of the function.
        """

        def guarded(*arguments: Array) -> Any:
            try:
                return function(*map(np.asarray, arguments))
            except Exception as error:
                self.failure = error
                setattr(error, KEPT, True)
                raise

        return io_callback(guarded, shapes, *arguments, ordered=True)

    def _shapes(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Of ``arrays_of`` records of ``size`` workers."""
        layout = self._layout
        return {
            name: jax.ShapeDtypeStruct((size, *layout[name].shape), layout[name].base.newbyteorder("="))
            for name in layout.names or ()
        }


class HostVec(VectorEnv):
    """E host environments with automatic resets: ``VecEnv``'s interface, keys and order of episodes, without its pool.

    A worker that was lost ended its episode, which the true final observation is not known of: ``valid`` is false there.

    Args:
        env: whose workers they are.
        num_envs: E.
    """

    def __init__(self, env: HostEnvironment, num_envs: int):
        self.env, self.num_envs, self.numbering = env, num_envs, Numbering(num_envs)

    def _fresh(self, pool_key: Key[Array, ""], first: Int[Array, ""]) -> UInt32[Array, "E 2"]:
        """The keys of the next E episodes from number ``first`` on."""
        return key_data(self.numbering.keys(pool_key, first))

    def reset(self, key: Key[Array, ""]) -> tuple[HostState, Observation]:
        """Start all environments: their state, and observations with a leading axis (E,)."""
        pool_key, step_key = jax.random.split(key)

        def reset(keys: np.ndarray) -> Arrays:
            return arrays_of(self.env.pool(self.num_envs, keys=keys).reset(keys))

        seen = self.env.call(reset, self.env._shapes(self.num_envs), self._fresh(pool_key, jnp.int32(0)))
        begun = jnp.int32(self.num_envs)
        return HostState(pool_key, begun, EpisodeStats.begin(self.num_envs), step_key), observation_of(seen)

    def request(self, state: HostState, action: Action) -> tuple[Array, ...]:
        """What ``answer`` is to be called with for a step of ``state`` by ``action``, (E, N) or (E, N, A)."""
        keys = jax.random.split(jax.random.split(state.key)[1], self.num_envs)
        return self.env.team.clip(action), key_data(keys), self._fresh(state.pool_key, state.head)

    def answer(self, *request: np.ndarray) -> Answer:
        """Step the workers: numpy arrays in and out, ``request`` as ``Pool.step`` takes it."""
        reply = self.env.pool(self.num_envs).step(*request)
        return bytes_of(reply.seen), bytes_of(reply.final), reply.valid

    @property
    def answer_shapes(self) -> Answer:
        """The shapes of what ``answer`` returns."""
        records = jax.ShapeDtypeStruct((self.num_envs, self.env._layout.itemsize), np.uint8)
        return records, records, jax.ShapeDtypeStruct((self.num_envs,), bool)

    def receive(self, state: HostState, answer: Answer) -> tuple[HostState, VecStep]:
        """The second half of a step.

        Args:
            state: that of which ``request`` was asked.
            answer: what ``answer`` returned, on the device.
        """
        seen, final = (unpacked(self.env._layout, records) for records in answer[:2])
        done = final["terminated"] | final["truncated"]
        stats = EpisodeStats(state.stats.episode_return + final["reward"], state.stats.episode_length + 1)
        named = dict(zip(self.env.spec["metrics"], final["metrics"].T, strict=True))
        metrics = {**named, **stats._asdict()}
        fresh = jax.tree.map(lambda x: jnp.where(done, jnp.zeros_like(x), x), stats)
        truncated = final["truncated"] & ~final["terminated"]
        head = state.head + jnp.sum(done, dtype=jnp.int32)
        pool_key, head = self.numbering.begin_again(state.pool_key, head)
        after = HostState(pool_key, head, fresh, jax.random.split(state.key)[0])
        observations = observation_of(seen), observation_of(final)
        return after, VecStep(*observations, final["reward"], final["terminated"], truncated, metrics, answer[2])

    def step(self, state: HostState, action: Action) -> tuple[HostState, VecStep]:
        """Advance all environments from inside a program; action (E, N) or (E, N, A), clipped to the bounds here."""
        return self.receive(state, self.env.call(self.answer, self.answer_shapes, *self.request(state, action)))
