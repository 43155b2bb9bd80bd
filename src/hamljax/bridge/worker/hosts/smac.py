"""SMAC and SMACv2, and whatever else has the Python interface of SMAC's ``StarCraft2Env``."""

import copy

from . import Crash, Seen

# pysc2's own errors, by name because importing them needs pysc2: the game broke down, or the connection to it.
BREAKDOWNS = ("ConnectError", "RequestError", "ProtocolError", "SC2LaunchError", "WebSocketException")


class BehindSmac:
    """An object with SMAC's interface as a host.

    Its quirks are dealt with here: a time limit shows in the counter ``timeouts`` alone; a crashed game ends the episode
    without ``battle_won``, and the object is of no use afterwards; a dead agent is one that may only do nothing.
    """

    METRICS = ("won", "dead_allies", "dead_enemies")

    def __init__(self, env):
        self.env = env
        info = env.get_env_info()
        agents = info["n_agents"]
        self.spec = {
            "obs_sizes": [info["obs_shape"]] * agents,
            "action_sizes": [info["n_actions"]] * agents,
            "world_state_size": info["state_shape"],
            "discrete": True,
            "max_episode_length": info["episode_limit"],
            "metrics": list(self.METRICS),
            "needs_obs_norm": False,
        }

    def reset(self, key):
        self._use(key)
        with translated():
            self.env.reset()  # may return None (SMACv2): the getters say what there is
            return self._seen()

    def step(self, key, action):
        self._use(key)
        with translated():
            timeouts = self.env.timeouts
            reward, over, info = self.env.step([int(a) for a in action])
            if over and "battle_won" not in info:
                raise Crash("the game crashed")
            truncated = over and (self.env.timeouts > timeouts or bool(info.get("episode_limit")))
            metrics = {"won": float(bool(info.get("battle_won")))}
            metrics.update({name: float(info.get(name, 0)) for name in self.METRICS[1:]})
            return self._seen(), reward, over and not truncated, truncated, metrics

    def close(self):
        self.env.close()

    def _use(self, key):
        if hasattr(self.env, "use_key"):  # SMAC itself has a seed for the launch of the game only
            self.env.use_key(key)

    def _seen(self):
        avail = self.env.get_avail_actions()
        return Seen(self.env.get_obs(), self.env.get_state(), avail, self._alive(avail))

    def _alive(self, avail):
        return [not agent[0] for agent in avail]  # action 0 is to do nothing, which the dead alone may


class translated:
    """Inside it, a breakdown of the game is a ``Crash``."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        names = {k.__name__ for k in kind.__mro__} if kind else set()
        if names & set(BREAKDOWNS):
            raise Crash(f"{kind.__name__}: {error}") from error


class Smac(BehindSmac):
    """StarCraft II micromanagement (Samvelyan et al., 2019). ``settings`` are those of ``StarCraft2Env``."""

    def __init__(self, map_name="3m", **settings):
        from smac.env import StarCraft2Env

        super().__init__(StarCraft2Env(map_name=map_name, **settings))


class SmacV2(BehindSmac):
    """Its second version, with random teams and places (Ellis et al., 2023). ``capabilities``: its distributions."""

    def __init__(self, map_name="10gen_terran", capabilities=None, **settings):
        from smacv2.env.starcraft2.wrapper import StarCraftCapabilityEnvWrapper

        config = copy.deepcopy(capabilities)  # the wrapper changes it
        super().__init__(StarCraftCapabilityEnvWrapper(capability_config=config, map_name=map_name, **settings))

    def _use(self, key):
        import numpy as np

        np.random.seed(int(key[0] ^ key[1]))  # its distributions draw from numpy's global generator
