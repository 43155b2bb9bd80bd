"""How fast this machine trains: ratios measured in one run, as a table and as bench.json."""

import functools
import json
import os
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from ..envs import VecEnv, make
from ..learning.train import make_learner
from .configuration import config
from .listing import print_table


def best_time(function, *arguments, repeats: int = 3) -> float:
    """Seconds of the fastest of ``repeats`` calls, after one that does not count."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


def environment_speed(name: str, num_envs: int, num_steps: int, reset_each_step: bool = False) -> float:
    """Steps/s of random legal play. ``reset_each_step`` adds what a wrapper without a pool of episodes pays."""
    env = make(name)
    vec = VecEnv(env, num_envs)

    def step(carry, key):
        state, observation = carry
        action_key, reset_key = jax.random.split(key)
        action = jax.random.categorical(action_key, jnp.where(observation.avail_actions, 0.0, -1e9))
        state, out = vec.step(state, action)
        extra = 0.0
        if reset_each_step:
            fresh = jax.vmap(env.reset)(jax.random.split(reset_key, num_envs))
            extra = sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(fresh))
        return (state, out.observation), jnp.sum(out.reward) + extra

    def rollout(carry, key):
        return jax.lax.scan(step, carry, jax.random.split(key, num_steps))

    carry = jax.jit(vec.reset)(jax.random.key(0))
    return num_envs * num_steps / best_time(jax.jit(rollout), carry, jax.random.key(1))


def training_speed(algo: str, env: str, num_seeds: int = 1, updates: int = 2, network: str = "mlp", **settings):
    """(Environment steps/s of all seeds together, seconds to compile)."""
    made = config(algo, env, network, total_timesteps=10_000_000, **settings)
    learner = make_learner(made)
    state = jax.jit(jax.vmap(learner.init))(jax.random.split(jax.random.key(0), num_seeds))
    block = jax.jit(jax.vmap(functools.partial(learner.run_updates, count=updates, capacity=updates)))
    began = time.perf_counter()
    block = block.lower(state).compile()
    compile_seconds = time.perf_counter() - began
    steps = num_seeds * updates * made.num_envs * made.num_steps
    return steps / best_time(block, state), compile_seconds


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench.json``. ``quick`` shrinks every size: it tests the benchmark, not the machine."""
    sizes = {"num_envs": 8, "num_steps": 8} if quick else {"num_envs": 64, "num_steps": 128}
    env, crowd = ("game/prop1", "game/random") if quick else ("smax/3m", "smax/27m_vs_30m")
    seeds = 2 if quick else 8
    gru = {"network": "gru", "gru_size": 8 if quick else 128, "hidden_sizes": (8,) if quick else (128,)}
    minibatches = {"update_epochs": 4, "num_minibatches": 4, "critic_epochs": 4, "critic_minibatches": 4}
    rows, found = [], {}

    def report(name, value, target=""):
        found[name] = value
        rows.append((name, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", target))

    alone = environment_speed(env, **sizes)
    report(f"{env} environment only, steps/s", alone)
    resetting = environment_speed(env, **sizes, reset_each_step=True)
    report("time per step with a reset at every step / with the pool of fresh episodes", alone / resetting)
    happo, happo_compile = training_speed("happo", env, **sizes)
    report("HAPPO (5 epochs, 1 minibatch), steps/s", happo)
    report("HAPPO / environment only", happo / alone, ">= 0.31")
    haa2c, _ = training_speed("haa2c", env, **sizes, update_epochs=1, critic_epochs=1)
    report("HAA2C (1 epoch) / environment only", haa2c / alone, ">= 0.6")
    hatrpo, _ = training_speed("hatrpo", env, **sizes)
    report("HATRPO / environment only", hatrpo / alone)
    simultaneous, _ = training_speed("mappo_ns", env, **sizes)
    report("wall time, sequential / simultaneous (HAPPO / MAPPO-NS)", simultaneous / happo, "<= 1.1")
    together, _ = training_speed("happo", env, num_seeds=seeds, **sizes)
    report(f"wall time, {seeds} vmapped seeds / {seeds} single runs", happo / together, "<= 0.9")
    report(f"compile {env}, s", happo_compile, "< 30")
    _, crowd_compile = training_speed("happo", crowd, updates=1, **sizes)
    report(f"compile {crowd}, s", crowd_compile, "< 30")
    recurrent, recurrent_compile = training_speed("mappo_s", env, **sizes, **gru, **minibatches)
    report("MAPPO-S, GRU 128, 4 epochs x 4 minibatches, steps/s", recurrent, ">= 3,590")
    report("  its compile, s", recurrent_compile)

    machine = f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}"
    print_table(("measured", "value", "floor"), rows, f"hamljax bench on {machine}")
    Path("bench.json").write_text(json.dumps({"machine": machine, "quick": quick, **found}, indent=2))
    print("written: bench.json")
