"""A run on disk as it stood after some update: arrays, the record up to there, and a digest of every file.

``RUN/checkpoints/<update>/`` holds ``arrays/`` (written by orbax), off-policy also ``replay/`` (likewise, and apart
because it is large and only a run that goes on needs it), ``record.parquet``, ``about.json`` and ``digests.json``, the
SHA-256 of all the others. It is written under another name and renamed when it is whole, so what
has its final name is complete unless it was damaged later, and that the digests tell.
"""

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ... import __version__
from ...errors import ConfigError, one_line
from .digests import DIGESTS, damage, digests, folder_of, kept
from .files import read_json, write_json

NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)  # a file system that reserves no room
KEEP = 3  # the newest checkpoints of a run


class Checkpoint(NamedTuple):
    """A run as it stands after some update."""

    update: int  # how many were made
    tree: Any  # arrays
    record: pd.DataFrame  # rows of metrics up to there
    about: dict[str, Any]  # plain data about the run so far
    replay: Any = None  # what is kept beside the tree; None: nothing


def _checkpointer() -> tuple[Any, Any]:
    """Orbax is imported late because it is slow, and quiet because it reports every step of its work."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.ERROR)
    return orbax.checkpoint.Checkpointer(orbax.checkpoint.StandardCheckpointHandler()), orbax.checkpoint.args


def _is_key(x: Any) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _plain(tree: Any) -> dict[str, Any]:
    """Arrays by place, keys as their data, without the empty ones (carries of feed-forward networks): orbax refuses them.

    Plain arrays, so that a run may be read on a machine with other devices.
    """
    return {
        jax.tree_util.keystr(path): jax.random.key_data(x) if _is_key(x) else x
        for path, x in jax.tree.leaves_with_path(tree)
        if x.size
    }


@contextlib.contextmanager
def plainly_named(folder: Path) -> Iterator[Path]:
    """``folder`` under a name of plain letters: orbax reads brackets as a pattern, and takes no backslash."""
    folder = folder.absolute()
    if not set(str(folder)) & set("[]\\*?"):
        yield folder
        return
    with tempfile.TemporaryDirectory() as other:
        link = Path(other) / "folder"
        link.symlink_to(folder)
        yield link


def save(run: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, and remove all but the newest.

    Args:
        run: its directory.
        checkpoint: to be written.

    Raises:
        OSError: it cannot be written; those before it are as they were.
    """
    final = folder_of(run) / str(checkpoint.update)
    unfinished = final.with_name(f".{final.name}.unfinished")
    for left_behind in folder_of(run).glob(".*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        trees = {"arrays": checkpoint.tree, "replay": checkpoint.replay}
        parts = {name: _plain(tree) for name, tree in trees.items() if tree is not None}
        _make_sure_of_room(unfinished / "room", sum(x.nbytes for part in parts.values() for x in part.values()))
        checkpointer, args = _checkpointer()
        with checkpointer, plainly_named(unfinished) as folder:
            for name, part in parts.items():
                leaves = {place: np.asarray(x) for place, x in part.items()}
                checkpointer.save(folder / name, args=args.StandardSave(leaves))
        checkpoint.record.to_parquet(unfinished / "record.parquet", index=False)
        write_json(unfinished / "about.json", checkpoint.about)
        write_json(unfinished / DIGESTS, digests(unfinished))
        _forget(final)  # a damaged one of this update, which a resumed run had to step over
        os.replace(unfinished, final)
    except Exception as error:  # orbax has exceptions of its own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        raise error if isinstance(error, OSError) else OSError(one_line(error)) from None
    for old in kept(run)[:-KEEP]:
        _forget(folder_of(run) / str(old))


def _make_sure_of_room(file: Path, size: int) -> None:
    """Raise OSError where ``size`` bytes do not fit; orbax would say so in a dozen tracebacks."""
    if shutil.disk_usage(file.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if not hasattr(os, "posix_fallocate"):  # not everywhere
        return
    try:
        with file.open("wb") as probe:
            os.posix_fallocate(probe.fileno(), 0, size + 1)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
    file.unlink()


def _forget(checkpoint: Path) -> None:
    """Remove a checkpoint; renamed first, so that no half of one is ever left under its name."""
    if checkpoint.is_dir():
        hidden = checkpoint.with_name(f".{checkpoint.name}.forgotten")
        os.replace(checkpoint, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def restore(
    run: Path, template: Any, update: int | None = None, say: Callable[[str], None] = print, replay: Any = None
) -> Checkpoint:
    """The newest undamaged checkpoint of a run, or that of one update.

    Args:
        run: its directory.
        template: the tree that is wanted, of arrays or their shapes.
        update: which checkpoint; None: the newest.
        say: is told of each damaged one that was passed over.
        replay: the shapes of the replay, if that is wanted too; a checkpoint without one gives None.

    Raises:
        ConfigError: there is none, or only damaged ones, or one of another version.
    """
    there = kept(run)
    if not there:
        raise ConfigError(f"'{run}' holds no checkpoint yet")
    if update is not None and update not in there:
        raise ConfigError(f"'{run}' keeps no checkpoint of update {update}, only of {', '.join(map(str, there))}")
    complaint = ""
    for candidate in reversed(there) if update is None else [update]:
        if complaint:
            say(f"{complaint}; using that of update {candidate}")
        wrong = damage(run, candidate)
        if not wrong:
            return _read(run, candidate, template, replay)
        complaint = f"checkpoint {candidate} of '{run}' is damaged: {wrong}"
    raise ConfigError(complaint + ("" if update is not None else "; no other is left"))


def _read(run: Path, update: int, template: Any, replay: Any) -> Checkpoint:
    folder = folder_of(run) / str(update)
    try:
        tree = _read_arrays(folder / "arrays", template)
        if replay is not None:
            replay = _read_arrays(folder / "replay", replay) if (folder / "replay").is_dir() else None
        record, about = pd.read_parquet(folder / "record.parquet"), read_json(folder / "about.json")
    except Exception as error:  # its files are as they were written, so this version wants others
        made, said = _maker(run), f"is of another version: {one_line(error)[:120]}"
        if made not in (None, __version__):
            said = f"was made by hamljax {made}, whose runs have another state than those of {__version__}; go on with {made}"
        raise ConfigError(f"checkpoint {update} of '{run}' {said}") from None
    return Checkpoint(update, tree, record, about, replay)


def _maker(run: Path) -> str | None:
    """The version of hamljax that began a run."""
    try:
        return read_json(run / "versions.json").get("hamljax")
    except (OSError, ValueError, AttributeError):
        return None


def _read_arrays(folder: Path, template: Any) -> Any:
    checkpointer, args = _checkpointer()
    shapes = jax.eval_shape(
        lambda tree: _plain(tree), template
    )  # JAX keeps what it traced as long as the function lives
    zeros = {name: np.zeros(x.shape, x.dtype) for name, x in shapes.items()}
    with checkpointer, plainly_named(folder.parent) as parent:
        leaves = checkpointer.restore(parent / folder.name, args=args.StandardRestore(zeros))

    def find(path: Any, x: Any) -> jax.Array:
        if not x.size:
            return jnp.zeros(x.shape, x.dtype)
        leaf = jnp.asarray(leaves[jax.tree_util.keystr(path)])
        return jax.random.wrap_key_data(leaf) if _is_key(x) else leaf

    return jax.tree.map_with_path(find, template)
