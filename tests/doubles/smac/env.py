"""A double of SMAC's ``StarCraft2Env``, built from its documented contract: its sizes, signals and quirks, and no game.

Sizes follow from the units of a map, feature by feature. The second unit dies in the second step, and an episode ends in the
fourth. Three features of every observation tell the tests what happened: the step, the launches of the game, and its seed.
"""

import numpy as np

KINDS = {"m": "marine", "M": "marauder", "H": "medivac", "s": "stalker", "z": "zealot", "c": "colossus"}
KINDS.update({"h": "hydralisk", "g": "zergling", "b": "baneling", "C": "spine crawler"})
PROTOSS = "szc"
MAPS = {  # allies, enemies, steps
    "3m": ("mmm", "mmm", 60),
    "8m": ("m" * 8, "m" * 8, 120),
    "25m": ("m" * 25, "m" * 25, 150),
    "5m_vs_6m": ("m" * 5, "m" * 6, 70),
    "8m_vs_9m": ("m" * 8, "m" * 9, 120),
    "10m_vs_11m": ("m" * 10, "m" * 11, 150),
    "27m_vs_30m": ("m" * 27, "m" * 30, 180),
    "MMM": ("H" + "MM" + "m" * 7, "H" + "MM" + "m" * 7, 150),
    "MMM2": ("H" + "MM" + "m" * 7, "H" + "MMM" + "m" * 8, 180),
    "2s3z": ("sszzz", "sszzz", 120),
    "3s5z": ("ssszzzzz", "ssszzzzz", 150),
    "3s5z_vs_3s6z": ("ssszzzzz", "ssszzzzzz", 170),
    "3s_vs_3z": ("sss", "zzz", 150),
    "3s_vs_4z": ("sss", "zzzz", 200),
    "3s_vs_5z": ("sss", "zzzzz", 250),
    "1c3s5z": ("cssszzzzz", "cssszzzzz", 180),
    "2m_vs_1z": ("mm", "z", 150),
    "corridor": ("z" * 6, "g" * 24, 400),
    "6h_vs_8z": ("h" * 6, "z" * 8, 150),
    "2s_vs_1sc": ("ss", "C", 300),
    "so_many_baneling": ("z" * 7, "b" * 32, 100),
    "bane_vs_bane": ("g" * 20 + "bbbb", "g" * 20 + "bbbb", 200),
    "2c_vs_64zg": ("cc", "g" * 64, 400),
}


class StarCraft2Env:
    """script: how each episode ends, in turn: won, lost, late (out of time), crash, or gone (in the reset that follows)."""

    def __init__(self, map_name="8m", seed=None, obs_timestep_number=False, script=("won",)):
        self.allies, self.enemies, self.episode_limit = MAPS[map_name]
        self.n_agents, self.n_actions = len(self.allies), 6 + len(self.enemies)
        kinds = len(set(self.allies))
        self.types = ["type"] * kinds if kinds > 1 else []
        self._seed, self.script, self.obs_timestep_number = seed, list(script), obs_timestep_number
        self.timeouts = self.force_restarts = self.launches = self._episode_count = self.time = 0
        self.stale, self.end, self.ended = False, "", 0

    def _shield(self, units):
        return ["shield"] if units[0] in PROTOSS else []

    def _features(self):
        """Of one agent's observation."""
        ours, theirs = self._shield(self.allies), self._shield(self.enemies)
        found = ["can go"] * 4
        for _ in self.enemies:
            found += ["can be shot", "distance", "x", "y", "health", *theirs, *self.types]
        for _ in self.allies[1:]:
            found += ["is seen", "distance", "x", "y", "health", *ours, *self.types]
        return [*found, "health", *ours, *self.types]

    def _state_features(self):
        found = []
        for _ in self.allies:
            found += ["health", "cooldown", "x", "y", *self._shield(self.allies), *self.types]
        for _ in self.enemies:
            found += ["health", "x", "y", *self._shield(self.enemies), *self.types]
        return found + ["last action"] * (self.n_agents * self.n_actions)

    def get_env_info(self):
        return {
            "state_shape": len(self._state_features()),
            "obs_shape": len(self._features()) + self.obs_timestep_number,  # which it does not deliver
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def _launch(self):
        self.launches += 1
        self.seed_of_game = self._seed

    def full_restart(self):
        self._launch()
        self.force_restarts += 1

    def reset(self):
        self.time = 0
        if self._episode_count == 0:
            self._launch()  # once more, if no episode has ended
        elif self.end == "gone":
            self.full_restart()
        self.end = ""
        return self.get_obs(), self.get_state()

    def step(self, actions):
        assert not self.stale, "a game that crashed is of no more use"
        for agent, action in enumerate(actions):
            avail = self.get_avail_actions()[agent]
            assert avail[action] == 1, f"Agent {agent} cannot perform action {action}"
        self.time += 1
        if self.time < 4:
            return 0.5, False, {"battle_won": False, "dead_allies": int(self.time > 1), "dead_enemies": 0}
        end = self.end = self.script[self.ended % len(self.script)]
        if end == "crash":
            self.full_restart()
            self.stale = True
            return 0, True, {}
        self._episode_count += 1
        self.ended += 1
        self.timeouts += end == "late"
        return 1.5, True, {"battle_won": end == "won", "dead_allies": 1, "dead_enemies": 2}

    def get_obs(self):
        obs = np.zeros(len(self._features()), np.float32)
        obs[:3] = self.time, self.launches, self.seed_of_game % 1000
        return [obs.copy() for _ in range(self.n_agents)]

    def get_state(self):
        return np.full(len(self._state_features()), self.time, np.float32)

    def get_avail_actions(self):
        dead, alive = [0] * self.n_actions, [0] * self.n_actions
        dead[0], alive[1:7] = 1, [1] * 6
        return [dead if agent == 1 and self.time > 1 else list(alive) for agent in range(self.n_agents)]

    def close(self):
        pass
