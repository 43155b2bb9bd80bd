"""Several environments in one worker process: nothing of theirs changes, but that they are lost together."""

from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from tiny_runs import ONCE, numbers, record

import hamljax
from hamljax.bridge.pool import Pool
from hamljax.bridge.process import Launch
from hamljax.errors import Stopped
from hamljax.lab.cli import main

TESTS = Path(__file__).parent
COUNTER = "hosts_of_tests.Counter"


def open_pool(size: int, each: int, host: str = COUNTER, max_restarts: int = 100, **settings) -> Pool:
    launch = Launch(host, settings, timeout=20.0, max_restarts=max_restarts, envs_per_worker=each)
    return Pool(launch, size, [str(TESTS)])


@pytest.mark.parametrize("size, each, workers", [(5, 2, 3), (4, 4, 1), (3, 8, 1), (3, 1, 3)])
def test_whatever_they_share_a_process_with_they_are_the_same(size, each, workers):
    """Episodes of 1, 2 and 3 steps, so that only some of a worker's environments begin anew in a step."""
    alone, together = (open_pool(size, k, "hosts_of_tests.Uneven") for k in (1, each))
    assert len(together.workers) == workers
    for pool in (alone, together):
        pool.reset(numbers(0, size))
    np.testing.assert_array_equal(alone.seen, together.seen)
    for step in range(1, 8):
        action = np.stack([(np.arange(size) + step) % 2, (np.arange(size) + step) % 3], axis=1)
        one, other = (pool.step(action, numbers(0, size), numbers(30 * step + 2, size)) for pool in (alone, together))
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    for pool in (alone, together):
        pool.close()


def test_without_a_number_there_is_a_worker_for_each_processor(monkeypatch):
    monkeypatch.setattr("hamljax.bridge.pool.cores", lambda: 2)
    pool = open_pool(5, 0)
    assert (len(pool.workers), pool.each, pool.worker_of.tolist()) == (2, 3, [0, 0, 0, 1, 1])
    pool.close()


def test_a_lost_worker_costs_one_transition_in_each_of_its_environments():
    """The process of environments 0 and 1 is killed in every third step; 2 goes on in its own."""
    pool = open_pool(3, 2, length=100)
    pool.reset(numbers(0, 3))
    for step in range(1, 10):
        if step % 3 == 0:
            pool.workers[0].process.kill()
            pool.workers[0].process.wait()
        reply = pool.step(np.ones((3, 2), int), numbers(0, 3), numbers(10 * step, 3))
        lost = [step % 3 == 0] * 2 + [False]
        np.testing.assert_array_equal(~reply.valid, lost)
        np.testing.assert_array_equal(reply.final["truncated"], lost)
        np.testing.assert_array_equal(reply.final["reward"], np.where(lost, 0.0, 2.0))
        if step % 3 == 0:
            np.testing.assert_array_equal(reply.final["world_state"][:, 1], [2, 2, step])
            np.testing.assert_array_equal(reply.seen["world_state"], [[10 * step, 0], [10 * step + 1, 0], [2, step]])
    assert pool.restarts == 3
    pool.close()


def test_who_is_lost_while_another_begins_anew_loses_the_next_transition():
    """The worker fails when the first of its environments begins an episode; the second was in the middle of one."""
    pool = open_pool(2, 2, "hosts_of_tests.Uneven")
    pool.reset(numbers(0, 2))  # of 1 and 2 steps
    exchange = pool._exchange

    def killed_at_the_reset(which, kind):
        if kind == b"R":
            pool._exchange = exchange
            pool.workers[0].process.kill()
            pool.workers[0].process.wait()
        return exchange(which, kind)

    pool._exchange = killed_at_the_reset
    action, keys = np.ones((2, 2), int), numbers(0, 2)
    first = pool.step(action, keys, numbers(32, 2))
    assert first.valid.all() and first.final["terminated"].tolist() != [False, False] and pool.restarts == 1
    begun = first.seen["world_state"][0].copy()
    second = pool.step(action, keys, numbers(62, 2))
    assert second.valid.tolist() == [True, False] and second.final["truncated"][1]
    np.testing.assert_array_equal(second.final["world_state"][0][:1], begun[:1])
    np.testing.assert_array_equal(second.seen["world_state"][1][:2], [62, 0])
    third = pool.step(action, keys, numbers(92, 2))
    assert third.valid.all()
    pool.close()


def test_a_worker_is_one_of_the_budget_however_many_environments_it_has():
    pool = open_pool(4, 4, fault="raise", at=2, max_restarts=1)
    pool.reset(numbers(0, 4))
    for _ in range(3):
        pool.step(np.zeros((4, 2)), numbers(0, 4), numbers(0, 4))
    assert pool.restarts == 1
    with pytest.raises(Stopped, match="worker 0 .*all 1 restarts"):
        pool.step(np.zeros((4, 2)), numbers(0, 4), numbers(0, 4))
    pool.close()


def test_a_run_is_the_same_and_may_go_on_with_another_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(TESTS)
    words = ["train", "env=bridge/host", f"env.path={COUNTER}", "env.options=[length:3]", "num_envs=3", "num_steps=4"]
    words += [
        "num_evals=0",
        "absolute_metric=false",
        "total_timesteps=24",
        "network.hidden_sizes=[8]",
        "algo=mappo_s",
        *ONCE,
    ]
    runs = [tmp_path / str(each) for each in (1, 3)]
    for run, each in zip(runs, (1, 3), strict=True):
        assert main([*words, f"env.envs_per_worker={each}", f"run_dir={run}"]) == 0
    pd.testing.assert_frame_equal(*map(record, runs), check_exact=True)
    capsys.readouterr()
    assert main([*words, "env.envs_per_worker=2", f"run_dir={runs[0]}"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert main([*words, "env.envs_per_worker=-1", f"run_dir={tmp_path / 'no'}"]) == 2
    assert "env.envs_per_worker must not be negative, not -1" in capsys.readouterr().err


def test_a_step_takes_in_only_what_acts(monkeypatch):
    """Of what is learnt neither the critic nor any optimiser's state, and of the floats none."""
    monkeypatch.chdir(TESTS)
    sizes = {"num_envs": 2, "num_steps": 4, "total_timesteps": 8, "hidden_sizes": (8,), "num_evals": 0}
    trainer = hamljax.make_learner(hamljax.config("happo", hamljax.configure("bridge/host", path=COUNTER), **sizes))
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    fixed, playing = jax.eval_shape(trainer.host._parts, state)
    acting = jax.tree.leaves(state.learnt.agents.params)
    assert sorted(x.shape for x in fixed if x.dtype != np.uint32) == sorted(x.shape for x in acting)  # and a key
    given = (fixed, playing, *jax.eval_shape(trainer.host._decide, fixed, playing))
    typed = [x for x in jax.tree.leaves(given) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]
    assert not typed  # they would be made anew in Python at every step
    trainer.env.close()
