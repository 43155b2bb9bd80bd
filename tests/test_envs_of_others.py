"""Environments that others wrote: by ``plugin=``, and of PettingZoo. What they may give trains; what they may not is named."""

import dataclasses
import functools
import importlib
import json
import sys
import warnings
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test
from tiny_runs import ONCE

import hamljax
from hamljax.bridge.pool import Pool
from hamljax.bridge.process import Launch
from hamljax.bridge.spec import team_of
from hamljax.bridge.worker import wire
from hamljax.envs import ENVIRONMENTS, VecEnv, check_environment, register_environment
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.configuration.jobs import make_job
from hamljax.training.train import make_learner

TESTS = Path(__file__).parent
sys.path.insert(0, str(Path(importlib.import_module("hamljax.bridge.worker").__file__).parent))
sys.path.insert(0, str(TESTS / "doubles"))
import parallel  # noqa: E402
from hosts import Crash, Refused  # noqa: E402
from hosts.pettingzoo import PettingZoo  # noqa: E402
from hosts.smac import BehindSmac  # noqa: E402

SIZES = dict(num_envs=4, num_steps=4, total_timesteps=64, num_eval_episodes=2, hidden_sizes=(4,))
TEAM = hamljax.Team(obs_sizes=(4, 4), action_sizes=(3, 3), world_state_size=4)


class Meet(hamljax.Environment):
    """Ten steps in which two agents are paid for the same action. ``given``: fields of observations and steps, in their place."""

    def __init__(self, team=TEAM, limit=10, **given):
        self.team, self.max_episode_length, self.given = team, limit, given

    def reset(self, key):
        return jnp.int32(0), self.observe(jnp.int32(0), "reset_")

    def step(self, key, time, action):
        same, over = action[0] == action[1], time + 1 == 10
        fields = {"reward": 1.0 * same, "terminated": jnp.bool_(False), "truncated": over, "metrics": {}}
        fields |= {name: x(same, over) for name, x in self.given.items() if name in fields}
        return time + 1, hamljax.Step(self.observe(time + 1), **fields)

    def observe(self, time, when=""):
        seen = {"obs": jnp.ones((2, 4)), "world_state": jnp.ones(4)}
        seen |= {"avail_actions": jnp.ones((2, 3), bool), "alive": jnp.ones(2, bool)}
        for name in seen:
            seen[name] = self.given.get(when + name, self.given.get(name, seen[name]))
        return hamljax.Observation(**seen)


@functools.cache
def config(algo="happo", **overrides):
    return hamljax.config(algo, "game/climbing", **SIZES | overrides)


def team(**changes):
    return dataclasses.replace(TEAM, **changes)


# DTYPES: what an environment gives, and what a loop carries.


def played(env):
    """Twelve steps with automatic resets, past an end, in which agents do as they like and are seen by a loop."""
    vec = VecEnv(env, 3)

    def step(state, action):
        return vec.step(state, action)

    actions = jnp.arange(72).reshape(12, 3, 2) % 7 % 3
    return jax.jit(lambda key: jax.lax.scan(step, vec.reset(key)[0], actions)[1])(jax.random.key(0))


@pytest.fixture(scope="module")
def plain():
    return played(Meet())


def traced(env, algo="happo", **overrides):
    """The learner of a program that has been made as far as it takes to find a loop that cannot be."""
    learner = make_learner(config(algo, **overrides), env)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    jax.eval_shape(learner.learner.update, state)
    jax.eval_shape(learner.evaluate, learner.actor_state(state))
    return learner


def as_dtype(dtype):
    return lambda same, over: over.astype(dtype)


OTHER_DTYPES = {
    "float flags": {"truncated": as_dtype(jnp.float32), "terminated": lambda same, over: jnp.float32(0)},
    "whole flags": {"truncated": as_dtype(jnp.int32), "terminated": lambda same, over: 0},
    "Python flags": {"terminated": lambda same, over: False},
    "a whole reward": {"reward": lambda same, over: same.astype(jnp.int32)},
    "a bool reward": {"reward": lambda same, over: same},
    "a float16 reward": {"reward": lambda same, over: same.astype(jnp.float16)},
    "whole masks": {"avail_actions": jnp.ones((2, 3), jnp.int8), "alive": jnp.ones(2, jnp.int32)},
    "float masks": {"avail_actions": jnp.ones((2, 3)), "alive": jnp.ones(2)},
    "numpy masks": {"avail_actions": np.ones((2, 3), np.uint8), "reset_alive": np.ones(2), "alive": np.ones(2, bool)},
    "weak observations": {"obs": jnp.broadcast_to(1.0, (2, 4)), "world_state": jnp.full(4, 1.0)},
}


@pytest.mark.parametrize("given", OTHER_DTYPES)
def test_flags_and_rewards_of_any_dtype_are_those_of_the_protocol(given, plain):
    env = Meet(**OTHER_DTYPES[given])
    found = played(env)
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    assert jax.tree.map(lambda x: x.dtype, found) == jax.tree.map(lambda x: x.dtype, plain)


@pytest.mark.parametrize("given", ["float flags", "whole masks", "weak observations"])
def test_loops_carry_what_they_give(given):
    traced(Meet(**OTHER_DTYPES[given]))


def test_off_policy_loops_too():
    env = Meet(**OTHER_DTYPES["float flags"] | OTHER_DTYPES["float masks"])
    traced(env, "hasac", learning_starts=16, batch_size=8, buffer_size=64)


def test_metrics_of_any_dtype_are_reported():
    learner = traced(Meet(metrics=lambda same, over: {"won": over, "count": same + 1, "half": 0.5, "whole": 3}))
    actors = learner.actor_state(jax.jit(learner.init)(jax.random.key(0)))
    episodes = jax.jit(learner.evaluate_episodes)(actors)
    assert (episodes["won"] == 1).all() and (episodes["half"] == 0.5).all() and (episodes["whole"] == 3).all()


# WHAT CANNOT BE


class Named(Meet):
    """Without a number of steps."""

    def __init__(self):
        self.team = TEAM


class Returns(Meet):
    """Whose functions return what is given."""

    def __init__(self, reset=None, step=None):
        super().__init__()
        self.given = {}
        self.answers = {"reset": reset, "step": step}

    def reset(self, key):
        right = super().reset(key)
        return self.answers["reset"](*right) if self.answers["reset"] else right

    def step(self, key, state, action):
        right = super().step(key, state, action)
        return self.answers["step"](*right) if self.answers["step"] else right


class Keyless(Meet):
    """Which takes no key."""

    def reset(self):
        return super().reset(None)


class Odd:
    """No array."""


MISTAKES = {
    "mixed teams": (Meet(team(discrete=(True, False))), "mixed teams, with discrete and continuous agents"),
    "discrete as a text": (Meet(team(discrete="yes")), "team.discrete is 'yes'; it is True or False"),
    "several parts": (
        Meet(team(action_sizes=((3, 2), (3, 2)))),
        "(3, 2) for one agent; actions of several parts (MultiDis",
    ),
    "several parts in arrays": (
        Meet(team(action_sizes=[np.array([3, 2])] * 2)),
        "actions of several parts (MultiDiscrete)",
    ),
    "a negative size": (
        Meet(team(action_sizes=(3, -3))),
        "team.action_sizes has -3; it must be a whole number of at least 1",
    ),
    "no actions": (Meet(team(action_sizes=(3, 0))), "team.action_sizes has 0; it must be a whole number of at least 1"),
    "a float size": (Meet(team(obs_sizes=(4, 4.0))), "team.obs_sizes has 4.0; it must be a whole number of at least 1"),
    "a bool size": (Meet(team(obs_sizes=(4, True))), "team.obs_sizes has True"),
    "one number": (Meet(team(obs_sizes=4)), "team.obs_sizes is 4; it wants one whole number per agent, such as (5, 5)"),
    "nobody": (Meet(team(obs_sizes=(), action_sizes=())), "team.obs_sizes is (); it wants one whole number per agent"),
    "no state": (Meet(team(world_state_size=None)), "team.world_state_size is None; it must be a whole number"),
    "a state of two axes": (Meet(team(world_state_size=(2, 2))), "team.world_state_size is (2, 2)"),
    "teams of two sizes": (Meet(team(obs_sizes=(4,))), "team.obs_sizes names 1 agents, team.action_sizes 2"),
    "a dictionary as a team": (Meet({"obs_sizes": (4, 4)}), "team is a dict, not a hamljax.Team"),
    "no length": (Named(), "has no 'max_episode_length'; set it in __init__"),
    "length zero": (Meet(limit=0), "max_episode_length is 0; it must be a whole number of at least 1"),
    "length None": (Meet(limit=None), "max_episode_length is None"),
    "a float length": (Meet(limit=10.0), "max_episode_length is 10.0"),
    "no environment": (Odd(), "is a Odd, not a hamljax.Environment: subclass that"),
    "reset without a key": (Keyless(), "reset must take (key)"),
    "reset gives an observation": (
        Returns(lambda s, o: o),
        "reset must return state, Observation (of hamljax), not Observ",
    ),
    "reset gives arrays": (
        Returns(lambda s, o: (s, o.obs)),
        "must return state, Observation (of hamljax), not (",
    ),
    "reset in Gymnasium's order": (Returns(lambda s, o: (o, {})), "of hamljax), not (Observation, dict)"),
    "reset gives nothing": (Returns(lambda s, o: None), "of hamljax), not NoneType"),
    "step gives five": (
        Returns(step=lambda s, x: (x.observation, x.reward, x.terminated, x.truncated, {})),
        "(of hamljax), not (",
    ),
    "step gives a dictionary": (
        Returns(step=lambda s, x: (s, x._asdict())),
        "step must return state, Step (of hamljax), not (",
    ),
    "no observation": (
        Returns(step=lambda s, x: (s, x._replace(observation=x.observation.obs))),
        "observation of the step is a ",
    ),
    "a state that is none": (Returns(lambda s, o: (Odd(), o)), "reset returns a Odd, which is no array"),
    "obs as a list": (Meet(obs=[jnp.ones(4)] * 2), "obs of reset's observation is a list; it must be an array"),
    "no alive": (Meet(alive=None), "alive of reset's observation is missing; it must be an array"),
    "obs of two dtypes": (
        Meet(reset_obs=jnp.ones((2, 4), int)),
        "obs is int32 after reset and float32 after a step; give both",
    ),
    "world state of two dtypes": (
        Meet(reset_world_state=jnp.ones(4, bool)),
        "world_state is bool after reset and float32",
    ),
    "complex obs": (
        Meet(obs=jnp.ones((2, 4), jnp.complex64)),
        "obs of reset's observation has dtype complex64; it must be real",
    ),
    "no metrics": (Meet(metrics=lambda *_: None), "metrics of the step is a NoneType, not a dictionary"),
    "a metric of ours": (Meet(metrics=lambda *_: {"lost": 1.0}), "a metric cannot be called 'lost'"),
    "a metric by number": (Meet(metrics=lambda *_: {3: 1.0}), "a metric cannot be called 3"),
    "a metric of text": (Meet(metrics=lambda *_: {"won": "yes"}), "step returns a str, which is no array"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_an_environment_cannot_be_is_one_line(mistake):
    env, message = MISTAKES[mistake]
    for check in (check_environment, lambda env: make_learner(config(), env)):
        with pytest.raises(ConfigError) as caught:
            check(env)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_team_of_lists_and_numpy_numbers_is_a_team():
    traced(Meet(hamljax.Team([4, 4], [np.int64(3), 3], np.int32(4), discrete=np.bool_(True)), np.int64(10)))


# PETTINGZOO


@pytest.fixture
def doubles(monkeypatch):
    monkeypatch.syspath_prepend(TESTS / "doubles")


def playthrough(host, steps=10):
    """What is seen and rewarded over an episode in which everybody does the first legal thing, or the lowest."""
    seen, found = host.reset((0, 1)), []
    for _ in range(steps):
        low = (
            None
            if host.discrete
            else [np.maximum(np.resize(a.low, max(host.spec["action_sizes"])), -9) for a in host.agents]
        )
        action = [np.flatnonzero(mask)[0] for mask in seen.avail_actions] if host.discrete else low
        found.append((seen, *host.step((0, 0), np.array(action))))
        seen = found[-1][1]
    return found


def with_api(kind) -> None:
    """Raises what PettingZoo's own test of ``kind`` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parallel_api_test(parallel.parallel_env(kind), 20)


@pytest.mark.parametrize("kind", [kind.__name__ for kind in parallel.KINDS])
def test_what_the_api_test_accepts_is_played(kind, doubles):
    """Whole episodes, with observations, states and masks of the sizes that were announced."""
    with_api(kind)
    host = PettingZoo("parallel", {"kind": kind})
    shapes = wire.Shapes(host.spec)
    found = playthrough(host, 1 if kind == "Nobody" else 10)
    for before, after, reward, *_ in found:
        shapes.check(before)
        shapes.check(after)
        assert isinstance(float(reward), float)
    assert found[-1][3:5] == ((True, False) if kind in ("Nobody", "BothEnds") else (False, True))
    assert not any(step[3] or step[4] for step in found[:-1])
    np.zeros(1, wire.reply_type(host.spec))
    team_of(json.loads(json.dumps(host.spec)), kind)


SEEN = {
    "WholeBox": [1, 2, 3, 4],
    "DiscreteSeen": [0, 1, 0, 0],
    "BinarySeen": [1, 0, 1],
    "ManyDiscreteSeen": [0, 1, 0, 0, 1],
    "Parts": [0, 1, 0.5, 7, 8],
    "MaskedParts": [4, 5],
    "MaskedSeen": [4],
    "Images": [*range(200, 212)],
}


@pytest.mark.parametrize("kind", SEEN)
def test_observations_are_flattened_as_gymnasium_does(kind, doubles):
    env, seen = parallel.parallel_env(kind), PettingZoo("parallel", {"kind": kind}).reset((0, 1))
    np.testing.assert_array_equal(seen.obs, [SEEN[kind]] * 2)
    np.testing.assert_array_equal(seen.world_state, SEEN[kind] * 2)
    if not kind.startswith("Masked"):
        np.testing.assert_array_equal(seen.obs[0], gymnasium.spaces.flatten(env.observation_space("a"), env.value))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("MaskedParts", [0, 1, 0]), ("MaskedSeen", [0, 1, 0]), ("MaskedInfo", [0, 0, 1]), ("Pair", [1, 1, 1])],
)
def test_legal_actions_may_be_told_in_observations_or_beside_them(kind, wanted, doubles):
    for before, after, reward, *_ in playthrough(PettingZoo("parallel", {"kind": kind})):
        np.testing.assert_array_equal([*before.avail_actions, *after.avail_actions[:1]], [wanted] * 3)
        assert reward == wanted.index(1)


def test_an_agent_may_come_late_and_leave_early(doubles):
    late, leaving = (playthrough(PettingZoo("parallel", {"kind": kind})) for kind in ("Late", "Leaving"))
    assert [step[0].alive for step in late] == 3 * [[True, False]] + 7 * [[True, True]]
    assert [step[0].alive for step in leaving] == 2 * [[True, True]] + 8 * [[True, False]]
    assert late[0][0].avail_actions[1].tolist() == [True, False, False] == leaving[2][0].avail_actions[1].tolist()
    assert late[-1][1].alive == [True, True] and late[0][0].world_state.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "kind, terminated, alive", [("BothEnds", True, [False] * 2), ("BothEndsOfOne", False, [False, True])]
)
def test_what_is_over_when_its_time_is_up_is_over(kind, terminated, alive, doubles):
    """Nothing follows a terminated state, whatever the clock says; who is not terminated might have gone on."""
    *_, (_, after, _, *ends, _) = playthrough(PettingZoo("parallel", {"kind": kind}))
    assert ends == [terminated, not terminated] and after.alive == alive


def test_an_agent_that_stays_in_the_list_after_its_end_does_not_act(doubles, monkeypatch):
    host = PettingZoo("parallel", {"kind": "Leaving"})
    step = host.env.step

    def staying(actions):
        assert sorted(actions) == (["a", "b"] if host.env.time < 2 else ["a"])
        obs, rewards, terminated, truncated, infos = step(actions)
        host.env.agents, terminated["b"] = ["a", "b"] if host.env.time < 10 else [], host.env.time >= 2
        monkeypatch.setattr(host.env, "reward", lambda agent: 0.0)
        return {**obs, "b": host.env.value}, rewards, terminated, truncated, infos

    monkeypatch.setattr(host.env, "step", staying)
    monkeypatch.setattr(host.env, "info", lambda agent: {})
    monkeypatch.setattr(host.env, "terminated", lambda agent: agent == "b" and host.env.time >= 2)
    alive = [step[0].alive for step in playthrough(host)]
    assert alive == 2 * [[True, True]] + 8 * [[True, False]]


def test_rewards_of_any_numbers_are_numbers(doubles):
    assert [step[2] for step in playthrough(PettingZoo("parallel", {"kind": "NumpyScalars"}))] == [2.0] * 10


def test_a_state_may_be_a_dictionary_that_shrinks(doubles):
    found = playthrough(PettingZoo("parallel", {"kind": "StateOfParts"}))
    states = [step[0].world_state.tolist() for step in found]
    assert states == 2 * [[1, 1, 2, 2]] + 8 * [[1, 1, 0, 0]] and found[-1][1].world_state.tolist() == [1, 1, 0, 0]


def test_actions_come_within_their_own_bounds(doubles):
    host = PettingZoo("parallel", {"kind": "Bounds"})
    low, high = host.spec["action_low"], host.spec["action_high"]
    np.testing.assert_allclose(low[0] + high[0] + low[1] + high[1], [0, -0.4, 100, 0.4, -np.inf, np.inf])
    host.reset((0, 1))
    host.step((0, 0), np.array([[70, -0.5], [-1e6, 0]], np.float32))
    played = host.env.actions
    np.testing.assert_allclose(played["a"], [70, -0.4])
    assert played["b"].tolist() == [[-1e6]] and played["b"].dtype == np.float64
    whole = PettingZoo("parallel", {"kind": "WholeActions"})
    whole.reset((0, 1))
    whole.step((0, 0), np.array([[254.6, 0.4], [300, 3]], np.float32))
    assert whole.env.actions["a"].tolist() == [255, 0] and whole.env.actions["b"].tolist() == [255, 3]
    assert "action_low" not in PettingZoo("pettingzoo.sisl.multiwalker_v9").spec


def test_bounds_reach_the_team(monkeypatch):
    monkeypatch.chdir(TESTS / "doubles")
    env = hamljax.make_env(hamljax.configure("bridge/pettingzoo", path="parallel", options=("kind:Bounds",)))
    np.testing.assert_allclose(env.team.low, [[0, -0.4], [-np.inf, -1]])
    np.testing.assert_allclose(env.team.high, [[100, 0.4], [np.inf, 1]])
    np.testing.assert_allclose(env.team.from_unit(jnp.full((2, 2), 0.5))[0], [75, 0.2])
    env.close()


MEANT = {
    "OneSidedActions": "the actions of agent 'a' are bounded on one side only",
    "ManyDiscreteActions": "the actions of agent 'a' are MultiDiscrete; only Discrete and Box can be learnt",
    "MixedActions": "have Discrete actions and some a Box; mixed teams are not supported",
    "Texts": "what agent 'a' sees is in a space Text, which is no vector",
    "GrowingState": "had 3 numbers at first and has 4 now",
    "NoPossibleAgents": "has no possible_agents, and a team whose size is unknown",
    "NoSeed": "takes no seed",
    "OldReset": "must return two dictionaries by agent, observations and infos",
    "OldStep": "must return dictionaries of observations, rewards, terminations, truncations and infos",
    "ShortMask": "the action_mask of agent 'a' has 2 of 3 actions",
    "NoReward": "the reward of agent 'a' is None, which is not one number",
}


@pytest.mark.parametrize("kind", [kind.__name__ for kind in parallel.REFUSED])
def test_what_cannot_be_trained_in_is_refused_with_the_reason(kind, doubles):
    with pytest.raises(Refused) as caught:
        playthrough(PettingZoo("parallel", {"kind": kind}))
    assert MEANT[kind] in str(caught.value) and "\n" not in str(caught.value)


WORDS_OF_A_RUN = ["num_envs=2", "num_steps=8", "total_timesteps=32", "num_evals=0", "network.hidden_sizes=[4]", *ONCE]


def through_the_bridge(path, tmp_path, *words) -> int:
    chosen = ["algo=mappo_s", "env=bridge/pettingzoo", f"path={path}", f"run_dir={tmp_path}/run"]
    return main(["train", *chosen, *WORDS_OF_A_RUN, *words])


def test_images_stay_bytes_and_are_learnt_from(monkeypatch):
    monkeypatch.chdir(TESTS / "doubles")
    env = hamljax.make_env(hamljax.configure("bridge/pettingzoo", path="parallel", options=("kind:Images",)))
    learner = make_learner(config("mappo_s", num_envs=1), env)
    state, rollout = learner.host.collect(jax.jit(learner.init)(jax.random.key(0)))
    env.close()
    seen = rollout.transitions.observation
    assert seen.obs.dtype == seen.world_state.dtype == jnp.uint8 and seen.obs[0, 0, 1].tolist() == SEEN["Images"]
    learnt = jax.eval_shape(learner.learner.learn, state, rollout)[0]
    assert jax.tree.structure(learnt.learnt) == jax.tree.structure(state.learnt)


@pytest.mark.long  # the one before has the small one
def test_images_train(tmp_path, monkeypatch):
    monkeypatch.chdir(TESTS / "doubles")
    assert through_the_bridge("parallel", tmp_path, "options=[kind:Images]") == 0


def test_a_refusal_is_one_line_whenever_it_comes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS / "doubles")
    assert through_the_bridge("parallel", tmp_path, "options=[kind:Texts]") == 2
    said = capsys.readouterr().err.strip()
    assert MEANT["Texts"] in said and "\n" not in said
    pool = Pool(Launch("pettingzoo", {"path": "parallel", "options": {"kind": "GrowingState"}}), 1)
    keys = np.zeros((1, 2), np.uint32)
    pool.reset(keys)
    with pytest.raises(ConfigError, match=MEANT["GrowingState"]):
        pool.step(np.zeros((1, 2), np.int32), keys, keys)


# WHO IS ALIVE AND HAS NO LEGAL ACTION


def test_who_has_no_legal_action_is_said_once_with_the_count(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS)
    words = ["algo=mappo_s", "env=bridge/host", "path=hosts_of_tests.Stuck", f"run_dir={tmp_path}/run"]
    assert main(["train", *words, *WORDS_OF_A_RUN]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "no legal action" in line]
    assert len(said) == 1 and "first agent 1 of environment 0 after 2 steps of its episode" in said[0]
    assert 0 < int(said[0].split()[1]) <= 2 * 2 * 8


def test_a_pool_counts_who_has_no_legal_action_where_it_acts():
    """Episodes of five steps, in which agent 1 is stuck after two; what is seen at the end is acted on by nobody."""
    pool = Pool(Launch("hosts_of_tests.Stuck", {}), 2, [str(TESTS)])
    keys = np.zeros((2, 2), np.uint32)
    pool.reset(keys)
    for step in range(10):
        assert pool.anomalies.get("no_legal_action", (0, ""))[0] == 2 * sum(earlier % 5 == 1 for earlier in range(step))
        pool.step(np.zeros((2, 2), np.int32), keys, keys)
    pool.close()
    assert pool.anomalies["no_legal_action"][1] == "agent 1 of environment 0 after 2 steps of its episode"


# A GAME THAT SAYS OF ITSELF THAT SOMETHING IS WRONG


class Asserting:
    """SMAC's interface: one agent with two actions, of which the second is illegal; ``fails`` says where it asserts something."""

    timeouts, fails = 0, ""

    def get_env_info(self):
        return {"n_agents": 1, "obs_shape": 1, "n_actions": 2, "state_shape": 1, "episode_limit": 5}

    def reset(self):
        assert self.fails != "reset", "no units"

    def step(self, actions):
        assert actions[0] == 0, "cannot perform action 1"
        assert self.fails != "step", "a unit is gone"
        return 0.0, False, {}

    def get_obs(self):
        return [[0.0]]

    def get_state(self):
        assert self.fails != "state", "a unit is gone"
        return [0.0]

    def get_avail_actions(self):
        return [[1, 0]]


@pytest.mark.parametrize("fails", ["reset", "step", "state"])
def test_an_assertion_in_a_game_that_obeyed_is_a_lost_worker(fails):
    host = BehindSmac(Asserting())
    host.reset((0, 0))
    host.env.fails = fails
    with pytest.raises(Crash, match="the game says of itself: (no units|a unit is gone)"):
        host.reset((0, 0)) if fails == "reset" else host.step((0, 0), [0])


def test_an_assertion_about_an_illegal_action_is_a_bug():
    host = BehindSmac(Asserting())
    host.reset((0, 0))
    host.env.fails = "step"
    with pytest.raises(AssertionError, match="cannot perform action 1"):
        host.step((0, 0), [1])


# WHAT A HOST ANNOUNCES

SPEC = {"obs_sizes": [2, 2], "action_sizes": [2, 2], "world_state_size": 2, "discrete": True, "max_episode_length": 5}
SPEC |= {"metrics": [], "needs_obs_norm": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discrete": [True, False]}, "mixed teams"),
        ({"action_sizes": [[3, 2], [3, 2]]}, "actions of several parts (MultiDiscrete)"),
        ({"obs_sizes": [2, 0]}, "team.obs_sizes has 0"),
        ({"max_episode_length": None}, "max_episode_length is None"),
        ({"metrics": ["lost"]}, "a metric cannot be called 'lost'"),
    ],
)
def test_a_host_announces_a_team_that_can_be_trained(changes, message):
    with pytest.raises(ConfigError) as caught:
        team_of(SPEC | changes, "mine.Host")
    assert str(caught.value).startswith("environment 'mine.Host': ") and message in str(caught.value)


# SETTINGS


def factory(parameters: str, prefix=""):
    """A function of the ``parameters`` that makes an environment."""
    names = {"hamljax": hamljax, "__name__": "mine"}
    exec(f"{prefix}\ndef made({parameters}):\n    return hamljax.make_env('game/climbing')", names)
    return names["made"]


@pytest.fixture
def registered(request):
    """``registered(factory, ...)`` as my/own, for this test."""
    request.addfinalizer(lambda: ENVIRONMENTS.pop("my/own", None))
    return lambda made, **fixed: register_environment("my/own", made, **fixed)


WORDS = (
    "seed plugin num_envs run_dir env algo network logger experiment kind mode summary factory key items values get pop "
    "copy update team reset package hydra _target_ _self_ path type lr"
)


def test_settings_may_be_called_what_other_settings_are_called(registered):
    registered(factory(", ".join(f"{word}: int = 3" for word in WORDS.split())))
    said = [f"env.{word}={number}" for number, word in enumerate(WORDS.split())]
    job = make_job(["env=my/own", *said, "total_timesteps=64", "num_envs=4", "num_steps=4"])
    assert [getattr(job.config.env, word) for word in WORDS.split()] == [*range(len(WORDS.split()))]
    assert (job.run.seed, job.run.plugin, job.config.num_envs) == (0, "", 4)
    hamljax.make_env(job.config.env)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            "name: str = 'x'",
            "parameter 'name' cannot be a setting, because a configuration uses that word itself; rename it",
        ),
        ("defaults: int = 1", "parameter 'defaults' cannot be a setting"),
        ("__class__: int = 1", "parameter '__class__' cannot be a setting"),
        ("x", "parameter 'x' needs a type annotation and a default"),
        ("*x: int", "parameter 'x' needs a type annotation and a default"),
        ("x: int = 1, /", "parameter 'x' is positional-only"),
        ("x: dict = {}", "parameter 'x' has a dict as its default; a setting is a number"),
        ("x: 'Nothing' = 1", "an annotation cannot be read: name 'Nothing' is not defined"),
    ],
)
def test_what_can_be_no_setting_is_named_where_it_is_registered(parameters, message, registered):
    with pytest.raises(ConfigError) as caught:
        registered(factory(parameters))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "my/own" not in ENVIRONMENTS


def test_a_parameter_that_a_factory_does_not_have_cannot_be_fixed(registered):
    with pytest.raises(ConfigError, match="has no parameter 'sise'; did you mean 'size'?"):
        registered(factory("size: int = 1"), sise=3)


def test_annotations_as_texts_and_lists_as_defaults_are_understood(registered):
    registered(factory("x: int = 3, y: list[int] = [1, 2]", "from __future__ import annotations"))
    job = make_job(["env=my/own", "x=4", "total_timesteps=64", "num_envs=4", "num_steps=4"])
    assert (job.config.env.x, job.config.env.y) == (4, (1, 2)) and hash(job.config.env)


@pytest.mark.parametrize("name", ["my own", "a,b", "a=b", "", "été", "/a", "a/", "null", "1", "..", "${a}"])
def test_a_name_that_cannot_be_typed_is_refused(name):
    with pytest.raises(ConfigError, match="a name has letters, digits"):
        register_environment(name, factory("x: int = 1"))
    assert name not in ENVIRONMENTS
