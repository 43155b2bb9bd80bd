"""What networks make of Proposition 1, beside its exact numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...algorithms.config import Config
from ...bridge import configure
from ...tabular.checks import Report
from ...tabular.checks.report import Curve
from ...training.exact import exact_metrics
from ...training.train import make_train
from ..configuration.in_python import config

NETWORKS = {"own networks": "own", "one network that sees who it plays for": "all"}
ENVS, UPDATES, FOUND = 256, 80, 0.9
EVEN = (2, 4, 6, 8, 10)  # agents; of an odd number the halves of the paper are none


def happo(num_agents: int, sharing: str) -> Config[Any]:
    """HAPPO on the proposition's game, of one step: a batch is what ``ENVS`` teams earn."""
    return config(
        "happo",
        configure("game/prop1", num_agents=num_agents),
        sharing=sharing,
        num_envs=ENVS,
        num_steps=1,
        total_timesteps=ENVS * UPDATES,
        actor_lr=5e-3,
        ent_coef=0.0,
        hidden_sizes=(32,),
        num_evals=0,
    )


def returns(num_agents: int, sharing: str, seeds: int) -> np.ndarray:
    """(seeds, 1 + UPDATES) the exact J of every policy that training passes through."""
    run = happo(num_agents, sharing)
    train = jax.jit(make_train(run))  # of one seed: that compiles in half the time, and trains in a moment
    found = [train(key)["metrics"]["exact/log_policies"] for key in jax.random.split(jax.random.key(0), seeds)]
    return exact_metrics(run, jnp.stack(found))["exact/return"]


def beside_prop1(report: Report, seeds: int, progress: Callable[[str], Any], agents: tuple[int, ...] = EVEN) -> Report:
    """The report with what HAPPO reaches, for even numbers of agents: it says something of a sample, and claims nothing.

    Args:
        report: of ``prop1``. seeds: of each run. progress: is told what trains. agents: how many, of each pair of runs.
    """
    ends: dict[str, dict[int, np.ndarray]] = {name: {} for name in NETWORKS}
    for n in agents:
        for name, sharing in NETWORKS.items():
            progress(f"{n} agents, {name}")
            ends[name][n] = returns(n, sharing, seeds)[:, -1]

    def said(of_name: dict[int, np.ndarray], n: int) -> str:
        return f"{of_name[n].mean():.3f} ({np.sum(of_name[n] > FOUND)}/{seeds})" if n in of_name else "-"

    rows = [(*row, *(said(ends[name], row[0]) for name in NETWORKS)) for row in report.rows]
    curves = [Curve(name, agents, [found[n].mean() for n in agents]) for name, found in ends.items()]
    note = (
        f"networks: the mean exact J at the end of {UPDATES} updates of HAPPO from {ENVS} samples each, and how many of {seeds} "
        f"seeds are above {FOUND}; a network that sees who it plays for is not the one policy that the proposition is about"
    )
    return report._replace(
        columns=(*report.columns, *NETWORKS), rows=rows, curves=[*report.curves, *curves], notes=[*report.notes, note]
    )
