"""JAX's persistent compilation cache: a second start compiles in about a second."""

import os
from pathlib import Path

import jax


def enable() -> None:
    """Switch the cache on unless the user chose a folder with JAX_COMPILATION_CACHE_DIR (empty: no cache)."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(home / "hamljax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
