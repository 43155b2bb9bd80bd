"""How fast a replay is, and a gradient step of the off-policy rows."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

from ...algorithms.off_policy.replay import Replay, Transition
from ...envs import make
from ...envs.protocol import Observation, Team
from ...training.train import make_learner
from ..configuration.in_python import config
from ..runs.memory import size_of
from .training import best_time, finish, machine

GROWTH = ("halfcheetah_2x3", "halfcheetah_6x1", "humanoid_9_8", "humanoid_17x1")


def a_step(team: Team, num_envs: int) -> Transition:
    """The shapes of one step of ``num_envs`` environments."""
    n, a = team.num_agents, team.action_size

    def shape(*sizes: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct((num_envs, *sizes), dtype)

    seen = Observation(
        shape(n, team.obs_size), shape(team.world_state_size), shape(n, a, dtype=bool), shape(n, dtype=bool)
    )
    return Transition(seen, shape(n, a), shape(), shape(dtype=bool), shape(dtype=bool), seen)


def replay_speed(
    team: Team, size: int, num_envs: int, num_steps: int, batch: int, n_step: int = 5
) -> tuple[float, float, int]:
    """How fast a replay is.

    Args:
        team: whose steps it holds.
        size: how many, at most.
        num_envs: environments side by side.
        num_steps: of a rollout, which is added at once.
        batch: windows in a sample.
        n_step: steps of a window.

    Returns:
        Microseconds to add one step of all environments, microseconds to draw one sample, and bytes of the replay.
    """
    capacity = size // (num_envs * num_steps) * num_steps
    replay = Replay.create(a_step(team, num_envs), capacity)._replace(added=jnp.int32(capacity))
    nbytes = size_of(replay)[1]
    steps = jax.tree.map(lambda x: jnp.zeros((num_steps, *x.shape[1:]), x.dtype), replay.steps)
    add = jax.jit(lambda replay, steps: jax.lax.fori_loop(0, 100, lambda _, r: r.add(steps), replay), donate_argnums=0)
    replay = add(replay, steps)
    began = time.perf_counter()
    replay = jax.block_until_ready(add(replay, steps))
    adding = (time.perf_counter() - began) / (100 * num_steps)

    def draw(replay, key):
        def body(total, key):
            sample = replay.sample(key, batch, n_step, 0.99)
            return total + sum(jnp.sum(x) for x in jax.tree.leaves(sample)), None

        return jax.lax.scan(body, 0.0, jax.random.split(key, 100))[0]

    drawing = best_time(jax.jit(draw), replay, jax.random.key(0)) / 100
    return 1e6 * adding, 1e6 * drawing, nbytes


def step_speed(algo: str, task: str, **settings: Any) -> tuple[float, float]:
    """Seconds of one gradient step (critics, all policies, targets) on a sample, and seconds to compile it.

    Args:
        algo: an off-policy row.
        task: of ``mamujoco/``.
        settings: of any group, by name.
    """
    learner: Any = make_learner(config(algo, f"mamujoco/{task}", **settings)).learner  # off-policy, which has ``step``
    state = jax.eval_shape(learner.init, jax.random.key(0))
    learnt, sample = jax.eval_shape(lambda state: (state.learnt, one(learner.debug_batch(state).batch)), state)
    learnt, sample = (jax.tree.map(_zeros, tree) for tree in (learnt, sample))
    began = time.perf_counter()
    count, key = jnp.zeros((), jnp.int32), jax.random.key(0)
    step = jax.jit(functools.partial(learner.step, learner)).lower(learnt, count, sample, key).compile()
    compiled = time.perf_counter() - began
    return best_time(step, learnt, count, sample, key, repeats=10), compiled


def one(stacked: Any) -> Any:
    """The first of what is stacked."""
    return jax.tree.map(lambda x: x[0], stacked)


def _zeros(x: Any) -> jax.Array:
    return jnp.zeros(x.shape, x.dtype)


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench_off_policy.json``. ``quick``: small sizes, one task: it tests the benchmark only."""
    tasks = ("reacher_2x1",) if quick else GROWTH
    sizes = {"size": 1000, "num_envs": 4, "num_steps": 5, "batch": 8}
    sizes = sizes if quick else {"size": 1_000_000, "num_envs": 10, "num_steps": 50, "batch": 1000}
    hidden: dict[str, Any] = (
        {"hidden_sizes": (8,), "batch_size": 8} if quick else {"hidden_sizes": (256, 256), "batch_size": 1000}
    )
    rows: list[tuple[str, ...]] = []
    found: dict[str, float] = {}

    def report(name: str, value: float, floor: str = "") -> None:
        found[name] = value
        rows.append((name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", floor))

    team = make("mamujoco/" + (tasks[0] if quick else "halfcheetah_6x1")).team
    adding, drawing, nbytes = replay_speed(team, **sizes)
    report(f"replay of {sizes['size']:,} steps, GiB", nbytes / 2**30)
    report("  add a step of all environments, us", adding, "< 100")
    report(f"  draw a sample of {sizes['batch']:,}, us", drawing)
    seconds = {}
    for task in tasks:
        for algo in ("haddpg", "maddpg"):
            seconds[algo, task], compiled = step_speed(algo, task, **hidden)
            report(f"{algo} on {task}: a gradient step, ms", 1e3 * seconds[algo, task])
            report("  its compile, s", compiled)
        report(f"  haddpg / maddpg on {task}", seconds["haddpg", task] / seconds["maddpg", task], "<= 1.3")
    finish(
        f"off-policy on {machine()}",
        ("measured", "value", "floor"),
        rows,
        {"quick": quick, **found},
        "bench_off_policy.json",
    )
