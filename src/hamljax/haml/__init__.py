"""Heterogeneous-Agent Mirror Learning, free of environments and networks.

Coordination and orders, drifts, the objective, neighbourhoods and the solvers that keep to them.
"""

from .coordination import COORDINATIONS, Choose, Update, register_coordination, sequential, simultaneous
from .divergence import Divergence, Measure, Objective, looked_at
from .drifts import DRIFTS, BoundDrift, Drift, bind_drift, register_drift
from .neighbourhoods import NEIGHBOURHOODS, Limit, Neighbourhood, bind_limit, register_neighbourhood, shares
from .objective import MirrorGain, compound, mirror_gain, mirror_objective, weighted_mean
from .orders import ORDERS, Order, bind_order, register_order
from .parameters import Parameters
from .solvers import (
    SOLVERS,
    Agent,
    Solve,
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
    "Choose",
    "Divergence",
    "Drift",
    "Limit",
    "Measure",
    "MirrorGain",
    "Neighbourhood",
    "Objective",
    "Order",
    "Parameters",
    "Solve",
    "Solver",
    "Update",
    "ascent",
    "bind_drift",
    "bind_limit",
    "bind_order",
    "bind_solver",
    "compound",
    "gradient_step",
    "looked_at",
    "minibatches",
    "mirror_gain",
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
