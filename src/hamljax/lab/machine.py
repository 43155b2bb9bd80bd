"""How JAX uses this machine; to be decided before it touches a device."""

import os
from pathlib import Path

import jax
import jaxlib.version

# XLA's newer code generator for a CPU computes anew, for each joint of a chain, all that comes before it: a step of a long
# swimmer then takes hours. The older one compiles robots in two thirds of the time, and what it makes is as fast.
XLA_CPU_FUSION = "--xla_cpu_use_fusion_emitters=false"


def xla_flags(given: str, jaxlib_version: tuple = jaxlib.version.__version_info__) -> str:
    """``given`` with XLA_CPU_FUSION, unless it speaks of that itself or this jaxlib ends at once on an option it has not."""
    if XLA_CPU_FUSION.split("=")[0] in given or jaxlib_version >= (0, 11, 1):
        return given
    return f"{given} {XLA_CPU_FUSION}".strip()


def prepare(num_seeds: int = 1, devices: int | None = None) -> None:
    """Keep compiled programs between starts, and make cores devices, as many as ``num_seeds`` can be spread over.

    No more than that: devices divide the machine's threads among themselves, and a lone run had better have them all.
    ``devices`` is their number where it is known already: a run goes on with as many as it began with, because another
    division of the seeds rounds differently. The user's JAX_COMPILATION_CACHE_DIR (empty: no cache) and
    JAX_NUM_CPU_DEVICES come first, as does whatever XLA_FLAGS says of the code generator.
    """
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(home / "hamljax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        try:
            wanted = devices or max(d for d in range(1, cores + 1) if num_seeds % d == 0)
            jax.config.update("jax_num_cpu_devices", wanted)
        except RuntimeError:  # a notebook or test has used JAX already: its devices stay as they are
            pass


def memory() -> int:
    """Bytes that all devices together may hold."""
    devices = jax.devices()
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    if all(limits):
        return sum(limits)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
