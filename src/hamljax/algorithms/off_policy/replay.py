"""The last steps of all environments, in a ring, and n-step samples of them.

Shapes: C steps are kept of each of E environments; a sample is a batch of B.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...envs.protocol import Observation
from ...nn.transforms import blanked, unvmap
from ..base import Action, DebugBatch


class Transition(NamedTuple):
    """One step of E environments; leaves (E, ...), stacked on a leading time axis in a rollout and in a replay."""

    observation: Observation  # as the environment gave it, not normalised
    action: Action  # (E, N) or (E, N, A), as the policies gave it
    reward: Float[Array, " E"]
    terminated: Bool[Array, " E"]
    truncated: Bool[Array, " E"]
    final: Observation  # the true next observation, before any reset
    valid: Bool[Array, " E"] | None = None  # a step to learn from; None: every one is


class Sample(NamedTuple):
    """B windows of up to n steps: where they begin, the discounted reward in them, and where they end."""

    observation: Observation  # (B, ...)
    action: Action
    reward: Float[Array, " B"]
    # gamma^k for a window of k steps; 0 where the task was over at its end, for there is nothing to come.
    discount: Float[Array, " B"]
    final: Observation  # (B, ...), anything where the discount is 0
    weight: Bool[Array, " B"] | None = None  # whether to learn from it; None: from all
    # What the team saw after the first step and acted on within the window, (B, n - 1, ...), and gamma^j for the j-th of these
    # steps, 0 past the end; None: nobody asked.
    later: tuple[Observation, Float[Array, "B n-1"]] | None = None

    def debug_batch(self) -> DebugBatch:
        """It, and what of it a gradient step looks at; any leading axes."""
        learnt = jnp.ones(self.reward.shape, bool) if self.weight is None else self.weight
        seen = [(self.observation, learnt), (self.final, learnt & (self.discount != 0))]
        if self.later is not None:
            seen.append((self.later[0], learnt[..., None] & (self.later[1] != 0)))
        return DebugBatch(self, self.reward, learnt, tuple(seen))

    def without_lost(self) -> "Sample":
        """Zeros, and nobody alive, where there is nothing to learn from."""
        said = ("observation", "action", "reward", "discount")
        return self if self.weight is None else blanked(self, self.weight, said)


class Replay(NamedTuple):
    """A ring: the step number i (for ever) is in place ``i % C``."""

    steps: Transition  # (C, E, ...)
    added: Int[Array, ""]  # steps of each environment so far, the same for all runs of a batch

    @property
    def capacity(self) -> int:
        """C."""
        return self.steps.reward.shape[0]

    @property
    def filled(self) -> Int[Array, ""]:
        """How many steps of each environment it holds."""
        return jnp.minimum(self.added, self.capacity)

    @classmethod
    def create(cls, step: Any, capacity: int) -> "Replay":
        """Room for steps.

        Args:
            step: a ``Transition`` of arrays or shapes, (E, ...). capacity: C.
        """
        return cls(jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), step), jnp.zeros((), jnp.int32))

    def add(self, steps: Transition) -> "Replay":
        """Put T further steps, leaves (T, E, ...), over the oldest. T must divide C, so that they stay in one piece."""
        count = steps.reward.shape[0]
        place = unvmap(self.added) % self.capacity
        written = jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new, place, 0), self.steps, steps
        )
        return Replay(written, self.added + count)

    def cut(self) -> "Replay":
        """What comes next does not go on from the last step: a time limit of every episode in progress."""
        last = (self.added - 1) % self.capacity
        truncated = self.steps.truncated.at[last].set(~self.steps.terminated[last])
        return self._replace(steps=self.steps._replace(truncated=truncated))

    def sample(
        self,
        key: Key[Array, ""],
        size: int,
        n_step: int,
        gamma: float | Array,
        truncation: str = "bootstrap",
        with_later: bool = False,
    ) -> Sample:
        """Windows, uniformly and with replacement, of those that lie wholly in the ring.

        A window stops at the end of its episode. With k its length, it stands for the target
        ``sum_{j<k} gamma^j r_j + discount Q(final)``.

        Args:
            key: of the draw. size: B. n_step: n, the most steps of a window. gamma: the discount of a step.
            truncation: whether a time limit bootstraps or is ``terminal``.
            with_later: with what lies between the ends of a window.

        References:
            Sutton, 1988; Watkins, 1989: n-step returns, here without a correction for the policies having changed.
        """
        num_envs = self.steps.reward.shape[1]
        # One draw for both: drawing is a good part of the time of a sample.
        which = jax.random.randint(key, (size,), 0, (self.filled - n_step + 1) * num_envs)
        return self.windows(which // num_envs, which % num_envs, n_step, gamma, truncation, with_later)

    def windows(
        self,
        first: Int[Array, " B"],
        env: Int[Array, " B"],
        n_step: int,
        gamma: float | Array,
        truncation: str = "bootstrap",
        with_later: bool = False,
    ) -> Sample:
        """The windows that begin where they are asked to.

        Args:
            first: the number of their first steps, counted from the oldest kept. env: of which environments.
            n_step, gamma, truncation, with_later: as of ``sample``.
        """
        steps = self.steps
        places = (self.added - self.filled + first[:, None] + jnp.arange(n_step, dtype=jnp.int32)) % self.capacity
        rows = (places, env[:, None])
        reward, terminated, truncated = (x[rows] for x in (steps.reward, steps.terminated, steps.truncated))
        # Whether the episode of step 0 still goes on when step j is taken; and the last step for which it does.
        going_on = jnp.cumprod(~(terminated | truncated), axis=1)
        going_on = jnp.concatenate([jnp.ones_like(going_on[:, :1]), going_on[:, :-1]], axis=1)
        weight = None
        if steps.valid is not None:  # a step that was lost is the last of its episode: the window ends before it
            valid = steps.valid[rows]
            going_on, weight = going_on * valid, valid[:, 0]
        length = jnp.sum(going_on, axis=1)

        def at_end(x):
            return jnp.take_along_axis(x, length[:, None] - 1, axis=1)[:, 0]

        over = at_end(terminated | truncated) if truncation == "terminal" else at_end(terminated)
        begin, end = (places[:, 0], env), (at_end(places), env)
        powers = (gamma ** jnp.arange(n_step + 1)).astype(jnp.float32)
        discounts = going_on * powers[:-1]
        later = None
        if with_later:
            rest = (places[:, 1:], env[:, None])
            later = jax.tree.map(lambda x: x[rest], steps.observation), discounts[:, 1:]
        return Sample(
            jax.tree.map(lambda x: x[begin], steps.observation),
            steps.action[begin],
            jnp.sum(jnp.where(going_on > 0, discounts * reward, 0.0), axis=1),  # past the end it may be anything
            jnp.where(over, 0.0, powers[length]),
            jax.tree.map(lambda x: x[end], steps.final),
            weight,
            later,
        )
