"""How JAX uses this machine; to be decided before it touches a device."""

import contextlib
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib.version
from jax.extend.backend import clear_backends

from ...cores import cores
from ...errors import ConfigError, one_line
from .gpus import take_one

CACHE_BYTES = 2 << 30  # of compiled programs, in a folder of our own

# What is asked of XLA. Its newer code generator for a CPU computes anew, for each joint of a chain, all that comes before it:
# a step of a long swimmer then takes hours. The older one compiles robots in two thirds of the time, and what it makes is as
# fast. A GPU adds up in whatever order its threads arrive unless it is told not to, and a robot's contacts are such sums.
XLA_OPTIONS = {"--xla_cpu_use_fusion_emitters": "false", "--xla_gpu_deterministic_ops": "true"}
LAST_FUSION_CHOICE = (0, 11, 0)  # of jaxlib; later ones end at once on that option


# Of JAX, which ``prepare`` changes.
SETTINGS = ["jax_default_matmul_precision", "jax_compilation_cache_dir", "jax_compilation_cache_max_size"]
SETTINGS += ["jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes"]
_opened = False  # whether this process has devices


def xla_flags(given: str, jaxlib_version: tuple[int, ...] = jaxlib.version.__version_info__) -> str:
    """``XLA_FLAGS`` with what is asked of XLA.

    Args:
        given: as the user has it.
        jaxlib_version: of the library that reads it.

    Returns:
        ``given``, and those of XLA_OPTIONS that it does not speak of itself and that the library has.
    """
    asked = dict(XLA_OPTIONS)
    if jaxlib_version > LAST_FUSION_CHOICE:
        del asked["--xla_cpu_use_fusion_emitters"]
    return " ".join([given, *(f"{name}={value}" for name, value in asked.items() if name not in given)]).strip()


def prepare(num_seeds: int = 1, devices: int | None = None, per_seed: int = 1) -> None:
    """Keep compiled programs between starts, and make cores devices, as many as seeds can be spread over.

    No more than that: devices divide the machine's threads among themselves, and a lone run had better have them all.
    Products of matrices are made in the precision of their numbers: a GPU would keep three digits. What the user says comes
    first: JAX_COMPILATION_CACHE_DIR (empty: no cache), JAX_NUM_CPU_DEVICES, JAX_DEFAULT_MATMUL_PRECISION, and XLA_FLAGS where
    it speaks of XLA_OPTIONS.

    Args:
        num_seeds: to be spread.
        devices: how many, where it is known already: a run goes on with as many as it began with, because another division
            of the seeds rounds differently.
        per_seed: devices that share each seed.

    Raises:
        ConfigError: JAX opens no device.
    """
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""))
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")
    _keep_programs()
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        wanted = devices_for(num_seeds, devices, per_seed)
        with contextlib.suppress(RuntimeError):  # a notebook or test has used JAX already: its devices stay as they are
            jax.config.update("jax_num_cpu_devices", wanted)
    _open_devices()


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Around ``prepare`` in the process of somebody else: afterwards JAX's settings are as they were, but for its devices."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def devices_for(num_seeds: int, devices: int | None, per_seed: int = 1) -> int:
    """How many devices the cores are to be, arguments as of ``prepare``."""
    if devices:
        return max(devices, per_seed)
    return per_seed * max(d for d in range(1, max(cores() // per_seed, 1) + 1) if num_seeds % d == 0)


def prepare_worker(num_seeds: int, devices: int | None, per_seed: int = 1) -> None:
    """``prepare`` in a process that a launcher began, and may use again for a job that wants other devices.

    A launcher that has several processes share a machine says in OMP_NUM_THREADS how many cores each has, which XLA does not
    read. Arguments and errors as of ``prepare``.
    """
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        os.environ.setdefault("PJRT_NPROC", threads)
    if per_seed == 1 and not _opened:
        take_one()
    here = _opened and "JAX_NUM_CPU_DEVICES" not in os.environ and jax.default_backend() == "cpu"
    if here and jax.device_count() != devices_for(num_seeds, devices, per_seed):
        jax.clear_caches()
        clear_backends()
    prepare(num_seeds, devices, per_seed)


def _open_devices() -> None:
    global _opened
    try:
        jax.devices()
        _opened = True
    # JAX raises them for a driver, a name or a number in its variables, and a platform that is not there.
    except (RuntimeError, ValueError, AssertionError) as error:
        words = ("JAX_PLATFORMS", "JAX_NUM_CPU_DEVICES", "CUDA_VISIBLE_DEVICES")
        said = ", ".join(f"{name}={os.environ[name]}" for name in words if name in os.environ)
        hint = f"(there is {said})" if said else "JAX_PLATFORMS=cpu does without a GPU"
        what = one_line(error)[:240] or "there is none of that platform"
        raise ConfigError(f"JAX opens no device: {what}; {hint}") from None


# What a device says of itself, and what can be done.
FULL = ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory", "Out of memory")
BROKEN = (
    "CUDA_ERROR",
    "CUDNN",
    "cuDNN",
    "cuBLAS",
    "cublas",
    "cuSolver",
    "gpusolver",
    "cusolver",
    "HIP_ERROR",
    "hipError",
)


def trouble(error: Exception) -> str:
    """What is wrong with the device, in a line, where that is what ``error`` says; empty where it is something else."""
    said = one_line(error)
    if any(word in said for word in FULL):
        shared = (
            ""
            if jax.default_backend() == "cpu"
            else (
                "; another process may hold the memory of this device: with XLA_PYTHON_CLIENT_PREALLOCATE=false each takes what "
                "it needs"
            )
        )
        return f"not enough memory: {said[:160]}; fewer num_envs or num_seeds need less{shared}"
    if any(word in said for word in BROKEN):
        return f"the device gave up: {said[:200]}; another process may hold it; JAX_PLATFORMS=cpu does without it"
    return ""


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """What ``trouble`` has words for is a ConfigError."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if line := trouble(error):
            raise ConfigError(line) from None
        raise


# COMPILED PROGRAMS


class Cache(NamedTuple):
    """Where compiled programs are kept, and how much of them."""

    folder: Path | None  # None: nowhere
    limit: int | None  # bytes; None: no limit of ours


def cache() -> Cache:
    """As the environment variables say: those of JAX first, then where a user's caches are; a home may not be there."""
    limit = jax.config.jax_compilation_cache_max_size  # type: ignore[attr-defined]  # JAX makes it when it is imported
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if given is not None:
        return Cache(Path(given) if given else None, limit if limit >= 0 else None)
    caches = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"  # others are to be ignored, says XDG
    except RuntimeError:  # this user has none
        return Cache(None, None)
    return Cache(home / "hamljax", limit if limit >= 0 else CACHE_BYTES)


def _keep_programs() -> None:
    folder, limit = cache()
    seconds = 0.0
    if folder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            if limit is not None:
                trim(folder, limit)
        except OSError as error:
            readable = os.access(folder, os.R_OK | os.X_OK) and folder.is_dir()
            how = "only read" if readable else "not kept"
            print(f"note: compiled programs are {how}: '{folder}': {error.strerror or error}", file=sys.stderr)
            folder, seconds = (folder, math.inf) if readable else (None, 0.0)
    jax.config.update("jax_compilation_cache_dir", folder and str(folder))
    jax.config.update(
        "jax_compilation_cache_max_size", -1
    )  # ``trim`` sees to it, without locks, which not all disks have
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def programs_in(folder: Path) -> list[tuple[float, int, Path]]:
    """(when it was last used, bytes, file) of every compiled program, the oldest first."""
    found = []
    for file in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process removes them too
            about = file.stat()
            found.append((max(about.st_atime, about.st_mtime), about.st_size, file))
    return sorted(found)


def trim(folder: Path, limit: int) -> None:
    """Remove the compiled programs in ``folder`` that were used longest ago, until those left have at most ``limit`` bytes."""
    found = programs_in(folder)
    size = sum(each for _, each, _ in found)
    for _, each, file in found:
        if size <= limit:
            return
        for part in (file, file.with_name(file.name.removesuffix("-cache") + "-atime")):
            part.unlink(missing_ok=True)
        size -= each


def about_cache() -> str:
    """Where compiled programs are kept and how much they take, in words."""
    folder, limit = cache()
    if folder is None:
        return "not kept (JAX_COMPILATION_CACHE_DIR names a folder)"
    found = programs_in(folder)
    most = "" if limit is None else f" of at most {limit / 2**20:,.0f}"
    return f"{len(found):,} in {folder}, {sum(size for _, size, _ in found) / 2**20:,.1f} MiB{most}"


def memory() -> int:
    """Bytes that all devices together may hold; what no system call tells is no limit."""
    devices = jax.devices()
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in devices]
    if all(limits):
        return sum(limits)
    return min(_limits())


def _limits() -> Iterator[int]:
    """Bytes that the machine has, and that a container allows its processes, as far as either can be asked."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            yield int(Path(file).read_text("utf-8"))
    yield 2**63
