"""How JAX uses this machine; to be decided before it touches a device."""

import contextlib
import os
from pathlib import Path

import jax
import jaxlib.version

# What is asked of XLA. Its newer code generator for a CPU computes anew, for each joint of a chain, all that comes before it:
# a step of a long swimmer then takes hours. The older one compiles robots in two thirds of the time, and what it makes is as
# fast. A GPU adds up in whatever order its threads arrive unless it is told not to, and a robot's contacts are such sums.
XLA_OPTIONS = {"--xla_cpu_use_fusion_emitters": "false", "--xla_gpu_deterministic_ops": "true"}
LAST_FUSION_CHOICE = (0, 11, 0)  # of jaxlib; later ones end at once on that option


def xla_flags(given: str, jaxlib_version: tuple = jaxlib.version.__version_info__) -> str:
    """``given`` with those of XLA_OPTIONS that it does not speak of itself and that this jaxlib has."""
    asked = dict(XLA_OPTIONS)
    if jaxlib_version > LAST_FUSION_CHOICE:
        del asked["--xla_cpu_use_fusion_emitters"]
    return " ".join([given, *(f"{name}={value}" for name, value in asked.items() if name not in given)]).strip()


def prepare(num_seeds: int = 1, devices: int | None = None) -> None:
    """Keep compiled programs between starts, and make cores devices, as many as ``num_seeds`` can be spread over.

    No more than that: devices divide the machine's threads among themselves, and a lone run had better have them all.
    ``devices`` is their number where it is known already: a run goes on with as many as it began with, because another
    division of the seeds rounds differently. Products of matrices are made in the precision of their numbers: a GPU would
    keep three digits. What the user says comes first: JAX_COMPILATION_CACHE_DIR (empty: no cache), JAX_NUM_CPU_DEVICES,
    JAX_DEFAULT_MATMUL_PRECISION, and XLA_FLAGS where it speaks of XLA_OPTIONS.
    """
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""))
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")
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
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits())


def _limits():
    """Bytes that a container allows its processes, where this is one."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            yield int(Path(file).read_text("utf-8"))
    yield 2**63
