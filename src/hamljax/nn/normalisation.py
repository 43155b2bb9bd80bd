"""Running statistics of returns (ValueNorm) and observations (ObsNorm), and the normalisation of advantages."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..envs.protocol import Observation, Team

FARTHEST = 10.0  # standard deviations that a return may be away from the mean: Huber's delta
RESOLUTION = 1e-6  # of a float32 mean, with room for the rounding of what it is a mean of

TINY = 1e-30  # keeps a quotient finite where all is zero, and is nothing beside any number that a run has


class Moments(NamedTuple):
    """Mean and variance of everything seen so far, of each row.

    Good for 2^24 (1.7e7) updates; then the count of one is lost beside that of all before.
    """

    count: Float[Array, "*rows"]  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    mean: Float[Array, "*rows F"]  # the nearest float32
    variance: Float[Array, "*rows F"]
    rest: Float[
        Array, "*rows F"
    ]  # missing of the mean: after many updates each moves it by less than a float32 can show

    @classmethod
    def create(cls, *shape: int, variance: float = 1.0) -> "Moments":
        """Nothing seen: mean 0, and ``variance``; shape (rows, F)."""
        zero = jnp.zeros(shape, jnp.float32)
        return cls(jnp.zeros(shape[:-1], jnp.float32), zero, jnp.full(shape, variance, jnp.float32), zero)

    def update(
        self,
        batch: Float[Array, "B *rows F"],
        seen: Bool[Array, " B *rows"],
        count: float | Array | None = None,
        decay: float | Array = 1.0,
    ) -> "Moments":
        """Fold in samples (Chan et al., 1979).

        Args:
            batch: (B, ..., F). seen: (B, ...) which of them count; the rest may be anything.
            count: what the batch counts, () or per row; None: as many as were seen. decay: of the count of all before.
        """
        new = jnp.sum(seen, 0, dtype=jnp.float32)
        shares, seen = jnp.maximum(new, 1)[..., None], seen[..., None]
        away = jnp.where(seen, self.away(batch), 0.0)  # near zero, so that squares lose nothing
        shift = jnp.sum(away, 0) / shares
        variance = jnp.sum(jnp.where(seen, (away - shift) ** 2, 0.0), 0) / shares
        added = jnp.where(new > 0, new if count is None else count, 0.0)
        total = jnp.where(new > 0, decay, 1.0) * self.count + added
        ratio = (added / jnp.maximum(total, TINY))[..., None]
        spread = self.variance + ratio * (variance - self.variance) + ratio * (1 - ratio) * shift**2
        return Moments(total, *self._moved(ratio * shift, spread))

    def _moved(self, by: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Mean, ``variance`` and rest, the mean moved ``by`` as much without rounding (Knuth's TwoSum)."""
        by = by + self.rest
        mean = self.mean + by
        back = mean - self.mean
        return mean, variance, (self.mean - (mean - back)) + (by - back)

    def away(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
        """``x`` minus the mean."""
        return (x - self.mean) - self.rest

    def normalise(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch F"]:
        """(x - mean) / std, clipped to [-10, 10]; a standard deviation below 0.01 counts as 0.01."""
        return jnp.clip(self.away(x) / jnp.sqrt(jnp.maximum(self.variance, 1e-4)), -10.0, 10.0)


class ValueNorm(NamedTuple):
    """Exponential moving mean and variance of returns, debiased: a batch counts ``beta`` times the one after it.

    After PopArt's normalisation half, as in MAPPO, with its decay of 0.99999, but of any scale (1e-18 to 1e18): the variance
    is taken around the mean (a difference of squares has no digits left for returns far from zero), and its floor is the
    float32 resolution of the mean, or a tenth of the largest distance from it: where few episodes earn anything, a standard
    deviation says too little of what they earn, and targets beyond Huber's delta are not fitted in the mean. Before the first
    batch values are zero, for an untrained critic does not know the scale. ``enabled`` false makes ``normalise`` and
    ``denormalise`` the identity.
    """

    moments: Moments  # of one row of one number
    largest: Float[Array, ""]  # distance of a return from the mean, which fades as the weight of its batch does
    enabled: Bool[Array, ""]

    @classmethod
    def create(cls, enabled: bool) -> "ValueNorm":
        """Before any update."""
        return cls(Moments.create(1, variance=0.0), jnp.zeros((), jnp.float32), jnp.array(enabled))

    def update(
        self, returns: Float[Array, "..."], beta: float = 0.99999, seen: Bool[Array, "..."] | None = None
    ) -> "ValueNorm":
        """Fold in a batch of returns.

        Args:
            returns: of any shape, in units of the reward. beta: what all before counts afterwards.
            seen: of that shape, which of them count; None: all.
        """
        seen = jnp.ones(returns.shape, bool) if seen is None else seen
        moments = self.moments.update(returns.reshape(-1, 1), seen.reshape(-1), 1 - beta, beta)
        faded = self.largest * jnp.where(jnp.any(seen), 1 - (1 - beta) / jnp.maximum(moments.count, TINY), 1.0)
        distances = jnp.where(seen, jnp.abs(moments.away(returns)), 0.0)
        return self._replace(moments=moments, largest=jnp.maximum(faded, jnp.max(distances)))

    def statistics(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean and standard deviation in force: (0, 0) before any update, (0, 1) when disabled."""
        mean = self.moments.mean[0]
        floor = jnp.maximum(RESOLUTION * jnp.abs(mean), self.largest / FARTHEST)
        std = jnp.maximum(jnp.sqrt(self.moments.variance[0]), floor)
        return jnp.where(self.enabled, mean, 0.0), jnp.where(self.enabled, std, 1.0)

    def normalise(self, returns: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns in units of their standard deviation, away from their mean."""
        _, std = self.statistics()
        return jnp.where(self.enabled, self.moments.away(returns), returns) / jnp.maximum(std, TINY)

    def denormalise(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """The inverse of ``normalise``."""
        mean, std = self.statistics()
        return values * std + mean


def normalise_advantages(
    advantages: Float[Array, "..."], mask: Bool[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """(A - mean) / scale, of any scale of A.

    Args:
        advantages: of any shape. mask: of that shape, which samples the statistics are over.

    Returns:
        The normalised ones, 0 where ``mask`` is false, and their scale: std + 1e-5 rms(A).
    """
    count = jnp.maximum(jnp.sum(mask), 1)
    largest = jnp.max(jnp.where(mask, jnp.abs(advantages), 0.0))
    advantages = advantages / jnp.maximum(largest, TINY)  # squares of any scale then

    def mean_of(x):
        return jnp.sum(jnp.where(mask, x, 0.0)) / count

    mean = mean_of(advantages)
    std, size = (jnp.sqrt(mean_of(x**2)) for x in (advantages - mean, advantages))
    divisor = std + 1e-5 * size + TINY
    return jnp.where(mask, advantages - mean, 0.0) / divisor, largest * divisor


class ObsNorm(NamedTuple):
    """Running statistics of what each agent sees, obs (N, O), and of the world state (S,).

    Of observations as ``Team.visible`` gives them: padding is zero, so its mean is, and stays zero. Dead agents do not count.
    """

    obs: Moments
    world_state: Moments

    @classmethod
    def create(cls, team: Team) -> "ObsNorm":
        """Nothing seen."""
        return cls(Moments.create(team.num_agents, team.obs_size), Moments.create(team.world_state_size))

    def update(self, observation: Observation, valid: Bool[Array, "*batch"] | None = None) -> "ObsNorm":
        """Fold in observations.

        Args:
            observation: any leading axes, as ``Team.visible`` gives it.
            valid: these axes, which of them count; None: all.
        """
        obs, alive, world_state = (
            x.reshape(-1, *x.shape[-k:])
            for x, k in zip((observation.obs, observation.alive, observation.world_state), (2, 1, 1), strict=True)
        )
        valid = jnp.ones(len(world_state), bool) if valid is None else valid.reshape(-1)
        return ObsNorm(self.obs.update(obs, alive & valid[:, None]), self.world_state.update(world_state, valid))

    def normalise(self, observation: Observation) -> Observation:
        """Observations as networks see them; one that lacks ``obs`` (None) goes on lacking it."""
        obs, world_state = observation.obs, observation.world_state
        return observation._replace(
            obs=None if obs is None else self.obs.normalise(obs), world_state=self.world_state.normalise(world_state)
        )
