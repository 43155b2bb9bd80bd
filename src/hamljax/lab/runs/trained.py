"""A run directory brought back to life: its configuration, its environment and its trained teams."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key, Num

from ...algorithms.base import ActingPolicy
from ...algorithms.config import Config
from ...algorithms.state import ActorState
from ...envs.protocol import Action, Environment, Observation, Team
from ...errors import ConfigError
from ...training.train import Trainer, make_learner
from ..configuration import arguments
from ..configuration.jobs import Job
from ..configuration.saved import read_job
from ..storage import checkpoints
from ..storage.paths import path_of
from .progress import Progress, progress_shapes, split_replay


@functools.partial(jax.jit, static_argnums=1)  # once for all runs that are equal, however often they are loaded
def _decide(
    policy: ActingPolicy,
    team: Team,
    actors: ActorState,
    observation: Num[ArrayLike, "N O"],
    avail: Bool[Array, "N A"],
    alive: Bool[Array, " N"],
    memory: Float[Array, "P B H"],
    key: Key[Array, ""] | None,
) -> tuple[Action, Float[Array, "P B H"]]:
    """One decision of one team, without the axis of environments; key: None acts greedily."""
    given = Observation(jnp.asarray(observation), jnp.zeros(0), avail, alive)
    seen = jax.tree.map(lambda x: x[None], actors.see(team, given))
    greedy, key = key is None, jax.random.key(0) if key is None else key
    memory, action, _ = policy.act(actors.params, memory, key, seen, jnp.zeros(1, bool), greedy=greedy)
    return policy.to_env_action(action)[0], memory


class Policy:
    """How one trained team acts. Pure functions, to be compiled and vmapped as one likes.

    Args:
        policy: how the team decides, given its parameters.
        team: who the agents are.
        actors: the parameters, and what normalises the observations.
    """

    def __init__(self, policy: ActingPolicy, team: Team, actors: ActorState):
        self.actors, self.team, self._policy = actors, team, policy

    def __repr__(self) -> str:
        return f"Policy of {self.team.num_agents} agents: act(observation, avail_actions, carry, key)"

    @property
    def params(self) -> Any:
        """The actors' parameters, stacked on a leading axis of policies."""
        return self.actors.params

    def initial_carry(self) -> Float[Array, "P B H"]:
        """The team's memory at the start of an episode; empty for networks without recurrence."""
        return self._policy.initial_memory(1)

    def act(
        self,
        observation: Num[ArrayLike, "N O"],
        avail_actions: Bool[ArrayLike, "N A"] | None = None,
        carry: Float[Array, "P B H"] | None = None,
        key: Key[Array, ""] | None = None,
        alive: Bool[ArrayLike, " N"] | None = None,
    ) -> tuple[Action, Float[Array, "P B H"]]:
        """One decision of the team.

        Args:
            observation: what each agent sees, as the environment gives it (padded; not normalised).
            avail_actions: the legal ones; None: all that an agent has.
            carry: the memory after the last decision; None: an episode begins.
            key: of the sample; None acts greedily.
            alive: who sees anything; None: all agents do.

        Returns:
            Actions (N,) int32 or, continuous, (N, A) within their bounds; and the new memory.
        """
        avail = jnp.asarray(self.team.action_mask if avail_actions is None else avail_actions, bool)
        living = jnp.ones(self.team.num_agents, bool) if alive is None else jnp.asarray(alive, bool)
        memory = self.initial_carry() if carry is None else carry
        return _decide(self._policy, self.team, self.actors, observation, avail, living, memory, key)


class Trained(NamedTuple):
    """What a run has come to."""

    job: Job
    trainer: Trainer
    progress: Progress  # all of it but a replay
    actors: ActorState  # the chosen teams, stacked over the seeds
    update: int  # how many were made

    def __repr__(self) -> str:
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        return f"{self.config.algo.name} on {self.config.env.name}, {seeds}, after {self.update} updates"

    @property
    def config(self) -> Config:
        return self.job.config

    @property
    def env(self) -> Environment:
        return self.trainer.env

    @property
    def team_policy(self) -> ActingPolicy:
        """How its teams act, given their parameters."""
        return self.trainer.learner.policy

    @property
    def seeds(self) -> range:
        return range(self.job.run.seed, self.job.run.seed + self.job.run.num_seeds)

    def of_seed(self, seed: int) -> ActorState:
        """The team of one seed.

        Raises:
            ConfigError: the run has no such seed.
        """
        if seed not in self.seeds:
            raise ConfigError(f"no seed {seed} here: {self!r}")
        return jax.tree.map(lambda x: x[self.seeds.index(seed)], self.actors)

    def policy(self, seed: int | None = None) -> Policy:
        """How the team of one seed (None: the first) acts."""
        return Policy(self.team_policy, self.env.team, self.of_seed(self.seeds[0] if seed is None else seed))


def load(run: str | Path, checkpoint: str | int = "last", plugin: str | Path = "", python: str = "") -> Trained:
    """Read a run directory.

    Args:
        run: the directory.
        checkpoint: ``last``, ``best`` (of every seed, by its evaluations) or a number of updates that is kept.
        plugin: where the run's plugin is now; empty: where it was, or the copy that the run keeps.
        python: another interpreter for environments in host processes; empty: the same.

    Raises:
        ConfigError: there is no run or no such checkpoint, or it is damaged.
    """
    path = path_of(str(run))
    changes = {"plugin": str(plugin), "env.python": python}
    _, job = read_job(path, {name: value for name, value in changes.items() if value})
    trainer = make_learner(job.config)
    word = arguments.checkpoint("checkpoint", str(checkpoint))
    shapes, _ = split_replay(progress_shapes(trainer, job.run.num_seeds))
    found = checkpoints.restore(path, shapes, int(word) if word.isdecimal() else None)
    progress = found.tree
    if word == "best" and not jnp.isfinite(progress.best.score).all():
        raise ConfigError(f"'{run}' has no best checkpoint: it was never evaluated")
    actors = progress.best.actors if word == "best" else trainer.actor_state(progress.state)
    return Trained(job, trainer, progress, actors, found.update)
