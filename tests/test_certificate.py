"""Certificates: what is no drift is refuted by numbers that are checked here, what is one is not, and what is proved is true."""

import json
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import planted_drifts
import pytest
from matplotlib.figure import Figure
from PIL import Image
from planted_drifts import BAD, GOOD, clip, square
from sizes import long

import hamljax
from hamljax import haml
from hamljax.algorithms.on_policy.certification import certify, settings_of
from hamljax.algorithms.table import hyper_parameters
from hamljax.errors import ConfigError
from hamljax.haml.certificate import examine, intervals, jets
from hamljax.haml.certificate.games import divergences, is_negative, play, two_actions
from hamljax.haml.certificate.interpreter import UNARY, run
from hamljax.haml.certificate.intervals import Interval, program_in
from hamljax.haml.certificate.prover import prove
from hamljax.haml.certificate.rules import RULES
from hamljax.haml.certificate.scale import degree
from hamljax.haml.certificate.search import asks_of_policies
from hamljax.haml.certificate.shipped import VERDICTS
from hamljax.haml.certificate.subject import Subject, in_double
from hamljax.haml.parameters import asked_by
from hamljax.lab.cli import main
from hamljax.lab.commands.certify import look_before
from hamljax.lab.configuration.jobs import make_job

FEW_BAD = {
    "square, falling with |g|",
    "needle in r and g",
    "waves",
    "window along a hyperbola",
    "negative at 0 alone",
    "negative at infinity",
    "KL, refunded far out",
    "root of KL",
    "tiny kink",
    "hidden kink",
    "slope at g = 0",
    "flat fee",
    "no number where M is 0",
    "another one each time",
}
FEW_GOOD = {
    "-log r",
    "clip with a slope",
    "clip of r times what M says",
    "clip and KL",
    "power 1.1",
    "KL to the .75",
    "hinges",
}


def sized(names, few):
    return [*(name for name in names if name in few), *long(*(name for name in names if name not in few))]


def drift_of(function) -> haml.Drift:
    own, asks = asked_by("drift", "planted", function, ("ratio", "m_advantage"), haml.drifts.OFFERED)
    return haml.Drift(function, own, asks, "")


def subject_of(function) -> Subject:
    return Subject(drift_of(function), {})


def verdict_of(function, values=None, **more):
    return examine("planted", drift_of(function), values or {}, budget=more.pop("budget", 5.0), **more)


def added_up(function, game) -> float:
    """The drift of a game, from its numbers and the function alone."""
    old, new, m, weight = (np.array(game[name], float) for name in ("old", "new", "m", "weight"))
    assert np.isclose(old.sum(), 1) and np.isclose(new.sum(), 1) and np.isclose(weight.sum(), 1) and (new >= 0).all()
    assert np.isclose((weight * m).sum(), 1) and (m >= 0).all()  # M is one distribution over another
    advantage = np.array(game["advantage"])
    assert abs((weight[:, None] * old * advantage).sum()) <= 1e-9 * np.abs(advantage).max()
    asks = drift_of(function).asks
    total = 0.0
    for row, share in enumerate(weight):
        ratio = new / old
        given = {"old_prob": old, "m": np.full(len(old), m[row]), "advantage": np.array(game["advantage"][row])}
        log = np.log(np.where(new > 0, new / old, 1.0))
        given |= {"kl": np.full(len(old), game["kl"]), "reverse_kl": np.full(len(old), game["reverse_kl"])}
        if np.abs(log).max() > 1e-3:  # elsewhere the plain sum is nothing but rounding
            kl = math.inf if (new == 0).any() else -(old * log).sum()
            assert np.isclose(game["kl"], kl) and np.isclose(game["reverse_kl"], (new * log).sum())
        given |= {name: np.tile(game[name], (len(old), 1)) for name in ("obs", "world_state") if name in game}
        given |= {name: game[name] for name in ("progress", "num_updates", "num_agents") if name in game}
        given |= {"agent": np.full(len(old), game.get("agent", 0))}
        gain = m[row] * given["advantage"]
        cost = np.asarray(
            function(jnp.asarray(ratio), jnp.asarray(gain), **{name: jnp.asarray(given[name]) for name in asks})
        )
        total += (share * old * cost).sum()
    return float(total)


def holds(function, example) -> bool:
    """Whether the counter-example shows what it says, added up here."""
    if example["kind"] == "game":
        return added_up(function, example) < 0
    if example["kind"] == "value":
        return example["old"] == example["new"] and not added_up(function, example) == 0
    if example["kind"] == "undefined":
        return not np.isfinite(added_up(function, example))
    if example["kind"] == "slope":
        rates = [abs(added_up(function, game)) / t for game, t in zip(example["games"], example["t"], strict=True)]
        moved = [abs(game["new"][0] - game["old"][0]) for game in example["games"]]
        return (
            np.allclose(moved, example["t"])
            and rates[2] > 0.9 * rates[1] > 0
            and example["t"][2] < 1e-3 * example["t"][1]
        )
    if example["kind"] == "jump":
        first, last = example["games"]
        apart = abs(first["new"][0] - last["new"][0])
        return apart < 1e-15 and abs(added_up(function, first) - added_up(function, last)) > 1e-6
    return example["kind"] == "sample" and example["costs"][0] != example["costs"][1]


@pytest.mark.parametrize("name", sized(BAD, FEW_BAD))
def test_what_is_no_drift_is_refuted_by_numbers(name):
    found = verdict_of(BAD[name])
    assert found.interior.verdict == found.closed.verdict == "refuted", found.interior
    with in_double():
        assert holds(BAD[name], found.interior.counter_example), found.interior


@pytest.mark.parametrize("name", sized(GOOD, FEW_GOOD))
def test_what_is_a_drift_is_not_refuted(name):
    found = verdict_of(GOOD[name])
    wanted = "not refuted" if name in ("for gains alone", "hinges") else "proved"  # these jump where A passes 0
    assert found.interior.verdict == wanted, found.interior


def test_there_are_as_many_as_is_said():
    assert (len(BAD), len(GOOD)) == (48, 30) and FEW_BAD <= BAD.keys() and FEW_GOOD <= GOOD.keys()


@pytest.mark.parametrize("name", sorted(haml.drifts.SHIPPED))
def test_the_list_says_what_certificates_say(name):
    found = certify(name)
    assert (found.interior.verdict, found.closed.verdict) == VERDICTS[name]
    assert VERDICTS.keys() == haml.drifts.SHIPPED
    if found.closed.counter_example is not None:
        with in_double():
            values = hyper_parameters(settings_of(name, haml.DRIFTS[name], {}), "drift_params")
            bound = haml.bind_drift(haml.DRIFTS[name], values)
            for game, rate, t in zip(
                *(found.closed.counter_example[key] for key in ("games", "rates", "t")), strict=True
            ):
                given = {k: np.full(2, game[k]) for k in ("kl", "reverse_kl")} | {"progress": 0.0, "num_updates": 100.0}
                ratio = np.array(game["new"]) / np.array(game["old"])
                cost = bound(ratio, np.array(game["advantage"][0]), given | {"num_agents": 2.0})
                assert np.isclose((np.array(game["old"]) * np.asarray(cost)).sum() / t, rate) and rate > 0.5


# Intervals


CASES = {  # primitive -> functions of (r, g) in which it stands
    "neg": [lambda r, g: -r * g],
    "log": [lambda r, g: jnp.log(r) * g],
    "log1p": [lambda r, g: jnp.log1p(r) + g],
    "exp": [lambda r, g: jnp.exp(-r * g)],
    "exp2": [lambda r, g: jnp.exp2(-r)],
    "expm1": [lambda r, g: jnp.expm1(r - g)],
    "sqrt": [lambda r, g: jnp.sqrt(r + g**2)],
    "rsqrt": [lambda r, g: jax.lax.rsqrt(r + 0.1)],
    "tanh": [lambda r, g: jnp.tanh(r * g)],
    "logistic": [lambda r, g: jax.nn.sigmoid(r - g)],
    "erf": [lambda r, g: jax.lax.erf(r - g)],
    "atan": [lambda r, g: jnp.arctan(r - g)],
    "asinh": [lambda r, g: jnp.arcsinh(r - g)],
    "sinh": [lambda r, g: jnp.sinh((r - g) / 4)],
    "cosh": [lambda r, g: jnp.cosh((r - g) / 4)],
    "sin": [lambda r, g: jnp.sin(3 * r + g)],
    "cos": [lambda r, g: jnp.cos(3 * r) * g],
    "square": [lambda r, g: jnp.square(r - g)],
    "integer_pow": [lambda r, g: (r - g) ** 3 + (r - 1) ** 4 + r**-2],
    "pow": [lambda r, g: r**1.7 + r**-0.3, lambda r, g: r ** (g / 3), lambda r, g: 2.0**r],
    "add": [lambda r, g: r + g],
    "sub": [lambda r, g: r - g * r],
    "mul": [lambda r, g: r * g * (r - 2)],
    "div": [lambda r, g: g / (r + 0.1), lambda r, g: r / g],
    "rem": [lambda r, g: jnp.fmod(3 * r, 1.0), lambda r, g: jnp.mod(g, 0.7) * r],
    "max": [lambda r, g: jnp.maximum(r, g) * g],
    "min": [lambda r, g: jnp.minimum(r, 1 + g) * g],
    "abs": [lambda r, g: jnp.abs(r - 1) * g],
    "clamp": [lambda r, g: jax.lax.clamp(0.8, r, 1.2) * g],
    "select_n": [lambda r, g: jnp.where(r > 1, r**2, g), lambda r, g: jnp.where(g >= 0, r, -r)],
    "sign": [lambda r, g: jnp.sign(r - 1) * g],
    "floor": [lambda r, g: jnp.floor(2 * r) + g],
    "ceil": [lambda r, g: jnp.ceil(g) * r],
    "round": [lambda r, g: jnp.round(3 * r) * g],
    "is_finite": [lambda r, g: jnp.where(jnp.isfinite(r), r, g)],
    "and": [lambda r, g: jnp.where((r > 1) & (g > 0), r, g)],
    "or": [lambda r, g: jnp.where((r > 1) | (g > 0), r, g)],
    "not": [lambda r, g: jnp.where(~(r > 1), r, g)],
    "gather": [lambda r, g: jnp.array([1.0, -2.0, 3.0])[jnp.clip(jnp.floor(g), 0, 2).astype(int)] * r],
    "dynamic_slice": [lambda r, g: jax.lax.dynamic_slice(jnp.array([1.0, 2.0]), (0,), (1,))[0] * r],
    "reduce_sum": [lambda r, g: jnp.sum(jnp.stack([r, g, r * g], -1), -1)],
    "reduce_max": [lambda r, g: jnp.max(jnp.stack([r, g, r * g], -1), -1)],
    "reduce_min": [lambda r, g: jnp.min(jnp.stack([r, g, r * g], -1), -1)],
    "dot_general": [lambda r, g: jnp.stack([r, g], -1) @ jnp.array([0.3, -1.7])],
}
STRUCTURE = {"jax.nn": lambda r, g: jax.nn.softplus(r - g) + jax.nn.gelu(r) + jax.nn.silu(g * r) + jax.nn.elu(r - 1)}
STEPPED = {
    "floor",
    "ceil",
    "round",
    "sign",
    "rem",
    "select_n",
    "gather",
}  # which have no second derivative to compare with


def primitives(program) -> set[str]:
    found = set()
    for equation in program.jaxpr.eqns:
        found.add(equation.primitive.name)
        inner = program_in(equation)
        found |= primitives(inner) if inner is not None else set()
    return found


def random_boxes(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    low = np.exp(rng.normal(size=count))
    gain = 3 * rng.normal(size=count)
    width = np.exp(2 * rng.normal(size=(2, count)) - 3)
    return Interval(low, low * (1 + width[0])), Interval(gain, gain + width[1])


@pytest.mark.parametrize("name", [*CASES, *STRUCTURE])
def test_bounds_hold_a_thousand_samples_of_every_box(name):
    """Values, and the first two derivatives in the ratio where nothing jumps or has a kink."""
    for function in CASES.get(name) or [STRUCTURE[name]]:
        with in_double():
            subject, (ratio, gain) = subject_of(function), random_boxes(40)
            program = subject.program_of(40)
            assert name in primitives(program) | STRUCTURE.keys()
            found = run(program, [jets.Jet(ratio, jets.ONE, None, True), jets.Jet(gain)], 40)
            rng = np.random.default_rng(1)
            r, g = (x.lo + (x.hi - x.lo) * rng.random((1000, 40)) for x in (ratio, gain))
            parts = [np.asarray(function(jnp.asarray(r), jnp.asarray(g)))]
            one = jax.vmap(jax.vmap(jax.grad(lambda a, b, f=function: f(a[None], b[None])[0] * 1.0)))
            parts.append(np.asarray(one(jnp.asarray(r), jnp.asarray(g))))
            assert ((parts[0] >= found.jet.value.lo) & (parts[0] <= found.jet.value.hi) | found.jet.bad).all(), name
            calm = ~(found.jumped | np.broadcast_to(found.jet.bad, 40))
            slope = found.jet.slope or Interval(np.zeros(40), np.zeros(40))
            slack = 1e-9 * (1 + np.abs(parts[1]))
            assert (((parts[1] >= slope.lo - slack) & (parts[1] <= slope.hi + slack)) | ~calm).all(), name
            tight = (parts[0].max(0) - parts[0].min(0)) / np.maximum(found.jet.value.hi - found.jet.value.lo, 1e-300)
            assert name in STEPPED or np.median(tight) > 0.05, name  # bounds of everything would hold too
            if name not in STEPPED:
                two = jax.vmap(jax.vmap(jax.grad(jax.grad(lambda a, b, f=function: f(a[None], b[None])[0] * 1.0))))
                bend, bound = np.asarray(two(jnp.asarray(r), jnp.asarray(g))), found.jet.bend or slope
                bound = bound if found.jet.bend is not None else Interval(np.zeros(40), np.zeros(40))
                slack = 1e-9 * (1 + np.abs(bend))
                inside = (bend >= bound.lo - slack) & (bend <= bound.hi + slack)
                assert (inside | ~calm | found.kinked).all(), name


def test_every_primitive_that_is_handled_has_a_case():
    assert {*UNARY, *RULES} - {"add_any"} <= CASES.keys()


def test_an_exact_zero_stays_one_and_a_third_is_between_its_bounds():
    zero = intervals.multiply(intervals.point(0.0), intervals.everything(()))
    assert (zero.lo, zero.hi) == (0, 0)
    third = intervals.divide(intervals.point(1.0), intervals.point(3.0))
    assert third.lo * 3 <= 1 <= third.hi * 3 and third.lo < third.hi < third.lo * (1 + 1e-15)
    tenth = intervals.add(intervals.point(0.1), intervals.point(0.2))
    assert tenth.lo < 0.1 + 0.2 < tenth.hi  # rounded; what follows is exact
    assert intervals.add(intervals.point(0.5), intervals.point(0.25)) == (0.75, 0.75)
    assert intervals.multiply(intervals.point(0.1), intervals.point(-4.0)) == (-0.4, -0.4)
    assert intervals.whole_power(Interval(np.array(-1.0), np.array(2.0)), 2).lo == 0
    assert intervals.sine(Interval(np.array(0.0), np.array(7.0))).hi == 1


def test_bounds_of_sums_products_and_quotients_hold_the_exact_ones():
    """Against rational arithmetic; the bounds are a few units in the last place apart."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(500, 2)) * 10.0 ** rng.integers(-9, 9, size=(500, 2))
    cases = (
        (intervals.add, Fraction.__add__),
        (intervals.multiply, Fraction.__mul__),
        (intervals.divide, Fraction.__truediv__),
    )
    for ours, exact in cases:
        for x, y in pairs:
            found, wanted = ours(intervals.point(x), intervals.point(y)), exact(Fraction(x), Fraction(y))
            assert Fraction(float(found.lo)) <= wanted <= Fraction(float(found.hi))
            assert float(found.hi - found.lo) <= 1e-15 * abs(float(wanted))


UNKNOWN = {
    "a special function": lambda r, g: square(r) + 0 * jax.lax.bessel_i0e(r),
    "a loop": lambda r, g: square(r) + 0 * jax.lax.fori_loop(0, 3, lambda i, x: x * r, r),
    "a sort": lambda r, g: square(r) + 0 * jnp.sort(jnp.stack([r, g], -1), -1)[..., 0],
    "a branch": lambda r, g: square(r) + 0 * jax.lax.cond(True, lambda x: x, lambda x: -x, r),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_unknown_may_be_anything(name):
    with in_double():
        subject, (ratio, gain) = subject_of(UNKNOWN[name]), random_boxes(5)
        found = run(subject.program_of(5), [jets.Jet(ratio, jets.ONE, None, True), jets.Jet(gain)], 5)
        assert found.jet.bad.all() and found.jumped.all() and found.kinked.all()
        assert not prove(subject, 0.0, 1.0, most=2000).complete


def test_a_guard_keeps_what_is_no_number_out():
    def guarded(r, g):
        return jnp.where(g > 0, jnp.sqrt(jnp.where(g > 0, g, 1.0)), 0.0) * square(r)

    with in_double():
        assert prove(subject_of(guarded), 0.0, 5.0).complete
        assert prove(subject_of(lambda r, g: square(r) + square(jax.lax.stop_gradient(r))), 0.0, 5.0).complete
        assert not prove(subject_of(lambda r, g: jax.nn.relu(jnp.log(r - 2))), 0.0, 5.0, most=2000).complete


# The prover


@jax.custom_jvp
def falling(r):
    return -square(r)


falling.defjvps(lambda tangent, answer, r: 2 * (r - 1) * tangent)  # the slope of a square, which it is not

FALSE = {
    "a concave kink": lambda r, g: square(r) - 6 * jax.nn.relu(r - 2),
    "a hidden slope": lambda r, g: square(r) - 2 * square(jax.lax.stop_gradient(r)),
    "a slope of its own": lambda r, g: falling(r),
    "a jump": lambda r, g: jnp.where(r > 3, r - 5.0, square(r)),
    "a jump of a whole number": lambda r, g: square(r) - 2 * jnp.floor(r / 4) * 30,
    "no number": lambda r, g: jnp.sqrt(r - 0.5) ** 2 * 0,
}
NEGATIVE = {name: BAD[name] for name in list(BAD)[:18]}


@pytest.mark.parametrize("name", [*FALSE, *NEGATIVE])
def test_what_is_negative_somewhere_is_not_proved(name):
    with in_double():
        found = prove(subject_of({**FALSE, **NEGATIVE}[name]), 0.0, 1.0, most=1500)
    assert not found.complete


def test_each_rule_proves_what_it_is_for():
    """Even powers directly, r - 1 - log r by its slope, and next to 1, where a slope is a difference of logarithms, as convex."""
    with in_double():
        for name, rule in (("half (log r)^2", "direct"), ("reverse of KL", "slope"), ("Jensen-Shannon", "convex")):
            found = prove(subject_of(GOOD[name]), 0.0, 5.0)
            assert found.complete and found.rules[rule] > 0, name


def test_where_the_proof_meets_less_than_nothing_it_says_so():
    with in_double():
        found = prove(subject_of(BAD["minus square"]), 0.0, 5.0)
        assert found.negative is not None and not found.complete
        place = {name: np.array([x]) for name, x in found.negative.items()}
        assert subject_of(BAD["minus square"]).costs(place)[0] < 0


def test_without_time_there_is_no_proof():
    found = verdict_of(GOOD["reverse of KL"], budget=0.0)
    assert found.interior.verdict == "not refuted" and found.proof.undecided == 6


DEGREES = {
    "clip": (lambda r, g: clip(r, g), 1),
    "the objective's own words": (lambda r, g: r * g - jnp.minimum(r * g, jnp.clip(r, 0.8, 1.2) * g), 1),
    "a square": (lambda r, g: square(r) * g**2 + (r * g) ** 2, 2),
    "a root": (lambda r, g: square(r) * jnp.sqrt(jnp.abs(g)), 0.5),
    "a ratio": (lambda r, g: square(r) * g / (jnp.abs(g) * r), 0),
    "by sign": (lambda r, g: jnp.where(g >= 0, square(r) * g, -(jnp.log(r) ** 2) * g), 1),
    "no advantage": (lambda r, g: jnp.exp(r) * jnp.sin(r), 0),
    "a threshold": (lambda r, g: square(r) * jnp.where(g > 2, 1.0, 3.0), None),
    "a whole number": (lambda r, g: square(r) * g.astype(int), None),
    "two degrees": (lambda r, g: square(r) * (g + g**2), None),
    "a logarithm": (lambda r, g: jnp.log(1 + square(r) * g**2), None),
    "a floor": (lambda r, g: jnp.maximum(square(r) * g, 0.1), None),
}


@pytest.mark.parametrize("name", DEGREES)
def test_the_degree_is_read_off_the_program(name):
    function, wanted = DEGREES[name]
    with in_double():
        assert degree(subject_of(function)) == wanted


def test_where_there_is_a_degree_costs_scale_with_it():
    rng = np.random.default_rng(0)
    r, g = np.exp(rng.normal(size=400)), rng.normal(size=400)
    found = 0
    with in_double():
        for function in (*(f for f, _ in DEGREES.values()), *GOOD.values(), *list(BAD.values())[:20]):
            subject = subject_of(function)
            if subject.asks or (k := degree(subject)) is None:
                continue
            one, other = (subject.costs({"ratio": r, "m_advantage": t * g}) for t in (1.0, 37.0))
            np.testing.assert_allclose(other, 37.0**k * one, rtol=1e-9, atol=1e-9)
            found += 1
    assert found > 20


def test_the_objective_in_its_own_words_is_proved_for_every_advantage():
    found = verdict_of(DEGREES["the objective's own words"][0])
    assert found.interior.verdict == "proved" and found.box["abs(m_advantage)"] == [0.0, math.inf]
    assert verdict_of(GOOD["log of square"]).box["abs(m_advantage)"] == [1e-6, 1e6]


# Games, gauge, boundary


def test_divergences_keep_their_digits():
    old = np.array([[0.25, 0.75]])
    for t in (1e-3, 1e-9):
        step = np.array([[t, -t]])
        forward, backward = divergences(old, old + step)
        chi = (step**2 / old).sum() / 2
        assert abs(forward[0] / chi - 1) < 10 * t + 1e-6 and abs(backward[0] / chi - 1) < 10 * t + 1e-6
    far = np.array([[1e-200, 1.0]])
    forward, backward = divergences(old, far)
    assert np.isclose(forward[0], 0.25 * np.log(0.25 / 1e-200) + 0.75 * np.log(0.75))
    assert np.isclose(backward[0], np.log(1 / 0.75))
    assert divergences(old, np.array([[0.0, 1.0]]))[0][0] == np.inf


def test_a_slope_that_is_the_same_for_all_advantages_adds_up_to_nothing():
    """The gauge: D of f + c (r - 1) is that of f, also where c is a function of M > 0, which the agent does not decide."""
    rng = np.random.default_rng(0)
    old, new, gain, m = rng.random(50), rng.random(50), rng.normal(size=50), 3 * rng.random(50)
    with in_double():
        game = two_actions(old, new, gain, {}, m, 0.5)
        plain, _ = play(subject_of(lambda r, g: clip(r, g)), game)
        for more in (
            lambda r, g, *, m: clip(r, g) + 7 * (r - 1),
            lambda r, g, *, m: clip(r, g) + (r - 1) * jnp.log(1 + m),
        ):
            np.testing.assert_allclose(play(subject_of(more), game)[0], plain, atol=1e-12)
        unequal, _ = play(subject_of(lambda r, g: clip(r, g) + (r - 1) * g), game)
        assert np.abs(unequal - plain).max() > 0.1


def test_rounding_is_no_counter_example():
    """exp(log r) - r is 0, and below 0 in floating point in half of all games."""
    rng = np.random.default_rng(0)
    with in_double():
        subject = subject_of(lambda r, g: jnp.exp(jnp.log(r)) - r)
        game = two_actions(rng.random(50), rng.random(50), rng.normal(size=50), {})
        below = np.flatnonzero(play(subject, game)[0] < 0)
        assert len(below) > 10
        assert not any(is_negative(subject, game.only(int(number))) for number in below)
        assert is_negative(subject_of(lambda r, g: -square(r)), game.only(0))


def test_a_bump_below_a_slope_is_found_though_no_cost_is_negative_there():
    def function(r, g):
        return r - 1 - 0.5 * planted_drifts.spike(r, 3.3, 1e-4)

    found = verdict_of(function).interior
    assert found.verdict == "refuted" and max(found.counter_example["cost"][0]) > 0
    with in_double():
        assert holds(function, found.counter_example)


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    "function, verdict",
    [
        (lambda r, g: square(r) * jax.random.uniform(KEY, ()), "not refuted"),  # a number that no interval knows
        (lambda r, g: square(r) * jax.random.uniform(jax.random.key(0), r.shape), "refuted"),  # one for each place
        (lambda r, g: jnp.where(r == 1, 0.0, jnp.inf), "refuted"),
        (lambda r, g: jax.checkpoint(square)(r) * jnp.abs(g), "proved"),
        (lambda r, g: jax.vmap(lambda one, two: square(one) * two**2)(r, g), "proved"),
        (lambda r, g: (r.astype(jnp.float32) - 1) ** 2, "proved"),
        (lambda r, g: 1e-200 * square(r), "proved"),
    ],
)
def test_whatever_jax_a_drift_is_made_of(function, verdict):
    assert verdict_of(function, budget=1.0).interior.verdict == verdict


@pytest.mark.parametrize("factor", [1.0, -1.0, 1e-3])
def test_a_value_that_is_linear_in_the_advantage_is_seen_where_others_decide(factor):
    """Of an agent's own actions it adds up to nothing, because these advantages have mean 0; M A of the others' deeds has not."""

    def function(r, g):
        return factor * g + square(r)

    found = verdict_of(function).interior
    assert found.verdict == "refuted" and found.counter_example["kind"] == "value"
    assert abs(added_up(function, found.counter_example)) > 1e-4


def test_games_are_centred_and_m_is_one_on_average():
    rng = np.random.default_rng(0)
    game = two_actions(rng.random(9), rng.random(9), rng.normal(size=9), {}, np.append(rng.random(8) * 5, 0.0), -1.0)
    np.testing.assert_allclose((game.old[:, None] * game.advantage).sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose((game.weight * game.m).sum(-1), 1)
    assert (game.m >= 0).all() and (game.weight > 0).all()


@pytest.mark.parametrize(
    "function, kinds",
    [
        (lambda r, g: clip(r, g), {1.0: "lock", -1.0: "free", 10.0: "lock"}),
        (lambda r, g, *, kl: 0.5 * kl, {1.0: "lock", 0.0: "lock"}),
        (lambda r, g, *, reverse_kl: reverse_kl, {1.0: "barrier"}),
        (lambda r, g: jnp.abs(g) * square(r), {1.0: "barrier", 0.0: "free"}),
        (lambda r, g, *, old_prob: old_prob * square(r), {1.0: "free", -1.0: "free"}),
        (lambda r, g: square(r) / (1 + square(r)), {1.0: "free"}),
        (lambda r, g: jax.nn.relu(r - 2) / jnp.log(2 + r), {1.0: "free"}),
        (lambda r, g: 1e-12 * clip(r, g), {1.0: "lock", -1.0: "free"}),
        (lambda r, g: 1e-50 * square(r), {1.0: "barrier"}),
        (lambda r, g: r - 1 + square(r) / (1 + square(r)), {1.0: "free"}),
    ],
)
def test_what_new_mass_costs(function, kinds):
    """s(g) = lim f / r: relu(g) for clip, the coefficient for KL, infinite for reverse KL and squares, 0 for what saturates."""
    found = verdict_of(function, budget=0.5)
    assert {gain: found.boundary.kinds[gain] for gain in kinds} == kinds
    wanted = "not refuted" if set(kinds.values()) == {"free"} else "refuted"
    assert found.closed.verdict in (wanted, "proved") and (found.closed.verdict == "refuted") == (wanted == "refuted")


def test_the_rate_of_new_mass_is_the_limit_of_cost_over_ratio():
    assert math.isclose(verdict_of(lambda r, g: clip(r, g), budget=0.5).boundary.rates[10.0], 10, rel_tol=1e-6)
    assert math.isclose(verdict_of(lambda r, g, *, kl: 0.5 * kl, budget=0.5).boundary.rates[0.0], 0.5, rel_tol=1e-5)


# What a drift asks for


@pytest.mark.parametrize(
    "function, verdict",
    [
        (lambda r, g, *, obs: square(r) * jnp.exp(obs[..., 0]), "proved"),
        (lambda r, g, *, obs: square(r) * obs[..., 0], "refuted"),
        (lambda r, g, *, world_state: square(r) * jnp.sum(world_state**2, -1), "proved"),
        (lambda r, g, *, progress: square(r) * (1 - progress), "proved"),
        (lambda r, g, *, progress: square(r) * (1 - 2 * progress), "refuted"),
        (lambda r, g, *, agent: square(r) * (3 - agent), "refuted"),
        (lambda r, g, *, num_agents, num_updates: square(r) / num_agents / num_updates, "proved"),
        (lambda r, g, *, m, advantage: clip(r, advantage) * m, "proved"),
        (lambda r, g, *, m: clip(r, g) - 0.1 * square(r) * jnp.abs(g) * (m > 3), "refuted"),
        (lambda r, g, *, m: clip(r, g) + (r - 1) * jnp.tanh(m), "not refuted"),  # see the gauge
        (lambda r, g, *, m: square(r) * (1.5 - m), "not refuted"),  # M is 1 on average, whatever the agent does
        (
            lambda r, g, *, kl: kl * (1 + g),
            "refuted",
        ),  # M A is not 0 on average, if those before have lost by their move
    ],
)
def test_what_a_drift_asks_for_is_part_of_the_game(function, verdict):
    found = verdict_of(function)
    assert found.interior.verdict == verdict, found.interior
    if verdict == "refuted":
        with in_double():
            assert holds(function, found.interior.counter_example)


def test_no_pointwise_search_is_made_of_what_asks_for_divergences():
    """KL and the ratio are not free of one another: less than nothing at KL = 0 and r = 9 is in no game."""
    found = verdict_of(lambda r, g, *, kl: kl * jax.nn.relu(1 + 1e-3 * (kl - jnp.log(2 + r) ** 2 * 1e-9)), budget=0.5)
    assert found.interior.verdict != "refuted" and asks_of_policies(subject_of(lambda r, g, *, kl: kl))


# Names, numbers and the command


def test_from_python_by_name_and_by_function():
    found = hamljax.certify("clip", clip_eps=0.3)
    assert found.interior.verdict == "proved" and found.parameters == {"clip_eps": 0.3}
    assert hamljax.certify("clip", clip_eps=[0.1, 0.3]).asks == ("agent",)

    def mine(ratio, m_advantage, *, weight):
        return weight * square(ratio)

    assert hamljax.certify(mine, weight=2.0, budget=1).interior.verdict == "proved"
    assert hamljax.certify(mine, weight=-2.0, budget=1).interior.verdict == "refuted"
    for words, complaint in (
        ({"drift": "clop"}, "unknown drift 'clop'; did you mean 'clip'?"),
        ({"drift": "clip", "clip_esp": 1.0}, "drift 'clip' has no parameter 'clip_esp'; did you mean 'clip_eps'?"),
        ({"drift": "clip", "clip_eps": -1.0}, "clip_eps must"),
        ({"drift": mine}, "needs 'weight'"),
        ({"drift": lambda ratio: ratio}, "must be a function of (ratio, m_advantage"),
        ({"drift": lambda ratio, m_advantage: ratio.nothing}, "failed in line"),
    ):
        with pytest.raises(ConfigError) as error:
            hamljax.certify(**words)
        assert complaint in str(error.value) and "\n" not in str(error.value)


def test_the_same_seed_finds_the_same():
    first, again = (verdict_of(BAD["waves"], seed=3).as_data() | {"seconds": 0} for _ in range(2))
    assert first == again


def test_what_training_meets():
    found = verdict_of(lambda r, g: jnp.abs(g) ** 3 * square(r), budget=0.5).practice
    assert (found.degree, found.convex, found.follows) == (3.0, True, True)
    found = verdict_of(lambda r, g: jnp.sqrt(square(r) + 1e-30), budget=0.5).practice
    assert found.degree == 0
    found = verdict_of(lambda r, g: square(r) / (1 + square(r)), budget=0.5).practice
    assert not found.convex
    found = verdict_of(lambda r, g: 0.5 * square(r) + 0.5 * square(jax.lax.stop_gradient(r)), budget=0.5)
    assert not found.practice.follows and any("derivative" in note for note in found.notes)
    found = verdict_of(lambda r, g: jnp.exp(jnp.minimum(r, 300.0)) - jnp.e * r, budget=0.5).practice
    assert 0.5 < found.finite < 1  # exp overflows in single precision, from r = 89 on


PLUGIN = """
import hamljax
import jax.numpy as jnp


@hamljax.register_drift("kinked")
def kinked(ratio, m_advantage, *, weight=1.0):
    return weight * jnp.abs(ratio - 1)


@hamljax.register_drift("smooth")
def smooth(ratio, m_advantage, *, weight=1.0):
    return weight * (ratio - 1) ** 2
"""


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    return f"plugin={tmp_path / 'mine.py'}"


def test_the_command_prints_writes_and_draws(plugin, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main(["certify", "drift=smooth", plugin, "weight=2", f"out={out}", "budget=3"]) == 0
    printed = capsys.readouterr().out
    assert "proved: never negative" in printed and "smooth with weight=2.0" in printed and "barrier" in printed
    found = json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found["interior"]["verdict"] == "proved" and found["closed"]["verdict"] == "refuted"
    assert found["curve"]["+1"]["cost"][0] == 2.0 and out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["drift=kinked"], 1, "refuted: kinked"),
        (["drift=smooth", "strict=true", "budget=1"], 1, "refuted: smooth"),
        (["drift=smooth", "weight=-1"], 1, "refuted: smooth"),
        (["drift=none", "strict=true", "budget=1"], 0, ""),
        (["drift=kinkt"], 2, "did you mean 'kinked'?"),
        (["drift=smooth", "wieght=1"], 2, "knows no 'wieght'; did you mean 'weight'?"),
        (["drift=smooth", "weight=wide"], 2, "weight must be a number"),
        (["drift=clip", "algo.clip_eps=-1"], 2, "clip_eps must"),
        (["drift=smooth", "budget=long"], 2, "budget must be a number of seconds"),
        (["drift=smooth", "out=x.txt"], 2, "out=x.txt must end in .json"),
        (["drift=smooth", "out=x.png"], 2, "out=x.png: a drift is written as x.json, with x.png beside it"),
        (["drift=all", "out=x.json"], 2, "drift=all writes a folder that is there, or one picture, x.png"),
        (["smooth"], 2, "certify takes key=value, not 'smooth'"),
        (["weight=1"], 2, "certify needs a drift"),
    ],
)
def test_exit_codes_and_mistakes(words, code, said, plugin, capsys):
    assert main(["certify", plugin, *words]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == (code > 0)


@pytest.mark.parametrize("names", [("none", "spo"), *long((tuple(sorted(haml.drifts.SHIPPED)),))])
def test_all_drifts_in_one_table(names, tmp_path, capsys, monkeypatch):
    drifts = {name: haml.DRIFTS[name] for name in names}
    drifts["lacking"] = drift_of(lambda ratio, m_advantage, *, weight: weight * square(ratio))
    monkeypatch.setattr("hamljax.lab.commands.certify.DRIFTS", drifts)
    assert main(["certify", "drift=all", f"out={tmp_path}", "strict=true"]) == 1
    assert {path.stem for path in tmp_path.glob("*.png")} == set(names)
    out, err = capsys.readouterr()
    assert "needs 'weight'" in " ".join(out.split()) and "none" not in err and "spo" in err


def test_all_drifts_in_one_picture(tmp_path, monkeypatch):
    """A panel for each, of one scale; the file says of which drifts."""
    drifts = {name: haml.DRIFTS[name] for name in ("spo", "none")}
    drifts["negative"] = drift_of(lambda ratio, m_advantage: -square(ratio))
    monkeypatch.setattr("hamljax.lab.commands.certify.DRIFTS", drifts)
    panels = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", saved_with(panels))
    out = tmp_path / "all.png"
    assert main(["certify", "drift=all", f"out={out}", "budget=0"]) == 1
    assert Image.open(out).text["Description"] == "spo none negative"
    titles = ["spo\nnew mass: barrier", "none\nnew mass: free", "negative\nnew mass: barrier"]
    assert [axis.get_title() for axis in panels] == titles
    assert len({axis.get_ylim() for axis in panels}) == 1
    ratio, drift = panels[0].lines[0].get_data()
    one, other = ratio, (4 - ratio) / 3  # of the two actions, of probabilities 1/4 and 3/4, whose M A is 1 and -1/3
    np.testing.assert_allclose(drift, ((one - 1) ** 2 / 4 + (other - 1) ** 2 / 4) / 0.4, atol=1e-9)


def saved_with(panels):
    """``Figure.savefig`` that keeps the axes that are seen."""
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        panels.extend(axis for axis in figure.axes if axis.get_visible())
        save(figure, *args, **kwargs)

    return keep


def test_a_drift_of_a_plugin_is_looked_at_before_it_trains(plugin, capsys):
    words = ["env=game/climbing", plugin, "algo.drift=kinked"]
    look_before([make_job(words)])
    err = capsys.readouterr().err
    assert err.startswith("note: drift 'kinked' is no drift in the sense of Definition 1") and err.count("\n") == 1
    for quiet in (["certify=false"], ["algo.drift=smooth"], ["algo.drift=clip"]):
        look_before([make_job([*words, *quiet])])
    assert capsys.readouterr().err == ""
    look_before([make_job([*words, "algo.drift=smooth", "+algo.drift_params.weight=-1"])])
    assert "D = " in capsys.readouterr().err


def test_the_list_looks_at_drifts_of_a_plugin(plugin, capsys, monkeypatch):
    monkeypatch.setattr("hamljax.envs.ENVIRONMENTS", {})  # which takes most of the time
    assert main(["list", plugin]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if len(line.split()) > 6}
    assert "refuted" in rows["kinked"] and "proved" not in rows["kinked"]
    assert "not refuted" in rows["smooth"] and rows["none"].count("proved") == 2


def test_planted_drifts_take_what_is_offered():
    for function in (*BAD.values(), *GOOD.values()):
        assert set(drift_of(function).asks) <= haml.drifts.OFFERED.keys() and not drift_of(function).parameters.names
    assert planted_drifts.KNOTS
