"""What the paper claims, checked on finite games: each check is ``(Request, progress) -> Report``."""

from .controls import controls
from .identities import identities
from .monotone import monotone
from .nash import nash
from .orders import orders
from .propositions import prop1, prop2
from .report import Claim, Curve, Report, Request

CHECKS = {
    "identities": identities,
    "monotone": monotone,
    "nash": nash,
    "orders": orders,
    "prop1": prop1,
    "prop2": prop2,
    "controls": controls,
}

__all__ = ["CHECKS", "Claim", "Curve", "Report", "Request", *CHECKS]
