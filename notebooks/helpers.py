"""What the notebooks share: sizes, colours, exact sweeps and the policies that training passes through."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax

import hamljax
from hamljax import haml, tabular
from hamljax.lab.configuration import machine

machine.prepare()  # as the command line does: programs are kept, so that what was run once starts at once
SCALE = float(os.environ.get("HAMLJAX_NOTEBOOK_SCALE", 1))  # below 1: fewer and shorter runs, to test the notebook
# Okabe and Ito's palette, whose colours are told apart with any colour vision.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"
NUMBERS = {"clip_eps": 0.2, "kl_coef": 1.0, "dpo_alpha": 2.0, "dpo_beta": 0.6}  # as ``algo`` has them

plt.rcParams.update(
    {"figure.dpi": 80, "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 2}
)


def smaller(count: int) -> int:
    """``count``, or at a smaller scale so many fewer, at least 2."""
    return max(2, round(count * SCALE))


def drift_of(name: str, **numbers: float) -> haml.BoundDrift:
    """A registered drift with its numbers: those of ``algo``, or what is given."""
    return haml.bind_drift(haml.DRIFTS[name], NUMBERS | numbers)


def sweep_of(
    drift: str,
    coordination: str = "sequential",
    order: str = "uniform",
    choose: Callable = tabular.everywhere,
    **numbers: float,
) -> tabular.Sweep:
    """One exact update of all agents: a drift, a coordination, an order, and how the maximum is chosen."""
    return tabular.Sweep(drift_of(drift, **numbers), haml.COORDINATIONS[coordination], haml.ORDERS[order], choose)


def two(p: Any) -> Any:
    """(..., 1, 2): policies of two actions in one state, from the probability of action 1."""
    xp = jnp if isinstance(p, jax.Array) else np
    return xp.stack([1 - xp.asarray(p), xp.asarray(p)], -1)[..., None, :]


def policies_of(sweep: tabular.Sweep, game: tabular.Game, starts: np.ndarray, sweeps: int) -> np.ndarray:
    """(G, sweeps + 1, N, S, A): the policies before and after every sweep, from each of the starts (G, N, S, A)."""

    def run(game, log_policies):
        def one(log_policies, key):
            new, _ = sweep(game, log_policies, key)
            return new, new

        keys = jax.random.split(jax.random.key(0), sweeps)
        return jnp.concatenate([log_policies[None], jax.lax.scan(one, log_policies, keys)[1]])

    with np.errstate(divide="ignore"):
        return np.exp(tabular.batched(run, None, 0)(game, np.log(starts)))


_returns = tabular.batched(lambda game, policies: tabular.evaluate(game, policies).expected_return, None, 0)


def returns_of(game: tabular.Game, policies: np.ndarray) -> np.ndarray:
    """(...): exact J of policies (..., N, S, A)."""
    flat = np.asarray(policies, np.float64).reshape(-1, *policies.shape[-3:])
    return _returns(game, flat).reshape(policies.shape[:-3])


def trained_policies(config: Any, num_seeds: int) -> np.ndarray:
    """(seeds, updates + 1, N, S, A): what the networks play before and after every update, in a game whose tables are known."""
    train = hamljax.make_train(dataclasses.replace(config, num_evals=0))
    found = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), num_seeds))
    return softmax(np.asarray(found["metrics"]["exact/log_policies"], np.float64), axis=-1)
