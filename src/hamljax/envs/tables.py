"""What is known of a finite game, for those who compute with it instead of playing."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Tables(NamedTuple):
    """A finite cooperative Markov game in float64, an axis for each agent's actions.

    Args:
        reward: r(s, a), (S, A1, ..., AN).
        transition: P(s'|s, a), (S, A1, ..., AN, S).
        initial: the distribution of the first state, (S,).
        termination: the probability per step that the task ends for good.
        horizon: steps after which an episode is truncated.
    """

    reward: Float[np.ndarray, "S ..."]
    transition: Float[np.ndarray, "S ... S"]
    initial: Float[np.ndarray, " S"]
    termination: float
    horizon: int
