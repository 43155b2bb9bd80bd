"""The whole runner state on disk, so that a trained team can be watched; written by orbax, whole or not at all."""

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import ConfigError

KEEP = 2  # the newest checkpoints of a run


def _orbax():
    """Imported late because it is slow; quiet, because it reports every step of its work."""
    import orbax.checkpoint

    logging.getLogger("absl").setLevel(logging.ERROR)
    return orbax.checkpoint


def _manager(run: Path):
    options = _orbax().CheckpointManagerOptions(max_to_keep=KEEP, enable_async_checkpointing=False)
    return _orbax().CheckpointManager((run / "checkpoints").absolute(), options=options)


def _is_key(x) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _plain(state) -> dict[str, Any]:
    """Arrays by place, keys as their data, without the empty ones (carries of feed-forward networks): orbax refuses them.

    Plain arrays, so that a run may be read on a machine with other devices.
    """
    return {
        jax.tree_util.keystr(path): jax.random.key_data(x) if _is_key(x) else x
        for path, x in jax.tree.leaves_with_path(state)
        if x.size
    }


def save(run: Path, update: int, state) -> None:
    """Keep ``state`` as it is after ``update`` updates."""
    with _manager(run) as manager:
        leaves = {name: np.asarray(x) for name, x in _plain(state).items()}
        manager.save(update, args=_orbax().args.StandardSave(leaves), force=True)


def restore(run: Path, template):
    """The newest state of ``run`` in the shape of ``template`` (arrays or their shapes), and after how many updates.

    Raises ConfigError where there is none or it cannot be read.
    """
    if not (run / "checkpoints").is_dir():
        raise ConfigError(f"'{run}' holds no checkpoint yet")
    wanted = jax.eval_shape(_plain, template)
    with _manager(run) as manager:
        update = manager.latest_step()
        if update is None:
            raise ConfigError(f"'{run}' holds no checkpoint yet")
        try:
            template_leaves = {name: np.zeros(x.shape, x.dtype) for name, x in wanted.items()}
            leaves = manager.restore(update, args=_orbax().args.StandardRestore(template_leaves))
        except Exception as error:  # a damaged file can break its reader in any way
            reason = " ".join(str(error).split())[:80]
            raise ConfigError(f"checkpoint {update} of '{run}' is damaged or of another version: {reason}") from None

    def find(path, x):
        if not x.size:
            return jnp.zeros(x.shape, x.dtype)
        leaf = jnp.asarray(leaves[jax.tree_util.keystr(path)])
        return jax.random.wrap_key_data(leaf) if _is_key(x) else leaf

    return jax.tree.map_with_path(find, template), update
