"""The loops with environments outside of the program: act in one program, let the host step, learn in another."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from ..algorithms.base import Learner, Metrics
from ..algorithms.state import RolloutState, RunnerState
from .seeds import stacked

T = TypeVar("T")
_STACKED = jax.jit(stacked)


def acting_device() -> jax.Device:
    """The device that acts: the CPU, where the environments are. A decision is less work than the way to an accelerator."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to use the accelerator alone
        return jax.local_devices()[0]


class HostLoop:
    """``update(state)`` of a learner whose ``vec`` is stepped by the host.

    Between ``vec.request`` and ``vec.receive`` the host calls ``vec.answer``. What is computed is what ``collect`` and ``learn``
    compute. ``update`` gives up the state that it is given. ``waited``: seconds spent waiting for the device so far.
    """

    def __init__(self, learner: Learner):
        self.learner, self.waited = learner, 0.0
        self.acting, self.learning = acting_device(), jax.local_devices()[0]
        self._jitted = (
            jax.jit(self._decide),
            jax.jit(self._settle_and_decide),
            jax.jit(self._settle),
            jax.jit(learner.learn, donate_argnums=0),
        )
        self._use(*self._jitted)

    def _use(self, *programs: Callable[..., Any]) -> None:
        self._begin, self._move, self._end, self._learn = programs

    def compile(self, state: RunnerState) -> int:
        """Compile for states of these shapes, and say how many bytes the largest program needs."""
        rollout = _on(self.learning, jax.eval_shape(self.learner.collect, state)[1])
        actors = _on(self.acting, _acting(state))
        decided = _on(self.acting, jax.eval_shape(self._decide, actors)[1])
        answer = _on(self.acting, self.learner.vec.answer_shapes)
        begin, move, end, learn = self._jitted
        lowered = (
            begin.lower(actors),
            move.lower(actors, decided, answer),
            end.lower(actors, decided, answer),
            learn.lower(_on(self.learning, state), rollout),
        )
        programs = [program.compile() for program in lowered]
        self._use(*programs)
        sizes: list[Any] = [program.memory_analysis() for program in programs]
        return max(x.argument_size_in_bytes + x.output_size_in_bytes + x.temp_size_in_bytes for x in sizes)

    def update(self, state: RunnerState) -> tuple[RunnerState, Metrics]:
        """One iteration: collect and learn."""
        return self._wait_for(self._learn(*self.collect(state)))

    def _wait_for(self, arrays: T) -> T:
        began = time.perf_counter()
        jax.block_until_ready(arrays)
        self.waited += time.perf_counter() - began
        return arrays

    def collect(self, state: RunnerState) -> tuple[RunnerState, Any]:
        """``learner.collect``, step by step."""
        learner, num_steps = self.learner, self.learner.config.num_steps
        rows, memory = [], []
        actors = jax.device_put(_acting(state), self.acting)
        request, decided = self._begin(actors)
        for t in range(num_steps):
            if t % learner.memory_every == 0:
                memory.append(actors.rollout.memory)
            answer = learner.vec.answer(*map(np.asarray, self._wait_for(request)))
            if t + 1 < num_steps:
                actors, row, request, decided = self._move(actors, decided, answer)
            else:
                actors, row = self._end(actors, decided, answer)
            rows.append(row)
        collected = actors.rollout, learner.stack(_STACKED(rows), jnp.stack(memory))
        after, rollout = jax.device_put(collected, self.learning)
        return state._replace(rollout=after), rollout

    def _decide(self, state: RunnerState) -> tuple[tuple[jax.Array, ...], Any]:
        rollout = state.rollout
        key, act_key = jax.random.split(rollout.key)
        memory, action, decision = self.learner.act(state, rollout, act_key)
        return self.learner.vec.request(rollout.env_state, action), (key, memory, decision)

    def _settle(self, state: RunnerState, decided: Any, answer: Any) -> tuple[RunnerState, Any]:
        rollout, (key, memory, decision) = state.rollout, decided
        env_state, out = self.learner.vec.receive(rollout.env_state, answer)
        row = self.learner.make_transition(state, rollout, decision, out)
        after = RolloutState(env_state, out.observation, out.terminated | out.truncated, memory, key)
        return state._replace(rollout=after), row

    def _settle_and_decide(
        self, state: RunnerState, decided: Any, answer: Any
    ) -> tuple[RunnerState, Any, tuple[jax.Array, ...], Any]:
        state, row = self._settle(state, decided, answer)
        return state, row, *self._decide(state)


def _acting(state: RunnerState) -> RunnerState:
    """What of a runner state acts: all but the replay, which is large."""
    return state._replace(replay=None)


def _on(device: jax.Device, shapes: Any) -> Any:
    """``shapes`` as of arrays on ``device``."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
