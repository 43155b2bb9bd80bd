"""Running statistics of returns (ValueNorm) and the normalisation of advantages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


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
