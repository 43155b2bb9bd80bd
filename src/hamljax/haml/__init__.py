"""Heterogeneous-Agent Mirror Learning, free of environments and networks: coordination, drifts, objective, neighbourhoods."""

from .coordination import COORDINATIONS, Coordination, sequential, simultaneous
from .drifts import DRIFTS, Drift, bind_drift, register_drift
from .neighbourhoods import NEIGHBOURHOODS, Agent, everywhere, kl_ball
from .objective import compound, mirror_objective

__all__ = [
    "COORDINATIONS",
    "DRIFTS",
    "NEIGHBOURHOODS",
    "Agent",
    "Coordination",
    "Drift",
    "bind_drift",
    "compound",
    "everywhere",
    "kl_ball",
    "mirror_objective",
    "register_drift",
    "sequential",
    "simultaneous",
]
