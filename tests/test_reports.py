"""What a run says of environments that misbehave, and what the table and the curves of several seeds say."""

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from hamljax.algorithms.off_policy.replay import Sample
from hamljax.algorithms.on_policy.trajectory import Trajectory, Transition
from hamljax.bridge.environment import HostEnvironment
from hamljax.bridge.pool import Pool
from hamljax.bridge.process import Launch
from hamljax.envs.protocol import Observation, Team
from hamljax.errors import ConfigError, Stopped
from hamljax.lab.drawing import plots
from hamljax.lab.runs.debug_batch import not_finite
from hamljax.lab.runs.non_finite import stop_for_non_finite
from hamljax.lab.runs.notes import Notes
from hamljax.lab.runs.pace import Streak

HOSTS = """
import sys
import numpy as np
from hosts import Seen

class Broken:
    spec = {"obs_sizes": [2, 1], "action_sizes": [2, 2], "world_state_size": 1, "discrete": True,
            "max_episode_length": 4, "metrics": [], "needs_obs_norm": False}

    def __init__(self, what="", dead=False, ends="", code=None):
        self.what, self.dead, self.ends, self.code = what, dead, ends, code

    def reset(self, key):
        self.time = 0
        if self.ends == "reset":
            sys.exit(self.code)
        return self.see()

    def step(self, key, action):
        self.time += 1
        if self.ends == "step":
            sys.exit(self.code)
        if self.ends == "interrupt":
            raise KeyboardInterrupt
        reward = -np.inf if self.what == "reward" and self.time == 3 else 1.0
        return self.see(), reward, self.time == 4, False, {}

    def see(self):
        odd = np.nan if self.time in (2, 4) else 0.0  # at time 4 the task is over
        state, obs = (odd if self.what == name else 0.0 for name in ("world_state", "obs"))
        return Seen([[0.0, 0.0], [obs]], [state], [[1, 1], [1, 1]], [True, not self.dead])

    def close(self):
        pass
"""
KEYS, ACTION = np.zeros((2, 2), np.uint32), np.zeros((2, 2), np.int32)


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "hosts_of_reports.py").write_text(HOSTS)
    monkeypatch.chdir(tmp_path)
    return lambda **settings: Launch("hosts_of_reports.Broken", settings, max_restarts=3)


# NUMBERS THAT ARE NOT FINITE


def notes_after_six_steps(launch) -> dict[str, str]:
    """Of two workers, whose episodes have four steps."""
    env = HostEnvironment(launch)
    pool = env.pool(2)
    pool.reset(KEYS)
    for _ in range(6):
        pool.step(ACTION, KEYS, KEYS)
    notes = env.notes
    env.close()
    return notes


@pytest.mark.parametrize(
    "what, said",
    [
        (
            "obs",
            "4 time(s) so far the observation of an agent that was alive was not finite, first agent 1 of environment 0",
        ),
        ("world_state", "4 time(s) so far the world state was not finite, first environment 0"),
        ("reward", "2 time(s) so far the reward was not finite, first environment 0"),
    ],
)
def test_what_a_worker_gives_that_is_not_finite_is_counted_and_placed(host, what, said):
    """It is twice in six steps (the reward: once), of each of two workers; what follows a task's end does not count."""
    steps = 3 if what == "reward" else 2
    notes = notes_after_six_steps(host(what=what))
    assert notes.keys() == {what} and notes[what].startswith(f"{said} after {steps} steps of its episode;")


def test_the_dead_may_see_anything(host):
    assert notes_after_six_steps(host(what="obs", dead=True)) == {}


def test_each_note_is_said_once():
    said = []
    told = Notes(said.append)
    for notes in ({"obs": "one"}, {"obs": "two", "reward": "three"}, {"reward": "four", "obs": "five"}):
        told.of_workers([], notes)
    told.of_the_stuck(2, 48)
    told.of_the_stuck(2, 64)
    assert said[:2] == ["note: one", "note: three"] and len(said) == 3 and "no legal action" in said[2]


def test_every_loss_of_a_worker_is_told_of_once():
    said = []
    told = Notes(said.append)
    for losses in (["a"], ["a"], ["a", "b", "c"]):
        told.of_workers(losses, {})
    assert said == [f"note: {loss}; another took its place" for loss in "abc"]


@pytest.mark.parametrize(
    "noted, advice",
    [
        ({"world_state", "no_legal_action"}, "The environment gave what is not finite (the world state): mend it, or"),
        ({"no_legal_action"}, "Try a smaller learning rate, or"),
    ],
)
def test_a_run_behind_the_bridge_blames_what_was_noted(noted, advice):
    training = SimpleNamespace(seeds=[7], streak=Streak(1, 2), notes=Notes(print), per_update=16)
    training.notes.noted = noted
    training.job = SimpleNamespace(run=SimpleNamespace(on_nan="stop"))
    training.trainer = SimpleNamespace(env=SimpleNamespace(in_processes=True))
    with pytest.raises(Stopped, match=re.escape(f"as they were. {advice} on_nan=skip")):
        stop_for_non_finite(training, 0, 1)


TEAM = Team(obs_sizes=(2, 1), action_sizes=(2, 2), world_state_size=1)


def seen(size: int, **arrays) -> Observation:
    """Of ``size`` steps of one environment, all in order but for ``arrays``."""
    obs, legal = jnp.zeros((size, 1, 2, 2)), jnp.ones((size, 1, 2, 2), bool)
    return Observation(obs, jnp.zeros((size, 1, 1)), legal, jnp.ones((size, 1, 2), bool))._replace(**arrays)


def rollout(observation=None, final=None, reward=0.0, terminated=False, truncated=False) -> Trajectory:
    flags = [jnp.full((3, 1), flag) for flag in (terminated, truncated)]
    nothing = jnp.zeros((3, 1, 2))
    return Trajectory(
        Transition(
            observation or seen(3),
            flags[0],
            nothing,
            nothing,
            nothing,
            jnp.full((3, 1), reward),
            *flags,
            final or seen(3),
            {},
        ),
        None,
    )


SICK = jnp.zeros((3, 1, 2, 2)).at[1, 0, 1, 0].set(jnp.nan)  # what agent 1 sees once
PADDING = jnp.zeros((3, 1, 2, 2)).at[1, 0, 1, 1].set(jnp.nan)
STATE = jnp.zeros((3, 1, 1)).at[2].set(jnp.inf)
DEAD = jnp.ones((3, 1, 2), bool).at[1, 0, 1].set(False)


@pytest.mark.parametrize(
    "given, found",
    [
        (rollout(), []),
        (rollout(seen(3, obs=SICK)), ["the observation of agent 1"]),
        (rollout(seen(3, obs=SICK, alive=DEAD)), []),
        (rollout(seen(3, obs=PADDING)), []),
        (rollout(seen(3, world_state=STATE), reward=jnp.inf), ["the world state", "the reward"]),
        (rollout(final=seen(3, world_state=STATE, obs=None)), ["the world state"]),
        (rollout(final=seen(3, world_state=STATE), terminated=True), []),
        (rollout(final=seen(3, world_state=STATE), truncated=True), ["the world state"]),
    ],
)
def test_what_an_environment_gave_that_is_not_finite_is_found_in_a_rollout(given, found):
    assert not_finite(TEAM, given.debug_batch("bootstrap")) == found


def test_a_final_observation_counts_where_it_is_looked_at():
    given = rollout(final=seen(3, world_state=STATE), truncated=True)
    assert all(not_finite(TEAM, given.debug_batch(truncation)) == [] for truncation in ("terminal", "drop"))


def test_it_is_found_in_samples_of_a_replay_too():
    """Three gradient steps of one window each: the last one's task is over at its end, and it is not learnt from."""
    ones = jnp.ones((3, 1))
    sample = Sample(seen(3, obs=SICK), ones, ones, ones.at[2].set(0), seen(3, world_state=STATE))
    assert not_finite(TEAM, sample.debug_batch()) == ["the observation of agent 1"]
    later = jax.tree.map(lambda x: x[:, :, None], seen(3, world_state=STATE))
    for discount, found in ((0.0, []), (0.9, ["the world state"])):
        inside = sample._replace(later=(later, jnp.full((3, 1, 1), discount)))
        assert not_finite(TEAM, inside.debug_batch()) == ["the observation of agent 1", *found]
    sample = sample._replace(reward=ones.at[2].set(jnp.inf))
    assert not_finite(TEAM, sample.debug_batch()) == ["the observation of agent 1", "the reward"]
    sample = sample._replace(weight=jnp.array([[True], [False], [False]]))
    assert not_finite(TEAM, sample.debug_batch()) == []


# HOW A WORKER ENDED


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ends": "step", "code": 3}, "called sys.exit(3)"),
        ({"ends": "step"}, "called sys.exit()"),
        ({"ends": "step", "code": "no\nlicence"}, r"called sys.exit('no\nlicence')"),
        ({"ends": "interrupt"}, "was interrupted"),
    ],
)
def test_an_environment_that_ends_its_process_is_a_lost_worker_that_did_so(host, settings, said):
    pool = Pool(host(**settings), 1)
    pool.reset(KEYS[:1])
    reply = pool.step(ACTION[:1], KEYS[:1], KEYS[:1])
    pool.close()
    (loss,) = pool.losses
    assert loss.startswith(f"environment worker 0 {said}; ") and "hosts_of_reports.py, line " in loss
    assert not reply.valid.any()


def test_a_worker_that_is_interrupted_while_it_waits_says_so_too(host):
    pool = Pool(host(), 1)
    pool.reset(KEYS[:1])
    process = pool.workers[0].process
    os.kill(process.pid, signal.SIGINT)
    process.wait()
    pool.step(ACTION[:1], KEYS[:1], KEYS[:1])
    pool.close()
    assert pool.losses == ["environment worker 0 was interrupted"]


def test_one_that_ends_it_at_once_does_not_start(host):
    with pytest.raises(ConfigError, match=r"does not start: it called sys\.exit\(1\)"):
        Pool(host(ends="reset", code=1), 1)


# SEEDS THAT HAVE COME TO DIFFERENT STEPS


def run_of(seed: int, **columns) -> tuple[dict, pd.DataFrame]:
    config = {"algo": {"name": "happo"}, "env": {"name": "game"}, "network": {"name": "mlp"}}
    return config, pd.DataFrame({"seed": seed, "step": [0, 10, 20, 30]} | columns)


@pytest.fixture
def uneven(monkeypatch):
    """Three seeds, one evaluated to step 20, one to 10 and trained to 30, and one that was stopped at step 10."""
    nan, short = np.nan, run_of(2, **{"eval/return": [0.0, 6.0, 0.0, 0.0]})
    runs = {
        Path("0"): run_of(0, **{"eval/return": [0.0, 1.0, 50.0, nan]}),
        Path("1"): run_of(1, **{"eval/return": [0.0, 2.0, nan, nan]}),
        Path("2"): (short[0], short[1][:2]),
    }
    monkeypatch.setattr(plots, "read_run", runs.__getitem__)
    return list(runs)


def test_the_table_compares_seeds_at_one_step(uneven):
    """Mean and sample standard deviation of 1, 2 and 6."""
    assert plots.table(uneven) == [("happo · game · mlp", "3", "10 (trained to 30)", "-", "3.000 ± 2.646")]


def test_one_seed_has_no_spread(uneven):
    assert plots.table(uneven[:1]) == [("happo · game · mlp", "1", "20 (trained to 30)", "-", "50.000 ± -")]


def test_without_an_evaluation_that_all_had_there_is_nothing_to_compare(monkeypatch):
    nan = np.nan
    runs = [run_of(0, **{"eval/return": [nan, 1.0, nan, nan]}), run_of(1, **{"eval/return": [nan, nan, 1.0, nan]})]
    monkeypatch.setattr(plots, "read_run", dict(enumerate(runs)).__getitem__)
    assert plots.table([0, 1]) == [("happo · game · mlp", "2", "30", "-", "-")]


def test_a_mean_is_of_all_seeds_or_there_is_none(uneven):
    ((_, metrics),) = plots.gather(uneven).items()
    curves = plots._curves(metrics, "eval/return")
    assert curves.index.tolist() == [0, 10] and curves.mean(axis=1).tolist() == [0.0, 3.0]
