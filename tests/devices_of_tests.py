"""``python devices_of_tests.py ROW NETWORK WAYS...``: one update of one state and rollout on eight simulated devices.

A way is the number of devices for seeds and for each seed, such as 2x4. Prints JSON: for each way the largest difference of
anything learnt from what one device learns, and how many reductions over devices the program has.
"""

import json
import os
import sys

os.environ |= {"JAX_NUM_CPU_DEVICES": "8", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}

from hamljax.lab.configuration.machine import xla_flags  # noqa: E402

os.environ["XLA_FLAGS"] = xla_flags("--xla_backend_optimization_level=0")

import jax  # noqa: E402
import numpy as np  # noqa: E402

import hamljax  # noqa: E402
from hamljax.training import seeds  # noqa: E402

SEEDS = 2


def main(row: str, network: str, *ways: str) -> None:
    replay = {"batch_size": 64, "buffer_size": 1024, "learning_starts": 64, "gradient_steps": 2}
    more = replay if row in ("hasac", "hatd3") else {"num_minibatches": 2}
    more |= {"data_chunk_length": 4} if network == "gru" else {}
    sizes = {"num_envs": 16, "num_steps": 8, "total_timesteps": 2048, "num_evals": 0, "obs_norm": "always"}
    trainer = hamljax.make_learner(
        hamljax.config(row, "game/tracking", network, **sizes, **more, adam_eps=1e-3, hidden_sizes=(16,))
    )
    state = jax.jit(jax.vmap(trainer.init))(jax.random.split(jax.random.key(0), SEEDS))
    for _ in range(2 if replay is more else 1):
        state, rollout = jax.jit(jax.vmap(trainer.learner.collect))(state)

    def update(state, rollout):
        return trainer.learner.learn(state, rollout)[0].learnt

    def spread(over: int, each: int):
        devices = jax.devices()
        jax.devices = lambda *_: devices[: over * each]
        try:
            sharding = seeds.seed_sharding(SEEDS, each)
            assert sharding.mesh.size == over * each
            run = jax.jit(seeds.over_seeds(update, SEEDS, per_seed=each))
            there = seeds.placement(state._replace(carried=state.carried), 16, sharding)
            like = seeds.placement(state._replace(rollout=rollout), 16, sharding).rollout
            given = jax.device_put(state, there), jax.device_put(rollout, like)
            program = run.lower(*given).compile()
            return jax.device_get(jax.tree.leaves(program(*given))), program.as_text().count("all-reduce(")
        finally:
            jax.devices = lambda *_: devices

    (alone, _), found = spread(1, 1), {}
    for way in ways:
        learnt, sums = spread(*map(int, way.split("x")))
        pairs = [(a, b) for a, b in zip(alone, learnt, strict=True) if a.dtype.kind == "f" and a.size]
        found[way] = [max(float(np.abs(a - b).max()) for a, b in pairs), sums]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
