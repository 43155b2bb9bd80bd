"""Gradients of what chooses between numbers: they do not find out by comparison what was chosen.

``jnp.min(x)`` has the gradient ``(x == min(x)) / sum(x == min(x))``. Where a compiler computes ``x`` twice and rounds it in two
ways, that is 0 / 0: programs of MASAC took no update for it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from sizes import long

import hamljax
from hamljax.algorithms.table import ALGORITHMS
from hamljax.nn.transforms import clamp, huber, larger, lowest
from hamljax.training.train import make_learner


def equations(jaxpr):
    """All of a program, those of its parts included."""
    for equation in jaxpr.eqns:
        yield equation
        inner = jax.tree.leaves(equation.params, is_leaf=lambda x: isinstance(x, (ClosedJaxpr, Jaxpr)))
        for part in inner:
            if isinstance(part, (ClosedJaxpr, Jaxpr)):
                yield from equations(getattr(part, "jaxpr", part))


def comparisons(function, *arguments) -> list:
    """Where computed floats are asked for their equality."""

    def computed(x):
        return not isinstance(x, Literal) and jnp.issubdtype(x.aval.dtype, jnp.floating)

    program = jax.make_jaxpr(function)(*arguments).jaxpr
    return [e for e in equations(program) if e.primitive.name == "eq" and all(map(computed, e.invars))]


# Of a row with clip, the drift is not asked: its ratio is an exponential, which compilers do not compute twice.
ROWS = sorted(name for name, row in ALGORITHMS.items() if row.drift != "clip" and name != "masac_s")


@pytest.mark.parametrize("algo", ["haa2c", "masac_s", *long(*(name for name in ROWS if name != "haa2c"))])
def test_no_gradient_of_a_learner_compares_a_result_with_what_it_came_from(algo):
    learner = make_learner(hamljax.config(algo, "game/tracking", num_envs=2)).learner
    state, rollout = jax.eval_shape(lambda key: learner.collect(learner.init(key)), jax.random.key(0))
    assert comparisons(learner.learn, state, rollout) == []


def test_the_comparison_is_seen():
    assert comparisons(jax.grad(lambda x: jnp.sum(jnp.min(x, axis=0))), jnp.ones((2, 3)))
    assert comparisons(jax.grad(lambda x: jnp.sum(jnp.clip(x, -1, 1))), jnp.ones(3))


def test_values_and_gradients_are_those_of_the_functions_that_compare():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 50)).astype(np.float32) * 2
    for ours, theirs in (
        (lambda x: lowest(jnp.stack([x, y])), lambda x: jnp.min(jnp.stack([x, y]), axis=0)),
        (lambda x: larger(x, y), lambda x: jnp.maximum(x, y)),
        (lambda x: clamp(x, -1.0, 0.5), lambda x: jnp.clip(x, -1.0, 0.5)),
        (lambda x: huber(x, 0.7), lambda x: optax.huber_loss(x, delta=0.7)),
    ):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-6)
        slopes = [jax.grad(lambda x, f=f: jnp.sum(f(x) * jnp.arange(50)))(x) for f in (ours, theirs)]
        np.testing.assert_allclose(*slopes, rtol=1e-6)


def test_where_values_are_equal_one_of_them_has_the_whole_gradient():
    x = jnp.array([[1.0, 2.0], [1.0, 3.0]])
    np.testing.assert_array_equal(jax.grad(lambda x: lowest(x).sum())(x), [[1, 1], [0, 0]])
    assert jax.grad(larger, argnums=(0, 1))(2.0, 2.0) == (1.0, 0.0)
    assert jax.grad(clamp)(1.0, -1.0, 1.0) == 1.0


def test_what_is_no_number_is_not_hidden():
    nan = jnp.array([jnp.nan])
    for x, y in ((nan, jnp.ones(1)), (jnp.ones(1), nan)):
        assert jnp.isnan(larger(x, y)).all() and jnp.isnan(lowest(jnp.stack([x, y]))).all()
    assert jnp.isnan(clamp(nan, -1.0, 1.0)).all() and jnp.isnan(huber(nan, 1.0)).all()
