"""Limits and the solvers that keep to them, and orders: by hand and on softmax policies of one state."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sizes import long

import hamljax
from hamljax import haml
from hamljax.haml import NEIGHBOURHOODS, ORDERS, Agent, Divergence, ascent, bind_limit, bind_order
from hamljax.training.train import make_learner

MOVED = Divergence(
    log_ratio=jnp.log(jnp.array([1.1, 0.6, 1.4, 9.0])),
    kl=jnp.array([0.01, 0.04, 0.02, jnp.nan]),
    reverse_kl=jnp.array([0.02, 0.03, 0.05, jnp.inf]),
    weight=jnp.array([1.0, 2.0, 1.0, 0.0]),
)
BY_HAND = {
    "kl_ball": ({"max_kl": 0.01}, (0.01 + 2 * 0.04 + 0.02) / 4 - 0.01),
    "kl_budget": ({"max_kl": 0.04}, 0.0275 - 0.04 / 4),  # a quarter of it
    "kl_stop": ({"max_kl": 0.05}, 0.0275 - 0.05),
    "max_kl_over_states": ({"max_kl": 0.01}, 0.04 - 0.01),
    "tv_ball": ({"max_tv": 0.1}, (0.1 + 2 * 0.4 + 0.4) / 4 / 2 - 0.1),
    "ratio_box": ({"max_log_ratio": 0.2}, -np.log(0.6) - 0.2),
    "keep_support": ({"min_ratio": 0.7}, np.log(0.7 / 0.6)),
}


def excess(name, divergence, **values):
    return bind_limit(NEIGHBOURHOODS[name], values)(divergence, {"agent": 1, "share": 0.25})


@pytest.mark.parametrize("name", sorted(set(NEIGHBOURHOODS) - {"everywhere"}))
def test_limits_by_hand_whatever_stands_where_nothing_counts(name):
    values, expected = BY_HAND[name]
    np.testing.assert_allclose(excess(name, MOVED, **values), expected, rtol=1e-5)
    (parameter,) = values
    several = {parameter: (1e6, values[parameter])}  # of the second agent
    np.testing.assert_allclose(excess(name, MOVED, **several), expected, rtol=1e-5)
    assert excess(name, jax.tree.map(jnp.zeros_like, MOVED), **values) <= 0  # inside: who has not moved


def climb(limit, epochs, optimiser=None, num_minibatches=1):
    """Ascent of p + 0 * samples from p = 0 in steps of an eighth; the divergence is p itself."""
    optimiser = optimiser or optax.sgd(1 / 8, momentum=0.0)

    def divergence(params, batch):
        return Divergence(*(jnp.full(8, params),) * 3, jnp.ones(8))

    solve = ascent(optimiser, epochs, num_minibatches)
    start = Agent(jnp.float32(0), optimiser.init(jnp.float32(0)))
    return solve(lambda p, b: p + 0 * b.sum(), divergence, limit, start, jnp.zeros(8), {}, jax.random.key(0))


def test_the_last_iterate_inside_stays_with_its_optimisers_state():
    agent, info = climb(lambda moved: moved.mean(moved.kl) - 0.3, 5)
    assert agent.params == 0.25 and info["inside"] == 2 / 5
    adam = optax.adam(1 / 8)
    agent, info = climb(lambda moved: moved.mean(moved.kl) - 0.3, 5, adam)
    assert agent.opt_state[0].count == 2
    free, info = climb(None, 5)
    assert free.params == 5 / 8 and "inside" not in info


def test_a_limit_is_held_over_the_whole_batch_whatever_the_minibatch():
    seen = []
    climb(lambda moved: seen.append(moved.kl.shape) or -1.0 + 0 * moved.kl.sum(), 2, num_minibatches=4)
    assert set(seen) == {(8,)}


@pytest.mark.parametrize("name", sorted(set(NEIGHBOURHOODS) - {"everywhere", "kl_ball", "kl_budget"}))
def test_a_policy_stays_where_the_limit_lets_it(name):
    """A softmax over three actions in two states; without the limit the same steps lead outside."""
    old = jnp.array([[0.3, -0.2, 0.1], [1.0, 0.0, -1.0]])
    gain, action = jnp.array([[1.0, -1.0, 0.5], [-0.5, 1.0, 1.0]]), jnp.array([1, 2])

    def divergence(params, batch):
        was, now = distrax.Categorical(old), distrax.Categorical(params)
        moved = now.log_prob(action) - was.log_prob(action)
        return Divergence(moved, was.kl_divergence(now), now.kl_divergence(was), jnp.ones(2, bool))

    def limit(divergence):
        return excess(name, divergence, **{key: {"min_ratio": 0.95}.get(key, 0.05) for key in BY_HAND[name][0]})

    def solve(limit):
        objective = lambda params, batch: jnp.sum(jax.nn.softmax(params) * gain)  # noqa: E731
        agent = Agent(old, optax.sgd(0.1).init(old))
        return ascent(optax.sgd(0.1), 30, 1)(objective, divergence, limit, agent, jnp.zeros((2, 1)), {}, None)[0]

    assert limit(divergence(solve(None).params, None)) > 0
    inside = solve(limit).params
    assert limit(divergence(inside, None)) <= 0 and jnp.abs(inside - old).max() > 0.01


LOOKED_AT = {
    "kl_stop": {"kl", "mean"},
    "tv_ball": {"log_ratio", "mean"},
    "ratio_box": {"log_ratio", "largest"},
    "keep_support": {"log_ratio", "largest"},
    "max_kl_over_states": {"kl", "largest"},
}


@pytest.mark.parametrize("name", LOOKED_AT)
def test_what_a_limit_looks_at_is_found_by_tracing_it(name):
    values = BY_HAND[name][0]
    assert haml.looked_at(lambda divergence: excess(name, divergence, **values)) == LOOKED_AT[name]


def test_what_a_limit_looks_at_beside_its_means_is_found_too():
    assert haml.looked_at(lambda moved: (moved.weight * moved.reverse_kl).sum()) == {"weight", "reverse_kl"}
    assert haml.looked_at(lambda moved: moved.kl.sum() + moved.log_ratio @ jnp.ones(5)) == {
        "kl",
        "log_ratio",
    }  # it fails


SCORES = jnp.array([3.0, 9.0, 1.0, 5.0, 7.0])


def visits(name, key):
    choose = bind_order(ORDERS[name], key, 5, lambda agents, context: SCORES)
    visited, order = jnp.zeros(5, bool), []
    for _ in range(5):
        i = int(choose(visited, None, None))
        visited = visited.at[i].set(True)
        order.append(i)
    return order


def test_every_order_visits_everybody_once():
    for number in range(4):
        key = jax.random.key(number)
        orders = {name: visits(name, key) for name in ORDERS}
        assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders.values())
        assert orders["uniform"] == jax.random.permutation(key, 5).tolist()
        assert orders["fixed"] == [0, 1, 2, 3, 4]
        first, drawn, second, *_ = orders["semi_greedy"]
        left = {0, 2, 3, 4} - {drawn}
        assert first == 1 and second == max(left, key=SCORES.__getitem__)
        assert drawn == next(i for i in orders["uniform"] if i != 1)


def test_the_semi_greedy_draw_is_not_always_the_same():
    assert len({visits("semi_greedy", jax.random.key(number))[1] for number in range(12)}) > 1


def test_an_order_of_ones_own_and_names_that_are_taken():
    with pytest.raises(ValueError, match="'fixed' is among the orders that hamljax ships"):
        hamljax.register_order("fixed")(lambda plan, visited, scores: 0)
    hamljax.register_order("backwards", start=lambda key, n: jnp.arange(n)[::-1])(
        lambda plan, visited, scores: plan[visited.sum()]
    )
    try:
        assert visits("backwards", jax.random.key(0)) == [4, 3, 2, 1, 0]
    finally:
        del ORDERS["backwards"]


# A BUDGET FOR THE TEAM


def linear(params, batch):
    return params @ batch


def quadratic(params, batch):
    """KL = |params|^2 / 2, so that the Fisher matrix is the identity."""
    kl = 0.5 * jnp.sum(params**2, keepdims=True)
    return haml.Divergence(jnp.zeros(1), kl, kl, jnp.ones(1))


@pytest.mark.parametrize(
    "slopes, wanted", [((3.0, 1.0), (0.9, 0.1)), ((2.0, 2.0), (0.5, 0.5)), ((0.0, 0.0), (0.5, 0.5))]
)
def test_a_budget_is_divided_where_steps_promise_most(slopes, wanted):
    """d_i in proportion to g_i' H_i^-1 g_i: with the identity, to the squares of the gradients' lengths."""
    gradients = jnp.array(slopes)[:, None] * jnp.array([0.6, 0.8])
    values = {"cg_iters": 5, "cg_damping": 0.0, "max_kl": 0.01}
    of = haml.NEIGHBOURHOODS["kl_budget"], values, linear, quadratic, jnp.zeros((2, 2)), gradients
    np.testing.assert_allclose(haml.shares(*of, jnp.array([1, 1])), wanted, rtol=1e-5)
    several = haml.shares(*of, jnp.array([3, 1]))  # of a group of three each takes a share
    np.testing.assert_allclose(several @ jnp.array([3, 1]), 1, rtol=1e-5)
    np.testing.assert_allclose(several[0] * wanted[1], several[1] * wanted[0], rtol=1e-5)


def test_a_direction_that_hardly_changes_the_policy_gets_more_of_the_budget():
    """Of two gradients of one length, where the KL is four times as steep the gain is a quarter."""

    def steep(params, batch):
        kl = 0.5 * batch[2] * jnp.sum(params**2, keepdims=True)
        return haml.Divergence(jnp.zeros(1), kl, kl, jnp.ones(1))

    batches = jnp.array([[0.6, 0.8, 1.0], [0.6, 0.8, 4.0]])
    values = {"cg_iters": 5, "cg_damping": 0.0, "max_kl": 0.01}
    of = haml.NEIGHBOURHOODS["kl_budget"], values, lambda params, batch: params @ batch[:2], steep
    found = haml.shares(*of, jnp.zeros((2, 2)), batches, jnp.array([1, 1]))
    np.testing.assert_allclose(found, (0.8, 0.2), rtol=1e-4)


@pytest.mark.parametrize("sharing", ["own", *long("all")])
def test_the_measured_kls_of_a_sweep_stay_within_the_budget_of_the_team(sharing):
    sizes = {
        "num_envs": 16,
        "num_steps": 8,
        "total_timesteps": 512,
        "max_kl": 0.05,
        "accept_ratio": 0.0,
        "sharing": sharing,
        "hidden_sizes": (8,),
    }
    sizes |= {"backtrack_iters": 1}  # a step that is too long is not shortened until it fits
    loop = make_learner(hamljax.config("hatrpo_w", hamljax.configure("game/random", num_agents=3), **sizes)).learner

    @jax.jit
    def kl(key):
        state, traj = loop.collect(loop.init(key))
        advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
        return loop.sweep.improve(state.learnt.agents, traj, advantage, *jax.random.split(key))[1]["kl"]

    assert 0.01 < 3 * kl(jax.random.key(0)) <= 0.05
