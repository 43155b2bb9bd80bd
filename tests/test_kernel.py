"""The paper's kernel: coordination, drifts, neighbourhoods, on hand-computed numbers."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hamljax.haml import (
    DRIFTS,
    NEIGHBOURHOODS,
    ORDERS,
    Agent,
    Divergence,
    ascent,
    bind_drift,
    bind_limit,
    bind_order,
    compound,
    mirror_gain,
    mirror_objective,
    natural_gradient,
    sequential,
    simultaneous,
    weighted_mean,
)
from hamljax.haml.drifts import SHIPPED
from hamljax.haml.natural_gradient import conjugate_gradient

PARAMETERS = {"clip_eps": 0.2, "kl_coef": 1.0, "dpo_alpha": 2.0, "dpo_beta": 0.6}


RUN = {"progress": 0.25, "num_updates": 8, "num_agents": 4, "old_prob": 0.5}


def add_context(agent, context, i):
    """Each agent becomes agent + context and leaves context + 10**i behind."""
    return agent + context, context + 10**i, {"seen": context}


def in_order(*order):
    return lambda visited, agents, context: jnp.array(order)[visited.sum()]


def test_sequential_visits_in_order_and_reports_by_agent():
    agents, info = sequential(add_context, jnp.zeros(3, int), jnp.int32(0), in_order(2, 0, 1))
    np.testing.assert_array_equal(agents, [100, 101, 0])
    np.testing.assert_array_equal(info["seen"], [100, 101, 0])


def test_simultaneous_agents_see_the_first_context_only():
    agents, info = simultaneous(add_context, jnp.arange(3), jnp.int32(5), None)
    np.testing.assert_array_equal(agents, [5, 6, 7])
    np.testing.assert_array_equal(info["seen"], [5, 5, 5])


def test_compound_is_an_unclipped_product_that_dead_agents_leave_alone():
    ratios, alive = jnp.array([[5.0, 3.0], [5.0, 7.0]]), jnp.array([[True, True], [False, True]])
    log_m = compound(jnp.log(jnp.array([2.0, 2.0])), jnp.log(ratios), jnp.zeros((2, 2)), alive)
    np.testing.assert_allclose(jnp.exp(log_m), [30.0, 14.0], rtol=1e-6)


def test_weights_are_shares_of_the_mean_and_their_scale_has_no_effect():
    x, weight = jnp.array([1.0, 4.0, jnp.nan]), jnp.array([3.0, 1.0, 0.0])
    value, gradient = jax.value_and_grad(weighted_mean)(x, weight)
    assert value == (3 * 1 + 4) / 4
    np.testing.assert_array_equal(gradient, [0.75, 0.25, 0.0])
    drift = bind_drift(DRIFTS["clip"], PARAMETERS)
    arguments = jnp.log(jnp.array([0.6, 0.2, 1.0])), jnp.log(jnp.array([0.5, 0.4, 1.0])), x

    def objective(weight):
        return jax.value_and_grad(mirror_objective)(*arguments, weight, drift)

    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), objective(weight), objective(8 * weight))
    np.testing.assert_allclose(objective(weight)[0], (3 * 1.2 + 0.5 * 4 - 0.3 * 0) / 4, rtol=1e-6)


def test_clip_drift_is_the_ppo_min_form_in_value_and_gradient():
    ratio = jnp.array([0.5, 0.79, 0.9, 1.0, 1.1, 1.21, 2.0] * 2)
    gain = jnp.repeat(jnp.array([1.5, -0.7]), 7)
    drift = bind_drift(DRIFTS["clip"], PARAMETERS)

    def ours(r):
        return jnp.sum(r * gain - drift(r, gain, None))

    def ppo(r):
        return jnp.sum(jnp.minimum(r * gain, jnp.clip(r, 0.8, 1.2) * gain))

    np.testing.assert_allclose(ours(ratio), ppo(ratio), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(ours)(ratio), jax.grad(ppo)(ratio), atol=1e-6)


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_drift_is_never_negative_and_flat_at_the_old_policy(name):
    """Definition 1, with two Gaussians of unit variance behind the ratio: KL = mean^2 / 2 either way."""
    drift = bind_drift(DRIFTS[name], PARAMETERS)
    action = jnp.linspace(-3, 3, 13)

    def cost(mean, gain):
        given = {"kl": mean**2 / 2 + 0 * action, "reverse_kl": mean**2 / 2 + 0 * action}
        return drift(jnp.exp(mean * action - mean**2 / 2), gain + 0 * action, given | RUN)

    costs, slopes = jax.jit(cost), jax.jit(jax.jacfwd(cost))
    for gain in (-2.0, -0.1, 0.0, 0.1, 2.0):
        for mean in (-1.0, -0.01, 0.0, 0.3, 2.0):
            assert (costs(mean, gain) >= 0).all()
        np.testing.assert_allclose(costs(0.0, gain), 0, atol=1e-7)
        np.testing.assert_allclose(slopes(0.0, gain), 0, atol=1e-6)


def test_drifts_by_hand():
    def cost(name, ratio, gain, divergences=None):
        drift = bind_drift(DRIFTS[name], PARAMETERS | {"kl_coef": 0.5})
        return drift(jnp.float32(ratio), jnp.float32(gain), (divergences or {}) | RUN)

    divergences = {"kl": 3.0, "reverse_kl": 7.0}
    np.testing.assert_allclose(cost("clip_n", 1.1, 2.0), (1.1 - 1.05) * 2, rtol=1e-4)
    np.testing.assert_allclose(cost("rollback", 1.5, 2.0), 1.3 * 0.3 * 2, rtol=1e-5)
    np.testing.assert_allclose(cost("mirror_descent", 1.0, 1.0, divergences), 3.5 / (1 - 1 / 8), rtol=1e-5)
    np.testing.assert_allclose(cost("spo", 1.5, -2.0), 2 * 0.25 / 0.4, rtol=1e-6)
    np.testing.assert_allclose(cost("saturating", 3.0, -2.0), 2 * 4 / (0.4 * 5), rtol=1e-6)
    np.testing.assert_allclose(cost("euclid", 3.0, -2.0), 0.5 * 4 / 2, rtol=1e-6)
    np.testing.assert_allclose(cost("kl", 1.0, 1.0, divergences), 1.5, rtol=1e-6)
    np.testing.assert_allclose(cost("reverse_kl", 1.0, 1.0, divergences), 3.5, rtol=1e-6)
    np.testing.assert_allclose(cost("dpo", 3.0, 1.5), 3 - 2 * np.tanh(1.5), rtol=1e-5)
    x = np.log(0.2) * -1.5
    np.testing.assert_allclose(cost("dpo", 0.2, -1.5), x - 0.6 * np.tanh(x / 0.6), rtol=1e-5)


CHARGES = {"none": 0, "saturating": 0, "euclid": 0, "kl": 1, "clip": 2, "clip_n": 2, "rollback": 2.6, "dpo": 2}


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_what_new_mass_costs_on_an_action_that_had_next_to_none(name):
    """Two actions, M A = 2 of the rare one; D per unit of its new mass, where its old and its new mass go to 0 in turn."""
    with jax.enable_x64(True):
        drift, mass = bind_drift(DRIFTS[name], PARAMETERS), 1e-4
        old, new = (jnp.array([1 - rare, rare], float) for rare in (1e-30, mass))
        kl, reverse_kl = jnp.sum(old * jnp.log(old / new)), jnp.sum(new * jnp.log(new / old))
        given = RUN | {"kl": kl, "reverse_kl": reverse_kl, "old_prob": old}
        rate = float(jnp.sum(old * drift(new / old, jnp.array([0.0, 2.0]), given))) / mass
    if name in CHARGES:
        np.testing.assert_allclose(rate, CHARGES[name], atol=1e-3)
    else:  # without bound
        assert rate > 50


def test_the_euclidean_drift_is_a_squared_distance_in_expectation():
    old, new = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.1, 0.3, 0.6])
    drift = bind_drift(DRIFTS["euclid"], {"euclid_coef": 3.0})
    np.testing.assert_allclose(
        jnp.sum(old * drift(new / old, jnp.ones(3), {"old_prob": old})), 1.5 * (0.16 + 0.16), rtol=1e-6
    )


def test_the_saturating_drift_holds_the_gradient_at_a_wall_and_costs_no_more_than_its_bound():
    """From ratio 1 the gain (r - 1) A - drift rises up to a peak near 1 + clip_eps, and falls beyond it."""
    drift = bind_drift(DRIFTS["saturating"], PARAMETERS)
    ratio = jnp.linspace(1, 1.6, 601)
    gain = (ratio - 1) * 1.5 - drift(ratio, jnp.full(601, 1.5), None)
    peak = ratio[jnp.argmax(gain)]
    assert 1.2 < peak < 1.25 and gain[-1] < gain.max()
    assert drift(jnp.float32(1e6), jnp.float32(-3.0), None) <= 3 / 0.4


@pytest.mark.parametrize("name, share", [("mirror_descent", 0.8808), ("reverse_kl", 0.8808), ("kl", 0.8090)])
def test_which_way_a_divergence_points_shows_where_its_steps_end(name, share):
    """One state, two actions, old policy 1/2, advantages +-1: a soft-max step or pi_old / (mu - A). In HAMDPO t = 1 at k = 1."""
    old, gain = jnp.log(jnp.full(2, 0.5)), jnp.array([1.0, -1.0])
    drift = bind_drift(DRIFTS[name], PARAMETERS)

    def objective(logits):
        new = jax.nn.log_softmax(logits)
        divergences = {"kl": jnp.sum(0.5 * (old - new)), "reverse_kl": jnp.sum(jnp.exp(new) * (new - old))}
        given = {key: jnp.full(2, x) for key, x in divergences.items()} | {"progress": 1 / 8, "num_updates": 8}
        return mirror_objective(new, old, gain, jnp.ones(2), drift, given)

    climb = jax.jit(lambda logits: jax.lax.fori_loop(0, 500, lambda _, x: x + 0.3 * jax.grad(objective)(x), logits))
    np.testing.assert_allclose(jax.nn.softmax(climb(jnp.zeros(2)))[0], share, atol=2e-4)


def test_what_a_step_is_worth_by_hand():
    """Ratios 1.2, 0.5 and 1.5 with M A of 2, 4 and 1, the last with half the weight; one that does not count."""
    log_prob, old = jnp.log(jnp.array([0.6, 0.2, 0.9, 1.0])), jnp.log(jnp.array([0.5, 0.4, 0.6, 1e-38]))
    weight, gain = jnp.array([1.0, 1.0, 0.5, 0.0]), jnp.array([2.0, 4.0, 1.0, jnp.nan])
    samples = log_prob, old, gain, weight
    found = mirror_gain(*samples, bind_drift(DRIFTS["clip"], PARAMETERS))
    np.testing.assert_allclose(found.drift, 0.5 * 0.3 / 2.5, rtol=1e-5)  # of 0.2 x 2 nothing, of what falls nothing
    np.testing.assert_allclose(found.hamo, (0.2 * 2 - 0.5 * 4 + 0.5 * (0.5 - 0.3)) / 2.5, rtol=1e-5)
    for name in SHIPPED:
        drift = bind_drift(DRIFTS[name], PARAMETERS)
        given = RUN | {"kl": jnp.full(4, 0.1), "reverse_kl": jnp.full(4, 0.2)}
        at_old = mirror_objective(old, old, gain, weight, drift, RUN | {"kl": jnp.zeros(4), "reverse_kl": jnp.zeros(4)})
        found = mirror_gain(*samples, drift, given)
        np.testing.assert_allclose(found.hamo, mirror_objective(*samples, drift, given) - at_old, atol=1e-5)


def test_mirror_objective_by_hand_and_safe_for_dead_agents():
    log_prob = jnp.log(jnp.array([0.6, 0.2, 1.0]))
    old = jnp.log(jnp.array([0.5, 0.4, 1e-38]))
    mask = jnp.array([True, True, False])
    gain = jnp.array([2.0, 4.0, 1e30])
    drift = bind_drift(DRIFTS["none"], PARAMETERS)
    value, gradient = jax.value_and_grad(mirror_objective)(log_prob, old, gain, mask, drift)
    np.testing.assert_allclose(value, (1.2 * 2 + 0.5 * 4) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient, [1.2, 1.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(DRIFTS))
@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -np.inf])
def test_what_a_mask_excludes_has_no_number(name, rubbish):
    """Value and every gradient, hyper-parameters included, are those of the living samples alone, bit for bit."""
    alive = jnp.array([True, False, True, False])
    columns = {
        "log_prob": [-0.5, -1.0, -1.5, -0.2], "old": [-0.7, -0.9, -1.2, -0.1], "gain": [2.0, 1.0, -1.0, 3.0],
        "kl": [0.1, 0.2, 0.3, 0.4], "reverse_kl": [0.2, 0.1, 0.4, 0.3], "old_prob": [0.5, 0.4, 0.3, 0.9],
    }  # fmt: skip

    def objective(columns, parameters, mask):
        given = RUN | {name: columns[name] for name in ("kl", "reverse_kl", "old_prob")}
        drift = bind_drift(DRIFTS[name], parameters)
        return mirror_objective(columns["log_prob"], columns["old"], columns["gain"], mask, drift, given)

    def results(fill):
        filled = {key: jnp.where(alive, jnp.array(x), fill) for key, x in columns.items()}
        return jax.value_and_grad(objective, (0, 1))(filled, PARAMETERS, alive)

    jax.tree.map(np.testing.assert_array_equal, results(rubbish), results(0.5))
    living = {key: jnp.array(x)[jnp.array([0, 2])] for key, x in columns.items()}
    np.testing.assert_allclose(results(rubbish)[0], objective(living, PARAMETERS, jnp.ones(2, bool)), rtol=1e-6)
    assert all((x[~alive] == 0).all() for x in results(rubbish)[1][0].values())


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, -np.inf])
def test_a_weighted_mean_and_the_compound_factor_are_of_the_living(rubbish):
    alive, x = jnp.array([True, False, True]), jnp.array([1.0, rubbish, 4.0])
    value, gradient = jax.value_and_grad(weighted_mean)(x, alive)
    assert value == 2.5
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])
    assert weighted_mean(jnp.full(3, rubbish), jnp.zeros(3, bool)) == 0
    log_m, slope = jax.value_and_grad(lambda x: compound(jnp.float32(0), x, x[::-1] / 2, alive))(x)
    assert log_m == (1 - 2) + (4 - 0.5)
    np.testing.assert_array_equal(slope, [0.5, 0.0, 0.5])


def test_conjugate_gradient_solves_and_stays_solved():
    root = jax.random.normal(jax.random.key(0), (6, 6))
    matrix, b = root @ root.T + jnp.eye(6), jnp.arange(1.0, 7)
    for iterations in (8, 40):
        x = conjugate_gradient(lambda v: matrix @ v, b, iterations)
        np.testing.assert_allclose(matrix @ x, b, atol=1e-3)


OLD = jnp.array([0.3, -0.2, 0.1])
ADVANTAGE = jnp.array([1.0, -1.0, 0.5])


def objective(params, batch):
    ratio = jax.nn.softmax(params) / jax.nn.softmax(OLD)
    return jnp.sum(jax.nn.softmax(OLD) * ratio * batch[0])


def kl(params, old=OLD):
    return distrax.Categorical(old).kl_divergence(distrax.Categorical(params))


def step_in_a_ball(objective, kl, params, batch, *numbers):
    """A natural-gradient step; of a divergence the limit and the solver look at the mean KL alone."""

    def divergence(params, batch):
        return Divergence(jnp.zeros(1), kl(params)[None], jnp.zeros(1), jnp.ones(1, bool))

    def limit(divergence):
        return bind_limit(NEIGHBOURHOODS["kl_ball"], {"max_kl": numbers[0]})(divergence, {})

    return natural_gradient(*numbers)(objective, divergence, limit, Agent(params, ()), batch, {}, None)


def test_kl_ball_improves_inside_the_ball_and_uses_most_of_it():
    numbers = (0.01, 10, 0.1, 10, 0.8, 0.5)
    agent, info = jax.jit(lambda old, batch: step_in_a_ball(objective, kl, old, batch, *numbers))(OLD, ADVANTAGE[None])
    distance = kl(agent.params)
    assert 0.003 < distance <= 0.01
    np.testing.assert_allclose(info["step_kl"], distance, rtol=1e-4)
    assert objective(agent.params, ADVANTAGE[None]) > objective(OLD, ADVANTAGE[None])


def test_kl_ball_shortens_a_step_that_would_leave_it():
    """From lopsided policies the quadratic model promises too much: without the check some of these leave the ball."""
    fractions = []
    for seed in range(8):
        old = 3 * jax.random.normal(jax.random.key(seed), (3,))
        gain = jax.random.normal(jax.random.key(100 + seed), (3,))

        def value(params, batch, gain=gain):
            return jnp.sum(jax.nn.softmax(params) * gain)

        distance = functools.partial(kl, old=old)
        agent, info = step_in_a_ball(value, distance, old, gain[None], 0.3, 10, 1e-3, 10, 0.8, 0.0)
        assert distance(agent.params) <= 0.3
        fractions.append(float(info["step_fraction"]))
    assert min(f for f in fractions if f > 0) < 1


def test_kl_ball_takes_the_first_step_that_keeps_half_of_the_promise():
    """A step s gains s - 4 s^2, more than s / 2 only below 1/8: of 0.2 * 0.8^k that is k = 3."""

    def value(params, batch):
        return jnp.sum(params) - 4 * jnp.sum(params**2)

    def distance(params):
        return jnp.sum(params**2) / 2

    numbers = (0.5 * 0.2**2, 5, 0.0, 10, 0.8, 0.5)
    agent, _ = step_in_a_ball(value, distance, jnp.zeros(1), jnp.zeros((1, 1)), *numbers)
    np.testing.assert_allclose(agent.params, 0.2 * 0.8**3, rtol=1e-4)


def test_kl_ball_keeps_the_old_parameters_when_no_step_helps():
    """A planted objective whose gradient points the wrong way: every candidate of the line search makes it worse."""

    @jax.custom_jvp
    def lying(params):
        return -jnp.sum((params - OLD) ** 2)

    lying.defjvp(lambda primals, tangents: (lying(primals[0]), jnp.sum(tangents[0])))
    agent, info = step_in_a_ball(lambda p, b: lying(p), kl, OLD, ADVANTAGE[None], 0.01, 10, 0.1, 10, 0.8, 0.5)
    np.testing.assert_array_equal(agent.params, OLD)
    assert info["step_fraction"] == 0


def test_ascent_takes_epochs_times_minibatches_steps_over_every_sample():
    solve = ascent(optax.sgd(1.0), 3, 4)
    batch = jnp.arange(8.0)
    agent, _ = solve(
        lambda p, b: p * jnp.mean(b),
        None,
        None,
        Agent(jnp.float32(0), optax.sgd(1.0).init(jnp.float32(0))),
        batch,
        {},
        jax.random.key(0),
    )
    np.testing.assert_allclose(agent.params, 3 * 4 * batch.mean(), rtol=1e-6)


@pytest.mark.parametrize("num_agents", [2, 4])
def test_proposition_1_shared_parameters_reach_a_fraction_of_the_optimum(num_agents):
    """Half the team must play 0 and half 1, in one given split (or its mirror image): one policy for all gets 2 / 2^n.

    Exact expectations over all joint actions, improved by the kernel's own sweeps.
    """
    joint = jnp.array(np.unravel_index(np.arange(2**num_agents), (2,) * num_agents)).T  # (2^n, n)
    split = jnp.arange(num_agents) >= num_agents // 2
    payoff = (joint == split).all(1) | (joint == ~split).all(1)

    def value(logits):
        """Expected payoff of independent policies, logits (n, 2)."""
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits)[None], joint[..., None], -1)[..., 0]
        return jnp.sum(jnp.exp(chosen.sum(1)) * payoff)

    solve = ascent(optax.adam(0.1), update_epochs=5, num_minibatches=1)
    optimiser = optax.adam(0.1)
    batch, key = jnp.zeros(1), jax.random.key(0)

    def own(agents, sweep):
        def update(agent, logits, i):
            agent, info = solve(lambda own, _: value(logits.at[i].set(own)), None, None, agent, batch, {}, key)
            return agent, logits.at[i].set(agent.params), info

        choose = bind_order(ORDERS["uniform"], jax.random.key(sweep), num_agents, None)
        return sequential(update, agents, agents.params, choose)[0]

    def shared(agent):
        def team_value(logits, _):
            return value(jnp.broadcast_to(logits, (num_agents, 2)))

        return solve(team_value, None, None, agent, batch, {}, key)[0]

    start = jax.random.normal(jax.random.key(1), (num_agents, 2))
    agents, agent = Agent(start, jax.vmap(optimiser.init)(start)), Agent(start[0], optimiser.init(start[0]))
    for sweep in range(40):
        agents, agent = jax.jit(own)(agents, sweep), jax.jit(shared)(agent)
    assert value(agents.params) > 0.97
    np.testing.assert_allclose(value(jnp.broadcast_to(agent.params, (num_agents, 2))), 2 / 2**num_agents, atol=1e-3)
