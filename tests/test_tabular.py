"""Exact HAML: values against enumeration, maximisers against each other and challengers, the checks and their controls."""

import itertools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

from hamljax.envs import configure, make
from hamljax.errors import ConfigError
from hamljax.haml import DRIFTS, NEIGHBOURHOODS, bind_drift, bind_limit
from hamljax.haml.drifts import Drift
from hamljax.haml.parameters import Parameters
from hamljax.lab.cli import main
from hamljax.lab.commands.deep import NETWORKS, beside_prop1
from hamljax.lab.commands.theory import read
from hamljax.tabular import exact, families, simplex, values
from hamljax.tabular.checks import CHECKS, Request, propositions
from hamljax.tabular.checks.controls import CAUGHT, CONTROLS
from hamljax.tabular.follow import falls, follow_all
from hamljax.tabular.game import batched, check_size, from_environment, in_float64, load_game, make_game
from hamljax.tabular.within import chooser

SHIPPED = ("none", "clip", "clip_n", "rollback", "kl", "reverse_kl", "mirror_descent", "spo", "dpo", "euclid")
HYPER = {"clip_eps": 0.2, "kl_coef": 1.0, "dpo_alpha": 2.0, "dpo_beta": 0.6, "max_kl": 0.05}


def one(games):
    return jax.tree.map(lambda x: x[0], games)


@pytest.fixture(scope="module")
def game():
    return one(families.random_games(0, 1, 3, (2, 3), 0.8))


@pytest.fixture(scope="module")
def policies(game):
    return families.random_policies(game, 1)


def joint_by_hand(game, policies):
    """(S, A1, A2) by a loop."""
    joint = np.zeros((3, 2, 3))
    for s, a, b in np.ndindex(joint.shape):
        joint[s, a, b] = policies[0, s, a] * policies[1, s, b]
    return joint


def v_by_hand(game, joint, steps=400):
    """V by adding up what each of so many steps earns."""
    reward, transition = game.reward.reshape(3, 2, 3), game.transition.reshape(3, 2, 3, 3)
    r = (joint * reward).sum((1, 2))
    p = np.einsum("sab,sabt->st", joint, transition)
    v, reach = np.zeros(3), np.eye(3)
    for _ in range(steps):
        v, reach = v + reach @ r, 0.8 * reach @ p
    return v


def test_values_are_sums_over_steps(game, policies):
    joint = joint_by_hand(game, policies)
    v = v_by_hand(game, joint)
    found = in_float64(values.evaluate)(game, policies)
    assert found.v.dtype == np.float64
    np.testing.assert_allclose(found.v, v, atol=1e-12)
    np.testing.assert_allclose(found.q, game.reward + 0.8 * game.transition @ v, atol=1e-12)
    np.testing.assert_allclose((joint.reshape(3, 6) * found.advantage).sum(1), 0, atol=1e-12)
    rho = in_float64(values.occupancy)(game, policies, normalised=False)
    np.testing.assert_allclose(rho @ (joint.reshape(3, 6) * game.reward).sum(1), found.expected_return, atol=1e-12)
    np.testing.assert_allclose(in_float64(values.occupancy)(game, policies).sum(), 1, atol=1e-12)


def test_values_of_a_subset_are_means_over_the_others(game, policies):
    q = np.asarray(in_float64(values.evaluate)(game, policies).q)
    table = q.reshape(3, 2, 3)
    subset = in_float64(values.subset_q)
    np.testing.assert_allclose(
        subset(game, policies, q, (1,)), np.einsum("sab,sa->sb", table, policies[0][:, :2]), atol=1e-12
    )
    np.testing.assert_allclose(subset(game, policies, q, (1, 0)), np.swapaxes(table, 1, 2), atol=1e-12)
    joint = joint_by_hand(game, policies)
    np.testing.assert_allclose(subset(game, policies, q, ()), (joint * table).sum((1, 2)), atol=1e-12)
    given = in_float64(values.multi_agent_advantage)(game, policies, q, (0,), (1,))
    np.testing.assert_allclose(given, table - np.einsum("sab,sb->sa", table, policies[1])[:, :, None], atol=1e-12)


def test_the_nash_gap_is_the_best_of_all_deterministic_deviations(game, policies):
    best = []
    for agent, count in enumerate((2, 3)):
        for choice in itertools.product(range(count), repeat=3):
            deviating = policies.copy()
            deviating[agent] = np.eye(3)[list(choice)]
            best.append(game.initial @ v_by_hand(game, joint_by_hand(game, deviating)))
    own = game.initial @ v_by_hand(game, joint_by_hand(game, policies))
    assert float(in_float64(values.nash_gap)(game, policies)) == pytest.approx(max(best) - own, abs=1e-10)


def test_the_optimum_is_the_best_of_all_joint_policies(game):
    best = max(
        float(game.initial @ v_by_hand(game, np.stack([np.eye(6)[a].reshape(2, 3) for a in choice])))
        for choice in itertools.product(range(6), repeat=3)
    )
    assert float(in_float64(values.optimum)(game)) == pytest.approx(best, abs=1e-9)


def test_a_registered_game_is_discounted_by_its_termination():
    env = make(configure("game/random", termination=0.25, num_states=3))
    game = from_environment(env, 0.9)
    assert game.discount == pytest.approx(0.675)
    v = in_float64(values.evaluate)(game, families.uniform_policies(game)).v
    mean = env.reward.reshape(3, -1).mean(1)
    step = env.transition.reshape(3, -1, 3).mean(1)
    np.testing.assert_allclose(v, np.linalg.solve(np.eye(3) - 0.9 * 0.75 * step, mean), atol=1e-12)


def test_games_that_are_none_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="transition must have the shape"):
        make_game(np.zeros((2, 2)), np.zeros((2, 2)), [1, 0], 0.9)
    with pytest.raises(ConfigError, match="must hold distributions"):
        make_game(np.zeros((2, 2)), np.zeros((2, 2, 2)), [1, 0], 0.9)
    with pytest.raises(ConfigError, match="discount must be in"):
        make_game(np.zeros((1, 2)), np.ones((1, 2, 1)), [1], 1.0)
    with pytest.raises(ConfigError, match="1000000 games of 100 states"):
        check_size(10**6, 100, (3, 3))
    np.savez(tmp_path / "game.npz", reward=np.ones((1, 2)), transition=np.ones((1, 2, 1)), initial=[1.0])
    with pytest.raises(ConfigError, match="has no array discount"):
        load_game(tmp_path / "game.npz")
    np.savez(tmp_path / "game.npz", reward=[[0, 2.0]], transition=np.ones((1, 2, 1)), initial=[1.0], discount=0.5)
    assert float(in_float64(values.optimum)(load_game(tmp_path / "game.npz"))) == pytest.approx(4)


# Exact updates.


def surrogates(actions=(2, 4, 3), games=40, concentration=1.0):
    """(games, surrogate of the last agent after the others have moved) as a batch."""
    batch = families.random_games(3, games, 3, actions)
    old = families.random_policies(batch, 4, concentration)
    new = families.random_policies(batch, 5)

    def seen(game, old, new):
        advantage = values.evaluate(game, old).advantage
        last = game.num_agents - 1
        log_m = sum(exact.log_ratio(game, old[j], new[j], jnp.asarray(game.digits[j])) for j in range(last))
        given = {"progress": 0.25, "num_updates": 10.0}
        return exact.surrogate_of(game, jnp.log(old), advantage, log_m, jnp.asarray(last), given)

    return batched(seen)(batch, old, new)


def challengers(rng, old, best):
    """(100, ..., A): random policies, and such as are near the one that is said to be best."""
    far = rng.dirichlet(np.full(old.shape[-1], 0.5), (50, *old.shape[:-1]))
    near = best * np.exp(rng.normal(0, 10.0 ** rng.uniform(-4, -1, (50, *old.shape[:-1], 1)), (50, *old.shape)))
    return np.concatenate([far, near / near.sum(-1, keepdims=True)])


def hamo(drift, s, x):
    return exact.measure(drift, s, simplex.Solution(x, jnp.zeros(x.shape[0]))).hamo


def tried_hamo(drift, seen, best):
    """(100, games, S) of challengers."""
    old = np.exp(np.asarray(seen.log_old))
    others = challengers(np.random.default_rng(0), old, np.asarray(best)) * np.asarray(seen.mask)[:, None]
    others /= others.sum(-1, keepdims=True)
    of = jax.vmap(jax.vmap(lambda s, x: hamo(drift, s, x)), (None, 0))
    return in_float64(jax.jit(of))(seen, others)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_policy_is_better_than_the_exact_maximiser(name):
    drift = bind_drift(DRIFTS[name], HYPER)
    seen = surrogates()
    best = batched(lambda s: exact.maximise(drift, s))(seen)
    general = batched(lambda s: exact.general(drift, s))(seen)
    value = batched(lambda s, x: hamo(drift, s, x))(seen, best.policy)
    np.testing.assert_allclose(best.policy.sum(-1), 1, atol=1e-12)
    assert (best.policy >= 0).all() and value.min() >= -1e-12
    other = batched(lambda s, x: hamo(drift, s, x))(seen, general.policy)
    np.testing.assert_allclose(other, value, atol=1e-11)  # the general one knows no closed form
    assert general.gap.max() < 1e-11  # weak duality
    assert (tried_hamo(drift, seen, best.policy) <= value + 1e-11).all()


def test_the_value_of_the_kl_maximisers_is_known():
    """reverse_kl: c KL(pi || x). kl: c (chi^2(pi || x) - KL(pi || x))."""
    seen = surrogates()
    old = np.exp(np.asarray(seen.log_old))[..., :3]
    for name in ("reverse_kl", "kl"):
        drift = bind_drift(DRIFTS[name], HYPER | {"kl_coef": 0.7})
        solution = batched(lambda s, drift=drift: exact.maximise(drift, s))(seen)
        x = np.asarray(solution.policy)[..., :3]
        kl, chi2 = (old * np.log(old / x)).sum(-1), (old**2 / x).sum(-1) - 1
        value = np.asarray(batched(lambda s, x, drift=drift: exact.measure(drift, s, x).hamo)(seen, solution))
        np.testing.assert_allclose(value, 0.7 * (kl if name == "reverse_kl" else chi2 - kl), atol=1e-11)


def test_ties_leave_the_policy_where_it_is():
    old = np.array([[0.2, 0.3, 0.5], [0.2, 0.8, 0.0]])
    q = np.array([[1.0, 1.0, 1.0], [0.0, -1.0, 0.0]])
    np.testing.assert_array_equal(in_float64(simplex.greedy)(q, old), [[0.2, 0.3, 0.5], [0.5, 0, 0.5]])


def test_an_action_without_support_is_charged_by_each_drift_as_its_limit_says():
    """Probability 0, and worth 2 more than the others: kl lets it in above its coefficient, clip and reverse_kl never."""
    game = families.matrix_game(np.array([0.0, 0.0, 2.0]))
    old = np.array([[[0.5, 0.5, 0.0]]])
    with np.errstate(divide="ignore"):
        log_old = np.log(old)
    entered = {}
    for name, coef in (
        ("none", 1.0),
        ("kl", 1.0),
        ("kl", 3.0),
        ("reverse_kl", 1.0),
        ("clip", 1.0),
        ("spo", 1.0),
        ("dpo", 1.0),
    ):
        drift = bind_drift(DRIFTS[name], HYPER | {"kl_coef": coef})
        sweep = Request([], HYPER).sweep("none")._replace(drift=drift)
        new, _ = in_float64(jax.jit(lambda *x, sweep=sweep: sweep(*x)))(game, log_old, jax.random.key(0))
        entered[name, coef] = float(np.exp(new)[0, 0, 2])
    # kl: lam = q of the newcomer = 2, so that the others keep c pi / (2 - 0) each.
    assert entered["none", 1.0] == 1 and entered["kl", 1.0] == pytest.approx(0.5) and entered["kl", 3.0] == 0
    assert all(entered[name, 1.0] < 1e-12 for name in ("reverse_kl", "clip", "spo", "dpo"))


@pytest.mark.parametrize("name", ["kl_ball", "max_kl_over_states", "tv_ball", "ratio_box", "keep_support"])
def test_an_exact_update_keeps_to_a_registered_limit(name):
    """None of those that are within it and near is better; for a ball of KL, none at all."""
    neighbourhood, drift = NEIGHBOURHOODS[name], bind_drift(DRIFTS["none"], HYPER)
    limit, choose = bind_limit(neighbourhood, HYPER), chooser(neighbourhood, HYPER)
    seen = surrogates(games=20)
    beta = np.random.default_rng(1).dirichlet(np.ones(3), 20)

    def excess(s, x, beta):
        return limit(exact.divergence_of(s, x, beta), {**s.given, "log_m": jnp.log(s.m)})

    def value(s, x, beta):
        return exact.measure(drift, s, simplex.Solution(x, jnp.zeros(3))).hamo @ beta

    best = batched(lambda s, beta: choose(drift, s, beta).policy)(seen, beta)
    beyond, worth = batched(excess), batched(value)
    assert np.asarray(beyond(seen, best, beta)).max() <= 1e-9
    reached = np.asarray(worth(seen, best, beta))
    assert (reached > 1e-3).all()
    if name in ("tv_ball", "ratio_box"):
        return
    rng = np.random.default_rng(2)
    for _ in range(40):
        share = 10.0 ** rng.uniform(-3, 0, (20, 1, 1))
        other = best + share * (np.pad(rng.dirichlet(np.ones(3), (20, 3)), ((0, 0), (0, 0), (0, 1))) - best)
        inside = np.asarray(beyond(seen, other, beta)) <= 0
        assert (np.asarray(worth(seen, other, beta))[inside] <= reached[inside] + 1e-9).all()


def bounded(ratio, m_advantage):
    return jnp.abs(m_advantage) * (ratio - 1) ** 2 / (1 + (ratio - 1) ** 2)


BOUNDED = {"saturating": DRIFTS["saturating"], "one of one's own": Drift(bounded, Parameters((), {}), (), "")}


@pytest.mark.parametrize("name", ["one of one's own", *long("saturating")])  # whose sweeps are followed below too
def test_a_drift_that_is_not_convex_goes_through_the_same_door(name):
    """Sweeps do not fall all the same, and no policy is better by more than the bound on the error says."""
    own = bind_drift(BOUNDED[name], HYPER)
    exact.check_drift(own)
    games = families.random_games(0, 20, 3, (2, 3))
    sweep = Request([], HYPER).sweep("none")._replace(drift=own)
    path = follow_all(sweep, games, families.random_policies(games, 1), sweeps=10)
    assert not falls(path).any() and path.hamo.min() >= -1e-12
    seen = surrogates(games=20)
    best = batched(lambda s: exact.maximise(own, s))(seen)
    tried = np.asarray(tried_hamo(own, seen, best.policy))
    value = np.asarray(batched(lambda s, x: exact.measure(own, s, x).hamo)(seen, best))
    assert (tried <= value + best.gap + 1e-10).all() and np.median(best.gap) < 0.1


def test_a_drift_of_divergences_of_which_it_is_no_multiple_is_refused():
    mixed = bind_drift(Drift(lambda r, g, *, kl: jnp.sqrt(kl), Parameters((), {}), ("kl",), ""), {})
    with pytest.raises(ConfigError, match="adds a multiple of kl"):
        exact.check_drift(mixed)


def test_an_update_may_be_semi_greedy():
    games = families.random_games(0, 20, 3, (2, 3))
    request = Request([], HYPER, order="semi_greedy")
    path = follow_all(request.sweep("clip"), games, families.random_policies(games, 1), sweeps=5)
    assert not falls(path).any()


# The checks, small. Each has the thresholds of the large one.

QUICK = {"identities": 60, "monotone": 40, "nash": 40, "prop1": 1, "prop2": 1, "controls": 100}
FEWER = {"nash": ("clip", "kl"), "monotone": ("none", "clip", "kl", "saturating")}
SEEN = (
    "M omitted, with clip",
    "M of the last predecessor only",
    "square root of M",
    "one's own ratio in M",
)  # one by each


def asked(games: int, **changes) -> Request:
    return Request(SHIPPED, HYPER, games=games, sweeps=10)._replace(**changes)


@pytest.mark.parametrize("name", QUICK)
def test_what_the_paper_claims_holds(name, monkeypatch):
    monkeypatch.setattr(propositions, "CROWDS", (2, 4))
    for mistake in [*CONTROLS]:
        if mistake not in SEEN:
            monkeypatch.delitem(CONTROLS, mistake)
    assert {control.seen_by for control in CONTROLS.values()} == set(CAUGHT)
    report = CHECKS[name](asked(QUICK[name], drifts=FEWER.get(name, SHIPPED)), lambda text: None)
    assert report.holds, [claim for claim in report.claims if not claim.holds]
    assert report.claims and report.rows


def test_a_fixed_order_with_ties_goes_round_in_circles():
    report = CHECKS["orders"](asked(1, drifts=("none",)), lambda text: None)
    assert report.holds
    assert report.rows[0][2] > "5"  # most games have more than one limit


@pytest.mark.parametrize("games", long(10_000))
def test_no_fall_in_ten_thousand_games(games):
    for name in ("identities", "monotone", "prop2", "controls"):
        report = CHECKS[name](asked(games), lambda text: None)
        assert report.holds, [claim for claim in report.claims if not claim.holds]


def test_simultaneous_sweeps_are_said_to_fall(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["theory", "monotone", "prop1", "games=30", "drift=none", "sweeps=5", "deep=0", "out=found"]
    assert main(words) == 0
    assert main([*words, "coordination=simultaneous"]) == 1
    out = capsys.readouterr().out
    assert "NO   none: games with a fall of J" in out
    found = json.loads((tmp_path / "found" / "monotone.json").read_text())
    assert not found["holds"] and found["request"]["coordination"] == "simultaneous"
    assert {f.name for f in (tmp_path / "found").iterdir()} == {
        f"{n}.{s}" for n in ("monotone", "prop1") for s in ("json", "png")
    }


@pytest.mark.parametrize(
    "words, line",
    [
        (["monotome"], "did you mean 'monotone'"),
        (["drift=clop"], "did you mean 'clip'"),
        (["drift=clip", "clip_ep=1"], "did you mean 'clip_eps'"),
        (["games=0"], "games must be a whole number"),
        (["neighbourhood=kl_budget"], "choose kl_ball"),
        (["clip_eps=-1"], "clip_eps"),
        (["deeep=1"], "did you mean 'deep'"),
        (["deep=-1"], "deep must be a whole number"),
    ],
)
def test_what_theory_does_not_know_is_one_line(words, line, capsys):
    assert main(["theory", *words]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("agents", [pytest.param(agents, marks=pytest.mark.long) for agents in ((2,), (4, 10))])
def test_networks_stand_beside_the_first_proposition(agents):
    """Two agents find it in no time."""
    exactly = CHECKS["prop1"](asked(1), lambda text: None)
    report = beside_prop1(exactly, 2, lambda text: None, agents)
    assert report.columns[-2:] == tuple(NETWORKS) and report.claims == exactly.claims
    for n, *_, own, shared in report.rows:
        assert (own == "-") == (shared == "-") == (n not in agents)
        assert n > 4 or own == "-" or float(own.split()[0]) > 0.9 and own.endswith("(2/2)")


def test_sets_that_hold_a_ball_need_not_reach_the_optimum():
    """One agent, actions worth 0 and 1: half of the way to 1/2 in every sweep is a neighbourhood by Definition 2."""

    def half_way(drift, seen, beta):
        reach = jnp.abs(0.5 - seen.old[:, 1]) / 2
        p = jnp.where(seen.q[:, 1] > seen.q[:, 0], seen.old[:, 1] + reach, seen.old[:, 1])
        return simplex.Solution(jnp.stack([1 - p, p], -1), jnp.zeros_like(p))

    game = jax.tree.map(lambda x: np.asarray(x)[None], families.matrix_game(np.array([0.0, 1.0])))
    sweep = Request([], HYPER).sweep("none")
    start = np.array([[[[0.9, 0.1]]]])
    path = follow_all(sweep._replace(choose=half_way), game, start, sweeps=60)
    assert not falls(path).any() and path.expected_return[0, -1] == pytest.approx(0.5, abs=1e-9)
    assert follow_all(sweep, game, start, sweeps=1).expected_return[0, -1] == 1


PAGE = (Path(__file__).parents[1] / "docs/theory.md").read_text()


def test_the_python_of_the_page_runs(capsys):
    exec(next(code for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S) if "tabular" in code), {})
    first, second = capsys.readouterr().out.split("\n")[:2]
    k = np.arange(5)
    chance = np.array([1, 4, 6, 4, 1]) * 0.1**k * 0.9 ** (4 - k)
    assert float(first.split()[0]) == pytest.approx((chance * 10 * (k - k * (k - 1))).sum()) and float(second) > 0


def test_the_commands_of_the_page_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^hamljax theory[^#\n]*", PAGE, flags=re.M)
    assert len(lines) == 4
    (tmp_path / "my_drift.py").write_text(
        "import hamljax\n\n\n@hamljax.register_drift('mine')\ndef mine(ratio, m_advantage):\n    return (ratio - 1) ** 2\n"
    )
    checks = [read(line.split()[2:]).checks for line in lines]
    assert checks == [tuple(CHECKS), ("monotone",), ("monotone",), ("monotone", "nash")]


def test_the_page_names_every_check():
    named = set(re.findall(r"^\| (`.*`) \|", PAGE, flags=re.M))
    assert {name for cell in named for name in re.findall("`(.*?)`", cell)} >= set(CHECKS)
