"""What a host says of itself (``spec``, see ``worker.hosts``) as the trainer understands it."""

from typing import Any

from ..envs.check import check_length, check_metrics, check_team
from ..envs.protocol import Team


def team_of(spec: dict[str, Any], name: str) -> Team:
    """The team that plays in a host.

    Args:
        spec: what the host says of itself.
        name: the host's.

    Raises:
        ConfigError: it is no team that can be trained.
    """
    given = {field: _frozen(spec[field]) for field in Team.__dataclass_fields__ if field in spec}
    team = Team(**given)
    check_team(team, f"environment '{name}'")
    check_length(spec["max_episode_length"], f"environment '{name}'")
    check_metrics(dict.fromkeys(spec["metrics"]), f"environment '{name}'")
    return team


def _frozen(value: Any) -> Any:
    """Lists, as JSON has them, as tuples, however deep."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
