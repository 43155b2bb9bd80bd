"""The boundary of the simplex: which drifts and limits let an action come back, and which sweeps arrive at Nash equilibria."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long
from test_tabular import HYPER, PAGE, hamo, surrogates

import hamljax
from hamljax.errors import ConfigError
from hamljax.haml import DRIFTS, NEIGHBOURHOODS, bind_drift
from hamljax.haml.drifts import SHIPPED as DRIFTS_SHIPPED
from hamljax.haml.neighbourhoods import SHIPPED as LIMITS_SHIPPED
from hamljax.lab.cli import main
from hamljax.tabular import exact, families, simplex
from hamljax.tabular.checks import Request
from hamljax.tabular.checks.nash import NASH
from hamljax.tabular.follow import falls, follow_all
from hamljax.tabular.game import batched, in_float64, stack
from hamljax.tabular.within import chooser
from hamljax.training.train import make_learner


def test_a_projection_is_the_nearest_policy():
    """By hand, and no random policy is nearer."""
    rng = np.random.default_rng(0)
    points = np.array([[0.5, 0.3, 0.2], [2.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.1, 0.9, -3.0], [0.5, 0.3, -np.inf]])
    found = np.asarray(in_float64(simplex.project)(points))
    np.testing.assert_allclose(
        found, [[0.5, 0.3, 0.2], [1, 0, 0], [1 / 3] * 3, [0.6, 0.4, 0], [0.6, 0.4, 0]], atol=1e-12
    )
    points = rng.normal(size=(50, 4))
    found = np.asarray(in_float64(simplex.project)(points))
    others = rng.dirichlet(np.full(4, 0.4), (2000, 1))
    assert (((others - points) ** 2).sum(-1).min(0) >= ((found - points) ** 2).sum(-1) - 1e-12).all()


def test_free_drifts_let_a_lost_action_back_as_far_as_it_is_worth():
    """Two actions worth 0 and one worth 2, which has probability 0; euclid: the projection of pi + q / c."""
    game, old = families.matrix_game(np.array([0.0, 0.0, 2.0])), np.array([[[0.5, 0.5, 0.0]]])
    with np.errstate(divide="ignore"):
        log_old = np.log(old)
    for name, values, wanted in (
        ("euclid", {"euclid_coef": 4.0}, [1 / 3, 1 / 3, 1 / 3]),
        ("euclid", {"euclid_coef": 1.0}, [0, 0, 1]),
        ("saturating", {"clip_eps": 0.2}, [0, 0, 1]),
    ):
        sweep = Request([], HYPER).sweep("none")._replace(drift=bind_drift(DRIFTS[name], values))
        new, _ = in_float64(jax.jit(lambda *x, sweep=sweep: sweep(*x)))(game, log_old, jax.random.key(0))
        np.testing.assert_allclose(np.exp(new)[0, 0], wanted, atol=1e-9, err_msg=name)


def test_the_best_that_keeps_its_support_by_hand():
    """Without a drift everything but min_ratio of the old policy goes to the best action."""
    seen, kappa = surrogates(), 0.3
    choose = chooser(NEIGHBOURHOODS["keep_support"], {"min_ratio": kappa})
    beta = np.full((40, 3), 1 / 3)
    found = batched(lambda s, beta: choose(bind_drift(DRIFTS["none"], {}), s, beta).policy)(seen, beta)
    old = np.exp(np.asarray(seen.log_old))
    best = np.asarray(batched(lambda s: jnp.argmax(s.q, -1))(seen))
    np.testing.assert_allclose(found, kappa * old + (1 - kappa) * np.eye(old.shape[-1])[best], atol=1e-12)


def test_clip_that_keeps_its_support_is_the_maximiser_over_the_box():
    """Poured into the pieces of clip, against the maximiser that knows none, over ratios of at least min_ratio."""
    seen, kappa, drift = surrogates(), 0.5, bind_drift(DRIFTS["clip"], {"clip_eps": 0.2})
    choose = chooser(NEIGHBOURHOODS["keep_support"], {"min_ratio": kappa})
    found = batched(lambda s, beta: choose(drift, s, beta).policy)(seen, np.full((40, 3), 1 / 3))
    general = batched(lambda s: exact.general(drift, s, low=kappa * s.old))(seen)
    value, other = (np.asarray(batched(lambda s, x: hamo(drift, s, x))(seen, x)) for x in (found, general.policy))
    old = np.exp(np.asarray(seen.log_old))
    assert (np.asarray(found) >= kappa * old - 1e-12).all() and general.gap.max() < 1e-11
    np.testing.assert_allclose(value, other, atol=1e-11)
    free = np.asarray(batched(lambda s: hamo(drift, s, exact.maximise(drift, s).policy))(seen))
    assert (free >= value - 1e-12).all() and (free > value + 1e-6).any()


def test_convexity_is_told_from_its_absence():
    found = {name: exact.is_convex(bind_drift(DRIFTS[name], HYPER)) for name in DRIFTS_SHIPPED}
    assert [name for name, convex in found.items() if not convex] == ["saturating"]


def test_a_leap_that_no_multiplier_shows_is_found():
    """Three games of one agent, against every policy of a fine grid; in each the best is far from what one multiplier shows."""
    drift = bind_drift(DRIFTS["saturating"], {"clip_eps": 0.2})
    games = stack([families.matrix_game(np.array(x)) for x in ([0.1, -0.1, 0.6], [2, 1.8, 1.3], [0.4, 0.7, -1.2])])
    old = np.array([[0.0001, 0.7635, 0.2364], [0.349, 0.617, 0.034], [0.002, 0.064, 0.934]])[:, None, None]

    def seen(game, old):
        given, advantage = {"progress": 0.0, "num_updates": 1.0}, exact.evaluate(game, old).advantage
        return exact.surrogate_of(game, jnp.log(old), advantage, jnp.zeros((1, 3)), jnp.int32(0), given)

    share = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in share for b in share if a + b <= 1 + 1e-12]).clip(0)[:, None]

    def values(game, old):
        s = seen(game, old)
        best = exact.maximise(drift, s).policy
        return hamo(drift, s, best)[0], jnp.max(jax.vmap(lambda x: hamo(drift, s, x)[0])(grid))

    reached, of_grid = batched(values)(games, old)
    assert (of_grid > 1e-3).all() and (np.asarray(reached) >= 0.999 * np.asarray(of_grid)).all()


def paths(drift, start, games=60, sweeps=100, **changes):
    """(games with a fall, share of games that are at a Nash equilibrium in the end)."""
    batch = families.random_games(0, games, 4, (3, 3))
    policies = {"interior": families.random_policies, "pure": families.pure_policies}[start](batch, 1)
    request = Request([], HYPER | changes.pop("values", {}), **changes)
    path = follow_all(request.sweep(drift), batch, policies, sweeps=sweeps)
    return falls(path, 1e-11).sum(), (path.nash_gap[:, -1] < NASH).mean()


def test_clip_sticks_where_it_lost_an_action_and_not_where_it_keeps_its_support():
    assert paths("clip", "interior")[1] < 0.92
    fallen, arrived = paths("clip", "interior", neighbourhood="keep_support", values={"min_ratio": 0.1})
    assert fallen == 0 and arrived > 0.98


def test_probabilities_that_fall_below_any_floor_are_still_followed():
    """With 0.001 of the support kept a sweep, after a hundred sweeps some are below 1e-200."""
    fallen, arrived = paths("clip", "interior", neighbourhood="keep_support", values={"min_ratio": 0.001})
    assert fallen == 0 and arrived > 0.97


@pytest.mark.parametrize(
    "drift, games, sweeps",
    [("none", 60, 30), ("euclid", 60, 100), *long(("saturating", 5, 60), ("saturating", 10, 60))],
)
def test_free_drifts_arrive_from_pure_policies(drift, games, sweeps):
    fallen, arrived = paths(drift, "pure", games, sweeps)
    assert fallen == 0 and arrived >= 0.9


@pytest.mark.parametrize("drift, most", [("reverse_kl", 0.1), ("spo", 0.1)])
def test_other_drifts_stay_at_pure_policies(drift, most):
    assert paths(drift, "pure")[1] <= most


@pytest.mark.parametrize("start", ["pure", *long("interior")])
def test_the_exact_ball_of_hatrpo_arrives_from_everywhere(start):
    fallen, arrived = paths("none", start, games=8, sweeps=50, neighbourhood="kl_ball", values={"max_kl": 0.1})
    assert fallen == 0 and arrived == 1


SATURATING = {"drift": "saturating", "clip_eps": (0.1, 0.3)}
KEEPING = {"neighbourhood": "keep_support", "neighbourhood_params": {"min_ratio": 0.5}}
BOTH = SATURATING | KEEPING


def small(env, **settings):
    return hamljax.config("happo", env, num_envs=4, num_steps=4, total_timesteps=16, hidden_sizes=(4,), **settings)


def test_a_drift_of_probabilities_is_refused_where_actions_have_densities(capsys):
    with pytest.raises(ConfigError, match="drift 'euclid' is about probabilities of discrete actions") as caught:
        make_learner(small("game/tracking", drift="euclid"))
    assert "\n" not in str(caught.value) and "saturating" in str(caught.value)
    assert main(["train", "algo=happo", "algo.drift=euclid", "env=game/tracking"]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "euclid" in said


@pytest.mark.parametrize(
    "settings",
    [
        {"drift": "euclid", "drift_params": {"euclid_coef": 3.0}},
        BOTH,
        *long({"drift": "euclid"}, SATURATING, KEEPING),
    ],
)
def test_rows_may_have_them(settings):
    learner = make_learner(small("game/climbing", **settings)).learner
    found = jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0)))[1]
    assert found["train/hamo"].shape == () and ("train/inside" in found) == ("neighbourhood" in settings)


def test_pages_name_every_drift_and_every_limit():
    readme = hamljax.__path__[0] + "/../../README.md"
    with open(readme) as file:
        text = file.read()
    for name in {*DRIFTS_SHIPPED, *LIMITS_SHIPPED}:
        assert f"`{name}`" in text, name
    table = PAGE.split("<!-- BOUNDARY -->")[1].split("<!-- END BOUNDARY -->")[0]
    for name in DRIFTS_SHIPPED:
        assert f"`{name}`" in table, name
