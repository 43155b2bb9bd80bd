"""What of a run changes: its state, and the best team so far."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from ...algorithms.state import RunnerState
from ...training.evaluate import Best
from ...training.train import Trainer


class Progress(NamedTuple):
    """All of a run that changes, stacked over its seeds; a checkpoint of it is a checkpoint of the run."""

    state: RunnerState
    best: Best


def split_replay(progress: Progress) -> tuple[Progress, Any]:
    """A run's progress without its replay, and the replay; None where there is none."""
    return with_replay(progress, None), progress.state.replay


def with_replay(progress: Progress, replay: Any) -> Progress:
    """The inverse of ``split_replay``."""
    return progress._replace(state=progress.state._replace(replay=replay))


def progress_shapes(trainer: Trainer, num_seeds: int) -> Progress:
    """The shapes of a run's ``Progress``, without making one."""
    one = jax.eval_shape(lambda key: begin_progress(trainer, key), jax.random.key(0))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((num_seeds, *x.shape), x.dtype), one)


def begin_progress(trainer: Trainer, key: Key[Array, ""]) -> Progress:
    """Of one seed, before its first update."""
    state = trainer.init(key)
    return Progress(state, Best.none_yet(trainer.actor_state(state)))
