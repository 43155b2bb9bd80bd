"""Whether drifts that are free on the boundary of the simplex matter to networks: matrix games, two kinds of starts.

Run it as ``python experiments/boundary.py``; what is in runs/boundary already is not trained again.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import hamljax
from hamljax.tabular import evaluate, from_environment, in_float64, joint_policy, nash_gap
from hamljax.training.train import make_learner

OUT = Path("runs/boundary")
SEEDS, UPDATES, GAMMA = 10, 200, 0.99
GAMES = ("game/climbing", "game/penalty", "game/prop2")
LEAN = {"uniform": 0.0, "lopsided": 5.0}  # added to the logit of one action of each agent, drawn by the seed
BONUS = (0.0, 0.01)
ROWS = {
    "clip": {},
    "saturating": {"drift": "saturating"},
    "euclid": {"drift": "euclid"},
    "kl": {"drift": "kl"},
    "clip, keep_support": {"neighbourhood": "keep_support"},
    "clip, keep_if_worse": {"keep_if_worse": True},
    "hatrpo": {"algo": "hatrpo"},
}
SIZES = {
    "num_envs": 16,
    "num_steps": 8,
    "total_timesteps": 128 * UPDATES,
    "actor_lr": 3e-3,
    "hidden_sizes": (16,),
    "gamma": GAMMA,
}


def lean(params, key, by: float):
    """Parameters of policies (P, ...), one action of each of which has a logit that is larger by so much."""
    bias = params["params"]["head"]["bias"]
    chosen = jax.random.randint(key, bias.shape[:1], 0, bias.shape[1])
    bias = bias + by * jax.nn.one_hot(chosen, bias.shape[1])
    return {"params": {**params["params"], "head": {**params["params"]["head"], "bias": bias}}}


def trained(game: str, row: str):
    """``(bonus, by, key) -> probabilities (N, A)`` after training, and the share of undone steps."""
    settings = {"algo": "happo", **ROWS[row]}
    algo = settings.pop("algo")

    def run(bonus, by, key):
        trainer = make_learner(hamljax.config(algo, game, **SIZES, **settings, ent_coef=bonus))
        learner = trainer.learner
        state = learner.init(key)
        agents = state.learnt.agents
        agents = agents._replace(params=lean(agents.params, jax.random.fold_in(key, 1), by))
        state = state._replace(learnt=state.learnt._replace(agents=agents))
        state, info = jax.lax.scan(lambda state, _: learner.update(state), state, None, length=UPDATES)
        probabilities = jnp.exp(trainer.read_policies(trainer.actor_state(state)))[:, 0]
        undone = info.get("train/kept", 1 - info.get("train/inside", jnp.ones(UPDATES)))
        return probabilities, jnp.mean(undone)

    return jax.jit(jax.vmap(run, (None, None, 0)))


def judged(game: str, probabilities: np.ndarray) -> dict[str, float]:
    """Exactly, of a team (N, A): the chance of a best joint action, the return, and the Nash gap."""
    table = from_environment(hamljax.make_env(hamljax.configure(game)), GAMMA)
    policies = np.asarray(probabilities, float)[:, None]
    policies = policies / policies.sum(-1, keepdims=True)
    joint = np.asarray(in_float64(joint_policy)(table, policies))[0]
    return {
        "optimal": float(joint[table.reward[0] == table.reward.max()].sum()),
        "return": float(in_float64(evaluate)(table, policies).expected_return),
        "gap": float(in_float64(nash_gap)(table, policies)),
    }


def cells() -> dict[tuple[str, str, float, str], dict]:
    """Every cell of the tables, trained where it is not there yet."""
    found: dict[tuple[str, str, float, str], dict] = {}
    keys = jax.random.split(jax.random.key(0), SEEDS)
    for game in GAMES:
        for row in ROWS:
            run = None
            for start, by in LEAN.items():
                for bonus in BONUS[: 1 if row == "hatrpo" else None]:
                    file = OUT / f"{game.split('/')[1]}_{row.replace(', ', '_')}_{start}_{bonus}.json"
                    if not file.exists():
                        run = run or trained(game, row)
                        probabilities, undone = (np.asarray(x) for x in run(bonus, by, keys))
                        teams = [judged(game, x) for x in probabilities]
                        cell = {name: [team[name] for team in teams] for name in teams[0]} | {"undone": undone.tolist()}
                        file.write_text(json.dumps(cell))
                        print(file.name, np.mean(cell["optimal"]).round(3), flush=True)
                    found[game, start, bonus, row] = json.loads(file.read_text())
    return found


def interval(x) -> str:
    """Mean and 95 % t-interval over seeds, within what can be."""
    estimate = hamljax.statistics.student_t(np.asarray(x, float)[:, None])
    low, high = (float(np.clip(end[0], 0, 1)) for end in (estimate.low, estimate.high))
    return f"{np.mean(x):.2f} [{low:.2f}, {high:.2f}]"


def tables(found: dict) -> str:
    """Markdown: the chance of a best joint action, and the share of seeds at a Nash equilibrium."""
    scores = {
        "Probability of a best joint action": lambda cell: cell["optimal"],
        "Share of seeds whose Nash gap is below 0.1": lambda cell: [gap < 0.1 for gap in cell["gap"]],
    }
    text = ""
    for title, score in scores.items():
        text += f"{title}:\n\n| game | start | ent_coef | {' | '.join(ROWS)} |\n|{'---|' * (3 + len(ROWS))}\n"
        for game in GAMES:
            for start in LEAN:
                for bonus in BONUS:
                    of = [found.get((game, start, bonus, row)) for row in ROWS]
                    line = " | ".join("" if cell is None else interval(score(cell)) for cell in of)
                    text += f"| {game.split('/')[1]} | {start} | {bonus} | {line} |\n"
        text += "\n"
    return text


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    text = tables(cells())
    (OUT / "tables.md").write_text(text)
    sys.stdout.write(text)
