"""What the learners of all families have in common: how they collect, and what is compiled of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..envs.protocol import Environment
from ..envs.vector import VecStep, VectorEnv
from ..nn.transforms import one_at_a_time_on_cpu
from .base import ActingPolicy, Action, Metrics
from .config import Config
from .rollout import unroll
from .state import ActorState, RolloutState, RunnerState

X = TypeVar("X")


class BaseLearner:
    """What learners have in common; each is a ``flax.struct.dataclass`` that has at least these fields.

    One extends it with ``init``, ``act``, ``make_transition``, ``stack``, ``learn``, ``parameters`` and ``debug_batch``, as
    ``base.Learner`` has them.
    """

    config: Config
    policy: ActingPolicy
    env: Environment
    vec: VectorEnv

    def act(
        self, state: RunnerState, rollout: RolloutState, key: Key[Array, ""]
    ) -> tuple[Float[Array, "P B H"], Action, Any]:
        """One decision of the policies of ``state``."""
        raise NotImplementedError

    def make_transition(self, state: RunnerState, rollout: RolloutState, decision: Any, step: VecStep) -> Any:
        """What remains of a step."""
        raise NotImplementedError

    def stack(self, transitions: Any, memory: Float[Array, "chunks P B H"]) -> Any:
        """The rollout."""
        raise NotImplementedError

    def learn(self, state: RunnerState, rollout: Any) -> tuple[RunnerState, Metrics]:
        """Learn from a rollout. Returns also scalar metrics (``train/...``)."""
        raise NotImplementedError

    @property
    def memory_every(self) -> int:
        """Steps between two times that the policies' memory is written down for ``stack``."""
        return self.config.chunk_length if self.config.network.gru_size else self.config.num_steps

    def collect(self, state: RunnerState) -> tuple[RunnerState, Any]:
        """Act for T steps in E environments."""
        act, make_transition = partial(self.act, state), partial(self.make_transition, state)

        def chunk_of_steps(rollout, _):
            after, transitions = unroll(self.vec, act, make_transition, rollout, self.memory_every)
            return after, (transitions, rollout.memory)

        chunks = self.config.num_steps // self.memory_every
        rollout, (transitions, memory) = jax.lax.scan(chunk_of_steps, state.rollout, None, length=chunks)
        transitions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions)
        return state._replace(rollout=rollout), self.stack(transitions, memory)

    def update(self, state: RunnerState) -> tuple[RunnerState, Metrics]:
        """One iteration: collect, and learn."""
        return self.learn(*self.collect(state))

    def actor_state(self, state: RunnerState) -> ActorState:
        """What of it acts: ``learnt.agents.params``, seen through ``learnt.obs_norm``."""
        learnt = state.learnt
        seen = None if learnt.obs_norm is None else learnt.obs_norm.obs
        return ActorState(learnt.agents.params, seen, state.eval_key, state.num_updates)

    def begin_rollout(self, env_key: Key[Array, ""], key: Key[Array, ""]) -> RolloutState:
        """Fresh episodes in all environments.

        Args:
            env_key: of the episodes. key: of the actions that follow.
        """
        memory = self.policy.initial_memory(self.config.num_envs)
        return RolloutState.begin(self.vec, env_key, memory, key)

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes."""
        key, env_key = jax.random.split(state.rollout.key)
        return state._replace(rollout=self.begin_rollout(env_key, key))


def traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(learner, ...)``, which is traced once for a program, and under ``vmap`` handles its batch in turn on a CPU.

    To be made once for a learner: what has been traced is forgotten with it.
    """
    return one_at_a_time_on_cpu(jax.jit(partial(function), inline=True))  # of the function itself JAX keeps all


def normalises_observations(config: Config, env: Environment) -> bool:
    """Whether a run keeps running statistics of its observations.

    Args:
        config: whose ``obs_norm`` decides. env: whose ``needs_obs_norm`` does where that is ``auto``.
    """
    return config.obs_norm == "always" or (config.obs_norm == "auto" and env.needs_obs_norm)


def no_update(improve: Callable[[X], tuple[X, Any]]) -> Callable[[X], tuple[X, Any]]:
    """A function that leaves alone what ``improve(x) -> x, info`` would improve, with NaN for its ``info``."""
    return lambda x: (x, jax.tree.map(lambda i: jnp.full(i.shape, jnp.nan, i.dtype), jax.eval_shape(improve, x)[1]))
