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
    Keys go in and out as the numbers that they are, because JAX calls a program that returns typed keys in a slower way.
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
        fixed, playing = _on(self.acting, jax.eval_shape(self._parts, state))
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
        collected = self._typed(playing, self._shapes[1]), learner.stack(_STACKED(rows), jnp.stack(memory))
        after, rollout = jax.device_put(collected, self.learning)
        return state._replace(rollout=after), rollout

    def _improve(self, state: RunnerState, rollout: Any, floats: list[Any]) -> tuple[RunnerState, Metrics]:
        return with_floats(self.learner, floats).learn(state, rollout)

    # WHAT A STEP LOOKS AT

    def _parts(self, state: RunnerState) -> tuple[list[Any], RolloutState]:
        """Of the floats and the state what does not change in a rollout and is looked at, and what changes; without types."""
        leaves, self._structure = jax.tree.flatten((self.floats, _acting(state)))
        if not self._kept:
            self._shapes = jax.eval_shape(lambda x: x, (leaves, state.rollout))
            self._key_impl = jax.random.key_impl(state.rollout.key)
            self._kept = [*range(len(leaves))]
            self._kept = self._looked_at()
        return _plain(([leaves[i] for i in self._kept], state.rollout))

    def _looked_at(self) -> list[int]:
        """Which of the leaves a step makes something of."""
        leaves, playing = jax.eval_shape(_plain, self._shapes)
        decided, answer = jax.eval_shape(self._decide, leaves, playing)[1], self.learner.vec.answer_shapes
        program = jax.make_jaxpr(self._settle_and_decide)(leaves, playing, decided, answer).jaxpr
        used = {id(x) for step in program.eqns for x in step.invars} | {id(x) for x in program.outvars}
        return [i for i, x in enumerate(program.invars[: len(leaves)]) if id(x) in used]

    def _whole(self, fixed: list[Any], playing: RolloutState) -> tuple[Learner, RunnerState]:
        """The inverse of ``_parts``, with zeros for what is not looked at."""
        given = dict(zip(self._kept, fixed, strict=True))
        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(_plain, self._shapes[0]))
        leaves = self._typed([given.get(i, zero) for i, zero in enumerate(zeros)], self._shapes[0])
        floats, state = jax.tree.unflatten(self._structure, leaves)
        return with_floats(self.learner, floats), state._replace(rollout=self._typed(playing, self._shapes[1]))

    def _typed(self, tree: T, like: Any) -> T:
        """The inverse of ``_plain``, for a tree like another."""

        def typed(x: Any, like: Any) -> Any:
            return jax.random.wrap_key_data(x, impl=self._key_impl) if _is_key(like) else x

        return jax.tree.map(typed, tree, like)

    def _decide(self, fixed: list[Any], playing: RolloutState) -> tuple[tuple[jax.Array, ...], Any]:
        learner, state = self._whole(fixed, playing)
        key, act_key = jax.random.split(state.rollout.key)
        memory, action, decision = learner.act(state, state.rollout, act_key)
        return learner.vec.request(state.rollout.env_state, action), (jax.random.key_data(key), memory, decision)

    def _settle(self, fixed: list[Any], playing: RolloutState, decided: Any, answer: Any) -> tuple[RolloutState, Any]:
        learner, state = self._whole(fixed, playing)
        key, memory, decision = decided
        env_state, out = learner.vec.receive(state.rollout.env_state, answer)
        row = learner.make_transition(state, state.rollout, decision, out)
        done = out.terminated | out.truncated
        return _plain(
            RolloutState(env_state, out.observation, done, memory, self._typed(key, self._shapes[1].key))
        ), row

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


def _plain(tree: T) -> T:
    """A tree with the numbers of its keys in their places."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
