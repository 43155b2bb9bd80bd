"""How fast Multi-Agent MuJoCo runs: every robot on every back end, what our wrapping costs, how training grows."""

import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ...envs import configure, make
from ...envs.mamujoco.environment import BACKENDS, MultiAgentMujoco
from ...envs.protocol import Action, Environment, Observation, Step, Team
from .training import environment_speed, finish, machine, random_play, training_speed

ROBOTS = ("reacher_2x1", "hopper_3x1", "walker2d_6x1", "halfcheetah_6x1", "ant_4x2", "humanoid_9_8")
SWIMMERS = ("swimmer_2x1", "swimmer_10x2")
GROWTH = (("halfcheetah_2x3", "halfcheetah_6x1"), ("humanoid_9_8", "humanoid_17x1"))


class Bare(Environment):
    """The robot as Brax has it, for one agent: what our environment is measured against."""

    def __init__(self, task: MultiAgentMujoco):
        self.task, self.max_episode_length = task, task.max_episode_length
        size, actions = task.brax.observation_size, task.brax.action_size
        self.team = Team((size,), (actions,), size, discrete=False)

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Observation]:
        brax = self.task.brax.reset(key)
        return (brax, jnp.int32(0)), self._observe(brax)

    def step(self, key: Key[Array, ""], state: Any, action: Action) -> tuple[Any, Step]:
        brax, time = state
        brax = self.task.brax.step(brax.replace(metrics=dict(brax.metrics)), action[0])
        step = Step(self._observe(brax), brax.reward, brax.done > 0, time + 1 >= self.max_episode_length, {})
        return (brax, time + 1), step

    def _observe(self, brax: Any) -> Observation:
        return Observation(brax.obs[None], brax.obs, jnp.ones((1, self.team.action_size), bool), jnp.ones(1, bool))


def measure(task: str, backend: str, num_envs: int, num_steps: int) -> dict[str, float]:
    """Compile seconds of a rollout, steps/s, and episodes per million steps that stopped being finite, random play.

    Args:
        task: of ``mamujoco/``.
        backend: of Brax.
        num_envs: side by side.
        num_steps: of a rollout.
    """
    env = make(configure(f"mamujoco/{task}", backend=backend))
    play, carry = random_play(env, num_envs, num_steps)
    began = time.perf_counter()
    rollout = jax.jit(play).lower(carry, jax.random.key(1)).compile()
    compiled = time.perf_counter() - began
    seconds, broken, repeats = [], 0.0, 3
    for repeat in range(repeats):
        began = time.perf_counter()
        carry, sums = jax.block_until_ready(rollout(carry, jax.random.key(repeat)))
        seconds.append(time.perf_counter() - began)
        broken += float(sums["non_finite"])
    steps = num_envs * num_steps
    return {
        "compile_seconds": compiled,
        "steps_per_second": steps / min(seconds),
        "non_finite_per_million": 1e6 * broken / (repeats * steps),
    }


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench_mamujoco.json``. ``quick``: one robot, small sizes: it tests the benchmark only."""
    sizes: dict[str, Any] = {"num_envs": 2, "num_steps": 4} if quick else {"num_envs": 64, "num_steps": 100}
    pairs = [(task, backend) for task in ROBOTS for backend in BACKENDS] + [(task, "mjx") for task in SWIMMERS]
    pairs = [("reacher_2x1", "spring")] if quick else pairs
    found: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for task, backend in pairs:
        values = measure(task, backend, **sizes)
        found[f"{task} {backend}"] = values
        rows.append((task, backend, *(f"{x:,.1f}" if x < 100 else f"{x:,.0f}" for x in values.values())))
        print(*rows[-1], flush=True)
    columns = ("task", "back end", "compile, s", "steps/s", "non-finite episodes / 1e6 steps")
    finish(f"random play on {machine()}", columns, rows, {"quick": quick, "back ends": found}, "bench_mamujoco.json")

    rows = []
    for task in () if quick else ("halfcheetah_6x1", "ant_4x2"):
        env = make(f"mamujoco/{task}")
        assert isinstance(env, MultiAgentMujoco)
        wrapped, bare = environment_speed(env, **sizes), environment_speed(Bare(env), **sizes)
        found[f"{task} wrapped / bare"] = wrapped / bare
        rows.append((f"{task}: wrapped / bare Brax", f"{wrapped / bare:.2f}", ">= 0.95"))
    for pair in () if quick else GROWTH:
        speeds = {}
        for task in pair:
            trained, compiled = training_speed("happo", f"mamujoco/{task}", updates=1, **sizes)
            share = trained / environment_speed(make(f"mamujoco/{task}"), **sizes)
            found[f"{task} HAPPO"] = speeds[task] = {"steps_per_second": trained, "compile": compiled, "share": share}
            rows.append((f"{task}: HAPPO / environment only", f"{share:.2f}", ">= 0.8"))
        few, many = (speeds[task] for task in pair)
        for what, ratio in (
            ("time", few["steps_per_second"] / many["steps_per_second"]),
            ("compile", many["compile"] / few["compile"]),
        ):
            rows.append((f"{what} of HAPPO, {pair[1]} / {pair[0]}", f"{ratio:.2f}", "<= 1.2"))
    if rows:
        finish("ratios", ("measured", "value", "floor"), rows, found, "bench_mamujoco.json")
