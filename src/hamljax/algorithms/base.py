"""What training, evaluation, export, checkpoints and the host loop ask of an algorithm; they ask nothing else.

A learner is a pytree: its floats are leaves, so that a hyper-parameter may be traced and vmapped, and all that it does is a
pure function of it and its arguments. Shapes: T steps, E environments, N agents, A action dimensions, P policies of B samples
per step, L steps in a sample.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..envs.protocol import Environment, Observation, Team
from ..envs.vector import VecStep, VectorEnv
from ..haml import Divergence
from ..nn.distributions import Evaluation
from ..nn.transforms import one_at_a_time_on_cpu
from .config import Config
from .rollout import unroll
from .state import ActorState, RolloutState, RunnerState


class TeamPolicy(Protocol):
    """How a team acts, and how likely what it did is: a pytree of pure functions; parameters are stacked (P, ...).

    Of observations it is given ``obs``, ``avail_actions`` and ``alive``; the state of the world is the critics'.
    """

    num_policies: int
    groups: list[list[int]]  # the agents of every policy

    def for_team(self, team: Team) -> "TeamPolicy":
        """The same policies in another team of the same shapes, whose bounds may be others."""
        ...

    def init(self, key: jax.Array, observation: Observation) -> Any:
        """Fresh parameters (P, ...); observation (E, N, ...) as networks see it."""
        ...

    def initial_memory(self, num_envs: int) -> jax.Array:
        """The policies' memory when an episode begins, (P, B, H); H = 0 where nobody remembers."""
        ...

    def act(
        self,
        params: Any,
        memory: jax.Array,
        key: jax.Array,
        observation: Observation,
        start: jax.Array,
        greedy: bool = False,
    ) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
        """One decision of the team.

        Args:
            key: one for all environments, or (E,) one for each. observation: (E, N, ...) as networks see it.
            start: (E,) bool, an episode begins: memory is as if it were initial.
            greedy: the best action instead of a sample.

        Returns:
            The memory, actions (E, N) int32 or (E, N, A) in units of the bounds, and a dictionary of ``log_prob`` (E, N) and
            ``logits`` (E, N, ...), which ``batches`` is given back.
        """
        ...

    def to_env_action(self, action: jax.Array) -> jax.Array:
        """Actions (..., N[, A]) as the environment takes them."""
        ...

    # What learning from rollouts asks for (``on_policy.sweep``).

    def batches(self, steps: Any, memory: jax.Array, advantage: jax.Array, asked: dict, length: int) -> Any:
        """A rollout as every policy learns from it: leaves (P, samples, L, ...).

        Fields beside the policy's own: ``log_prob``, ``alive``, ``m_advantage``, ``obs`` and ``asked``, all of one leading shape.
        """
        ...

    def evaluate_actions(self, params: Any, batch: Any) -> Evaluation:
        """Log-probabilities and entropies of the stored actions under the parameters of one policy, of ``alive``'s shape."""
        ...

    def divergence(self, new: Evaluation, batch: Any) -> Divergence:
        """How far one policy has moved from the one that acted, of ``alive``'s shape."""
        ...

    def entropies(self, steps: Any) -> jax.Array:
        """(T, E, N): entropies of the distributions that a rollout's actions were drawn from; of maximum-entropy rows."""
        ...

    def by_team(self, x: jax.Array) -> jax.Array:
        """One number a sample -> (teams, L, M), those of a team at one time beside each other."""
        ...

    def of_members(self, x: jax.Array) -> jax.Array:
        """One number a team, (teams, L) -> one for each sample."""
        ...


class Estimate(NamedTuple):
    """What a critic says of a rollout."""

    advantage: jax.Array  # (T, E, N), or (T, E, 1) where it is one for the team
    target: jax.Array  # (T, E, K) what the critic is to learn, in units of the reward, of K values a step
    batch: Any  # what ``Critic.fit`` learns from


class Critic(Protocol):
    """A critic for learning from rollouts, a pytree of pure functions: it owns its inputs, advantage, targets and fit."""

    def init(self, key: jax.Array, observation: Observation) -> Any:
        """All that is learnt of it: parameters, optimiser's state, statistics."""
        ...

    def parameters(self, critic: Any) -> Any:
        """Of what ``init`` gives, the parameters of its networks."""
        ...

    def initial_memory(self, num_envs: int) -> jax.Array:
        """Its memory where episodes begin, one array of zeros; of size 0, such as (E, 0), where it has none."""
        ...

    def view(self, observation: Observation) -> Observation:
        """What of a final observation it looks at; None for the rest, which is not stored."""
        ...

    def estimate(self, critic: Any, memory: jax.Array, traj: Any, teaches: jax.Array) -> tuple[jax.Array, Estimate]:
        """Advantages and targets of a rollout, and the memory after it.

        Args:
            traj: an ``on_policy.trajectory.Trajectory`` whose transitions are (T, E, ...): observations as networks see them,
                of ``final`` what ``view`` left; lost steps are blank, and nobody is alive where a step is not to teach.
            teaches: (T, E) bool, the steps to learn from. What an advantage is for the dead does not matter, but not NaN.
        """
        ...

    def fit(self, critic: Any, estimate: Estimate, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        """The critic after learning, and what there is to say: named numbers."""
        ...


class DebugBatch(NamedTuple):
    """What an update learns from, to be searched for what is not finite; any leading axes."""

    batch: Any  # all of it, as written to a file
    reward: jax.Array
    weight: jax.Array  # bool: which rewards count
    seen: tuple[tuple[Observation, jax.Array], ...]  # observations, and where (bool) each is used


class Learner(Protocol):
    """An algorithm on an environment.

    The host loop makes ``collect`` of ``act`` and ``make_transition`` step by step, and of ``stack`` at the end.
    """

    config: Config
    env: Environment
    vec: VectorEnv
    policy: TeamPolicy
    memory_every: int  # steps between two times that the policies' memory is written down for ``stack``

    def init(self, key: jax.Array) -> RunnerState:
        """The state of a run that has not begun."""
        ...

    def collect(self, state: RunnerState) -> tuple[RunnerState, Any]:
        """Act for T steps in E environments: the state, and the rollout."""
        ...

    def learn(self, state: RunnerState, rollout: Any) -> tuple[RunnerState, dict[str, jax.Array]]:
        """Learn from a rollout. Returns also named numbers ``train/...``.

        Among these are ``train/skipped`` and ``train/no_legal_action`` (see ``state.guard`` and ``rollout.episode_metrics``).
        """
        ...

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: ``collect``, and ``learn``."""
        ...

    def actor_state(self, state: RunnerState) -> ActorState:
        """What of it acts. Of stacked states: stacked."""
        ...

    def parameters(self, state: RunnerState) -> dict[str, Any]:
        """The parameters of its networks by what they are, such as ``actors`` and ``critic``: to be counted."""
        ...

    def act(self, state: RunnerState, rollout: RolloutState, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """One decision: the policies' memory, the actions as the environment takes them, and what is to be known of them."""
        ...

    def make_transition(self, state: RunnerState, rollout: RolloutState, decision: Any, step: VecStep) -> Any:
        """What remains of a step."""
        ...

    def stack(self, transitions: Any, memory: jax.Array) -> Any:
        """A rollout of transitions (T, ...) and the policies' memory (T / memory_every, P, B, H)."""
        ...

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes, where its own cannot be gone on with."""
        ...

    def debug_batch(self, state: RunnerState) -> DebugBatch:
        """What the next update would learn from."""
        ...


class BaseLearner:
    """What learners have in common; each is a ``flax.struct.dataclass`` that has at least these fields."""

    config: Config
    env: Environment
    vec: VectorEnv
    policy: TeamPolicy

    @property
    def memory_every(self) -> int:
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

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: collect, and learn."""
        return self.learn(*self.collect(state))

    def actor_state(self, state: RunnerState) -> ActorState:
        """What of it acts: ``learnt.agents.params``, seen through ``learnt.obs_norm``."""
        learnt = state.learnt
        seen = None if learnt.obs_norm is None else learnt.obs_norm.obs
        return ActorState(learnt.agents.params, seen, state.eval_key, state.num_updates)

    def begin_rollout(self, env_key: jax.Array, key: jax.Array) -> RolloutState:
        """Fresh episodes in all environments."""
        memory = self.policy.initial_memory(self.config.num_envs)
        return RolloutState.begin(self.vec, env_key, memory, key)

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes."""
        key, env_key = jax.random.split(state.rollout.key)
        return state._replace(rollout=self.begin_rollout(env_key, key))


def traced_once(function: Callable) -> Callable:
    """``function(learner, ...)``, which is traced once for a program, and under ``vmap`` handles its batch in turn on a CPU.

    To be made once for a learner: what has been traced is forgotten with it.
    """
    return one_at_a_time_on_cpu(jax.jit(function, inline=True))


def normalises_observations(config: Config, env: Environment) -> bool:
    """Whether a run keeps running statistics of its observations."""
    return config.obs_norm == "always" or (config.obs_norm == "auto" and env.needs_obs_norm)


def no_update(improve: Callable) -> Callable:
    """A function that leaves alone what ``improve(x) -> x, info`` would improve, with NaN for its ``info``."""
    return lambda x: (x, jax.tree.map(lambda i: jnp.full(i.shape, jnp.nan, i.dtype), jax.eval_shape(improve, x)[1]))
