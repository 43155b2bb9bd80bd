"""One seed over several devices: the time of an update, and of several seeds beside it."""

import json
import subprocess
import sys

from ..storage.files import as_json
from .training import finish, machine

# In a process of its own, because how many devices a processor is cannot be changed in one.
MEASURE = """
import json, sys, time
import jax, jax.numpy as jnp
asked = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", asked["devices"])
import hamljax
from hamljax.lab.runs.programs import make_programs
from hamljax.training.train import make_learner
config = hamljax.config("happo", "smax/3m", total_timesteps=10_000_000, **asked["sizes"])
programs = make_programs(make_learner(config), asked["seeds"], False, asked["per_seed"])
state, best = programs.begin(range(asked["seeds"])).state, float("inf")
for count in (1, asked["updates"], asked["updates"]):
    began = time.perf_counter()
    state, metrics = programs.advance(state, jnp.int32(count))
    jax.block_until_ready(metrics)
    best = min(best, (time.perf_counter() - began) / count)
print(json.dumps({"seconds": best, "compile": programs.seconds}))
"""


def measured(devices: int, per_seed: int, seeds: int, sizes: dict[str, int], updates: int) -> dict[str, float]:
    """Seconds of an update of all seeds, and to compile it.

    Args:
        devices: that there are. per_seed: that share a seed. seeds: side by side. sizes: of the run. updates: that are timed.
    """
    asked = {"devices": devices, "per_seed": per_seed, "seeds": seeds, "sizes": sizes, "updates": updates}
    command = [sys.executable, "-c", MEASURE, as_json(asked)]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return json.loads(done.stdout.splitlines()[-1])


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench_devices.json``. ``quick``: small sizes; it tests the benchmark only."""
    sizes = {"num_envs": 4, "num_steps": 4} if quick else {"num_envs": 64, "num_steps": 128}
    # (what, devices, of each seed, seeds): a processor's cores divide what one has; many seeds are what they are for
    kinds = [("one device", 1, 1, 1), ("2 devices for one seed", 2, 2, 1)]
    if not quick:
        kinds += [
            ("one device, 2 seeds", 1, 1, 2),
            ("2 devices, a seed each", 2, 1, 2),
            ("4 devices for one seed", 4, 4, 1),
        ]
    rows: list[tuple[str, ...]] = []
    found: dict[str, dict[str, float]] = {}
    for name, devices, per_seed, seeds in kinds:
        took = measured(devices, per_seed, seeds, sizes, 1 if quick else 5)
        speed = seeds * sizes["num_envs"] * sizes["num_steps"] / took["seconds"]
        first = next(iter(found.values()))["speed"] if found else speed
        found[name] = {**took, "speed": speed}
        rows.append((name, f"{speed:,.0f}", f"{speed / first:.2f}", f"{took['compile']:.1f}"))
    columns = ("happo on smax/3m", "steps/s of all seeds", "of one device's", "compile, s")
    finish(f"devices on {machine()}", columns, rows, {"quick": quick, **found}, "bench_devices.json")
