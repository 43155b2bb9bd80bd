"""SMAC's 23 maps (Samvelyan et al., 2019): who fights, for how long, and the sizes that follow."""

from typing import Any, NamedTuple


class Map(NamedTuple):
    """Who fights on a map."""

    allies: int
    enemies: int
    limit: int  # steps of an episode
    races: str  # of both sides, by first letter
    unit_types: int = 0  # bits that tell kinds of units apart

    @property
    def spec(self) -> dict[str, Any]:
        """What a host on this map must announce: Protoss have shields, and each side sees those of both."""
        ours, theirs = (int(race == "P") for race in self.races)
        a, e, u = self.allies, self.enemies, self.unit_types
        actions = 6 + e  # nothing, stop, four ways to go, and whom to attack (or heal)
        obs = 4 + e * (5 + theirs + u) + (a - 1) * (5 + ours + u) + 1 + ours + u
        state = a * (4 + ours + u) + e * (3 + theirs + u) + a * actions
        return {
            "obs_sizes": [obs] * a,
            "action_sizes": [actions] * a,
            "world_state_size": state,
            "max_episode_length": self.limit,
        }


MAPS = {
    "3m": Map(3, 3, 60, "TT"),
    "8m": Map(8, 8, 120, "TT"),
    "25m": Map(25, 25, 150, "TT"),
    "5m_vs_6m": Map(5, 6, 70, "TT"),
    "8m_vs_9m": Map(8, 9, 120, "TT"),
    "10m_vs_11m": Map(10, 11, 150, "TT"),
    "27m_vs_30m": Map(27, 30, 180, "TT"),
    "MMM": Map(10, 10, 150, "TT", 3),
    "MMM2": Map(10, 12, 180, "TT", 3),
    "2s3z": Map(5, 5, 120, "PP", 2),
    "3s5z": Map(8, 8, 150, "PP", 2),
    "3s5z_vs_3s6z": Map(8, 9, 170, "PP", 2),
    "1c3s5z": Map(9, 9, 180, "PP", 3),
    "3s_vs_3z": Map(3, 3, 150, "PP"),
    "3s_vs_4z": Map(3, 4, 200, "PP"),
    "3s_vs_5z": Map(3, 5, 250, "PP"),
    "2m_vs_1z": Map(2, 1, 150, "TP"),
    "corridor": Map(6, 24, 400, "PZ"),
    "6h_vs_8z": Map(6, 8, 150, "ZP"),
    "2s_vs_1sc": Map(2, 1, 300, "PZ"),
    "so_many_baneling": Map(7, 32, 100, "PZ"),
    "bane_vs_bane": Map(24, 24, 200, "ZZ", 2),
    "2c_vs_64zg": Map(2, 64, 400, "PZ"),
}
