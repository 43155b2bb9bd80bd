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
from .floats import floats_of, with_floats
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

    Of a learner's floats and of a runner state only those arrays go into a step that it looks at: each costs some microseconds.
    """

    def __init__(self, learner: Learner):
        self.learner, self.waited = learner, 0.0
        self.floats = [*map(jnp.asarray, floats_of(learner))]
        self.acting, self.learning = acting_device(), jax.local_devices()[0]
        self._kept: list[int] = []  # which leaves of (floats, state) a step looks at
        self._jitted = (
            jax.jit(self._decide),
            jax.jit(self._settle_and_decide),
            jax.jit(self._settle),
            jax.jit(self._improve, donate_argnums=0),
        )
        self._use(*self._jitted)

    def _use(self, *programs: Callable[..., Any]) -> None:
        self._begin, self._move, self._end, self._learn = programs

    def compile(self, state: RunnerState) -> int:
        """Compile for states of these shapes, and say how many bytes the largest program needs."""
        rollout = _on(self.learning, jax.eval_shape(self.learner.collect, state)[1])
        fixed, playing = _on(self.acting, self._parts(state))
        decided = _on(self.acting, jax.eval_shape(self._decide, fixed, playing)[1])
        answer = _on(self.acting, self.learner.vec.answer_shapes)
        begin, move, end, learn = self._jitted
        lowered = (
            begin.lower(fixed, playing),
            move.lower(fixed, playing, decided, answer),
            end.lower(fixed, playing, decided, answer),
            learn.lower(_on(self.learning, state), rollout, self.floats),
        )
        programs = [program.compile() for program in lowered]
        self._use(*programs)
        sizes: list[Any] = [program.memory_analysis() for program in programs]
        return max(x.argument_size_in_bytes + x.output_size_in_bytes + x.temp_size_in_bytes for x in sizes)

    def update(self, state: RunnerState) -> tuple[RunnerState, Metrics]:
        """One iteration: collect and learn."""
        return self._wait_for(self._learn(*self.collect(state), self.floats))

    def _wait_for(self, arrays: T) -> T:
        began = time.perf_counter()
        jax.block_until_ready(arrays)
        self.waited += time.perf_counter() - began
        return arrays

    def collect(self, state: RunnerState) -> tuple[RunnerState, Any]:
        """``learner.collect``, step by step."""
        learner, num_steps = self.learner, self.learner.config.num_steps
        rows, memory = [], []
        fixed, playing = jax.device_put(self._parts(state), self.acting)
        request, decided = self._begin(fixed, playing)
        for t in range(num_steps):
            if t % learner.memory_every == 0:
                memory.append(playing.memory)
            answer = learner.vec.answer(*map(np.asarray, self._wait_for(request)))
            if t + 1 < num_steps:
                playing, row, request, decided = self._move(fixed, playing, decided, answer)
            else:
                playing, row = self._end(fixed, playing, decided, answer)
            rows.append(row)
        collected = playing, learner.stack(_STACKED(rows), jnp.stack(memory))
        after, rollout = jax.device_put(collected, self.learning)
        return state._replace(rollout=after), rollout

    def _improve(self, state: RunnerState, rollout: Any, floats: list[Any]) -> tuple[RunnerState, Metrics]:
        return with_floats(self.learner, floats).learn(state, rollout)

    # WHAT A STEP LOOKS AT

    def _parts(self, state: RunnerState) -> tuple[list[Any], RolloutState]:
        """Of the floats and the state what does not change in a rollout and is looked at, and what changes."""
        leaves, self._structure = jax.tree.flatten((self.floats, _acting(state)))
        if not self._kept:
            self._kept, self._shapes = [*range(len(leaves))], jax.eval_shape(lambda x: x, leaves)
            self._kept = self._looked_at(leaves, state.rollout)
        return [leaves[i] for i in self._kept], state.rollout

    def _looked_at(self, leaves: list[Any], playing: RolloutState) -> list[int]:
        """Which of the leaves a step makes something of."""
        decided, answer = jax.eval_shape(self._decide, leaves, playing)[1], self.learner.vec.answer_shapes
        program = jax.make_jaxpr(self._settle_and_decide)(leaves, playing, decided, answer).jaxpr
        used = {id(x) for step in program.eqns for x in step.invars} | {id(x) for x in program.outvars}
        return [i for i, x in enumerate(program.invars[: len(leaves)]) if id(x) in used or _is_key(x.aval)]

    def _whole(self, fixed: list[Any], playing: RolloutState) -> tuple[Learner, RunnerState]:
        """The inverse of ``_parts``, with zeros for what is not looked at."""
        leaves: list[Any] = [
            jnp.zeros(x.shape, x.dtype) if i not in self._kept else None for i, x in enumerate(self._shapes)
        ]
        for i, x in zip(self._kept, fixed, strict=True):
            leaves[i] = x
        floats, state = jax.tree.unflatten(self._structure, leaves)
        return with_floats(self.learner, floats), state._replace(rollout=playing)

    def _decide(self, fixed: list[Any], playing: RolloutState) -> tuple[tuple[jax.Array, ...], Any]:
        learner, state = self._whole(fixed, playing)
        key, act_key = jax.random.split(playing.key)
        memory, action, decision = learner.act(state, playing, act_key)
        return learner.vec.request(playing.env_state, action), (key, memory, decision)

    def _settle(self, fixed: list[Any], playing: RolloutState, decided: Any, answer: Any) -> tuple[RolloutState, Any]:
        learner, state = self._whole(fixed, playing)
        key, memory, decision = decided
        env_state, out = learner.vec.receive(playing.env_state, answer)
        row = learner.make_transition(state, playing, decision, out)
        return RolloutState(env_state, out.observation, out.terminated | out.truncated, memory, key), row

    def _settle_and_decide(
        self, fixed: list[Any], playing: RolloutState, decided: Any, answer: Any
    ) -> tuple[RolloutState, Any, tuple[jax.Array, ...], Any]:
        playing, row = self._settle(fixed, playing, decided, answer)
        return playing, row, *self._decide(fixed, playing)


def _acting(state: RunnerState) -> RunnerState:
    """What of a runner state may act and does not change in a rollout."""
    nothing: Any = None
    return state._replace(rollout=nothing, replay=nothing)


def _on(device: jax.Device, shapes: Any) -> Any:
    """``shapes`` as of arrays on ``device``."""
    sharding = SingleDeviceSharding(device)

    def placed(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding, weak_type=getattr(x, "weak_type", False))

    return jax.tree.map(placed, shapes)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
