"""``make_train``: a whole training run as one pure function of a key."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ..algorithms.base import Learner, Metrics
from ..algorithms.config import Config, validate
from ..algorithms.state import ActorState, RunnerState
from ..algorithms.table import check_row, family_of
from ..envs import Environment, make
from ..envs.check import checked
from ..errors import ConfigError
from . import exact
from .evaluate import make_evaluate, means
from .floats import floats_of, with_floats
from .host_loop import HostLoop

Carry = tuple[RunnerState, dict[str, Float[Array, "updates ..."]]]


class Trainer:
    """A configuration made runnable: ``init``, ``update``, ``evaluate`` and ``run_updates``, all pure.

    ``learner`` is its algorithm on its environment (``env``). Where the host steps the environments ``host`` is its loop, and
    ``update`` is no part of a program. ``read_policies`` is the ``exact.reader`` of its team, or None, and then ``not_exact``
    says why.

    Args:
        config: of the run. env: instead of the environment that it names.

    Raises:
        ConfigError: they cannot be trained.
    """

    def __init__(self, config: Config, env: Environment | None = None):
        validate(config)
        check_row(config.algo)
        self.env = make(config.env) if env is None else checked(env)
        self._teach(family_of(config.algo.name).learner(config, self.env))
        self.host = HostLoop(self.learner) if self.env.on_host else None
        self.update = self.host.update if self.host else self.pure_update

    def _teach(self, learner: Learner) -> None:
        self.learner, self.config = learner, learner.config
        self.init, self.actor_state = learner.init, learner.actor_state
        # Compiled alone it is a program; inside of one it is traced once, for its shapes and for its steps.
        self.update = self.pure_update = jax.jit(self._update, inline=True)
        self.read_policies, self.not_exact = exact.reader(learner.policy, self.env)
        self.evaluate_episodes = make_evaluate(learner.policy, self.env, self.config.num_eval_episodes)

    @property
    def floats(self) -> list[Any]:
        """What may be said otherwise without another program (``floats_of`` its learner)."""
        return floats_of(self.learner)

    def floats_of_seeds(self, configs: Sequence[Config]) -> list[np.ndarray]:
        """``floats`` of configurations that differ in floats alone, each (seeds, ...).

        Args:
            configs: one for each seed.
        """
        learners = [family_of(config.algo.name).learner(config, self.env) for config in configs]
        return [np.stack(same) for same in zip(*map(floats_of, learners), strict=True)]

    def with_floats(self, floats: list[Any]) -> "Trainer":
        """The same, for programs, with others.

        Args:
            floats: in the order of ``floats``; may be traced.
        """
        other = copy.copy(self)
        other._teach(with_floats(self.learner, floats))
        return other

    def _update(self, state: RunnerState) -> tuple[RunnerState, Metrics]:
        """One iteration; its metrics hold the policies afterwards, where the host can say what they are worth."""
        state, metrics = self.learner.update(state)
        if self.read_policies is None:
            return state, metrics
        return state, metrics | {exact.POLICIES: self.read_policies(self.actor_state(state))}

    def evaluate(self, actors: ActorState, round: int | Array = 0) -> dict[str, Float[Array, ""]]:
        """Means over ``num_eval_episodes`` episodes: greedy ``eval/...`` and, if asked for, ``eval_sampled/...``.

        Args:
            actors: of ``actor_state``. round: of several with the same actors, each of which plays other episodes.
        """
        kinds = {"eval": True} | ({"eval_sampled": False} if self.config.eval_sampled else {})
        return {
            f"{kind}/{name}": x
            for kind, greedy in kinds.items()
            for name, x in means(self.evaluate_episodes(actors, round, greedy)).items()
        }

    def empty_metrics(self, state: RunnerState, capacity: int) -> dict[str, Float[Array, "capacity ..."]]:
        """Room for the metrics of ``capacity`` updates: NaN arrays by name."""
        shapes = jax.eval_shape(self.pure_update, state)[1]
        return {name: jnp.full((capacity, *x.shape), jnp.nan, jnp.float32) for name, x in shapes.items()}

    def advance(self, carry: Carry, first: int | Int[Array, ""], last: int | Int[Array, ""]) -> Carry:
        """Updates number ``first`` to ``last - 1``.

        Args:
            carry: the state, and metrics to write into. first, last: may be traced, unless the host steps the environments.

        Returns:
            The carry afterwards.
        """

        def body(i, carry):
            state, metrics = carry
            state, new = self.update(state)
            return state, {name: values.at[i].set(new[name].astype(values.dtype)) for name, values in metrics.items()}

        if self.host:
            return functools.reduce(lambda carry, i: body(i, carry), range(first, last), carry)
        return jax.lax.fori_loop(first, last, body, carry)

    def run_updates(self, state: RunnerState, count: int | Int[Array, ""], capacity: int) -> Carry:
        """Some updates.

        Args:
            state: before them. count: how many; may be traced. capacity: how many there may be.

        Returns:
            The state, and metrics (capacity, ...), of which the first ``count`` hold.
        """
        return self.advance((state, self.empty_metrics(state, capacity)), 0, count)


def evaluation_points(config: Config) -> np.ndarray:
    """After how many updates to evaluate: evenly spaced, the start and the end included; (num_evals,) at most."""
    return np.unique(np.linspace(0, config.num_updates, config.num_evals).round().astype(int))


def make_learner(config: Config, env: Environment | None = None) -> Trainer:
    """Make a configuration runnable.

    Args:
        config: of the run. env: instead of the environment that it names.

    Raises:
        ConfigError: they cannot be trained.
    """
    return Trainer(config, env)


def make_train(config: Config, env: Environment | None = None) -> Callable[[Key[Array, ""]], dict[str, Any]]:
    """``train(key) -> {"runner_state", "metrics"}``: initialise, then train for ``total_timesteps``, all compilable.

    Pure, so vmap it over keys; the floats of ``config`` may be traced, so vmap ``lambda config, key: make_train(config)(key)``
    over hyper-parameters too.

    Args:
        config: of the run. env: instead of the environment that it names.

    Returns:
        The function. ``runner_state`` is what training left; ``metrics`` holds arrays by name: ``train/...`` (num_updates,),
        ``eval/...`` one per evaluation (the first before any training, the last after all of it). In a game whose tables are
        known it holds ``exact/log_policies`` (1 + num_updates, N, S, A) too, the untrained team's first, of which
        ``exact_metrics`` makes exact returns.

    Raises:
        ConfigError: they cannot be trained, or the host is to step the environments.
    """
    trainer = make_learner(config, env)
    if trainer.host:
        raise ConfigError(
            "make_train makes one program: it wants front_end='callback' of an environment in host processes"
        )
    points = evaluation_points(config)

    def with_untrained(untrained: RunnerState, metrics: dict[str, Array]) -> dict[str, Array]:
        if trainer.read_policies is None:
            return metrics
        first = trainer.read_policies(trainer.actor_state(untrained))
        return metrics | {exact.POLICIES: jnp.concatenate([first[None], metrics[exact.POLICIES]])}

    def train(key: Key[Array, ""]) -> dict[str, Any]:
        # INITIALISE
        untrained = trainer.init(key)
        carry = (untrained, trainer.empty_metrics(untrained, config.num_updates))
        if not config.num_evals:
            state, metrics = trainer.advance(carry, 0, config.num_updates)
            return {"runner_state": state, "metrics": with_untrained(untrained, metrics)}

        # TRAIN UP TO EACH EVALUATION
        def train_and_evaluate(carry, bounds):
            carry = trainer.advance(carry, *bounds)
            return carry, trainer.evaluate(trainer.actor_state(carry[0]))

        (state, metrics), evals = jax.lax.scan(train_and_evaluate, carry, (np.append(0, points[:-1]), points))
        return {"runner_state": state, "metrics": with_untrained(untrained, metrics) | evals}

    return train
