"""What is done where updates were not finite: the run stops, and what the first of them learnt from is kept."""

from typing import TYPE_CHECKING, NoReturn

import jax
import numpy as np

from ...bridge.environment import NON_FINITE
from ...errors import Stopped
from ..storage import checkpoints
from ..storage.files import replaced
from ..storage.paths import as_typed, writing
from .debug_batch import not_finite
from .programs import CAPACITY
from .progress import split_replay

if TYPE_CHECKING:  # which imports this
    from .run import Training


def stop_for_non_finite(training: "Training", seed: int, first: int) -> NoReturn:
    """Stop a run, and say what there is to say of its first bad update.

    Args:
        training: the run.
        seed: the place of the seed whose update it was.
        first: the update's number.

    Raises:
        Stopped: always, or FloatingPointError where ``on_nan=raise``.
    """
    what, culprits = _explain(training, seed, first)
    advice = "Try a smaller learning rate"
    if culprits:
        advice = f"The environment gave what is not finite ({', '.join(culprits)}): mend it"
    message = (
        f"{training.streak.patience} update(s) in a row were not finite (seed {training.seeds[seed]}, from step "
        f"{first * training.per_update:,}) and were not taken; {what}, and checkpoints are as they were. "
        f"{advice}, or on_nan=skip"
    )
    if training.job.run.on_nan == "raise":
        raise FloatingPointError(message)
    raise Stopped(message, 1)


def _explain(training: "Training", seed: int, first: int) -> tuple[str, list[str]]:
    """Make the run again up to update number ``first``, keep what that learns from, and say where.

    Also what of it the environment gave and is not finite.
    """
    if training.trainer.env.in_processes:
        gone = "what the first one learnt from is gone, because environments in host processes cannot be played again"
        return gone, [words for what, words in NON_FINITE.items() if what in training.notes.noted]
    training.reporter.say("an update was not finite: looking for what it learnt from, from the last checkpoint on")
    with training.signals.ending_at_once(
        f"stopped: updates were not finite; to go on: hamljax resume {as_typed(training.run.path)}"
    ):
        return _save_debug_batch(training, seed, first)


def _save_debug_batch(training: "Training", seed: int, first: int) -> tuple[str, list[str]]:
    before = [
        u for u in checkpoints.kept(training.run.path) if u < first and not checkpoints.damage(training.run.path, u)
    ]
    if before:
        shapes, replay = split_replay(training.programs.shapes)
        found = checkpoints.restore(training.run.path, shapes, before[-1], replay=replay)
        state, done = training.programs.place(training._whole(found)).state, found.update
    else:
        state, done = training.programs.begin(training.seeds).state, 0
    while done < first - 1:
        count = min(first - 1 - done, CAPACITY)
        state, _ = training.programs.advance(state, np.int32(count))
        done += count
    found = jax.jit(training.trainer.learner.debug_batch)(jax.tree.map(lambda x: x[seed], state))
    file = training.run.path / "non_finite_batch.npz"
    with writing(training.run.path), replaced(file) as unfinished:
        arrays = {jax.tree_util.keystr(path).lstrip("."): x for path, x in jax.tree.leaves_with_path(found.batch)}
        np.savez(unfinished, **arrays)
    culprits = not_finite(training.trainer.env.team, found)
    return f"what the first one learnt from is in {file}", culprits
