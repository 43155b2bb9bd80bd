"""How many processors there are for us."""

import os


def cores() -> int:
    """CPU cores that this process may use: PJRT_NPROC where it is set, as XLA has it."""
    if (given := os.environ.get("PJRT_NPROC", "")).isdecimal() and int(given):
        return int(given)
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
