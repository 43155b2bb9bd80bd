"""One environment in a process of its own: ``python worker FD``, where FD is a socket to the trainer.

Whatever happens, the session of this process ends with it, so that no game it started is left over.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import traceback
from typing import Any

import numpy as np
import wire
from hosts import HOSTS, Crash, Refused

# What Python raises where it was asked for something wrong, as opposed to a simulator that breaks down.
BUGS = (AssertionError, AttributeError, ImportError, LookupError, NameError, SyntaxError, TypeError, ValueError)
BUGS += (ZeroDivisionError, NotImplementedError)


class Failed(Exception):
    """The host raised something; its arguments are the message to send."""


def how_it_quit(error: SystemExit | KeyboardInterrupt) -> str:
    """What an environment did that asked Python to end."""
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted"
    return "called sys.exit({})".format("" if error.code is None else repr(error.code))


class reported:
    """Around all that a host does: what it raises is its own, even if it looks like the trainer's end."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind and issubclass(kind, Refused):
            raise Failed(wire.REFUSED, str(error).encode()) from None
        if kind and issubclass(kind, (SystemExit, KeyboardInterrupt)):
            text = "".join(traceback.format_tb(trace)) + how_it_quit(error)
            raise Failed(wire.QUIT, text.encode()) from None
        if kind:
            bug = issubclass(kind, BUGS) and not issubclass(kind, Crash)
            text = "".join(traceback.format_exception(kind, error, trace))
            raise Failed(wire.BUG if bug else wire.CRASH, text.encode()) from None


def build(greeting: dict[str, Any]) -> Any:
    """The host that a greeting asks for."""
    for path in greeting["paths"]:
        sys.path.insert(0, path)
    module, name = HOSTS.get(greeting["host"]) or greeting["host"].rsplit(".", 1)
    module = "hosts." + module if greeting["host"] in HOSTS else module
    return getattr(importlib.import_module(module), name)(**greeting["settings"])


def serve(channel: wire.Channel, host: Any, shapes: wire.Shapes) -> None:
    """Answer requests until the trainer is gone.

    Args:
        channel: to the trainer.
        host: whose environment it is.
        shapes: that it announced.
    """
    names = set(host.spec["metrics"])
    requests, replies = (wire.Frames(layout(host.spec), 1) for layout in (wire.request_type, wire.reply_type))
    channel.buffer, replies.kinds[0] = requests.rows[0], wire.DONE
    reply = replies.content[0]
    while True:
        kind, _ = channel.receive()
        with reported():
            request = requests.content[0].copy()
            if kind == wire.RESET:
                seen = host.reset(request["key"])
            else:
                seen, reward, terminated, truncated, metrics = host.step(request["key"], request["action"])
                reply["reward"], reply["terminated"], reply["truncated"] = reward, terminated, truncated
                if not metrics.keys() >= names:
                    raise ValueError(f"the environment announced metrics {sorted(names)} and gives {sorted(metrics)}")
                reply["metrics"] = [metrics[name] for name in host.spec["metrics"]]
            shapes.check(seen)
            wire.write_seen(reply, seen)
        channel.sock.sendall(replies.rows[0])


def main() -> None:
    """Build the host that the trainer asks for, and serve it."""
    try:  # the trainer, whom all others wait for, goes first
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):  # where the system has no such thing, or forbids it
        pass
    channel, host = wire.Channel(socket.socket(fileno=int(sys.argv[1]))), None
    try:
        greeting = wire.decode(channel.receive()[1])
        with reported():
            host = build(greeting)
            shapes = wire.Shapes(host.spec)
            shapes.check(host.reset(np.array(greeting["key"], np.uint32)))
            spec = wire.encode(host.spec)
        channel.send(wire.DONE, spec)
        serve(channel, host, shapes)
    except Failed as failure:
        channel.send(*failure.args)
    except KeyboardInterrupt:  # between two requests
        channel.send(wire.QUIT, b"was interrupted")
    except (EOFError, ConnectionError):  # the trainer is gone
        pass
    finally:
        try:
            if host is not None:
                host.close()
        finally:
            channel.close()
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
