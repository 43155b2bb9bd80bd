"""What goes between the trainer and a worker. Standard library and numpy only, Python 3.8 and later: both sides import it.

A worker is greeted with JSON, answers with JSON (the ``spec`` of its environment), and from then on gets requests and gives
replies of fixed layout, little-endian. N agents, O = longest observation, S = size of the global state, A = most actions.
"""

import json

import numpy as np

RESET, STEP = b"R", b"S"  # first byte of a request
DONE, CRASH, BUG = b".", b"!", b"?"  # first byte of a reply: a record, or UTF-8 text of what went wrong


def request_type(spec):
    """(dtype) One request: ``key``, which the randomness of the step comes from, and the joint ``action``."""
    agents, actions = len(spec["obs_sizes"]), max(spec["action_sizes"])
    action = ("action", "<i4", (agents,)) if spec["discrete"] else ("action", "<f4", (agents, actions))
    return np.dtype([("key", "<u4", (2,)), action])


def reply_type(spec):
    """(dtype) One reply: what the team sees and, after a step, what came of it."""
    agents, obs, actions = len(spec["obs_sizes"]), max(spec["obs_sizes"]), max(spec["action_sizes"])
    return np.dtype(
        [
            ("obs", "<f4", (agents, obs)),
            ("world_state", "<f4", (spec["world_state_size"],)),
            ("avail_actions", "?", (agents, actions)),
            ("alive", "?", (agents,)),
            ("reward", "<f4"),
            ("terminated", "?"),
            ("truncated", "?"),
            ("metrics", "<f4", (len(spec["metrics"]),)),
        ]
    )


def write_seen(record, seen):
    """Put what a host gave (``hosts.Seen``) into a reply, padded with zeros."""
    for name in ("obs", "avail_actions"):
        record[name] = 0
        for i, values in enumerate(getattr(seen, name)):
            record[name][i, : len(values)] = values
    record["world_state"] = seen.world_state
    record["alive"] = seen.alive


def check_seen(spec, seen):
    """Raise ValueError where a host gives other shapes than it announced."""
    found = {
        "obs_sizes": [len(x) for x in seen.obs],
        "action_sizes": [len(x) for x in seen.avail_actions],
        "world_state_size": len(seen.world_state),
    }
    for name, value in found.items():
        if list(np.ravel(value)) != list(np.ravel(spec[name])):
            raise ValueError(f"the environment announced {name} {spec[name]} and gives {value}")


def encode(value):
    return json.dumps(value).encode()


def decode(data):
    return json.loads(bytes(data).decode())
