"""The rows that learn from a replay: coordination x actor x critics, and who shares parameters."""

import dataclasses

from ...errors import ConfigError, lookup, one_of
from ...haml import DRIFTS, NEIGHBOURHOODS, SOLVERS, Neighbourhood, bind_limit, looked_at
from ...settings import setting
from ..config import Sharing
from ..table import check_parameters, hyper_parameters, resolve
from .settings import OffPolicyAlgo

ACTORS = ("deterministic", "stochastic")
DIVERGENCES = {"kl", "reverse_kl", "agent", "progress", "num_updates", "num_agents"}  # what a drift may ask for here


@dataclasses.dataclass(frozen=True)
class OffPolicyAlgorithm:
    """A row that learns from a replay.

    Args:
        coordination: as in ``haml``.
        actor: ``deterministic`` (continuous actions only) or ``stochastic`` (with a temperature of its own; continuous or
            discrete).
        critics: how many; the lowest value counts.
        target_noise: standard deviation of the noise on target actions, which are in [-1, 1].
        policy_delay: steps of the critics for one of the policies.
        summary: for people.
        sharing: of parameters: ``own``, ``kinds``, ``all``, or the groups of agents that share.
        drift, neighbourhood: as in ``haml``, of stochastic actors alone.
    """

    coordination: str
    actor: str
    critics: int = setting(at_least=1)
    target_noise: float = setting(at_least=0)
    policy_delay: int = setting(at_least=1)
    summary: str = ""
    sharing: Sharing = "own"
    drift: str = "none"
    neighbourhood: str = "everywhere"


_row = OffPolicyAlgorithm
ROWS = {
    #              coordination    actor      critics, target noise, policy delay
    "haddpg": _row("sequential", "deterministic", 1, 0.0, 1, "Heterogeneous-Agent DDPG"),
    "hatd3": _row("sequential", "deterministic", 2, 0.2, 2, "Heterogeneous-Agent TD3"),
    "hasac": _row("sequential", "stochastic", 2, 0.0, 1, "Heterogeneous-Agent SAC"),
    "maddpg": _row("simultaneous", "deterministic", 1, 0.0, 1, "Multi-Agent DDPG, own parameters"),
    "matd3": _row("simultaneous", "deterministic", 2, 0.2, 2, "Multi-Agent TD3, own parameters"),
    "masac": _row("simultaneous", "stochastic", 2, 0.0, 1, "Multi-Agent SAC, own parameters"),
    "maddpg_s": _row("simultaneous", "deterministic", 1, 0.0, 1, "Multi-Agent DDPG, shared parameters", "all"),
    "matd3_s": _row("simultaneous", "deterministic", 2, 0.2, 2, "Multi-Agent TD3, shared parameters", "all"),
    "masac_s": _row("simultaneous", "stochastic", 2, 0.0, 1, "Multi-Agent SAC, shared parameters", "all"),
}


def _asks_for_ratios(neighbourhood: Neighbourhood, algo: OffPolicyAlgo) -> bool:
    """Whether a limit is about the ratio of actions, found by tracing it (a device is not to be touched yet)."""
    limit = bind_limit(neighbourhood, hyper_parameters(algo, "neighbourhood_params"))
    given = {"agent": 0, "progress": 0.0}
    return limit is not None and "log_ratio" in looked_at(lambda divergence: limit(divergence, given))


def check_names(algo: OffPolicyAlgo) -> None:
    """Hold a row to what is registered.

    Raises:
        ConfigError: it names what there is not, or a drift or neighbourhood that its policies cannot have.
    """
    row = resolve(algo)
    one_of("actor", row.actor, ACTORS)
    drift = lookup("drift", row.drift, DRIFTS)
    neighbourhood = lookup("neighbourhood", row.neighbourhood, NEIGHBOURHOODS)
    solver = lookup("solver", neighbourhood.solver, SOLVERS)
    if row.actor == "deterministic" and (row.drift, row.neighbourhood) != ("none", "everywhere"):
        raise ConfigError(
            f"{algo.name} is deterministic: its policies have no density for drift '{row.drift}' and neighbourhood "
            f"'{row.neighbourhood}'; use algo.drift=none algo.neighbourhood=everywhere, or algo=hasac"
        )
    asks = set(drift.asks)
    if row.drift != "none" and not (asks & {"kl", "reverse_kl"} and asks <= DIVERGENCES):
        raise ConfigError(
            f"drift '{row.drift}' is about the ratio of actions of a rollout, and {algo.name} learns from a replay; a drift of "
            f"divergences alone is kl, reverse_kl or mirror_descent"
        )
    if (
        not solver.uses_optimiser
        or neighbourhood.divide
        or "log_m" in neighbourhood.asks
        or _asks_for_ratios(neighbourhood, algo)
    ):
        raise ConfigError(
            f"neighbourhood '{row.neighbourhood}' is for rollouts, and {algo.name} learns from a replay; kl_stop and "
            f"max_kl_over_states are limits on divergences that an optimiser keeps to"
        )
    check_parameters(f"drift '{row.drift}'", drift.parameters, algo, "drift_params")
    own = neighbourhood.all_parameters | solver.parameters
    check_parameters(f"neighbourhood '{row.neighbourhood}'", own, algo, "neighbourhood_params")
