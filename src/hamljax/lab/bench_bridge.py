"""What the bridge costs: its pool against the same environments in bare processes, and real MuJoCo beside Gymnasium's."""

import subprocess
import sys
import time

import numpy as np

from ..bridge.pool import WORKER, Launch, Pool
from ..errors import ConfigError
from .bench import finish, machine

WORKERS = (1, 2, 4, 8, 16)
# A process that steps the host by itself, as often as it is told, and prints its seconds once all are ready.
BARE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from hosts.pause import Pause
host, steps = Pause(milliseconds=float(sys.argv[2])), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
for _ in range(steps): host.step(None, None)
print(time.perf_counter() - began, flush=True)
"""


def bare_speed(workers: int, milliseconds: float, steps: int) -> float:
    """Steps/s of all together, in processes that nobody waits for but at the end."""
    command = [sys.executable, "-c", BARE, str(WORKER), str(milliseconds), str(steps)]
    made = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    for process in made:
        process.stdout.readline()
    for process in made:
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = max(float(process.communicate()[0]) for process in made)
    return workers * steps / seconds


def pool_speed(launch: Launch, workers: int, steps: int) -> float:
    """Steps/s of all together, through a pool."""
    pool = Pool(launch, workers)
    keys = np.zeros((workers, 2), np.uint32)
    seen = pool.reset(keys)
    shape = seen["avail_actions"].shape
    action = np.zeros(shape[:2] if pool.spec["discrete"] else shape)
    began = time.perf_counter()
    for _ in range(steps):
        pool.step(action, keys, keys)
    seconds = time.perf_counter() - began
    pool.close()
    return workers * steps / seconds


def gymnasium_speed(workers: int, steps: int) -> float:
    """Steps/s of Gymnasium's own vector of HalfCheetahs in processes."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise ConfigError("this compares with Gymnasium's MuJoCo; pip install 'hamljax[hosts]'") from None
    envs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("HalfCheetah-v5")] * workers, context="spawn")
    envs.reset(seed=0)
    action = np.zeros(envs.action_space.shape)
    began = time.perf_counter()
    for _ in range(steps):
        envs.step(action)
    seconds = time.perf_counter() - began
    envs.close()
    return workers * steps / seconds


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench_bridge.json``. ``quick``: a few steps; it tests the benchmark only."""
    steps, found, rows = 20 if quick else 2000, {}, []
    for workers in WORKERS[:2] if quick else WORKERS:
        bare = bare_speed(workers, 1.0, steps)
        pooled = pool_speed(Launch("pause", {"milliseconds": 1.0}), workers, steps)
        found[f"{workers} workers"] = {"bare": bare, "pool": pooled}
        floor = "<= 15 %" if workers == 8 else ""
        rows.append(
            (f"{workers} workers, steps of 1 ms", f"{pooled:,.0f} steps/s", f"{100 * (bare / pooled - 1):.0f} %", floor)
        )
    workers = 2 if quick else 8
    ours = pool_speed(Launch("mamujoco", {"task": "halfcheetah_6x1"}), workers, steps)
    theirs = gymnasium_speed(workers, steps)
    found["mamujoco"] = {"pool": ours, "gymnasium": theirs}
    rows.append((f"halfcheetah_6x1 on MuJoCo, {workers} workers", f"{ours:,.0f} steps/s", "", ""))
    rows.append(("  / AsyncVectorEnv of HalfCheetah-v5, which has one agent", f"{ours / theirs:.2f}", "", ">= 1"))
    columns = ("measured", "value", "more than bare processes", "floor")
    finish(f"the bridge on {machine()}", columns, rows, {"quick": quick, **found}, "bench_bridge.json")
