"""What learners from a replay have in common: remember a rollout, then gradient steps on samples.

Shapes: T steps, E environments, B samples of a gradient step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...envs.vector import VecStep
from ...nn.normalisation import ObsNorm
from ...nn.transforms import unvmap
from ..base import DebugBatch, Metrics
from ..learner import BaseLearner, no_update
from ..rollout import episode_metrics
from ..state import RolloutState, RunnerState, guard, see
from .replay import Replay, Sample, Transition
from .state import Rollout


class ReplayLearner(BaseLearner):
    """A learner from a replay; one extends it with ``create``, ``init``, ``act``, ``parameters`` and a ``step``.

    Its settings are to have ``buffer_size``, ``batch_size``, ``learning_starts``, ``gradient_steps`` and ``n_step``; its
    ``RunnerState.learnt`` an ``obs_norm``; ``RunnerState.carried`` is the number of gradient steps so far, () int32, of which
    all seeds make as many. ``init`` ends with ``state._replace(replay=self.empty_replay(state))``.

    step: a static field, ``traced_once(function)`` of ``(learner, learnt, count, sample, key) -> (learnt, count), (said,
    more)``: gradient step number ``count``, from 0 on, on a ``Sample`` as the networks see it, and named numbers to report;
    ``more`` may be NaN where it has nothing to say.
    """

    step: Callable[..., tuple[tuple[Any, Array], tuple[Metrics, Metrics]]]

    @property
    def looks_within(self) -> bool:
        """Whether a sample is to hold what the team saw between the ends of its window (``Sample.later``)."""
        return False

    @property
    def enough(self) -> int:
        """In steps of each environment: until then nothing is learnt."""
        return max(self.config.algo.n_step, -(-self.config.algo.learning_starts // self.config.num_envs))

    @property
    def first_update(self) -> int:
        """The number of the update in which learning begins, from 0 on."""
        return -(-self.enough // self.config.num_steps) - 1

    def empty_replay(self, state: RunnerState) -> Replay:
        """Room for what ``state`` collects, whole rollouts."""
        steps = jax.eval_shape(self.collect, state)[1].transitions
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), steps)
        rollout = self.config.num_envs * self.config.num_steps
        return Replay.create(one, self.config.algo.buffer_size // rollout * self.config.num_steps)  # whole rollouts

    def restart(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes; in the replay, those that were not finished are cut off."""
        return super().restart(state)._replace(replay=state.replay.cut())

    def make_transition(self, state: RunnerState, rollout: RolloutState, decision: Any, step: VecStep) -> Rollout:
        """What remains of a step."""
        del state
        end = (step.reward, step.terminated, step.truncated, step.final, step.valid)
        return Rollout(Transition(rollout.observation, decision, *end), step.metrics)

    def stack(self, transitions: Rollout, memory: Float[Array, "chunks P B H"]) -> Rollout:
        """The rollout; nothing remembers here."""
        del memory
        return transitions

    def learn(self, state: RunnerState, rollout: Rollout) -> tuple[RunnerState, Metrics]:
        """Remember a rollout, and improve critics and policies on samples of the replay. Returns scalar metrics.

        Learning that made anything non-finite is not taken, and counts in ``train/skipped``.
        """
        before, (state, keys) = state, self._remember(state, rollout)

        def improve(learnt_and_count):
            after, (of_critics, of_policies) = jax.lax.scan(
                lambda carry, key: self._gradient_step(state, carry[0], carry[1], key), learnt_and_count, keys
            )
            return after, (jax.tree.map(jnp.mean, of_critics), jax.tree.map(jnp.nanmean, of_policies))

        enough = unvmap(state.replay.added) >= self.enough
        now = (state.learnt, state.carried)
        (learnt, count), (of_critics, of_policies) = jax.lax.cond(enough, improve, no_update(improve), now)
        checked = jax.tree.map(lambda x: jnp.where(enough, x, 0.0), of_critics)
        # The counter goes on where learning is not taken: it is the same for all seeds.
        state, skipped = guard(before, state._replace(learnt=learnt, carried=count), checked)
        seen = rollout.transitions.observation
        metrics = {**episode_metrics(rollout, seen), **of_critics, **of_policies, "skipped": skipped}
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def debug_batch(self, state: RunnerState) -> DebugBatch:
        """What the next update would learn from: the samples of all its gradient steps."""
        state, keys = self._remember(*self.collect(state))
        return jax.vmap(lambda key: self._sample(state, key)[0])(keys).debug_batch()

    def _remember(self, state: RunnerState, rollout: Rollout) -> tuple[RunnerState, Key[Array, " steps"]]:
        """The state with a rollout in its replay, and a key for each gradient step."""
        key, learn_key = jax.random.split(state.rollout.key)
        steps, obs_norm = rollout.transitions, state.learnt.obs_norm
        visible = self.env.team.visible(steps.observation)
        state = state._replace(
            learnt=state.learnt._replace(obs_norm=obs_norm and obs_norm.update(visible, steps.valid)),
            rollout=state.rollout._replace(key=key),
            replay=state.replay.add(steps),
            num_updates=state.num_updates + 1,
        )
        return state, jax.random.split(learn_key, self.config.algo.gradient_steps)

    def _sample(self, state: RunnerState, key: Key[Array, ""]) -> tuple[Sample, Key[Array, ""]]:
        """A batch of the replay, as the environment gave it, and a key to use it with."""
        config, algo, (sample_key, key) = self.config, self.config.algo, jax.random.split(key)
        sizes = algo.batch_size, algo.n_step, config.gamma, config.truncation
        return state.replay.sample(sample_key, *sizes, self.looks_within), key

    def _gradient_step(
        self, state: RunnerState, learnt: Any, count: Array, key: Key[Array, ""]
    ) -> tuple[tuple[Any, Array], tuple[Metrics, Metrics]]:
        sample, key = self._sample(state, key)
        return self.step(self, learnt, count, self._seen(learnt.obs_norm, sample), key)

    def _seen(self, obs_norm: ObsNorm | None, sample: Sample) -> Sample:
        """``sample`` as the networks see it."""
        look = partial(see, obs_norm, self.env.team)
        later = None if sample.later is None else (look(sample.later[0]), sample.later[1])
        return sample._replace(observation=look(sample.observation), final=look(sample.final), later=later)
