"""Starts processes quickly.

This interpreter loads everything once, then forks a child for every command line.

A request is a line of JSON on standard input: ``words`` of the command line, ``log`` for what it prints; perhaps
``signals``, pairs (seconds, number) to send that long after the start or after the log says ``since``; and
``largest_file``, in bytes, which makes a disk seem full. The answer is the exit code, negative for a signal.
"""

import json
import os
import resource
import sys
import time

import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.stats  # noqa: F401

import hamljax.envs  # noqa: F401
import hamljax.lab.commands.dry_run  # noqa: F401
import hamljax.lab.commands.evaluate  # noqa: F401
from hamljax.lab.cli import main


def child(request: dict) -> None:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if limit := request.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        code = main(request["words"])
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    os._exit(code)


def read(log: str) -> str:
    return open(log).read() if os.path.exists(log) else ""


def is_running(pid: int) -> bool:
    """Whether a child still runs; it stays there to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


for line in sys.stdin:
    request = json.loads(line)
    began, pid = time.monotonic(), os.fork()
    if pid == 0:
        child(request)
    while request.get("since", "") not in read(request["log"]) and is_running(pid):
        began = time.monotonic()
        time.sleep(0.01)
    for seconds, number in request.get("signals", []):
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        os.kill(pid, number)
    status = os.waitpid(pid, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
