"""One environment in a process of its own: ``python worker FD``, where FD is a socket to the trainer.

Whatever happens, the session of this process ends with it, so that no game it started is left over.
"""

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
        host = build(wire.decode(connection.recv_bytes()))
        wire.check_seen(host.spec, host.reset(np.zeros(2, np.uint32)))
        connection.send_bytes(wire.DONE + wire.encode(host.spec))
        serve(connection, host)
    except (EOFError, ConnectionError):  # the trainer is gone
        pass
    except Exception as error:
        kind = wire.BUG if isinstance(error, BUGS) and not isinstance(error, Crash) else wire.CRASH
        connection.send_bytes(kind + traceback.format_exc().encode())
    finally:
        try:
            if host is not None:
                host.close()
        finally:
            connection.close()
            os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
