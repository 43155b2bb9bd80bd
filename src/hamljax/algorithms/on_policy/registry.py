"""Critics and policies that learn from rollouts, by name (``algo.critic``, ``algo.policy``)."""

from collections.abc import Callable
from typing import Any, TypeVar

from ...envs.protocol import Team
from ...errors import ConfigError
from ..base import Critic, TeamPolicy
from ..config import Config

F = TypeVar("F", bound=Callable[..., Any])

CRITICS: dict[str, Callable[[Config, Team], Critic]] = {}
POLICIES: dict[str, Callable[[Config, Team], TeamPolicy]] = {}
SHIPPED: dict[str, set[str]] = {"critic": {"ep", "fp"}, "policy": {"independent"}}


def register_critic(name: str) -> Callable[[F], F]:
    """Decorator: make ``(config, team) -> Critic`` known as ``algo.critic=name``.

    Raises:
        ConfigError: for the name of a shipped one.
    """
    return _register("critic", name, CRITICS)


def register_policy(name: str) -> Callable[[F], F]:
    """Decorator: make ``(config, team) -> TeamPolicy`` known as ``algo.policy=name``, to learn from rollouts.

    Raises:
        ConfigError: for the name of a shipped one.
    """
    return _register("policy", name, POLICIES)


def _register(what: str, name: Any, table: dict[str, Any]) -> Callable[[F], F]:
    if not (isinstance(name, str) and name):
        raise ConfigError(f"a {what} is registered with a name, not {name!r}")
    if name in SHIPPED[what] and name in table:
        raise ConfigError(f"'{name}' is a {what} that hamljax ships; choose another name")

    def register(factory: F) -> F:
        table[name] = factory
        return factory

    return register
