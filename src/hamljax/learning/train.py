"""``make_train``: a whole training run as one pure function of a key."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ..envs import make
from ..envs.check import checked
from ..errors import ConfigError
from .config import Config, OffPolicyAlgo, validate
from .evaluate import make_evaluate, means
from .host import HostLoop
from .off_policy.loop import OffPolicy
from .on_policy.loop import OnPolicy
from .on_policy.probe import check_kernel, check_numbers_of_agents
from .state import Players


class Learner:
    """A configuration made runnable: ``init``, ``update``, ``evaluate`` and ``run_updates``, all pure."""

    def __init__(self, config: Config, env=None):
        validate(config)
        check_kernel(config.algo)
        self.config = config
        self.env = make(config.env) if env is None else checked(env)
        check_numbers_of_agents(config, self.env.team)
        self.algorithm = (OffPolicy if isinstance(config.algo, OffPolicyAlgo) else OnPolicy)(config, self.env)
        self.init = self.algorithm.init
        self.host = HostLoop(self.algorithm) if self.env.on_host else None
        self.update = self.host.update if self.host else self.algorithm.update
        self.evaluate_episodes = make_evaluate(config, self.env, config.num_eval_episodes)

    def evaluate(self, players: Players, round=0) -> dict[str, jax.Array]:
        """Means over ``num_eval_episodes`` episodes: greedy ``eval/...`` and, if asked for, ``eval_sampled/...``."""
        kinds = {"eval": True} | ({"eval_sampled": False} if self.config.eval_sampled else {})
        return {
            f"{kind}/{name}": x
            for kind, greedy in kinds.items()
            for name, x in means(self.evaluate_episodes(players, round, greedy)).items()
        }

    def empty_metrics(self, state, capacity: int) -> dict[str, jax.Array]:
        """Room for the metrics of ``capacity`` updates: NaN arrays by name."""
        return {
            name: jnp.full(capacity, jnp.nan, jnp.float32) for name in jax.eval_shape(self.algorithm.update, state)[1]
        }

    def advance(self, carry, first, last):
        """Updates number ``first`` to ``last - 1`` (both may be traced) of ``carry`` = (state, metrics to write into)."""

        def body(i, carry):
            state, metrics = carry
            state, new = self.update(state)
            return state, {name: values.at[i].set(new[name].astype(values.dtype)) for name, values in metrics.items()}

        if self.host:
            return functools.reduce(lambda carry, i: body(i, carry), range(first, last), carry)
        return jax.lax.fori_loop(first, last, body, carry)

    def run_updates(self, state, count, capacity: int):
        """``count`` updates. Returns the state and metrics (capacity,), of which the first ``count`` hold."""
        return self.advance((state, self.empty_metrics(state, capacity)), 0, count)


def evaluation_points(config: Config) -> np.ndarray:
    """After how many updates to evaluate: evenly spaced, the start and the end included; (num_evals,) at most."""
    return np.unique(np.linspace(0, config.num_updates, config.num_evals).round().astype(int))


def make_learner(config: Config, env=None) -> Learner:
    """Check ``config`` (ConfigError) and make it runnable. ``env`` replaces the environment that it names."""
    return Learner(config, env)


def make_train(config: Config, env=None) -> Callable:
    """``train(key) -> {"runner_state", "metrics"}``: initialise, then train for ``total_timesteps``, all compilable.

    ``metrics`` holds arrays by name: ``train/...`` (num_updates,), ``eval/...`` one per evaluation (the first before any
    training, the last after all of it). Pure, so vmap it over keys; the floats of ``config`` may be traced, so vmap
    ``lambda config, key: make_train(config)(key)`` over hyper-parameters too.
    """
    learner = make_learner(config, env)
    if learner.host:
        raise ConfigError(
            "make_train makes one program: it wants front_end='callback' of an environment in host processes"
        )
    points = evaluation_points(config)

    def train(key):
        # INITIALISE
        state = learner.init(key)
        carry = (state, learner.empty_metrics(state, config.num_updates))
        if not config.num_evals:
            state, metrics = learner.advance(carry, 0, config.num_updates)
            return {"runner_state": state, "metrics": metrics}

        # TRAIN UP TO EACH EVALUATION
        def train_and_evaluate(carry, bounds):
            carry = learner.advance(carry, *bounds)
            return carry, learner.evaluate(carry[0].players)

        (state, metrics), evals = jax.lax.scan(train_and_evaluate, carry, (np.append(0, points[:-1]), points))
        return {"runner_state": state, "metrics": metrics | evals}

    return train
