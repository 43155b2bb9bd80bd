"""What the sweeps of both distributions have in common: the row's drift, limit and solver, with their numbers filled in."""

from collections.abc import Mapping
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

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """What the policies' solver takes steps with."""
        raise NotImplementedError

    @property
    def row(self) -> Any:
        """The row, with what the settings say otherwise."""
        return resolve(self.config.algo)

    @property
    def drift(self) -> haml.BoundDrift:
        """``(ratio, m_advantage, given) -> cost``."""
        return haml.bind_drift(haml.DRIFTS[self.row.drift], hyper_parameters(self.config.algo, "drift_params"))

    @property
    def neighbourhood(self) -> haml.Neighbourhood:
        """Where a policy may go."""
        return haml.NEIGHBOURHOODS[self.row.neighbourhood]

    @property
    def solver(self) -> haml.Solver:
        """What goes there."""
        return haml.SOLVERS[self.neighbourhood.solver]

    @property
    def limit(self) -> haml.Limit | None:
        """``(divergence, given) -> excess`` of the neighbourhood; None for the whole space."""
        return haml.bind_limit(self.neighbourhood, hyper_parameters(self.config.algo, "neighbourhood_params"))

    def solver_of(self, context: Mapping[str, Any]) -> haml.Solve:
        """The solver that keeps to it, of one agent.

        Args:
            context: what the agent knows (see ``haml.Solve``).
        """
        own = hyper_parameters(self.config.algo, "neighbourhood_params")
        return haml.bind_solver(self.solver, own, self.optimiser, context)


def check_team(config: Config, team: Team) -> None:
    """Hold a row's drift to the team's actions, and hyper-parameters that are one number per agent to the team.

    Args:
        config: whose ``algo`` may have such. team: how many agents there are.

    Raises:
        ConfigError: the drift is one of discrete actions, and these are not; the numbers are not one per agent, or what takes
            them is not each agent's own.
    """
    row = resolve(config.algo)
    if haml.DRIFTS[row.drift].discrete and not team.discrete:
        others = [name for name, drift in haml.DRIFTS.items() if not drift.discrete]
        raise ConfigError(
            f"drift '{row.drift}' is about probabilities of discrete actions, and these are continuous; choose one of: "
            f"{', '.join(others)}"
        )
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
