"""How fast this machine trains: ratios measured in one run, as a table and as bench.json."""

import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ...envs import Environment, VecEnv, make
from ...training.seeds import over_seeds
from ...training.train import make_learner
from ..configuration.in_python import config
from ..drawing.tables import print_table
from ..storage.files import write_json


def best_time(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> float:
    """Seconds of the fastest of several calls, after one that does not count.

    Args:
        function: returns arrays, for which it is waited.
        arguments: of the function.
        repeats: how many calls.
    """
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


def random_play(env: Environment, num_envs: int, num_steps: int) -> tuple[Callable[..., Any], Any]:
    """Random legal play, with automatic resets.

    Args:
        env: the environment.
        num_envs: copies of it.
        num_steps: of a rollout.

    Returns:
        ``rollout(carry, key) -> carry, step metrics summed over finished episodes``, and a first carry.
    """
    vec = VecEnv(env, num_envs)

    def step(carry: Any, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        state, observation = carry
        if env.team.discrete:
            action = jax.random.categorical(key, jnp.where(observation.avail_actions, 0.0, -1e9))
        else:
            action = jax.random.uniform(key, observation.avail_actions.shape, minval=-1.0)
        state, out = vec.step(state, action)
        done = out.terminated | out.truncated
        sums = {"reward": jnp.sum(out.reward), **{name: jnp.sum(x * done) for name, x in out.metrics.items()}}
        return (state, out.observation), sums

    def rollout(carry: Any, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        carry, sums = jax.lax.scan(step, carry, jax.random.split(key, num_steps))
        return carry, {name: jnp.sum(x) for name, x in sums.items()}

    return rollout, jax.jit(vec.reset)(jax.random.key(0))


def environment_speed(env: Environment, num_envs: int, num_steps: int) -> float:
    """Steps/s of ``random_play``."""
    rollout, carry = random_play(env, num_envs, num_steps)
    return num_envs * num_steps / best_time(jax.jit(rollout), carry, jax.random.key(1))


def reset_cost(env: Environment, num_envs: int, num_steps: int) -> float:
    """Seconds that ``num_steps`` resets of all environments take: what a rollout would pay if every step made one."""

    def resets(key):
        def reset(total, key):
            fresh = jax.vmap(env.reset)(jax.random.split(key, num_envs))
            leaves = (x for x in jax.tree.leaves(fresh) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key))
            return total + sum(jnp.sum(x.astype(jnp.float32)) for x in leaves), None

        return jax.lax.scan(reset, 0.0, jax.random.split(key, num_steps))

    return best_time(jax.jit(resets), jax.random.key(2))


def product_speed(rows: int, width: int) -> float:
    """Floating-point operations per second of (rows, width) x (width, width) products, the learner's typical shape."""
    x, weights = jnp.ones((rows, width)), jnp.eye(width)

    def chain(x):
        return jax.lax.scan(lambda x, _: (x @ weights, None), x, None, length=20)[0]

    return 20 * 2 * rows * width**2 / best_time(jax.jit(chain), x)


def _kernel_size(params: Any) -> int:
    """How many weights of ``params`` stand in matrices."""
    return sum(x.size for path, x in jax.tree.leaves_with_path(params) if path[-1].key == "kernel")


def learning_speed(algo: str, env: str, **settings: Any) -> float:
    """Floating-point operations per second that the learner spends in the matrix products of feed-forward networks.

    A pass over a sample costs 2 operations per weight, its gradient 4 more; everything else counts as overhead.

    Args:
        algo: an on-policy row.
        env: an environment's name.
        settings: of any group, by name.
    """
    made = config(algo, env, total_timesteps=10_000_000, **settings)
    learner = make_learner(made).learner
    state, traj = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    weights = [_kernel_size(params) for params in learner.parameters(state).values()]
    own: Any = made.algo  # on-policy
    passes = 6 * own.update_epochs + 2, 6 * own.critic_epochs + 4
    operations = made.num_envs * made.num_steps * sum(w * p for w, p in zip(weights, passes, strict=True))
    return operations / best_time(jax.jit(learner.learn), state, traj)


def training_speed(
    algo: str, env: str, num_seeds: int = 1, updates: int = 2, network: str = "mlp", **settings: Any
) -> tuple[float, float]:
    """(Environment steps/s of all seeds together, seconds to compile).

    Args:
        algo: a row.
        env: an environment's name.
        num_seeds: side by side.
        updates: in the block that is timed.
        network: ``mlp`` or ``gru``.
        settings: of any group, by name.
    """
    made = config(algo, env, network, total_timesteps=10_000_000, **settings)
    learner = make_learner(made)
    state = jax.jit(over_seeds(learner.init, num_seeds))(jax.random.split(jax.random.key(0), num_seeds))
    updating = jax.jit(over_seeds(functools.partial(learner.run_updates, count=updates, capacity=updates), num_seeds))
    began = time.perf_counter()
    block = updating.lower(state).compile()
    compile_seconds = time.perf_counter() - began
    steps = num_seeds * updates * made.num_envs * made.num_steps
    return steps / best_time(block, state), compile_seconds


def spread_speed(algo: str, env: str, num_seeds: int, sizes: dict[str, int]) -> float:
    """Steps/s of all seeds together, in a process of its own whose cores are devices, as ``hamljax train`` would have it."""
    call = f"training_speed({algo!r}, {env!r}, num_seeds={num_seeds}, **{sizes!r})[0]"
    start = f"from hamljax.lab.configuration import machine; machine.prepare({num_seeds})"
    code = f"{start}\nfrom hamljax.lab.benchmarks.training import training_speed\nprint({call})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return float(done.stdout.split()[-1])


def machine() -> str:
    """What was measured on, in a line."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}"


def finish(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], found: dict[str, Any], file: str) -> None:
    """Print a table and write what it shows.

    Args:
        title: above the table.
        columns: its headings.
        rows: its rows.
        found: the numbers, by name.
        file: to which they are written as JSON.
    """
    print_table(columns, rows, title)
    write_json(Path(file), {"machine": machine(), **found})
    print(f"written: {file}")


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench.json``. ``quick`` shrinks every size: it tests the benchmark, not the machine."""
    sizes: dict[str, Any] = {"num_envs": 8, "num_steps": 8} if quick else {"num_envs": 64, "num_steps": 128}
    env, various, crowd = (
        ("game/prop1", "game/tracking", "game/random")
        if quick
        else ("smax/3m", "smax/smacv2_5_units", "smax/27m_vs_30m")
    )
    seeds = 2 if quick else 8
    gru: dict[str, Any] = {"network": "gru", "gru_size": 8 if quick else 128, "hidden_sizes": (8,) if quick else (128,)}
    minibatches: dict[str, Any] = {
        "update_epochs": 4,
        "num_minibatches": 4,
        "critic_epochs": 4,
        "critic_minibatches": 4,
    }
    rows: list[tuple[str, ...]] = []
    found: dict[str, float] = {}

    def report(name: str, value: float, target: str = "") -> None:
        found[name] = value
        rows.append((name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", target))

    alone = environment_speed(make(env), **sizes)
    report(f"{env} environment only, steps/s", alone)
    for name, speed in ((env, alone), (various, environment_speed(make(various), **sizes))):
        stepping = sizes["num_envs"] * sizes["num_steps"] / speed
        report(f"  a full reset / a step, in time, {name}", reset_cost(make(name), **sizes) / stepping)
    happo, happo_compile = training_speed("happo", env, **sizes)
    report("HAPPO (5 epochs, 1 minibatch), steps/s", happo)
    report("HAPPO / environment only", happo / alone, ">= 0.31")
    learning, machine_speed = learning_speed("happo", env, **sizes), product_speed(rows=8192, width=64)
    report("HAPPO, matrix products while it learns, GF/s", learning / 1e9)
    report("  the same products alone, GF/s", machine_speed / 1e9)
    report("  overhead of the learner beyond its products", 1 - learning / machine_speed)
    haa2c, _ = training_speed("haa2c", env, **sizes, update_epochs=1, critic_epochs=1)
    report("HAA2C (1 epoch) / environment only", haa2c / alone, ">= 0.6")
    hatrpo, _ = training_speed("hatrpo", env, **sizes)
    report("HATRPO / environment only", hatrpo / alone)
    simultaneous, _ = training_speed("mappo_ns", env, **sizes)
    report("wall time, sequential / simultaneous (HAPPO / MAPPO-NS)", simultaneous / happo, "<= 1.1")
    together = spread_speed("happo", env, seeds, sizes)
    report(f"wall time, {seeds} vmapped seeds / {seeds} single runs", happo / together, "<= 0.9")
    report(f"compile {env}, s", happo_compile, "< 30")
    _, crowd_compile = training_speed("happo", crowd, updates=1, **sizes)
    report(f"compile {crowd}, s", crowd_compile, "< 30")
    recurrent, recurrent_compile = training_speed("mappo_s", env, **sizes, **gru, **minibatches)
    report("MAPPO-S, GRU 128, 4 epochs x 4 minibatches, steps/s", recurrent, ">= 3,590")
    report("  its compile, s", recurrent_compile)

    finish(
        f"hamljax bench on {machine()}", ("measured", "value", "floor"), rows, {"quick": quick, **found}, "bench.json"
    )
