"""What goes between the trainer and a worker. Standard library and numpy only, Python 3.8 and later: both sides import it.

A worker is greeted with JSON, answers with JSON (the ``spec`` of its environment), and from then on gets requests and gives
replies of fixed layout, little-endian: a record for each of its environments.
N agents, O = longest observation, S = size of the global state, A = most actions.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # which needs no more than this, and is found elsewhere in a worker
    from .hosts import Seen

HELLO, RESET, STEP = b"H", b"R", b"S"  # kinds of requests
# Kinds of replies: a record (or the spec), or UTF-8 text of what went wrong, which ends with the line that matters.
DONE, CRASH, QUIT, BUG, REFUSED = b".", b"!", b"x", b"?", b"-"

# What a host's ``spec`` says; see ``hosts``.
SPEC = ("obs_sizes", "action_sizes", "world_state_size", "discrete", "max_episode_length", "metrics", "needs_obs_norm")

DTYPES = {"float32": "<f4", "uint8": "u1"}  # of observations and of the global state

HEADER = struct.Struct("<cI")  # the kind of a message, and how long its content is


class Channel:
    """Messages over a socket, of which at most one is under way: so one that comes whole is read by one call of the system.

    The standard library's connections take three times as long, and eight workers on two processors feel it.

    Args:
        sock: connected to the other side.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = memoryview(bytearray(1 << 16))  # where messages come in, such as a row of ``Frames``

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send ``content`` as a message of a ``kind`` (one byte). Raises OSError where the other side is gone."""
        self.sock.sendall(HEADER.pack(kind, len(content)) + content)

    def receive(self, limit: int = 1 << 30, flags: int = 0, deadline: float = float("inf")) -> tuple[bytes, memoryview]:
        """Wait for a message.

        Args:
            limit: bytes that its content may have.
            flags: of recv(2), until the message begins.
            deadline: by when it must be whole, a time of time.monotonic.

        Returns:
            Its kind, and its content, a view that holds until the next call.

        Raises:
            EOFError: the other side is gone.
            BlockingIOError: nothing came, and ``flags`` say not to wait.
            ValueError: what came is no message, too long, or not whole in time.
        """
        buffer, have, need, kind = self.buffer, 0, HEADER.size, b""
        while have < need:
            if have and time.monotonic() > deadline:
                raise ValueError("half a message")
            try:
                got = self.sock.recv_into(buffer[have:] if have else buffer, 0, 0 if have else flags)
            except BlockingIOError:
                if have:
                    raise ValueError("half a message") from None
                raise
            if not got:
                raise EOFError
            have += got
            if not kind and have >= need:
                kind, length = HEADER.unpack_from(buffer)
                if length > limit:
                    raise ValueError("too long for a message")
                need += length
                if need > len(buffer):
                    buffer = _longer(buffer, have, need)
        if have > need:
            raise ValueError("more than a message")
        return kind, buffer[HEADER.size : need]

    def close(self) -> None:
        self.sock.close()


def _longer(buffer: memoryview, have: int, need: int) -> memoryview:
    """Room for ``need`` bytes that begins with the first ``have`` of ``buffer``."""
    longer = memoryview(bytearray(need))
    longer[:have] = buffer[:have]
    return longer


class Frames:
    """Room for messages whose content has a fixed layout: they go out of it, or come into it, in place.

    ``kinds`` is an array (size,), ``content`` of shape (size, records), and ``rows`` is each whole message as bytes.

    Args:
        layout: of a record.
        size: how many messages.
        records: how many each has.
    """

    def __init__(self, layout: np.dtype, size: int, records: int = 1) -> None:
        frames = np.zeros(
            size, [("kind", "S1"), ("length", "<u4"), ("content", layout, (records,))]
        )  # as HEADER has it
        frames["length"] = layout.itemsize * records
        self.kinds, self.content = frames["kind"], frames["content"]
        self.rows = [row.data for row in frames.view(np.uint8).reshape(size, -1)]


def request_type(spec: dict[str, Any]) -> np.dtype:
    """One request: whether it is one, ``key``, which the randomness of the step comes from, and the joint ``action``."""
    agents, actions = len(spec["obs_sizes"]), max(spec["action_sizes"])
    action: Any = ("action", "<i4", (agents,)) if spec["discrete"] else ("action", "<f4", (agents, actions))
    return np.dtype([("asked", "?"), ("key", "<u4", (2,)), action])


def reply_type(spec: dict[str, Any]) -> np.dtype:
    """One reply: what the team sees and, after a step, what came of it."""
    agents, obs, actions = len(spec["obs_sizes"]), max(spec["obs_sizes"]), max(spec["action_sizes"])
    obs_dtype, state_dtype = (DTYPES[spec.get(name, "float32")] for name in ("obs_dtype", "world_state_dtype"))
    return np.dtype(
        [
            ("obs", obs_dtype, (agents, obs)),
            ("world_state", state_dtype, (spec["world_state_size"],)),
            ("avail_actions", "?", (agents, actions)),
            ("alive", "?", (agents,)),
            ("reward", "<f4"),
            ("terminated", "?"),
            ("truncated", "?"),
            ("metrics", "<f4", (len(spec["metrics"]),)),
        ]
    )


def write_seen(record: np.void, seen: Seen) -> None:
    """Put what a host gave into a reply, padded with zeros.

    Args:
        record: of ``reply_type``.
        seen: of the shapes that were announced (``Shapes``).
    """
    for name in ("obs", "avail_actions"):
        into, rows = record[name], getattr(seen, name)
        if getattr(rows, "shape", None) == into.shape:
            into[:] = rows
        else:
            into[:] = 0
            for row, values in zip(into, rows):
                row[: len(values)] = values
    record["world_state"] = seen.world_state
    record["alive"] = seen.alive


class Shapes:
    """What a host announced in its ``spec``; ``check`` is made of every step.

    Raises:
        ValueError: it announced too little.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        for name in SPEC:
            if name not in spec:
                raise ValueError(f"the environment's spec does not say '{name}'")
        for name in ("obs_dtype", "world_state_dtype"):
            if spec.get(name, "float32") not in DTYPES:
                raise ValueError(f"the environment's spec says {name} {spec[name]}; it may be {' or '.join(DTYPES)}")
        obs, actions = (list(spec[name]) for name in ("obs_sizes", "action_sizes"))
        self.announced = obs, actions, spec["world_state_size"], len(obs)

    def check(self, seen: Seen) -> None:
        """Check what a host gives.

        Raises:
            ValueError: it has other shapes than were announced.
            TypeError: it is no ``Seen`` at all.
        """
        if not hasattr(seen, "avail_actions"):
            raise TypeError(f"reset and step show the team a hosts.Seen, not a {type(seen).__name__}")
        rows, legal = ([*map(len, x)] for x in (seen.obs, seen.avail_actions))
        found = rows, legal, len(seen.world_state), len(seen.alive)
        if found != self.announced:
            names = "obs_sizes", "action_sizes", "world_state_size", "agents alive"
            for name, mine, theirs in zip(names, self.announced, found):
                if mine != theirs:
                    raise ValueError(f"the environment announced {name} {mine} and gives {theirs}")


def encode(value: Any) -> bytes:
    """Plain data as JSON."""
    return json.dumps(value).encode()


def decode(data: bytes | memoryview) -> Any:
    """Plain data, as ``encode`` wrote it. Raises ValueError for anything else."""
    return json.loads(bytes(data).decode())
