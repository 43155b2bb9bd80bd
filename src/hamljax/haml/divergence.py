"""How far a policy has moved: what limits are about, and what solvers measure."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .objective import weighted_mean


class Divergence(NamedTuple):
    """How far a policy has moved, sample by sample; all of one shape."""

    log_ratio: Float[Array, "..."]  # log new - log old probability of the action that was taken
    kl: Float[Array, "..."]  # KL(old || new) of the two distributions
    reverse_kl: Float[Array, "..."]  # KL(new || old)
    weight: Bool[Array, "..."] | Float[Array, "..."]  # >= 0; 0: a sample that does not count

    def mean(self, x: Array) -> Float[Array, ""]:
        """The weighted mean of ``x``, one number a sample: over the (normalised) occupancy of the samples."""
        return weighted_mean(x, self.weight)

    def largest(self, x: Array) -> Float[Array, ""]:
        """The largest ``x`` of a sample that counts; 0 where none does."""
        return jnp.max(jnp.where(self.weight > 0, x, 0.0))


Objective = Callable[[Any, Any], Float[Array, ""]]  # (params, batch) -> what is to be maximised
Measure = Callable[[Any, Any], Divergence]  # (params, batch) -> how far these have moved from those that acted


def looked_at(limit: Callable[[Divergence], Any]) -> set[str]:
    """What a limit looks at: fields of a ``Divergence``, and ``mean`` and ``largest`` where it asks for these.

    It is traced on shapes alone (a device is not touched), up to where it fails, if it does.

    Args:
        limit: ``(divergence) -> excess``, its hyper-parameters filled in.
    """
    names: set[str] = set()

    class Watched(Divergence):
        """Notes what is asked for; what ``largest`` itself looks at does not count."""

        def __getattribute__(self, name):
            if name in {*Divergence._fields, "mean", "largest"}:
                names.add(name)
            return getattr(Divergence(*self), name)

    number = jax.ShapeDtypeStruct((2,), jnp.float32)
    try:
        jax.eval_shape(lambda x: limit(Watched(x, x, x, x)), number)
    except Exception:  # what is wrong with it is said where it is traced as in training
        return names
    return names
