"""Hosts for the tests of the bridge; a worker imports this file, so it needs the standard library and numpy alone."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
from hosts import Crash, Seen
from wire import DONE, HEADER


class Counter:
    """Two agents who see how many steps the episode has, which started at a number from its key, and nothing else.

    fault: what happens at step number ``at`` of the process. game: there is a process that it depends on.
    """

    def __init__(self, length=5, fault="", at=3, milliseconds=0.0, game=False):
        self.spec = {
            "obs_sizes": [2, 3],
            "action_sizes": [2, 3],
            "world_state_size": 2,
            "discrete": True,
            "max_episode_length": length,
            "metrics": ["doubled"],
            "needs_obs_norm": False,
        }
        self.length, self.fault, self.at, self.seconds = length, fault, at, milliseconds / 1000
        self.steps, self.resets, self.time, self.begin = 0, 0, 0, 0
        if game:
            subprocess.Popen(["sleep", "1000"])

    def reset(self, key):
        self.resets += 1
        if self.fault == "reset" and self.resets > self.at:
            raise OSError("cannot reset")
        self.time, self.begin = 0, int(key[1] % 1000)
        return self._seen()

    def step(self, key, action):
        self.steps += 1
        if self.steps == self.at:
            self._fail()
        if self.seconds:
            time.sleep(self.seconds)
        assert action[0] in (0, 1) and action[1] in (0, 1, 2), "illegal action"
        self.time += 1
        over = self.time >= self.length
        terminated = over and self.begin % 2 == 0
        return self._seen(), float(action.sum()), terminated, over and not terminated, {"doubled": 2.0 * self.time}

    def close(self):
        pass

    def _seen(self):
        now = [self.begin, self.time]
        return Seen([now, now + [1]], now, [[1, 1], [1, 1, 1]], [True, True])

    def _fail(self):
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.fault == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.fault == "exit":
            os._exit(0)
        elif self.fault == "raise":
            raise OSError("out of ammunition")
        elif self.fault == "hung up":
            raise ConnectionResetError("the game hung up")
        elif self.fault == "crash":
            raise Crash("the game is gone")
        elif self.fault == "bug":
            raise ValueError("what a mistake")
        elif self.fault == "garbage":
            os.write(int(sys.argv[1]), HEADER.pack(DONE, 5) + b"hello")
        elif self.fault == "half":
            os.write(int(sys.argv[1]), HEADER.pack(DONE, 100) + b"hello")
            time.sleep(60)
        elif self.fault == "noise":
            os.write(int(sys.argv[1]), np.random.default_rng(0).bytes(1000))


class Failing(Counter):
    """Breaks down at its seventh step, whoever asks."""

    def __init__(self):
        super().__init__(fault="raise", at=7, length=4)


class Stuck(Counter):
    """After two steps, and at the end, its second agent is alive and has no legal action."""

    def _seen(self):
        seen = super()._seen()
        return seen._replace(avail_actions=[[1, 1], [0, 0, 0]]) if self.time in (2, self.length) else seen


class Uneven(Counter):
    """Its episodes have 1, 2 or 3 steps, as the key says."""

    def reset(self, key):
        self.length = 1 + int(key[1]) % 3
        return super().reset(key)


class Narrowing(Counter):
    """Shows less than it announced from its second step on."""

    def _seen(self):
        seen = super()._seen()
        return seen._replace(world_state=[7.0]) if self.time > 1 else seen


class Dribbling(Counter):
    """Its process answers byte by byte, and never to the end."""

    def step(self, key, action):
        os.write(int(sys.argv[1]), HEADER.pack(DONE, 1000))
        while True:
            os.write(int(sys.argv[1]), b"x")
            time.sleep(0.1)


class Talkative(Counter):
    """Prints 100,000 characters a step."""

    def step(self, key, action):
        print(10_000 * "blah blah\n", flush=True)
        return super().step(key, action)


class Stillborn(Counter):
    """Cannot be made, because of a bug."""

    def __init__(self):
        self.length = int("x")


class Silent(Counter):
    """Does not say what it measures."""

    def __init__(self):
        super().__init__()
        del self.spec["metrics"]


class Inexact(Counter):
    """Announces what JSON has no word for."""

    def __init__(self):
        super().__init__()
        self.spec["max_episode_length"] = np.int64(5)


class Mistaken(Counter):
    """Says at its seventh step that it was asked for something wrong."""

    def __init__(self):
        super().__init__(fault="bug", at=7, length=4)


class Changing(Counter):
    """Is another environment when it is started again."""

    def __init__(self, file):
        super().__init__(fault="raise", at=1, length=4 + os.path.exists(file))
        open(file, "w").close()


class Mumbling(Counter):
    """Sends something before its greeting is answered."""

    def __init__(self):
        super().__init__()
        os.write(int(sys.argv[1]), HEADER.pack(DONE, 4) + b"{bad")


class Closing(Counter):
    """Writes down that it was closed."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def close(self):
        with open(self.file, "w") as file:
            file.write("in order")
