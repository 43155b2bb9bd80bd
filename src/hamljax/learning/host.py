"""The loops with environments outside of the program: act in one program, let the host step, learn in another."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from .batching import stacked
from .state import Stage

_STACKED = jax.jit(stacked)


def beside_the_host():
    """The device that acts: the CPU, where the environments are. A decision is less work than the way to an accelerator."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to use the accelerator alone
        return jax.local_devices()[0]


class HostLoop:
    """``update(state)`` of an algorithm (``OnPolicy`` or ``OffPolicy``) whose ``vec`` is stepped by the host.

    Between ``vec.ask`` and ``vec.take`` the host calls ``vec.answer``. What is computed is what ``algorithm.update``
    computes. ``update`` gives up the state that it is given. ``waited``: seconds spent waiting for the device so far.
    """

    def __init__(self, algorithm):
        self.algorithm, self.waited = algorithm, 0.0
        self.acting, self.learning = beside_the_host(), jax.local_devices()[0]
        self._begin, self._move = jax.jit(self._decide), jax.jit(self._settle_and_decide)
        self._end, self._learn = jax.jit(self._settle), jax.jit(algorithm.learn, donate_argnums=0)

    def compile(self, state) -> int:
        """Compile for states of these shapes, and say how many bytes the largest program needs."""
        rollout = _on(self.learning, jax.eval_shape(self.algorithm.collect, state)[1])
        actors = _on(self.acting, _actors(state))
        decided = _on(self.acting, jax.eval_shape(self._decide, actors)[1])
        answer = _on(self.acting, self.algorithm.vec.answer_shapes)
        programs = (
            self._begin.lower(actors),
            self._move.lower(actors, decided, answer),
            self._end.lower(actors, decided, answer),
            self._learn.lower(_on(self.learning, state), rollout),
        )
        self._begin, self._move, self._end, self._learn = programs = [program.compile() for program in programs]
        sizes = [program.memory_analysis() for program in programs]
        return max(x.argument_size_in_bytes + x.output_size_in_bytes + x.temp_size_in_bytes for x in sizes)

    def update(self, state):
        """One iteration: collect and learn."""
        return self._wait_for(self._learn(*self.collect(state)))

    def _wait_for(self, arrays):
        began = time.perf_counter()
        jax.block_until_ready(arrays)
        self.waited += time.perf_counter() - began
        return arrays

    def collect(self, state):
        """``algorithm.collect``, step by step."""
        algorithm, num_steps = self.algorithm, self.algorithm.config.num_steps
        rows, memory = [], []
        actors = jax.device_put(_actors(state), self.acting)
        request, decided = self._begin(actors)
        for t in range(num_steps):
            if t % algorithm.chunk == 0:
                memory.append(actors.actor_carry)
            answer = algorithm.vec.answer(*map(np.asarray, self._wait_for(request)))
            if t + 1 < num_steps:
                actors, row, request, decided = self._move(actors, decided, answer)
            else:
                actors, row = self._end(actors, decided, answer)
            rows.append(row)
        played = Stage.of(actors), algorithm.pack(_STACKED(rows), jnp.stack(memory))
        stage, rollout = jax.device_put(played, self.learning)
        return state._replace(**stage._asdict()), rollout

    def _decide(self, state):
        stage = Stage.of(state)
        key, act_key = jax.random.split(stage.key)
        carry, action, decision = self.algorithm.act(state, stage, act_key)
        return self.algorithm.vec.ask(stage.env_state, action), (key, carry, action, decision)

    def _settle(self, state, decided, answer):
        stage, (key, carry, action, decision) = Stage.of(state), decided
        env_state, out = self.algorithm.vec.take(stage.env_state, answer)
        row = self.algorithm.keep(state, stage, action, decision, out)
        after = Stage(env_state, out.observation, out.terminated | out.truncated, carry, key)
        return state._replace(**after._asdict()), row

    def _settle_and_decide(self, state, decided, answer):
        state, row = self._settle(state, decided, answer)
        return state, row, *self._decide(state)


def _actors(state):
    """What of a runner state acts: all but what is played from, which is large."""
    return state._replace(replay=None) if "replay" in state._fields else state


def _on(device, shapes):
    """``shapes`` as of arrays on ``device``."""
    sharding = SingleDeviceSharding(device)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
