"""What the length of the sequences costs that a recurrent policy is trained on."""

import time
from collections.abc import Callable
from typing import Any

import jax

from ...training.train import make_learner
from ..configuration.in_python import config
from .training import finish, machine

PIECES = (0, 32, 16, 8)  # ``network.data_chunk_length``; 0: whole rollouts
ROUNDS = 3  # in turn, so that all meet the same noise


def learning(length: int, **settings: Any) -> tuple[Callable[[], Any], int, float]:
    """An update of MAPPO with shared parameters from one rollout, without collecting it.

    Args:
        length: of the sequences. settings: of any group, by name.

    Returns:
        What makes it; how many steps it makes one after another, forward and backward, of actors and critic; seconds to compile.
    """
    made = config("mappo_s", "smax/3m", network="gru", data_chunk_length=length, **settings)
    learner = make_learner(made).learner
    state, rollout = jax.jit(learner.collect)(jax.jit(learner.init)(jax.random.key(0)))
    began = time.perf_counter()
    learn = jax.jit(learner.learn).lower(state, rollout).compile()
    compiled = time.perf_counter() - began
    algo: Any = made.algo  # of the on-policy family
    batches = algo.update_epochs * algo.num_minibatches + algo.critic_epochs * algo.critic_minibatches
    return lambda: jax.block_until_ready(learn(state, rollout)), 2 * batches * made.chunk_length, compiled


def run(quick: bool = False) -> None:
    """Measure, print and write ``bench_recurrent.json``. ``quick``: small sizes; it tests the benchmark only."""
    sizes: dict[str, Any] = {"num_envs": 64, "num_steps": 128, "gru_size": 128, "hidden_sizes": (128,)}
    sizes |= {"num_minibatches": 4, "critic_minibatches": 4, "update_epochs": 4, "critic_epochs": 4}
    if quick:
        sizes |= {"num_envs": 4, "num_steps": 16, "gru_size": 8, "hidden_sizes": (8,), "total_timesteps": 64}
    pieces = (0, 8) if quick else PIECES
    made = {length: learning(length, **sizes) for length in pieces}
    seconds = dict.fromkeys(pieces, float("inf"))
    for update, *_ in made.values():
        update()
    for _ in range(ROUNDS):
        for length, (update, *_) in made.items():
            began = time.perf_counter()
            update()
            seconds[length] = min(seconds[length], time.perf_counter() - began)
    rows, found = [], {}
    for length, (_, steps, compiled) in made.items():
        name = f"pieces of {length}" if length else f"whole rollouts of {sizes['num_steps']}"
        ratio = seconds[0] / seconds[length]
        rows.append((name, f"{steps:,}", f"{1e3 * seconds[length]:,.0f}", f"{ratio:.2f}", f"{compiled:.1f}"))
        found[name] = {"steps": steps, "seconds": seconds[length], "ratio": ratio, "compile": compiled}
    columns = (
        "mappo_s on smax/3m, a GRU",
        "steps in a row",
        "ms to learn from a rollout",
        "times as fast",
        "compile, s",
    )
    finish(f"recurrent on {machine()}", columns, rows, {"quick": quick, **found}, "bench_recurrent.json")
