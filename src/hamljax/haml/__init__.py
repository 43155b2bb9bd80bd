"""Heterogeneous-Agent Mirror Learning, free of environments and networks.

Coordination and orders, drifts, the objective, neighbourhoods and the solvers that keep to them.
"""

from .coordination import COORDINATIONS, sequential, simultaneous
from .drifts import DRIFTS, Drift, bind_drift, register_drift
from .neighbourhoods import NEIGHBOURHOODS, Divergence, Neighbourhood, bind_limit, register_neighbourhood
from .objective import compound, mirror_objective, weighted_mean
from .orders import ORDERS, Order, bind_order, register_order
from .parameters import Parameters
from .solvers import SOLVERS, Agent, Solver, ascent, bind_solver, natural_gradient, register_solver

__all__ = [
    "COORDINATIONS",
    "DRIFTS",
    "NEIGHBOURHOODS",
    "ORDERS",
    "SOLVERS",
    "Agent",
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
    "mirror_objective",
    "natural_gradient",
    "register_drift",
    "register_neighbourhood",
    "register_order",
    "register_solver",
    "sequential",
    "simultaneous",
    "weighted_mean",
]
