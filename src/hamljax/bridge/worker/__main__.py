"""Environments in a process of their own: ``python worker FD``, where FD is a socket to the trainer.

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


def build(greeting: dict[str, Any]) -> list[Any]:
    """The hosts that a greeting asks for, one for each key."""
    for path in greeting["paths"]:
        sys.path.insert(0, path)
    module, name = HOSTS.get(greeting["host"]) or greeting["host"].rsplit(".", 1)
    module = "hosts." + module if greeting["host"] in HOSTS else module
    made = getattr(importlib.import_module(module), name)
    return [made(**greeting["settings"]) for _ in greeting["keys"]]


def serve(channel: wire.Channel, hosts: list[Any], shapes: wire.Shapes, records: int) -> None:
    """Answer requests until the trainer is gone.

    Args:
        channel: to the trainer.
        hosts: whose environments they are.
        shapes: that they announced.
        records: in a message, of which those of our environments are the first.
    """
    layouts = wire.request_type(hosts[0].spec), wire.reply_type(hosts[0].spec)
    requests, replies = (wire.Frames(layout, 1, records) for layout in layouts)
    channel.buffer, replies.kinds[0] = requests.rows[0], wire.DONE
    while True:
        kind, _ = channel.receive()
        with reported():
            for host, request, reply in zip(hosts, requests.content[0], replies.content[0]):
                if request["asked"]:
                    answer(host, kind, request.copy(), reply, shapes)
        channel.sock.sendall(replies.rows[0])


def answer(host: Any, kind: bytes, request: np.void, reply: np.void, shapes: wire.Shapes) -> None:
    """Reset one environment or move it, and write down what came of it.

    Args:
        host: whose it is. kind, request: what the trainer asks for. reply: to write into. shapes: that it announced.
    """
    if kind == wire.RESET:
        seen = host.reset(request["key"])
    else:
        seen, reward, terminated, truncated, metrics = host.step(request["key"], request["action"])
        reply["reward"], reply["terminated"], reply["truncated"] = reward, terminated, truncated
        names = host.spec["metrics"]
        if not metrics.keys() >= set(names):
            raise ValueError(f"the environment announced metrics {sorted(names)} and gives {sorted(metrics)}")
        reply["metrics"] = [metrics[name] for name in names]
    shapes.check(seen)
    wire.write_seen(reply, seen)


def main() -> None:
    """Build the hosts that the trainer asks for, and serve them."""
    try:  # the trainer, whom all others wait for, goes first
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):  # where the system has no such thing, or forbids it
        pass
    channel, hosts = wire.Channel(socket.socket(fileno=int(sys.argv[1]))), []
    try:
        greeting = wire.decode(channel.receive()[1])
        with reported():
            hosts = build(greeting)
            shapes = wire.Shapes(hosts[0].spec)
            for host, key in zip(hosts, greeting["keys"]):
                shapes.check(host.reset(np.array(key, np.uint32)))
            spec = wire.encode(hosts[0].spec)
        channel.send(wire.DONE, spec)
        serve(channel, hosts, shapes, greeting["records"])
    except Failed as failure:
        channel.send(*failure.args)
    except KeyboardInterrupt:  # between two requests
        channel.send(wire.QUIT, b"was interrupted")
    except (EOFError, ConnectionError):  # the trainer is gone
        pass
    finally:
        try:
            for host in hosts:
                host.close()
        finally:
            channel.close()
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
