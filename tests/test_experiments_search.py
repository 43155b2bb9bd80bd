"""The search for a drift: its families are drifts with the maximisers that they claim, and stopping it changes nothing."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamljax.haml import COORDINATIONS, DRIFTS, ORDERS, bind_drift
from hamljax.tabular import (
    Sweep,
    evaluate,
    everywhere,
    in_float64,
    joint_policy,
    maximise,
    random_games,
    random_policies,
)
from hamljax.tabular.exact import surrogate_of

EXPERIMENTS = str(Path(__file__).parents[1] / "experiments")
sys.path.insert(0, EXPERIMENTS)
import drift_search  # noqa: E402
from drift_search_families import HALVINGS, bar, hinges, powers  # noqa: E402
from drift_search_report import verdict  # noqa: E402
from drift_search_trials import Scorer, estimate, make_trials, sampled_sweep  # noqa: E402

sys.path.remove(EXPERIMENTS)
FAMILIES = {"hinges": hinges(), "powers": powers()}
SHRUNK = -0.3  # log_scale


def member(name: str, seed: int) -> np.ndarray:
    start = FAMILIES[name].members[0]
    return start + 0.6 * np.random.default_rng(seed).standard_normal(len(start))


def one(games):
    return jax.tree.map(lambda x: x[0], games)


COST = {name: in_float64(jax.jit(family.cost)) for name, family in FAMILIES.items()}
SOLVE = {name: in_float64(jax.jit(family.solve)) for name, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def game():
    return one(random_games(3, 1, 6, (3, 4)))


@pytest.fixture(scope="module")
def seen(game):
    """What the second agent is to maximise after the first has moved: exactly, and of samples that leave out actions."""

    old, new = (random_policies(game, seed) for seed in (1, 2))

    def both():
        advantage = evaluate(game, old).advantage
        log_m = jnp.log(new[0, :, :3] / old[0, :, :3])[:, game.digits[0]]
        exact = surrogate_of(game, jnp.log(old), advantage, log_m, 1, {})
        share, believed = estimate(jax.random.key(0), advantage, joint_policy(game, old), 2.0, 8)
        return exact, exact._replace(weight=share / exact.divisor[:, exact.action], advantage=believed)

    return in_float64(jax.jit(both))()


def objective(cost, x, seen) -> np.ndarray:
    """(..., S) of policies (..., S, A), summed over joint actions as they stand; ``cost(ratio, gain)``."""
    old = np.exp(seen.log_old)
    ratio = (x / old)[..., seen.action]
    gain = np.broadcast_to(seen.m * seen.advantage, ratio.shape)
    return np.sum(seen.weight * old[:, seen.action] * (ratio * gain - cost(ratio, gain)), -1)


@pytest.mark.parametrize("name", FAMILIES)
def test_members_are_drifts(name):
    """Definition 1: 0 at r = 1 with a slope of 0, and nowhere below, whatever the advantage."""
    ratio, gain = (x.ravel() for x in np.meshgrid(np.linspace(0, 4, 161), np.linspace(-3, 3, 13)))
    slope = in_float64(jax.jit(jax.vmap(jax.grad(FAMILIES[name].cost, 2), (None, None, 0, 0))))
    for seed in range(4):
        theta = member(name, seed)
        values = COST[name](theta, SHRUNK, ratio, gain)
        assert np.all(values >= 0) and np.max(values) > 0.1
        assert np.all(values[ratio == 1] == 0) and (ratio == 1).sum() == 13
        np.testing.assert_array_equal(slope(theta, SHRUNK, np.ones_like(ratio), gain), 0)
        for h in (1e-12, -1e-12):
            quotient = COST[name](theta, SHRUNK, np.full_like(ratio, 1 + h), gain) / abs(h)
            np.testing.assert_allclose(quotient, 0, atol=0.02)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_challenger_beats_the_maximiser(name, sampled, seen):
    rng = np.random.default_rng(0)
    for seed in range(3):
        theta = member(name, seed)
        found = SOLVE[name](theta, SHRUNK, seen[sampled])
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-12)
        assert np.all(found >= 0)
        anywhere = rng.dirichlet(np.full(4, 0.5), (100, 6))
        near = found + rng.choice([0.1, 0.01, 1e-4], (100, 1, 1)) * (rng.dirichlet(np.full(4, 0.3), (100, 6)) - found)
        challengers = np.concatenate([found[None], anywhere, near, np.exp(seen[sampled].log_old)[None]])
        values = objective(lambda r, g, theta=theta: COST[name](theta, SHRUNK, r, g), challengers, seen[sampled])
        assert np.all(values <= values[0] + 1e-10)


def clip_as_hinges(eps: float) -> np.ndarray:
    """One hinge of slope 1 on either side, where the move gains: all others have the slope 0."""
    theta = np.zeros((2, 2, 1, 2))
    theta[..., 0] = np.log(eps)
    theta[[0, 1], [1, 0], :, 1] = -np.inf
    return theta.ravel()


def test_one_hinge_of_slope_one_is_clip(seen):
    theta, clip = clip_as_hinges(0.2), bind_drift(DRIFTS["clip"], {"clip_eps": 0.2})
    ratio, gain = (x.ravel() for x in np.meshgrid(np.linspace(0, 4, 161), np.linspace(-3, 3, 13)))
    np.testing.assert_allclose(COST["hinges"](theta, 0.0, ratio, gain), in_float64(clip)(ratio, gain), atol=1e-14)
    best = in_float64(jax.jit(lambda x: maximise(clip, x).policy))
    for surrogate in seen:
        np.testing.assert_allclose(SOLVE["hinges"](theta, 0.0, surrogate), best(surrogate), atol=1e-14)


def test_a_power_of_two_is_spo(seen):
    theta = np.array([np.log(0.3)] * 4 + [0.0] * 2)
    spo = bind_drift(DRIFTS["spo"], {"clip_eps": 0.3})
    found = SOLVE["powers"](theta, 0.0, seen[0])
    expected = in_float64(jax.jit(lambda x: maximise(spo, x).policy))(seen[0])
    np.testing.assert_allclose(found, expected, atol=100 * 0.5**HALVINGS)


def test_a_linear_dpo_is_close_to_dpo(seen):
    """The maximiser of the drift made linear between ratios: no challenger gains more than a hundredth."""
    theta, dpo = np.log([1.0, 0.3]), bar()["dpo"]
    cost = in_float64(jax.jit(dpo.cost))
    found = in_float64(jax.jit(dpo.solve))(theta, 0.0, seen[0])
    rng = np.random.default_rng(0)
    near = found + rng.choice([0.1, 0.01], (300, 1, 1)) * (rng.dirichlet(np.full(4, 0.3), (300, 6)) - found)
    challengers = np.concatenate([found[None], rng.dirichlet(np.full(4, 0.5), (300, 6)), near])
    values = objective(lambda r, g: cost(theta, 0.0, r, g), challengers, seen[0])
    assert np.all(values <= values[0] + 0.01)
    assert np.all(values[0] > objective(lambda r, g: cost(theta, 0.0, r, g), np.exp(seen[0].log_old), seen[0]) + 0.01)


def test_infinitely_many_samples_without_noise_are_the_exact_sweep():
    """J of three sweeps from both starts, against the library's sweeps in the same orders; no ties, as clip has them."""
    trials = make_trials(5, 1)
    scores = Scorer((0.0,), None, 3)(bar()["reverse_kl"], np.log([[0.5]]), np.zeros(1), trials, 7)[0, 0, :, 0]
    drift = bind_drift(DRIFTS["reverse_kl"], {"kl_coef": 2.0})
    sweep = Sweep(drift, COORDINATIONS["sequential"], ORDERS["uniform"], everywhere)
    game = one(trials.game)

    def step(log_policies, start, k):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 0), start)
        new = sweep(game, log_policies, jax.random.split(jax.random.fold_in(key, k))[1])[0]
        return new, evaluate(game, jnp.exp(new)).expected_return

    step = in_float64(jax.jit(step))
    for start, first in enumerate(trials.first[0]):
        log_policies = trials.log_policies[0, start]
        for k in range(3):
            log_policies, value = step(log_policies, start, k)
            np.testing.assert_allclose(scores[start, k], (value - first) / (trials.best[0] - first), atol=1e-10)


def test_estimates_are_unbiased_and_as_noisy_as_said():
    """Over 4000 estimates: shares of mean pi, and errors of variance sigma^2 / count, but for the mean that is taken off."""
    joint, advantage = np.array([[0.5, 0.3, 0.2]]), np.array([[1.0, -1.0, 0.25]])
    draw = jax.jit(jax.vmap(lambda key: estimate(key, advantage, joint, 3.0, 8)))
    share, believed = in_float64(draw)(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(share.sum(-1), 1)
    np.testing.assert_allclose(share.mean(0), joint, atol=5 * 0.5 / np.sqrt(8 * 4000))
    np.testing.assert_allclose(np.sum(share * believed, -1), 0, atol=1e-12)
    seen = (share[:, 0, :2] > 0).all(-1)
    counts = 8 * share[seen, 0, :2]
    error = (believed[seen, 0, 0] - believed[seen, 0, 1] - 2) / np.sqrt(np.sum(9 / counts, -1))
    np.testing.assert_allclose([error.mean(), error.var()], [0, 1], atol=0.12)


def stages(folder: Path) -> drift_search.Search:
    return drift_search.Search(drift_search.Store(folder, drift_search.QUICK), drift_search.QUICK)


def test_a_search_that_was_stopped_goes_on_to_the_same_end(tmp_path, monkeypatch, capsys):
    family = hinges(1)
    whole, stopped = stages(tmp_path / "whole"), stages(tmp_path / "stopped")
    stopped.scorer = whole.scorer  # and with it what is compiled
    expected = whole.found("hinges", family, True)

    def killed(*arguments):
        if len(list(stopped.store.folder.iterdir())) > 2:
            raise KeyboardInterrupt
        return whole.scorer(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stopped, "scorer", killed)
        stopped.found("hinges", family, True)
    again = stages(tmp_path / "stopped")
    again.scorer = whole.scorer
    capsys.readouterr()
    found = again.found("hinges", family, True)
    assert capsys.readouterr().out.count("search") == 1  # of three generations: two were there
    np.testing.assert_array_equal(found.thetas, expected.thetas)
    np.testing.assert_array_equal(found.rates, expected.rates)
    assert len(np.unique(expected.thetas, axis=0)) == 3  # the start and two generations: it has moved


def test_a_folder_of_another_size_is_refused(tmp_path, capsys):
    drift_search.Store(tmp_path / "parts", drift_search.Budget())
    assert drift_search.main(["--quick", "--out", str(tmp_path)]) == 2
    assert "another size" in capsys.readouterr().err


def test_sampled_sweep_only_sees_the_samples(game):
    """What an action that nobody has sampled is thought to be worth changes no policy."""
    with np.errstate(divide="ignore"):
        old = np.log(random_policies(game, 1))
    share = np.zeros((6, 12))
    share[:, :5] = 0.2
    advantage = np.random.default_rng(0).normal(size=(6, 12))

    def new(advantage):
        def solve(seen):
            return hinges(1).solve(clip_as_hinges(0.2), 0.0, seen)

        return jnp.exp(
            sampled_sweep(solve, game, jnp.asarray(old), jax.random.key(0), share, advantage, jnp.zeros(()), 1)
        )

    changed = advantage.copy()
    changed[:, 5:] += 3
    step = in_float64(jax.jit(new))
    np.testing.assert_array_equal(step(advantage), step(changed))
    changed[:, 0] += 3
    assert np.abs(step(advantage) - step(changed)).max() > 0.01


def test_a_member_is_above_the_bar_only_if_every_interval_is():
    rng = np.random.default_rng(0)
    shipped = {"clip": rng.normal(0.8, 0.1, (600, 2, 2)), "kl": rng.normal(0.7, 0.1, (600, 2, 2))}
    better = shipped["clip"] + 0.02 + rng.normal(0, 0.05, (600, 2, 2))
    results = {name: {"final": x, "choice": x.mean()} for name, x in {**shipped, "powers": better}.items()}
    worse = {"final": better, "choice": 0.5}
    assert verdict(results | {"hinges": worse}, list(shipped)) == ("powers", True)
    results["kl"] = {"final": better, "choice": 0.9}  # of the bar: however good, it is not what is chosen
    assert verdict(results, list(shipped)) == ("powers", False)


def test_a_choice_at_the_edge_of_its_grid_is_told():
    grid = np.array([[0.0, a, b] for a in (1.0, 2.0, 3.0) for b in (1.0, 2.0, 3.0)])
    inside = [row for row in range(9) if not drift_search.at_edge(grid, row)]
    assert inside == [4]
