"""What means to deceive a certificate: other number types, needles, tables, derivatives of one's own, state, shapes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted_drifts import clip, square, within
from sizes import long
from test_certificate import holds, random_boxes, subject_of, verdict_of

from hamljax.haml.certificate import jets
from hamljax.haml.certificate.interpreter import run
from hamljax.haml.certificate.intervals import Interval
from hamljax.haml.certificate.prover import box_in_words, prove
from hamljax.haml.certificate.samples import contexts
from hamljax.haml.certificate.scale import degree
from hamljax.haml.certificate.subject import in_double


def hidden():
    """A number that stands nowhere in a program."""
    return 2 + jnp.tanh(0.61803) / 3


def needle(x):
    return jnp.where(jnp.abs(x - hidden()) < 1e-10, 1.0, 0.0)


def single(x):
    return x.astype(jnp.float32)


def table(places, **more):
    return jnp.take(jnp.array([1.0, 2.0, 3.0]), places, **more)


def whole(x):
    return jnp.floor(x).astype(jnp.int32)


LARGE = np.array([1e8, -1e8, 1.0], np.float32)

TYPES = {  # functions of (r, g) whose numbers leave double precision on their way
    "single": lambda r, g: single(r) * 1.0,
    "half": lambda r, g: r.astype(jnp.float16) + g.astype(jnp.bfloat16),
    "brain": lambda r, g: g.astype(jnp.bfloat16).astype(float) - g,
    "half overflows": lambda r, g: (1e5 * r).astype(jnp.float16),
    "lost digits": lambda r, g: (single(g) + jnp.float32(1e8)) - jnp.float32(1e8),
    "lost in a sum": lambda r, g: jnp.sum(jnp.stack([0 * single(g) + 1e8, single(g), 0 * single(g) - 1e8]), 0),
    "kept in a product": lambda r, g: jnp.stack([0 * single(g) + 1, 0 * single(g) + 1, single(g)], -1) @ LARGE,
    "reduced": lambda r, g: jax.lax.reduce_precision(g, 8, 3),
    "saturated": lambda r, g: (1e10 * g).astype(jnp.int32) * 1.0,
    "unsigned": lambda r, g: (10 * g).astype(jnp.uint8) * 1.0,
    "wrapped": lambda r, g: (1e10 * g).astype(jnp.int64).astype(jnp.int32) * 1.0,
    "truth of whole numbers": lambda r, g: (3 * g).astype(jnp.int32).astype(bool) * r,
    "complex": lambda r, g: jnp.abs(r - 1 + 1j * g),
    "filled": lambda r, g: table(whole(g), mode="fill", fill_value=-5.0) * r,
    "filled with no number": lambda r, g: table(whole(g)) * r,
}


@pytest.mark.parametrize("name", TYPES)
def test_bounds_hold_in_every_number_type(name):
    """Over boxes, half of which are points in M A."""
    function, (ratio, gain) = TYPES[name], random_boxes(40)
    gain = Interval(gain.lo, np.where(np.arange(40) % 2, gain.lo, gain.hi))
    with in_double():
        found = run(subject_of(function).program_of(40), [jets.Jet(ratio, jets.ONE, None, True), jets.Jet(gain)], 40)
        rng = np.random.default_rng(1)
        r, g = (x.lo + (x.hi - x.lo) * rng.random((400, 40)) for x in (ratio, gain))
        costs = np.asarray(jax.jit(function)(jnp.asarray(r), jnp.asarray(g))).astype(float)
        assert (((costs >= found.jet.value.lo) & (costs <= found.jet.value.hi)) | found.jet.bad).all()


def test_bounds_of_other_types_are_close_where_they_can_be():
    """A few digits wide, not everything; a table whose places are inside of it has no other entries."""
    with in_double():
        for function, width in ((lambda r, g: single(g) * 1.0, 1e-5), (lambda r, g: g.astype(jnp.bfloat16), 0.2)):
            gain = np.array([0.3, -7.7])
            jet = run(subject_of(function).program_of(2), [jets.Jet(jets.ONE), jets.Jet(Interval(gain, gain))], 2).jet
            assert (jet.value.hi - jet.value.lo < width * np.abs(gain)).all() and (jet.value.hi > jet.value.lo).all()
            exact = Interval(np.array([0.5, -8.0]), np.array([0.5, -8.0]))
            jet = run(subject_of(function).program_of(2), [jets.Jet(jets.ONE), jets.Jet(exact)], 2).jet
            assert (jet.value.lo == exact.lo).all() and (jet.value.hi == exact.hi).all()
        inside = subject_of(lambda r, g: square(r) * table(jnp.clip(whole(jnp.abs(g)), 0, 2)))
        assert prove(inside, 0.0, 5.0).complete


NEVER_PROVED = {  # below 0, or steep at ratio 1, in a place that no search finds
    "beyond a table": lambda r, g: square(r) * table(jnp.where(needle(g) > 0, 99, 0), mode="fill", fill_value=-1.0),
    "not of single precision": lambda r, g: square(r) * jnp.where((single(g) == g) | (needle(r) == 0), 1.0, -1.0),
    "a value at 1": lambda r, g: square(r) - 0.5 * needle(g),
    "a slope at 1": lambda r, g: square(r) + 0.5 * (r - 1) * needle(g),
    "the twelfth agent": lambda r, g, *, agent: square(r) * jnp.where(agent == 12, -1.0, 1.0),
    "the end of the run": lambda r, g, *, progress: square(r) * (1 - 1.0001 * progress),
    "far observations": lambda r, g, *, obs: square(r) * (1e4 - jnp.sum(obs**2, -1)),
}


@pytest.mark.parametrize("name", NEVER_PROVED)
def test_what_is_no_drift_in_a_hidden_place_is_not_proved(name):
    with in_double():
        assert not prove(subject_of(NEVER_PROVED[name]), 0.0, 5.0, most=3000).complete


def test_the_value_and_the_slope_at_1_are_no_obstacle_where_they_are_as_they_should_be():
    """Drifts whose proofs need the slope rule and the convex one."""
    for function, c, rule in (
        (lambda r, g: jnp.abs(g) * (r + 1 / r - 2), 0.0, "slope"),
        (lambda r, g: r * jnp.log(jnp.maximum(r, 1e-300)), 1.0, "convex"),
        (lambda r, g: r**-0.5 - 1 + 0.5 * (r - 1), 0.0, "slope"),
    ):
        with in_double():
            found = prove(subject_of(function), c, 5.0)
        assert found.complete and found.rules[rule] > 0


def test_a_number_of_few_digits_has_no_degree():
    with in_double():
        assert degree(subject_of(lambda r, g: square(r) * jnp.abs(g))) == 1
        assert degree(subject_of(lambda r, g: square(r) * jnp.abs(single(g)))) is None


def liar():
    """abs(x), with a derivative of 0 as it says."""
    function = jax.custom_jvp(jnp.abs)
    function.defjvp(lambda at, step: (function(*at), 0.0 * step[0]))
    return function


def turning(after):
    """A function that is another one after so many calls."""
    calls = itertools.count()
    return lambda r, g: square(r) * (1.0 if next(calls) < after else -1.0)


def by_looking_up(r, g):
    weights = jnp.array([1.0, 1.0, 1.0, -0.2, 1.0, 1.0])
    return square(r) * weights[jnp.searchsorted(jnp.array([0.5, 1.0, 2.0, 4.0, 8.0]), jnp.abs(g))]


def branching(r, g):
    return jax.lax.cond(r * g > 6, lambda: -0.1 * square(r), lambda: square(r))


def hidden_kink(r, g):
    return square(r) + 0.3 * jax.lax.stop_gradient(jnp.abs(r - 1)) * within(g, 0.5, 0.8)


REFUTED = {
    "a kink without a derivative": hidden_kink,
    "a jump": lambda r, g: square(r) + 0.3 * (r > 2) * within(g, 0.5, 0.8),
    "two axes": lambda r, g: square(r) * (-1.0 if r.ndim == 2 else 1.0),
    "another number type": lambda r, g: square(r) * (1.0 if r.dtype == jnp.float64 else -1.0),
    "seeds side by side": lambda r, g: square(r) * (-1.0 if "BatchTracer" in type(r).__name__ else 1.0),
    "a table": by_looking_up,
    "another derivative": lambda r, g: clip(r, g) + 0.01 * liar()(r - 1) * within(g, 3.0, 7.0),
    "a branch": lambda r, g: jnp.vectorize(branching)(r, g),
    "a loop": lambda r, g: square(r) * (1 - 0.002 * jax.lax.fori_loop(0, 3, lambda i, x: x * r, r)),
}
LONG = ("another derivative", "a branch", "a loop")


@pytest.mark.parametrize("name", [*(n for n in REFUTED if n not in LONG), *long(*LONG)])
def test_tricks_are_refuted_by_numbers(name):
    found = verdict_of(REFUTED[name], budget=1.0)
    assert found.interior.verdict == "refuted", found.interior
    with in_double():
        example = found.interior.counter_example
        assert example["kind"] == "sample" or holds(REFUTED[name], example), found.interior


@pytest.mark.parametrize("weights", [(1.0, 1.0, -1.0), (*[1.0] * 12, -1e-9)])
def test_no_agent_of_a_list_is_forgotten(weights):
    def weighted(r, g, *, weight=1.0):
        return weight * square(r)

    found = verdict_of(weighted, {"weight": weights}, budget=1.0).interior
    assert found.verdict == "refuted" and found.counter_example["kind"] == "game"
    assert verdict_of(weighted, {"weight": tuple(map(abs, weights))}, budget=1.0).interior.verdict == "proved"


def test_a_function_that_turns_into_another_while_it_is_looked_at_is_refuted():
    found = verdict_of(turning(15), budget=1.0).interior
    assert found.verdict == "refuted" and found.counter_example["kind"] == "sample"
    assert verdict_of(turning(10**6), budget=1.0).interior.verdict == "proved"


def test_steps_of_single_precision_are_no_jumps():
    assert verdict_of(lambda r, g: square(single(r)).astype(float), budget=1.0).interior.verdict == "proved"


def test_roundings_of_a_small_ratio_less_1_are_no_jumps():
    """Near a ratio of 1e-12, 1 - r has four digits, and its logarithm goes down in steps."""
    assert verdict_of(lambda r, g: r - 1 - jnp.log1p(r - 1)).interior.verdict == "not refuted"
    assert verdict_of(lambda r, g: square(r) + jnp.where(r > 1e-3, 1e-3, 0.0) * square(r)).interior.verdict == "refuted"


# States that there are


def test_a_state_has_an_agent_of_its_team_and_an_update_of_its_run():
    def asking(r, g, *, agent, progress, num_updates, num_agents):
        return square(r)

    states = contexts(subject_of(asking), np.random.default_rng(0))
    assert len(states) == 9 and max(state["progress"] for state in states) > 0.999
    for state in states:
        assert 0 <= state["agent"] < state["num_agents"]
        update = state["progress"] * state["num_updates"]
        assert np.isclose(update, round(update)) and update < state["num_updates"]
    assert len({state["agent"] for state in states}) > 4


@pytest.mark.parametrize(
    "function, verdict",
    [
        (lambda r, g, *, progress: square(r) / (1 - progress), "proved"),
        *long(
            (lambda r, g, *, agent, num_agents: square(r) * (num_agents - agent), "not refuted"),
            (lambda r, g, *, progress, num_updates: square(r) * ((1 - progress) * num_updates - 1), "not refuted"),
            (lambda r, g, *, old_prob: square(r) * (1 - r * old_prob), "not refuted"),
            (lambda r, g, *, kl: 0.5 * kl - 0.4 * (r - 1 - jnp.log(r)), "not refuted"),
        ),
    ],
)
def test_what_no_state_makes_negative_is_not_refuted(function, verdict):
    assert verdict_of(function, budget=1.0).interior.verdict == verdict


def test_the_box_says_how_many_agents_there_may_be():
    def asking(r, g, *, agent):
        return square(r)

    with in_double():
        assert box_in_words(subject_of(asking), 0.0)["agent"] == [0, 9999]
