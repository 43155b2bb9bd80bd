"""Running statistics of returns (ValueNorm) and observations (ObsNorm), and the normalisation of advantages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..envs.protocol import Observation, Team


class ValueNorm(NamedTuple):
    """Debiased exponential moving averages of returns: mean = ``mean / debias`` and likewise the mean of squares.

    After PopArt's normalisation half, as in MAPPO: decay 0.99999, variance never below 1e-2. ``enabled`` false makes
    ``normalise`` and ``denormalise`` the identity.
    """

    mean: jax.Array
    mean_of_squares: jax.Array
    debias: jax.Array
    enabled: jax.Array

    @classmethod
    def create(cls, enabled: bool):
        zero = jnp.zeros(())
        return cls(zero, zero, zero, jnp.array(enabled))

    def update(self, returns, beta: float = 0.99999):
        """Fold in a batch of returns, of any shape."""
        return self._replace(
            mean=beta * self.mean + (1 - beta) * jnp.mean(returns),
            mean_of_squares=beta * self.mean_of_squares + (1 - beta) * jnp.mean(returns**2),
            debias=beta * self.debias + (1 - beta),
        )

    def statistics(self):
        """Mean and standard deviation in force: (0, 1) before any update or when disabled."""
        in_force = self.enabled & (self.debias > 0)
        debias = jnp.where(self.debias > 0, self.debias, 1.0)
        mean = self.mean / debias
        variance = jnp.maximum(self.mean_of_squares / debias - mean**2, 1e-2)
        return jnp.where(in_force, mean, 0.0), jnp.where(in_force, jnp.sqrt(variance), 1.0)

    def normalise(self, returns):
        mean, std = self.statistics()
        return (returns - mean) / std

    def denormalise(self, values):
        mean, std = self.statistics()
        return values * std + mean


def normalise_advantages(advantages, mask):
    """(A - mean) / (std + 1e-5) with statistics over the samples where ``mask`` is true; shapes equal."""
    count = jnp.maximum(jnp.sum(mask), 1)
    mean = jnp.sum(jnp.where(mask, advantages, 0.0)) / count
    variance = jnp.sum(jnp.where(mask, (advantages - mean) ** 2, 0.0)) / count
    return (advantages - mean) / (jnp.sqrt(variance) + 1e-5)


class Moments(NamedTuple):
    """Count (), or per row, mean and variance (..., F) of everything seen so far."""

    count: jax.Array
    mean: jax.Array
    variance: jax.Array

    @classmethod
    def create(cls, *shape: int):
        """Nothing seen: mean 0, variance 1."""
        return cls(jnp.zeros(shape[:-1]), jnp.zeros(shape), jnp.ones(shape))

    def update(self, batch, weight):
        """Fold in samples (B, ..., F) with weights (B, ...) of 0 or 1 (Chan et al., 1979)."""
        new = jnp.sum(weight, 0)
        weight, share = weight[..., None], jnp.maximum(new, 1)[..., None]
        mean = jnp.sum(weight * batch, 0) / share
        variance = jnp.sum(weight * (batch - mean) ** 2, 0) / share
        count = self.count + new
        ratio = (new / jnp.maximum(count, 1))[..., None]
        delta = mean - self.mean
        spread = self.variance + ratio * (variance - self.variance) + ratio * (1 - ratio) * delta**2
        return Moments(count, self.mean + ratio * delta, spread)

    def normalise(self, x):
        """(x - mean) / std, clipped to [-10, 10]; a standard deviation below 0.01 counts as 0.01."""
        return jnp.clip((x - self.mean) / jnp.sqrt(jnp.maximum(self.variance, 1e-4)), -10.0, 10.0)


class ObsNorm(NamedTuple):
    """Running statistics of what each agent sees, obs (N, O), and of the world state (S,).

    Padding stays exactly zero: it is always zero, so its mean is. Dead agents do not count.
    """

    obs: Moments
    world_state: Moments

    @classmethod
    def create(cls, team: Team):
        return cls(Moments.create(team.num_agents, team.obs_size), Moments.create(team.world_state_size))

    def update(self, observation: Observation):
        """Fold in observations with any leading axes."""
        obs, alive, world_state = (
            x.reshape(-1, *x.shape[-k:])
            for x, k in zip((observation.obs, observation.alive, observation.world_state), (2, 1, 1), strict=True)
        )
        return ObsNorm(
            self.obs.update(obs, alive.astype(obs.dtype)),
            self.world_state.update(world_state, jnp.ones(len(world_state))),
        )

    def normalise(self, observation: Observation) -> Observation:
        return observation._replace(
            obs=self.obs.normalise(observation.obs), world_state=self.world_state.normalise(observation.world_state)
        )


def normalises(config, env) -> bool:
    """Whether a run of ``config`` on ``env`` keeps running statistics of its observations."""
    return config.obs_norm == "always" or (config.obs_norm == "auto" and env.needs_obs_norm)
