"""Spaces of Gymnasium (or Gym before it) as vectors, told by their names: no such package is needed here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from . import Refused

PARTS = ("Box", "Discrete", "MultiBinary", "MultiDiscrete", "Tuple", "Dict")  # the spaces that are vectors


def kind_of(space: Any) -> str:
    """The name of a space's kind, also where its class is derived from it."""
    names = [kind.__name__ for kind in type(space).__mro__]
    return next((name for name in names if name in PARTS), names[0])


class Reader:
    """What is seen in ``space`` as one vector, as Gymnasium flattens it: numbers of a Discrete one-hot, parts one after another.

    ``size`` is that of the vector, ``dtype`` uint8 where all of it is bytes, else float32.

    Args:
        space: of Gymnasium or Gym.
        where: what a message calls it.
        without: parts of a Dict that are left out.

    Raises:
        Refused: the space has no size.
    """

    def __init__(self, space: Any, where: str, without: Collection[str] = ()) -> None:
        kind = self.kind = kind_of(space)
        self.parts, self.dtype = {}, np.dtype(np.float32)
        if kind in ("Tuple", "Dict"):
            inner = space.spaces.items() if kind == "Dict" else enumerate(space.spaces)
            self.parts = {key: Reader(part, where) for key, part in inner if key not in without}
            self.size = sum(part.size for part in self.parts.values())
            dtypes = {part.dtype for part in self.parts.values()}
            self.dtype = dtypes.pop() if len(dtypes) == 1 else self.dtype
        elif kind in ("Discrete", "MultiDiscrete"):
            self.counts = np.ravel(space.n if kind == "Discrete" else space.nvec).astype(int)
            self.first = np.ravel(getattr(space, "start", 0)).astype(int) + np.zeros_like(self.counts)
            self.size = int(self.counts.sum())
        elif kind in ("Box", "MultiBinary"):
            self.size = int(np.prod(space.shape, dtype=int))
            self.dtype = np.dtype(np.uint8) if space.dtype == np.uint8 else self.dtype
        else:
            raise Refused("{} is in a space {}, which is no vector; {} are".format(where, kind, ", ".join(PARTS)))

    def __call__(self, seen: Any) -> np.ndarray:
        if self.parts:
            return np.concatenate([part(seen[key]) for key, part in self.parts.items()])
        if self.kind in ("Discrete", "MultiDiscrete"):
            chosen = np.ravel(seen).astype(int) - self.first
            return np.concatenate([np.arange(n) == i for n, i in zip(self.counts, chosen)]).astype(self.dtype)
        return np.asarray(seen, self.dtype if np.asarray(seen).dtype == self.dtype else np.float32).ravel()
