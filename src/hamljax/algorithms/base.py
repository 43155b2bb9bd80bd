"""What training, evaluation, export, checkpoints and the host loop ask of an algorithm; they ask nothing else.

A learner is a pytree: its floats are leaves, so that a hyper-parameter may be traced and vmapped, and all that it does is a
pure function of it and its arguments. Shapes: T steps, E environments, N agents, A action dimensions, P policies of B samples
per step, L steps in a sample.
"""

from typing import Any, NamedTuple, Protocol, Self

from jaxtyping import Array, Bool, Float, Key, Shaped

from ..envs.protocol import Action, Environment, Observation, Team
from ..envs.vector import VecStep, VectorEnv
from ..haml import Divergence
from ..nn.distributions import Evaluation
from .config import Config
from .state import ActorState, RolloutState, RunnerState

Metrics = dict[str, Array]  # named numbers


class ActingPolicy(Protocol):
    """How a team acts: a pytree of pure functions; parameters are stacked (P, ...).

    Of observations it is given ``obs``, ``avail_actions`` and ``alive``; the state of the world is the critics'.
    """

    @property
    def num_policies(self) -> int:
        """P."""
        ...

    @property
    def groups(self) -> list[list[int]]:
        """The agents of every policy."""
        ...

    def for_team(self, team: Team) -> Self:
        """The same policies in another team of the same shapes, whose bounds may be others."""
        ...

    def init(self, key: Key[Array, ""], observation: Observation) -> Any:
        """Fresh parameters.

        Args:
            key: of the initialisation. observation: (E, N, ...) as networks see it, of which only the shapes matter.

        Returns:
            A pytree of leaves (P, ...).
        """
        ...

    def initial_memory(self, num_envs: int) -> Float[Array, "P B H"]:
        """The policies' memory when an episode begins; H = 0 where nobody remembers."""
        ...

    def act(
        self,
        params: Any,
        memory: Float[Array, "P B H"],
        key: Key[Array, "..."],
        observation: Observation,
        start: Bool[Array, " E"],
        greedy: bool = False,
    ) -> tuple[Float[Array, "P B H"], Action, dict[str, Array]]:
        """One decision of the team.

        Args:
            params, memory: as ``init`` and ``initial_memory`` give them.
            key: one for all environments, or (E,) one for each.
            observation: (E, N, ...) as networks see it.
            start: (E,) an episode begins: memory is as if it were initial.
            greedy: the best action instead of a sample.

        Returns:
            The memory, actions (E, N) int32 or (E, N, A) in units of the bounds, and a dictionary of ``log_prob`` (E, N) and
            ``logits`` (E, N, ...), which ``batches`` is given back.
        """
        ...

    def to_env_action(self, action: Action) -> Action:
        """Actions (..., N[, A]) as the environment takes them."""
        ...


class ReadablePolicy(ActingPolicy, Protocol):
    """A team of discrete actions whose agents decide independently, and can say how likely each action is.

    Where an acting policy has this method, remembers nothing, and plays a game whose tables are known, its value is computed
    exactly (``training.exact``).
    """

    def log_policies(self, params: Any, observation: Observation) -> Float[Array, "E N A"]:
        """Log-probabilities of all actions; -inf of illegal ones.

        Args:
            params: as ``init`` gives them. observation: (E, N, ...) as networks see it.
        """
        ...


class TeamPolicy(ActingPolicy, Protocol):
    """How a team acts, and how likely what it did is: what learning from rollouts asks for (``on_policy.sweep``)."""

    def batches(
        self,
        steps: Any,
        memory: Float[Array, "chunks P B H"],
        advantage: Float[Array, "T E N"],
        asked: dict[str, Shaped[Array, "T E N ..."]],
        length: int,
    ) -> Any:
        """A rollout as every policy learns from it.

        Args:
            steps: ``on_policy.trajectory.Transition`` (T, E, ...) whose observations are as networks see them.
            memory: (T / L, P, B, H) at the start of every chunk.
            advantage: (T, E, N).
            asked: further arrays (T, E, N, ...) by name, which drifts ask for.
            length: L, of a sample.

        Returns:
            A named tuple of leaves (P, samples, L, ...). Fields beside the policy's own: ``log_prob``, ``alive``,
            ``m_advantage``, ``obs`` and ``asked``, all of one leading shape.
        """
        ...

    def evaluate_actions(self, params: Any, batch: Any) -> Evaluation:
        """Log-probabilities and entropies of stored actions.

        Args:
            params: of one policy. batch: that of one policy, of what ``batches`` gave.

        Returns:
            Arrays of ``alive``'s shape.
        """
        ...

    def divergence(self, new: Evaluation, batch: Any) -> Divergence:
        """How far one policy has moved from the one that acted.

        Args:
            new: of the policy now, by ``evaluate_actions``. batch: what it was made of.

        Returns:
            Arrays of ``alive``'s shape.
        """
        ...

    def entropies(self, steps: Any) -> Float[Array, "T E N"]:
        """Entropies of the distributions that a rollout's actions were drawn from; of maximum-entropy rows."""
        ...

    def by_team(self, x: Array) -> Shaped[Array, "teams L M"]:
        """One number a sample -> (teams, L, M), those of a team at one time beside each other."""
        ...

    def of_members(self, x: Shaped[Array, "teams L"]) -> Array:
        """One number a team, (teams, L) -> one for each sample."""
        ...


class Estimate(NamedTuple):
    """What a critic says of a rollout."""

    advantage: Float[Array, "T E #N"]  # one for each agent, or (T, E, 1) where it is one for the team
    target: Float[Array, "T E K"]  # what the critic is to learn, in units of the reward, of K values a step
    batch: Any  # what ``Critic.fit`` learns from


class Critic(Protocol):
    """A critic for learning from rollouts, a pytree of pure functions: it owns its inputs, advantage, targets and fit."""

    def init(self, key: Key[Array, ""], observation: Observation) -> Any:
        """All that is learnt of it: parameters, optimiser's state, statistics.

        Args:
            key: of the initialisation. observation: (E, N, ...) as networks see it, of which only the shapes matter.
        """
        ...

    def parameters(self, critic: Any) -> Any:
        """Of what ``init`` gives, the parameters of its networks."""
        ...

    def initial_memory(self, num_envs: int) -> Array:
        """Its memory where episodes begin, one array of zeros; of size 0, such as (E, 0), where it has none."""
        ...

    def view(self, observation: Observation) -> Observation:
        """What of a final observation it looks at; None for the rest, which is not stored."""
        ...

    def estimate(self, critic: Any, memory: Array, traj: Any, teaches: Bool[Array, "T E"]) -> tuple[Array, Estimate]:
        """Advantages and targets of a rollout, and the memory after it.

        Args:
            critic: what is learnt of it. memory: before the first step.
            traj: an ``on_policy.trajectory.Trajectory`` whose transitions are (T, E, ...): observations as networks see them,
                of ``final`` what ``view`` left; lost steps are blank, and nobody is alive where a step is not to teach.
            teaches: (T, E), the steps to learn from. What an advantage is for the dead does not matter, but not NaN.
        """
        ...

    def fit(self, critic: Any, estimate: Estimate, key: Key[Array, ""]) -> tuple[Any, Metrics]:
        """Learn the targets of a rollout.

        Args:
            critic: what is learnt of it so far. estimate: of the rollout. key: of minibatches.

        Returns:
            What is learnt now, and what there is to say: named numbers.
        """
        ...


class DebugBatch(NamedTuple):
    """What an update learns from, to be searched for what is not finite; any leading axes."""

    batch: Any  # all of it, as written to a file
    reward: Float[Array, "..."]
    weight: Bool[Array, "..."]  # which rewards count
    seen: tuple[tuple[Observation, Bool[Array, "..."]], ...]  # observations, and where each is used


class Learner(Protocol):
    """An algorithm on an environment.

    The host loop makes ``collect`` of ``act`` and ``make_transition`` step by step, and of ``stack`` at the end.
    """

    config: Config
    env: Environment
    vec: VectorEnv

    @property
    def policy(self) -> ActingPolicy:
        """How its team acts."""
        ...

    @property
    def memory_every(self) -> int:
        """Steps between two times that the policies' memory is written down for ``stack``."""
        ...

    def init(self, key: Key[Array, ""]) -> RunnerState:
        """The state of a run that has not begun."""
        ...

    def collect(self, state: RunnerState) -> tuple[RunnerState, Any]:
        """Act for T steps in E environments: the state, and the rollout."""
        ...

    def learn(self, state: RunnerState, rollout: Any) -> tuple[RunnerState, Metrics]:
        """Learn from a rollout.

        Args:
            state: after the rollout was collected. rollout: leaves (T, E, ...), as ``stack`` makes it.

        Returns:
            The state, and named numbers ``train/...``, among them ``train/skipped`` and ``train/no_legal_action`` (see
            ``state.guard`` and ``rollout.episode_metrics``).
        """
        ...

    def update(self, state: RunnerState) -> tuple[RunnerState, Metrics]:
        """One iteration: ``collect``, and ``learn``."""
        ...

    def actor_state(self, state: RunnerState) -> ActorState:
        """What of it acts. Of stacked states: stacked."""
        ...

    def parameters(self, state: RunnerState) -> dict[str, Any]:
        """The parameters of its networks by what they are, such as ``actors`` and ``critic``: to be counted."""
        ...

    def act(
        self, state: RunnerState, rollout: RolloutState, key: Key[Array, ""]
    ) -> tuple[Float[Array, "P B H"], Action, Any]:
        """One decision of the team.

        Args:
            state: whose policies act. rollout: where the environments are. key: of this decision.

        Returns:
            The policies' memory, the actions as the environment takes them, and what ``make_transition`` is to know of them.
        """
        ...

    def make_transition(self, state: RunnerState, rollout: RolloutState, decision: Any, step: VecStep) -> Any:
        """What remains of a step.

        Args:
            state: that acted. rollout: before the step. decision: of ``act``, the third. step: what came of it.

        Returns:
            Leaves (E, ...).
        """
        ...

    def stack(self, transitions: Any, memory: Float[Array, "chunks P B H"]) -> Any:
        """A rollout, as ``learn`` takes it.

        Args:
            transitions: (T, ...) of ``make_transition``. memory: (T / memory_every, P, B, H) of the policies.
        """
        ...

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes, where its own cannot be gone on with."""
        ...

    def debug_batch(self, state: RunnerState) -> DebugBatch:
        """What the next update would learn from."""
        ...
