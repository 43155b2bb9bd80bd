"""Running statistics of returns (ValueNorm) and observations (ObsNorm), and the normalisation of advantages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.protocol import Observation, Team

FARTHEST = 10.0  # standard deviations that a return may be away from the mean: Huber's delta
RESOLUTION = 1e-6  # of a float32 mean, with room for the rounding of what it is a mean of

TINY = 1e-30  # keeps a quotient finite where all is zero, and is nothing beside any number that a run has


class Moments(NamedTuple):
    """Count (), or per row, mean and variance (..., F) of everything seen so far.

    ``mean`` is the nearest float32, ``rest`` what is missing: after many updates each moves the mean by less than a float32
    can show. Good for 2^24 (1.7e7) updates; then the count of one is lost beside that of all before.
    """

    count: jax.Array
    mean: jax.Array
    variance: jax.Array
    rest: jax.Array

    @classmethod
    def create(cls, *shape: int, variance: float = 1.0):
        """Nothing seen: mean 0, and ``variance``."""
        zero = jnp.zeros(shape, jnp.float32)
        return cls(jnp.zeros(shape[:-1], jnp.float32), zero, jnp.full(shape, variance, jnp.float32), zero)

    def update(self, batch: jax.Array, seen: jax.Array, count: Any = None, decay: float = 1.0) -> "Moments":
        """Fold in samples (B, ..., F) where ``seen`` (B, ...) is true (Chan et al., 1979).

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

    def _moved(self, by, variance):
        """Mean, ``variance`` and rest, the mean moved ``by`` as much without rounding (Knuth's TwoSum)."""
        by = by + self.rest
        mean = self.mean + by
        back = mean - self.mean
        return mean, variance, (self.mean - (mean - back)) + (by - back)

    def away(self, x: jax.Array) -> jax.Array:
        """``x`` minus the mean."""
        return (x - self.mean) - self.rest

    def normalise(self, x: jax.Array):
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
    largest: jax.Array  # () distance of a return from the mean, which fades as the weight of its batch does
    enabled: jax.Array

    @classmethod
    def create(cls, enabled: bool):
        return cls(Moments.create(1, variance=0.0), jnp.zeros((), jnp.float32), jnp.array(enabled))

    def update(self, returns: jax.Array, beta: float = 0.99999, seen: Any = None):
        """Fold in a batch of returns, of any shape, where ``seen`` (of that shape; None: everywhere) is true."""
        seen = jnp.ones(returns.shape, bool) if seen is None else seen
        moments = self.moments.update(returns.reshape(-1, 1), seen.reshape(-1), 1 - beta, beta)
        faded = self.largest * jnp.where(jnp.any(seen), 1 - (1 - beta) / jnp.maximum(moments.count, TINY), 1.0)
        distances = jnp.where(seen, jnp.abs(moments.away(returns)), 0.0)
        return self._replace(moments=moments, largest=jnp.maximum(faded, jnp.max(distances)))

    def statistics(self) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation in force: (0, 0) before any update, (0, 1) when disabled."""
        mean = self.moments.mean[0]
        floor = jnp.maximum(RESOLUTION * jnp.abs(mean), self.largest / FARTHEST)
        std = jnp.maximum(jnp.sqrt(self.moments.variance[0]), floor)
        return jnp.where(self.enabled, mean, 0.0), jnp.where(self.enabled, std, 1.0)

    def normalise(self, returns: jax.Array):
        _, std = self.statistics()
        return jnp.where(self.enabled, self.moments.away(returns), returns) / jnp.maximum(std, TINY)

    def denormalise(self, values):
        mean, std = self.statistics()
        return values * std + mean


def normalise_advantages(advantages: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(A - mean) / scale with statistics over the samples where ``mask`` is true, and 0 elsewhere; shapes equal.

    Returns also the scale, std + 1e-5 rms(A).
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
    def create(cls, team: Team):
        return cls(Moments.create(team.num_agents, team.obs_size), Moments.create(team.world_state_size))

    def update(self, observation: Observation, valid=None):
        """Fold in observations with any leading axes, where ``valid`` (these axes; None: everywhere) is true."""
        obs, alive, world_state = (
            x.reshape(-1, *x.shape[-k:])
            for x, k in zip((observation.obs, observation.alive, observation.world_state), (2, 1, 1), strict=True)
        )
        valid = jnp.ones(len(world_state), bool) if valid is None else valid.reshape(-1)
        return ObsNorm(self.obs.update(obs, alive & valid[:, None]), self.world_state.update(world_state, valid))

    def normalise(self, observation: Observation) -> Observation:
        obs, world_state = observation.obs, observation.world_state
        return observation._replace(
            obs=None if obs is None else self.obs.normalise(obs), world_state=self.world_state.normalise(world_state)
        )
