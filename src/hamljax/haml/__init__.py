"""Heterogeneous-Agent Mirror Learning, free of environments and networks: coordination, drifts, objective, neighbourhoods."""

from .coordination import COORDINATIONS, Coordination, sequential, simultaneous
from .drifts import DRIFTS, Drift, bind_drift, register_drift
from .neighbourhoods import (
    NEIGHBOURHOODS,
    Agent,
    Neighbourhood,
    bind_neighbourhood,
    everywhere,
    kl_ball,
    register_neighbourhood,
)
from .objective import compound, mirror_objective
from .parameters import Parameters

__all__ = [
    "COORDINATIONS",
    "DRIFTS",
    "NEIGHBOURHOODS",
    "Agent",
    "Coordination",
    "Drift",
    "Neighbourhood",
    "Parameters",
    "bind_drift",
    "bind_neighbourhood",
    "compound",
    "everywhere",
    "kl_ball",
    "mirror_objective",
    "register_drift",
    "register_neighbourhood",
    "sequential",
    "simultaneous",
]
