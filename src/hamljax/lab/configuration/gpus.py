"""A GPU for each worker of a launcher that starts several processes on one machine and hands out none itself."""

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

VARIABLE = "CUDA_VISIBLE_DEVICES"
_held: list[Any] = []  # the open file whose lock says that this process has a GPU; the system lets go of it at its end


def take_one() -> None:
    """Make one GPU of this machine the only one that this process sees: the first that no other worker has.

    Not where the variable CUDA_VISIBLE_DEVICES is there already, as from SLURM or Ray, nor where there are not several.
    """
    without = os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
    if without or VARIABLE in os.environ or _held or len(gpus := there()) < 2:
        return
    folder = Path(tempfile.gettempdir()) / f"hamljax-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in gpus:
        file = (folder / name).open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _held.append(file)
        os.environ[VARIABLE] = name
        return
    print(
        f"note: there are more workers than the {len(gpus)} GPUs of this machine, and this one sees them all; "
        f"hydra.launcher.n_jobs={len(gpus)} gives each its own",
        flush=True,
    )


def there() -> list[str]:
    """The numbers of the GPUs of this machine, as its driver's tool says."""
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []
