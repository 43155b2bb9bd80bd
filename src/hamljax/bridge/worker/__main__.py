"""One environment in a process of its own: ``python worker FD``, where FD is a socket to the trainer.

Whatever happens, the session of this process ends with it, so that no game it started is left over.
"""

import contextlib
import importlib
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

import numpy as np
import wire
from hosts import HOSTS, Crash

# What Python raises where it was asked for something wrong, as opposed to a simulator that breaks down.
BUGS = (AssertionError, AttributeError, ImportError, LookupError, NameError, SyntaxError, TypeError, ValueError)


class Failed(Exception):
    """The host raised something; its one argument is the message to send."""


@contextlib.contextmanager
def reported():
    """Around all that a host does: what it raises is its own, even if it looks like the trainer's end."""
    try:
        yield
    except Exception as error:
        kind = wire.BUG if isinstance(error, BUGS) and not isinstance(error, Crash) else wire.CRASH
        raise Failed(kind + traceback.format_exc().encode()) from None


def build(greeting):
    """The host that a greeting asks for."""
    for path in greeting["paths"]:
        sys.path.insert(0, path)
    module, name = HOSTS.get(greeting["host"]) or greeting["host"].rsplit(".", 1)
    module = "hosts." + module if greeting["host"] in HOSTS else module
    return getattr(importlib.import_module(module), name)(**greeting["settings"])


def serve(connection, host):
    """Answer requests until the trainer is gone."""
    spec = host.spec
    request_type, reply = wire.request_type(spec), np.zeros((), wire.reply_type(spec))
    while True:
        message = connection.recv_bytes()
        with reported():
            request = np.frombuffer(message, request_type, offset=1)[0]
            if message[:1] == wire.RESET:
                wire.write_seen(reply, host.reset(request["key"]))
            else:
                seen, reward, terminated, truncated, metrics = host.step(request["key"], request["action"])
                wire.write_seen(reply, seen)
                reply["reward"], reply["terminated"], reply["truncated"] = reward, terminated, truncated
                reply["metrics"] = [metrics[name] for name in spec["metrics"]]
        connection.send_bytes(wire.DONE + reply.tobytes())


def main():
    connection, host = Connection(int(sys.argv[1])), None
    try:
        greeting = wire.decode(connection.recv_bytes())
        with reported():
            host = build(greeting)
            wire.check_seen(host.spec, host.reset(np.array(greeting["key"], np.uint32)))
        connection.send_bytes(wire.DONE + wire.encode(host.spec))
        serve(connection, host)
    except Failed as failure:
        connection.send_bytes(failure.args[0])
    except (EOFError, ConnectionError):  # the trainer is gone
        pass
    finally:
        try:
            if host is not None:
                host.close()
        finally:
            connection.close()
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
