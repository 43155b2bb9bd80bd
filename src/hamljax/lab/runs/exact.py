"""The exact columns of a run's record: what its policies are worth after every update, and how far an update fell."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Int

from ...errors import ConfigError
from ...training.exact import FALL, POLICIES, RETURN, Values, falls, solver
from ...training.train import Trainer
from .record import Metrics

if TYPE_CHECKING:
    import pandas as pd

    from .progress import Progress


class ExactColumns:
    """Turns the policies among metrics into columns, for as long as updates follow one another; of other runs it changes nothing.

    ``note`` is why there are none, where one may expect them.

    Args:
        trainer: of the run. seeds: of the run.
    """

    def __init__(self, trainer: Trainer, seeds: Int[np.ndarray, " seeds"]):
        self.trainer, self.seeds = trainer, seeds
        self.returns = np.full(len(seeds), np.nan)  # of the policies now
        self.note = f"no exact returns: {trainer.not_exact}" if trainer.not_exact else ""
        self.solve: Callable[..., Values] | None = None
        if trainer.read_policies:
            try:
                self.solve = solver(trainer.env, float(trainer.config.gamma))
            except ConfigError as error:
                self.note = f"no exact returns: {error}"

    def begin(self, progress: "Progress") -> Metrics:
        """The columns (seeds, 1) of the untrained teams."""
        if self.solve is None:
            return {}
        assert self.trainer.read_policies is not None
        actors = self.trainer.actor_state(progress.state)
        found = self.solve(np.asarray(jax.jit(jax.vmap(self.trainer.read_policies))(actors)))
        self.returns = found[RETURN]
        return {name: x[:, None] for name, x in found.items()}

    def go_on(self, record: "pd.DataFrame") -> None:
        """Go on after the last row of each seed in ``record``."""
        if RETURN in record:
            last = record.sort_values("update").groupby("seed")[RETURN].last()
            self.returns = last.reindex(self.seeds).to_numpy(np.float64)

    def of(self, metrics: Metrics) -> Metrics:
        """The metrics (seeds, updates) of the next updates, with columns instead of policies (seeds, updates, N, S, A)."""
        numbers = {name: x for name, x in metrics.items() if name != POLICIES}
        if self.solve is None:
            return numbers
        found = self.solve(metrics[POLICIES])
        fallen = falls(np.concatenate([self.returns[:, None], found[RETURN]], axis=1))
        self.returns = found[RETURN][:, -1]
        return numbers | found | {FALL: fallen}
