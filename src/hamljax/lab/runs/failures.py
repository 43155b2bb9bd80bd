"""What an environment raises inside a compiled program, where the program itself can pass on no more than a text."""

import contextlib
from collections.abc import Iterator

import jax

from ...envs.protocol import Environment


@contextlib.contextmanager
def failures_of(env: Environment) -> Iterator[None]:
    """What an environment raised inside a program, as it raised it."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        failure, env.failure = env.failure, None
        raise (failure or error) from None
