"""A run directory brought back to life: its configuration, its environment and its trained teams."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..envs.protocol import Environment, Observation, Team
from ..errors import ConfigError
from ..learning.config import Config
from ..learning.policies import Policies
from ..learning.state import Players
from ..learning.train import Learner, make_learner
from . import arguments, checkpoints
from .configuration import Job
from .programs import Progress, apart, progress_shapes
from .resume import read_job
from .rundir import path_of


@functools.lru_cache(maxsize=16)
def _acting(kind, floats: tuple, team: Team):
    """The policies of a configuration (``kind`` and ``floats``: its structure and leaves), and one decision of theirs, compiled.

    Once for all that are equal, however often they are loaded; and of those that were not asked for lately nothing is kept.
    """
    policies = Policies(jax.tree.unflatten(kind, floats), team)

    @jax.jit
    def act(players: Players, observation, avail, alive, carry, key):
        given = Observation(jnp.asarray(observation), jnp.zeros(0), avail, alive)
        seen = jax.tree.map(lambda x: x[None], players.see(team, given))
        greedy, key = key is None, jax.random.key(0) if key is None else key
        carry, action, *_ = policies.act(players.params, carry, key, seen, jnp.zeros(1, bool), greedy=greedy)
        return policies.as_played(action)[0], carry

    return policies, act


class Policy:
    """How one trained team acts. Pure functions, to be compiled and vmapped as one likes."""

    def __init__(self, config: Config, env: Environment, players: Players):
        self.players, self.team = players, env.team
        floats, kind = jax.tree.flatten(Config(config.algo, config.network, None, num_envs=1))
        self._policies, self._act = _acting(kind, tuple(floats), env.team)

    def __repr__(self) -> str:
        return f"Policy of {self.team.num_agents} agents: act(observation, avail_actions, carry, key)"

    @property
    def params(self) -> Any:
        """The actors' parameters, stacked on a leading axis: agents, or 1 where they share a policy."""
        return self.players.params

    def initial_carry(self) -> jax.Array:
        """The team's memory at the start of an episode; empty for networks without recurrence."""
        return self._policies.initial_carry()

    def act(self, observation, avail_actions=None, carry=None, key=None, alive=None) -> tuple[jax.Array, jax.Array]:
        """One decision: actions (N,) int32 or, continuous, (N, A) within their bounds; and the new memory.

        observation (N, O): what each agent sees, as the environment gives it (padded; not normalised).
        avail_actions (N, A) bool: the legal ones; None: all that an agent has. carry: the memory after the last
        decision; None: an episode begins. key: None acts greedily, a key samples. alive (N,) bool: who sees anything; None:
        all agents do.
        """
        avail = jnp.asarray(self.team.action_mask if avail_actions is None else avail_actions, bool)
        alive = jnp.ones(self.team.num_agents, bool) if alive is None else jnp.asarray(alive, bool)
        return self._act(self.players, observation, avail, alive, self.initial_carry() if carry is None else carry, key)


class Trained(NamedTuple):
    """What a run has come to.

    ``progress`` is all of it but a replay; ``players`` are the chosen teams, stacked over the seeds.
    """

    job: Job
    learner: Learner
    progress: Progress
    players: Players
    update: int

    def __repr__(self) -> str:
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        return f"{self.config.algo.name} on {self.config.env.name}, {seeds}, after {self.update} updates"

    @property
    def config(self) -> Config:
        return self.job.config

    @property
    def env(self) -> Environment:
        return self.learner.env

    @property
    def seeds(self) -> range:
        return range(self.job.run.seed, self.job.run.seed + self.job.run.num_seeds)

    def of_seed(self, seed: int) -> Players:
        """The team of one seed. Raises ConfigError when the run has no such seed."""
        if seed not in self.seeds:
            raise ConfigError(f"no seed {seed} here: {self!r}")
        return jax.tree.map(lambda x: x[self.seeds.index(seed)], self.players)

    def policy(self, seed: int | None = None) -> Policy:
        """How the team of one seed (None: the first) acts."""
        return Policy(self.config, self.env, self.of_seed(self.seeds[0] if seed is None else seed))


def load(run: str | Path, checkpoint: str | int = "last", plugin: str | Path = "", python: str = "") -> Trained:
    """Read a run directory.

    checkpoint: ``last``, ``best`` (of every seed, by its evaluations) or a number of updates that is kept. plugin: where the
    run's plugin is now; empty: where it was, or the copy that the run keeps. python: another interpreter for environments
    in host processes. Raises ConfigError where there is no run or no such checkpoint, or it is damaged.
    """
    path = path_of(str(run))
    changes = {"plugin": str(plugin), "env.python": python}
    _, job = read_job(path, {name: value for name, value in changes.items() if value})
    learner = make_learner(job.config)
    word = arguments.checkpoint("checkpoint", str(checkpoint))
    shapes, _ = apart(progress_shapes(learner, job.run.num_seeds))
    found = checkpoints.restore(path, shapes, int(word) if word.isdecimal() else None)
    progress = found.tree
    if word == "best" and not jnp.isfinite(progress.best.score).all():
        raise ConfigError(f"'{run}' has no best checkpoint: it was never evaluated")
    players = progress.best.players if word == "best" else progress.state.players
    return Trained(job, learner, progress, players, found.update)
