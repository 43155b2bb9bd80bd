"""What the sweeps of both distributions have in common: the row's drift, limit and solver, with their numbers filled in."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from .. import haml
from ..envs.protocol import Team
from ..errors import ConfigError
from .config import Config
from .table import hyper_parameters, resolve


class Sweep:
    """How the policies of a row improve; one is a ``flax.struct.dataclass`` with ``config`` and an ``optimiser``."""

    config: Config
    optimiser: optax.GradientTransformation

    @property
    def row(self) -> Any:
        return resolve(self.config.algo)

    @property
    def drift(self) -> haml.BoundDrift:
        """``(ratio, m_advantage, given) -> cost``."""
        return haml.bind_drift(haml.DRIFTS[self.row.drift], hyper_parameters(self.config.algo, "drift_params"))

    @property
    def neighbourhood(self) -> haml.Neighbourhood:
        return haml.NEIGHBOURHOODS[self.row.neighbourhood]

    @property
    def solver(self) -> haml.Solver:
        return haml.SOLVERS[self.neighbourhood.solver]

    @property
    def limit(self) -> Callable | None:
        """``(divergence, given) -> excess`` of the neighbourhood; None for the whole space."""
        return haml.bind_limit(self.neighbourhood, hyper_parameters(self.config.algo, "neighbourhood_params"))

    @property
    def solve(self) -> Callable:
        """The solver that keeps to it (see ``haml.solvers``)."""
        own = hyper_parameters(self.config.algo, "neighbourhood_params")
        return haml.bind_solver(self.solver, own, self.optimiser)


def check_numbers_of_agents(config: Config, team: Team) -> None:
    """Raise ConfigError where a hyper-parameter is one number per agent, and the numbers are not one per agent."""
    row = resolve(config.algo)
    for path, value in jax.tree.leaves_with_path(config.algo, is_leaf=lambda x: isinstance(x, tuple)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if not isinstance(value, tuple):
            continue
        if len(value) != team.num_agents:
            raise ConfigError(
                f"algo.{name} has {len(value)} numbers, and the team has {team.num_agents} agents: one, or one for each"
            )
        neighbourhood = haml.NEIGHBOURHOODS[row.neighbourhood]
        if neighbourhood.divide and name.split(".")[-1] in neighbourhood.all_parameters.names:
            raise ConfigError(
                f"algo.{name}: neighbourhood '{row.neighbourhood}' is one for the team, so that this is one number"
            )
        names = (neighbourhood.all_parameters | haml.SOLVERS[neighbourhood.solver].parameters).names
        if row.sharing != "own" and name.split(".")[-1] in names:
            raise ConfigError(
                f"algo.{name}: agents that share a policy have one neighbourhood, so that this is one number"
            )
