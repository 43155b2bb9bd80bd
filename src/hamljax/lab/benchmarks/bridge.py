"""What the bridge costs: its pool against the same environments in bare processes, and real MuJoCo beside Gymnasium's."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bridge.pool import Pool
from ...bridge.process import WORKER, Launch
from ...errors import ConfigError
from .training import finish, machine

if TYPE_CHECKING:  # imported where it is used: it need not be installed
    import gymnasium

WORKERS = (1, 2, 4, 8, 16)
# A process that steps the host by itself, as often as it is told, and prints its seconds once all are ready.
BARE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from hosts.pause import Pause
host, steps = Pause(milliseconds=float(sys.argv[2]), busy=sys.argv[4] == "True"), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
began = time.perf_counter()
for _ in range(steps): host.step(None, None)
print(time.perf_counter() - began, flush=True)
"""


def bare_speed(workers: int, milliseconds: float, steps: int, busy: bool = False) -> float:
    """Steps/s of all together, in processes that nobody waits for but at the end.

    Args:
        workers: how many.
        milliseconds: of a step.
        steps: of each.
        busy: whether it computes in that time, or sleeps.
    """
    command = [sys.executable, "-c", BARE, str(WORKER), str(milliseconds), str(steps), str(busy)]
    made = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(workers)
    ]
    for process in made:
        assert process.stdout is not None
        process.stdout.readline()
    for process in made:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    seconds = max(float(process.communicate()[0]) for process in made)
    return workers * steps / seconds


def pool_speed(launch: Launch, envs: int, steps: int) -> float:
    """Steps/s of all together, through a pool of ``envs`` environments that make ``steps`` each."""
    pool = Pool(launch, envs)
    keys = np.zeros((envs, 2), np.uint32)
    seen = pool.reset(keys)
    shape = seen["avail_actions"].shape
    action = np.zeros(shape[:2] if pool.spec["discrete"] else shape)
    began = time.perf_counter()
    for _ in range(steps):
        pool.step(action, keys, keys)
    seconds = time.perf_counter() - began
    pool.close()
    return envs * steps / seconds


def one_agent() -> "gymnasium.Env":
    """Gymnasium's own HalfCheetah."""
    import gymnasium

    return gymnasium.make("HalfCheetah-v5")


def six_agents() -> "gymnasium.Env":
    """The host of halfcheetah_6x1 as an environment of Gymnasium, all observations in one vector."""
    import gymnasium

    sys.path.insert(0, str(WORKER))
    from hosts.mamujoco import GymnasiumRobotics  # type: ignore[import-not-found]  # where workers find it

    class Flat(gymnasium.Env):
        def __init__(self) -> None:
            self.host = GymnasiumRobotics("halfcheetah_6x1")
            self.action_space = gymnasium.spaces.Box(-1, 1, (6,))
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (sum(self.host.spec["obs_sizes"]),))

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return np.concatenate(self.host.reset((0, seed or 0)).obs, dtype=np.float32), {}

        def step(self, action: np.ndarray) -> Any:
            seen, *outcome, _ = self.host.step((0, 0), action[:, None])
            return np.concatenate(seen.obs, dtype=np.float32), *outcome, {}

    return Flat()


@contextlib.contextmanager
def silent_children() -> Iterator[None]:
    """Processes that start here print nothing on the terminal, for eight would greet at once; what they raise comes by a pipe."""
    ours = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def gymnasium_speed(made: "Callable[[], gymnasium.Env]", workers: int, steps: int) -> float:
    """Steps/s of Gymnasium's own vector of environments in processes.

    Args:
        made: makes one of them.
        workers: how many.
        steps: of each.

    Raises:
        ConfigError: Gymnasium is not installed.
    """
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise ConfigError("this compares with Gymnasium's MuJoCo; pip install 'hamljax[hosts]'") from None
    with silent_children():
        envs = gymnasium.vector.AsyncVectorEnv([made] * workers, context="spawn")
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
    steps = 20 if quick else 2000
    found: dict[str, dict[str, float]] = {}
    rows: list[tuple[str, ...]] = []
    for busy in (False, True):
        for workers in WORKERS[:2] if quick else WORKERS:
            bare = bare_speed(workers, 1.0, steps, busy)
            pooled = pool_speed(Launch("pause", {"milliseconds": 1.0, "busy": busy}), workers, steps)
            what = f"{workers} workers, 1 ms of {'computing' if busy else 'sleep'} a step"
            found[what] = {"bare": bare, "pool": pooled}
            more = f"{100 * (bare / pooled - 1):.0f} %"
            rows.append((what, f"{pooled:,.0f} steps/s", more, "<= 15 %" if workers == 8 else ""))
    workers = 2 if quick else 8
    ours = pool_speed(Launch("mamujoco", {"task": "halfcheetah_6x1"}), workers, steps)
    rows.append((f"halfcheetah_6x1 on MuJoCo, {workers} workers", f"{ours:,.0f} steps/s", "", ""))
    found["mamujoco"] = {"pool": ours}
    for made, what in ((six_agents, "the same"), (one_agent, "HalfCheetah-v5, which has one agent")):
        theirs = found["mamujoco"][made.__name__] = gymnasium_speed(made, workers, steps)
        rows.append((f"  / AsyncVectorEnv of {what}", f"{ours / theirs:.2f}", "", ">= 1"))
    envs, together = (4, 20)[not quick], {}
    for each in (1, 2, 4) if quick else (1, 2, 4, 8):
        launch = Launch("mamujoco", {"task": "halfcheetah_2x3"}, envs_per_worker=each)
        together[str(each)] = pool_speed(launch, envs, max(steps // 4, 20))
        what = f"halfcheetah_2x3, {envs} environments, {each} in each worker"
        rows.append((what, f"{together[str(each)]:,.0f} steps/s", f"{together[str(each)] / together['1']:.2f} x", ""))
    found["envs_per_worker"] = together
    columns = ("measured", "value", "beside bare processes, or 1", "floor")
    finish(f"the bridge on {machine()}", columns, rows, {"quick": quick, **found}, "bench_bridge.json")
