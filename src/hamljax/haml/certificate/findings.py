"""What refutes a drift, with numbers that anybody can check."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Finding:
    """A violation of Definition 1.

    kind, and what ``data`` holds then:

    * ``game``: a game whose ``drift`` is below 0.
    * ``value``: a game in which nobody has moved (``new`` is ``old``) and the drift is not 0, or is no number.
    * ``slope``: ``games``, each a step ``t`` away from the old policy, and ``rates``, drift / t, which do not go to 0.
    * ``jump``: two ``games`` whose policies are as good as equal and whose drifts are not.
    * ``undefined``: a game whose drift is no number.
    * ``sample``: two ``costs`` of one ``sample``, which therefore depend on more than the sample.
    * ``boundary``: as ``slope``, for old policies that give next to nothing to the action that gets the new mass ``t``.

    A game has ``old`` and ``new`` policies, ``advantage`` and ``cost`` (a row for each deed of the agents before, a column for
    each action), ``m`` and ``weight`` of the rows, and ``drift`` = sum of weight * old * cost.
    """

    kind: str
    reason: str
    data: dict[str, Any]

    def as_data(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        return {"kind": self.kind, "reason": self.reason, **self.data}
