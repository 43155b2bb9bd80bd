"""How often an update lowers the value, by its size: exactly on games, and beyond the noise of 2,000 episodes on a battle.

python experiments/steps.py [games] [battle]

Whatever is in runs/steps already is not trained again.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import hamljax
from hamljax.tabular import from_environment
from hamljax.training.exact import exact_metrics
from hamljax.training.train import make_learner, make_train

OUT = Path("runs/steps")
ROWS = ("happo", "mappo_ns", "mappo_s", "haa2c", "maa2c_ns")
GAMES = {"climbing": {}, "penalty": {"penalty": -10.0}, "prop2": {}, "crowding": {"num_agents": 4, "congestion": 1.5}}
GAMMA, GAME_SEEDS, GAME_UPDATES = 0.99, 10, 100
GAME_RATES, GAME_CLIPS = (1e-3, 3e-3, 1e-2, 3e-2), (0.1, 0.5)
HUNDREDTH = 0.01  # of what there is between the best and the worst joint action: a fall that counts
GAME_SIZES = {
    "num_envs": 32,
    "num_steps": 8,
    "hidden_sizes": (32,),
    "num_evals": 0,
    "total_timesteps": 256 * GAME_UPDATES,
}

MAP, BATTLE_SEEDS, STRETCHES, STRETCH, EPISODES = "smax/3m", 5, 3, 20, 2000
BATTLE_ROWS = ("happo", "mappo_ns", "mappo_s")
BATTLE_RATES, BATTLE_CLIPS = (3e-4, 1e-3, 3e-3), (0.1, 0.5)
BATTLE_SIZES = {  # experiment=smax, which anneals no learning rate here
    "num_envs": 64,
    "num_steps": 128,
    "total_timesteps": 64 * 128 * STRETCH * STRETCHES,
    "num_eval_episodes": EPISODES,
    "layer_norm": True,
    "input_norm": True,
    "critic_lr": 1e-3,
    "num_minibatches": 4,
    "critic_minibatches": 4,
    "max_grad_norm": 0.5,
    "ent_coef": 0.01,
    "clip_eps": 0.2,
}


def grid(rates, clips) -> np.ndarray:
    """(cells, 2) learning rate and clip of every cell."""
    return np.array([(rate, clip) for rate in rates for clip in clips])


def over_grid(function, cells: np.ndarray, seeds: int):
    """``function(rate, clip, key)`` of every cell and seed, (cells, seeds, ...)."""
    keys = jax.random.split(jax.random.key(0), seeds)
    by_seed = jax.vmap(function, (None, None, 0))
    return jax.jit(jax.vmap(by_seed, (0, 0, None)))(*cells.T.astype(np.float32), keys)


def on_game(name: str, row: str) -> dict:
    """The exact J before and after each update, (cells, seeds, updates + 1), and what a fall is measured by."""
    place = hamljax.configure(f"game/{name}", **GAMES[name])
    base = hamljax.config(row, place, gamma=GAMMA, **GAME_SIZES)

    def train(rate, clip, key):
        settings = {"actor_lr": rate, "critic_lr": rate} | ({"clip_eps": clip} if "a2c" not in row else {})
        return make_train(base.replace(**settings))(key)["metrics"]["exact/log_policies"]

    cells = grid(GAME_RATES, GAME_CLIPS[: 1 if "a2c" in row else None])
    found = exact_metrics(base, over_grid(train, cells, GAME_SEEDS))["exact/return"]
    game = from_environment(hamljax.make_env(place), GAMMA)
    scale = float((game.reward.max() - game.reward.min()) / (1 - game.discount))
    return {"cells": cells.tolist(), "returns": (found / scale).tolist()}


def on_battle(row: str) -> dict:
    """Returns of sampled episodes after every stretch of updates: means and standard errors, (cells, seeds, stretches + 1)."""
    base = hamljax.config(row, MAP, **BATTLE_SIZES, anneal_lr=False)

    def train(rate, clip, key):
        trainer = make_learner(base.replace(actor_lr=rate, clip_eps=clip))

        def judged(state):
            returns = trainer.evaluate_episodes(trainer.actor_state(state), 0, False)["return"]
            return jnp.mean(returns), jnp.std(returns) / np.sqrt(EPISODES)

        def stretch(state, _):
            state = jax.lax.fori_loop(0, STRETCH, lambda _, state: trainer.update(state)[0], state)
            return state, judged(state)

        state = trainer.init(key)
        first = judged(state)
        _, rest = jax.lax.scan(stretch, state, None, length=STRETCHES)
        return jax.tree.map(lambda x, xs: jnp.append(x, xs), first, rest)

    cells = grid(BATTLE_RATES, BATTLE_CLIPS)
    mean, error = over_grid(train, cells, BATTLE_SEEDS)
    return {"cells": cells.tolist(), "returns": np.asarray(mean).tolist(), "errors": np.asarray(error).tolist()}


def kept(name: str, make) -> dict:
    """What ``make()`` found, now or earlier."""
    file = OUT / f"{name}.json"
    if not file.exists():
        found = make()
        file.write_text(json.dumps(found))
        print(name, flush=True)
    return json.loads(file.read_text())


def interval(x: np.ndarray) -> str:
    """Mean and 95 % t-interval of seeds (seeds,)."""
    found = hamljax.statistics.student_t(np.asarray(x, float)[:, None])
    return f"{np.mean(x):.3f} [{found.low[0]:.3f}, {found.high[0]:.3f}]"


def table(of: dict[str, dict], lowered) -> str:
    """Markdown: by row and cell, the last return and the share of the updates that ``lowered`` calls falls."""
    rows = []
    for row, found in of.items():
        returns = np.array(found["returns"])
        for cell, (rate, clip) in enumerate(found["cells"]):
            share = lowered({name: np.array(found[name])[cell] for name in found if name != "cells"})
            clipped = "" if "a2c" in row else f"{clip:g}"
            rows.append(
                f"| {row} | {rate:g} | {clipped} | {interval(returns[cell, :, -1])} | {100 * share.mean():.1f} % | {share.size} |"
            )
    return "\n".join(["| row | actor_lr | clip_eps | last return | lowered J | of |", f"|{'---|' * 6}", *rows]) + "\n"


def more_than_a_hundredth(found: dict) -> np.ndarray:
    return np.diff(found["returns"], axis=-1) < -HUNDREDTH


def beyond_noise(found: dict) -> np.ndarray:
    """One-sided, at 99 %, of the difference of two means."""
    error = np.hypot(found["errors"][:, 1:], found["errors"][:, :-1])
    return np.diff(found["returns"], axis=-1) < -stats.norm.ppf(0.99) * error


def tables(parts) -> str:
    """All of them, trained where they are not there yet."""
    OUT.mkdir(parents=True, exist_ok=True)
    text = ""
    for game in GAMES if "games" in parts else ():
        of = {row: kept(f"{game}_{row}", functools.partial(on_game, game, row)) for row in ROWS}
        text += f"\n### {game}\n\n{table(of, more_than_a_hundredth)}"
    if "battle" in parts:
        of = {row: kept(f"3m_{row}", functools.partial(on_battle, row)) for row in BATTLE_ROWS}
        text += f"\n### {MAP}, between teams {STRETCH} updates apart\n\n{table(of, beyond_noise)}"
    return text


if __name__ == "__main__":
    text = tables(sys.argv[1:] or ("games", "battle"))
    (OUT / "tables.md").write_text(text)
    sys.stdout.write(text)
