"""The rows that learn from rollouts: coordination x drift x neighbourhood, and who shares parameters."""

import dataclasses

from ...errors import ConfigError, lookup
from ...haml import DRIFTS, NEIGHBOURHOODS, SOLVERS, bind_drift
from ..config import Sharing
from ..table import check_parameters, hyper_parameters, resolve
from .settings import Algo


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A row that learns from rollouts.

    Args:
        coordination, drift, neighbourhood: names of entries in ``haml``'s tables.
        summary: for people.
        sharing: of parameters: ``own``, ``kinds``, ``all``, or the groups of agents that share.
        entropy: ``bonus``, in the objective, or ``reward``, of the maximum-entropy objective.
    """

    coordination: str
    drift: str
    neighbourhood: str
    summary: str = ""
    sharing: Sharing = "own"
    entropy: str = "bonus"


ROWS = {
    #                     coordination    drift   neighbourhood
    "happo": Algorithm("sequential", "clip", "everywhere", "Heterogeneous-Agent PPO"),
    "haa2c": Algorithm("sequential", "none", "everywhere", "Heterogeneous-Agent A2C"),
    "hatrpo": Algorithm("sequential", "none", "kl_ball", "Heterogeneous-Agent TRPO"),
    "hamdpo": Algorithm(
        "sequential", "mirror_descent", "everywhere", "Heterogeneous-Agent Mirror Descent Policy Optimisation"
    ),
    "hatrpo_w": Algorithm(
        "sequential", "none", "kl_budget", "Heterogeneous-Agent TRPO with one KL budget for the team"
    ),
    "mehaml": Algorithm(
        "sequential", "clip", "everywhere", "Maximum-entropy Heterogeneous-Agent PPO", entropy="reward"
    ),
    "mappo_ns": Algorithm("simultaneous", "clip", "everywhere", "Multi-Agent PPO, own parameters"),
    "maa2c_ns": Algorithm("simultaneous", "none", "everywhere", "Multi-Agent A2C, own parameters"),
    "matrpo_ns": Algorithm("simultaneous", "none", "kl_ball", "Multi-Agent TRPO, own parameters"),
    "mappo_s": Algorithm("simultaneous", "clip", "everywhere", "Multi-Agent PPO, shared parameters", "all"),
    "maa2c_s": Algorithm("simultaneous", "none", "everywhere", "Multi-Agent A2C, shared parameters", "all"),
    "matrpo_s": Algorithm("simultaneous", "none", "kl_ball", "Multi-Agent TRPO, shared parameters", "all"),
}


def check_names(algo: Algo) -> None:
    """Hold a row to what is registered.

    Raises:
        ConfigError: it names a drift, neighbourhood or solver that there is not, or one without its numbers.
    """
    row = resolve(algo)
    drift = lookup("drift", row.drift, DRIFTS)
    neighbourhood = lookup("neighbourhood", row.neighbourhood, NEIGHBOURHOODS)
    solver = lookup("solver", neighbourhood.solver, SOLVERS)
    check_parameters(f"drift '{row.drift}'", drift.parameters, algo, "drift_params")
    asks = set(bind_drift(drift, hyper_parameters(algo, "drift_params")).asks) & {"obs", "agent", "world_state"}
    if algo.group_ratio == "joint" and asks:
        raise ConfigError(
            f"drift '{row.drift}' asks for {', '.join(sorted(asks))} of each agent, and with algo.group_ratio=joint a sample "
            f"is a group's; use algo.group_ratio=folded"
        )
    own = neighbourhood.all_parameters | solver.parameters
    check_parameters(f"neighbourhood '{row.neighbourhood}'", own, algo, "neighbourhood_params")
