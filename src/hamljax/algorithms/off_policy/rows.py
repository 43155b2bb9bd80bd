"""The rows that learn from a replay: coordination x actor x critics, and who shares parameters."""

import dataclasses

from ...errors import one_of
from ...settings import setting
from ..config import Sharing
from ..table import resolve
from .settings import OffPolicyAlgo

ACTORS = ("deterministic", "stochastic")


@dataclasses.dataclass(frozen=True)
class OffPolicyAlgorithm:
    """A row that learns from a replay.

    coordination: as in ``haml``. actor: ``deterministic`` (continuous actions only) or ``stochastic`` (with a temperature
    of its own; continuous or discrete). critics: how many; the lowest value counts. target_noise: standard deviation of
    the noise on target actions. policy_delay: steps of the critics for one of the policies.
    """

    coordination: str
    actor: str
    critics: int = setting(at_least=1)
    target_noise: float = setting(at_least=0)
    policy_delay: int = setting(at_least=1)
    summary: str = ""
    sharing: Sharing = "own"


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


def check_names(algo: OffPolicyAlgo) -> None:
    """Raise ConfigError where a row names an actor that there is not."""
    one_of("actor", resolve(algo).actor, ACTORS)
