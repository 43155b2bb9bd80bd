"""A double of SMACv2's wrapper, with what it adds: random teams, a reset that says nothing, and looks that change things."""

import random

import numpy as np
from smac.env import StarCraft2Env


class Teams:
    """Draws as the original does: from a generator of its own, from Python's, and from numpy's."""

    def __init__(self, config):
        self.config, self.rng = config, np.random.default_rng()

    def generate(self):
        team = list(self.rng.choice(self.config["unit_types"], size=self.config["n_units"], p=self.config["weights"]))
        random.shuffle(team)
        return {"team": [team[i] for i in np.random.permutation(len(team))]}


class Places:
    def __init__(self, config):
        self.inner, self.rng = Inner(), np.random.default_rng()

    def generate(self):
        return {"where": [self.rng.random(), *self.inner.generate()]}


class Inner:
    def __init__(self):
        self.rng = np.random.default_rng()

    def generate(self):
        return self.rng.random(2)


class Game(StarCraft2Env):
    looks = 0

    def reset(self, episode):
        self.episode = episode
        super().reset()

    def get_obs(self):
        self.looks += 1
        obs = super().get_obs()
        kinds = {name: i for i, name in enumerate(sorted(self.kinds))}
        for mine, kind in zip(obs, self.episode["team"], strict=True):
            mine[3:7] = kinds[kind], *self.episode["where"]
            mine[7] = self.looks
        return obs


class StarCraftCapabilityEnvWrapper:
    def __init__(
        self, capability_config, map_name, conic_fov, obs_own_pos, use_unit_ranges, min_attack_range, **settings
    ):
        assert not conic_fov and obs_own_pos and use_unit_ranges and min_attack_range == 2
        for key in ("team_gen", "start_positions"):  # the original writes into what it was given
            assert "env_key" not in capability_config[key], "this configuration was used before"
            capability_config[key].update(env_key=key, n_units=capability_config["n_units"])
        self.env_key_to_distribution_map = {
            "team_gen": Teams(capability_config["team_gen"]),
            "start_positions": Places(capability_config["start_positions"]),
        }
        race = {"10gen_terran": "3m", "10gen_protoss": "3s_vs_3z", "10gen_zerg": "6h_vs_8z"}[map_name]
        self.env = Game(race, **settings)
        for side, size in (("allies", "n_units"), ("enemies", "n_enemies")):
            setattr(self.env, side, getattr(self.env, side)[0] * capability_config[size])
        self.env.n_agents, self.env.n_actions = capability_config["n_units"], 6 + capability_config["n_enemies"]
        self.env.kinds = capability_config["team_gen"]["unit_types"]

    def reset(self):
        episode = {}
        for distribution in self.env_key_to_distribution_map.values():
            episode.update(distribution.generate())
        self.env.reset(episode)

    def __getattr__(self, name):
        return getattr(self.env, name)
