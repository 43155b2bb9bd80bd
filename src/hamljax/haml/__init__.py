"""Heterogeneous-Agent Mirror Learning, free of environments and networks.

Coordination and orders, drifts, the objective, neighbourhoods and the solvers that keep to them.
"""

from .coordination import COORDINATIONS, register_coordination, sequential, simultaneous
from .drifts import DRIFTS, BoundDrift, Drift, bind_drift, register_drift
from .neighbourhoods import NEIGHBOURHOODS, Divergence, Neighbourhood, bind_limit, register_neighbourhood, shares
from .objective import compound, mirror_objective, weighted_mean
from .orders import ORDERS, Order, bind_order, register_order
from .parameters import Parameters
from .solvers import (
    SOLVERS,
    Agent,
    Solver,
    ascent,
    bind_solver,
    gradient_step,
    minibatches,
    natural_gradient,
    register_solver,
)

__all__ = [
    "COORDINATIONS",
    "DRIFTS",
    "NEIGHBOURHOODS",
    "ORDERS",
    "SOLVERS",
    "Agent",
    "BoundDrift",
    "Divergence",
    "Drift",
    "Neighbourhood",
    "Order",
    "Parameters",
    "Solver",
    "ascent",
    "bind_drift",
    "bind_limit",
    "bind_order",
    "bind_solver",
    "compound",
    "gradient_step",
    "minibatches",
    "mirror_objective",
    "natural_gradient",
    "register_coordination",
    "register_drift",
    "register_neighbourhood",
    "register_order",
    "register_solver",
    "sequential",
    "shares",
    "simultaneous",
    "weighted_mean",
]
