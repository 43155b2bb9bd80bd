"""SMAX, JaxMARL's StarCraft-like battles against a scripted enemy, on the environment protocol."""

import functools
import importlib
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..errors import ConfigError, one_of
from .protocol import Action, Environment, Observation, Step, Team
from .registry import register_environment
from .silence import import_mujoco, silence

# Scenarios whose units exist in SMAX but which JaxMARL does not name: (allies, enemies) as unit shorthands.
EXTRA_MAPS = {
    "8m_vs_9m": ("m" * 8, "m" * 9),
    "3s_vs_3z": ("s" * 3, "Z" * 3),
    "3s_vs_4z": ("s" * 3, "Z" * 4),
    "2m_vs_1z": ("m" * 2, "Z"),
}
MAPS = (
    "3m 8m 25m 5m_vs_6m 8m_vs_9m 10m_vs_11m 27m_vs_30m 2s3z 3s5z 3s5z_vs_3s6z 3s_vs_3z 3s_vs_4z 3s_vs_5z "
    "2m_vs_1z 6h_vs_8z smacv2_5_units smacv2_10_units smacv2_20_units"
).split()
UNIT_TYPES = "mMsZzh"
ATTACK_MODES = ("closest", "random")
UNIT_FEATURES = 10  # of one unit in JaxMARL's world state: health, x, y, weapon cooldown, 6 type bits


@functools.cache
def _jaxmarl() -> tuple[ModuleType, ModuleType]:
    """JaxMARL's modules, imported late because they are slow."""
    with silence():
        import_mujoco()  # JaxMARL does, in a way that minds a display
        package = "jaxmarl.environments.smax"
        return importlib.import_module(package), importlib.import_module(f"{package}.smax_env")


def _scenario(map_name: str) -> Any:
    """JaxMARL's scenario of that name, or one of ours."""
    smax_env = _jaxmarl()[1]
    if map_name not in EXTRA_MAPS:
        return smax_env.map_name_to_scenario(map_name)
    allies, enemies = EXTRA_MAPS[map_name]
    units = jnp.array([UNIT_TYPES.index(unit) for unit in allies + enemies], jnp.uint8)
    return smax_env.Scenario(units, len(allies), len(enemies), False, False)


def _kinds(scenario: Any, allies: int) -> tuple[str, ...] | None:
    """The allies' unit types; None where they are drawn anew for every battle."""
    if scenario.smacv2_unit_type_generation:
        return None
    return tuple(UNIT_TYPES[int(unit)] for unit in scenario.unit_types[:allies])


class Smax(Environment):
    """A battle: allies learn, enemies follow a script. Return <= 2: enemy health removed, + 1 for a win.

    Episodes end when a side is dead (terminated) or when time runs out (truncated). Metric ``won``: all enemies are
    dead and an ally lives. Dead agents observe zeros and may only stop.

    Args:
        map_name: of the scenario: who fights whom.
        attack_mode: which of the units in reach the enemy shoots at, ``closest`` or ``random``.
        enemy_shoots: whether it shoots at all.
        see_enemy_actions: whether agents observe the last actions of enemies in sight.
        walls_cause_death: whether a unit that leaves the map dies.
        max_steps: the time limit of a battle.

    Raises:
        ConfigError: there is no such ``attack_mode``, or ``max_steps`` is below 1.
    """

    def __init__(
        self,
        map_name: str = "3m",
        attack_mode: str = "closest",
        enemy_shoots: bool = True,
        see_enemy_actions: bool = True,
        walls_cause_death: bool = True,
        max_steps: int = 100,
    ):
        one_of("attack_mode", attack_mode, ATTACK_MODES)
        if max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, not {max_steps}")
        with jax.ensure_compile_time_eval():  # also where it is made inside a program: its units are no part of that
            scenario = _scenario(map_name)
            self.smax = _jaxmarl()[0].HeuristicEnemySMAX(
                scenario=scenario,
                attack_mode=attack_mode,
                enemy_shoots=enemy_shoots,
                see_enemy_actions=see_enemy_actions,
                walls_cause_death=walls_cause_death,
                max_steps=max_steps,
            )
            allies, enemies = self.smax.num_allies, self.smax.num_enemies
            kinds = _kinds(scenario, allies)
        self.team = Team(
            obs_sizes=(self.smax.obs_size,) * allies,
            action_sizes=(self.smax.num_ally_actions,) * allies,
            world_state_size=UNIT_FEATURES * (allies + enemies),
            kinds=kinds,
        )
        self.max_episode_length = max_steps + 1  # the simulator reads its clock before it moves on

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Observation]:
        observations, state = self.smax.reset(key)
        return state, self._observe(observations, state)

    def step(self, key: Key[Array, ""], state: Any, action: Action) -> tuple[Any, Step]:
        actions = {agent: action[i] for i, agent in enumerate(self.smax.agents)}
        observations, state, reward, done, _ = self.smax.step_env(key, state, actions)
        alive = state.state.unit_alive
        allies_alive, enemies_alive = alive[: self.team.num_agents].any(), alive[self.team.num_agents :].any()
        terminated = ~(allies_alive & enemies_alive)
        metrics = {"won": (allies_alive & ~enemies_alive).astype(jnp.float32)}
        reward = reward[self.smax.agents[0]]
        truncated = done["__all__"] & ~terminated
        return state, Step(self._observe(observations, state), reward, terminated, truncated, metrics)

    def _observe(self, observations: dict[str, Array], state: Any) -> Observation:
        avail = self.smax.get_avail_actions(state)
        return Observation(
            obs=jnp.stack([observations[agent] for agent in self.smax.agents]),
            world_state=self._world_state(observations["world_state"]),
            avail_actions=jnp.stack([avail[agent] for agent in self.smax.agents]).astype(bool),
            alive=state.state.unit_alive[: self.team.num_agents],
        )

    def _world_state(self, world_state: Float[Array, " _"]) -> Float[Array, " S"]:
        """Every unit's features, scaled to about [0, 1].

        JaxMARL's vector ends with teams and integer unit types; both say nothing that a unit's place in the vector
        and its type bits do not, so they are left out.
        """
        units = world_state[: -2 * self.smax._env.num_agents].reshape(-1, UNIT_FEATURES)
        scale = (
            jnp.ones(UNIT_FEATURES)
            .at[jnp.array([1, 2, 3])]
            .set(jnp.array([self.smax.map_width, self.smax.map_height, self.smax.unit_type_weapon_cooldowns.max()]))
        )
        units = units.at[:, 3].max(0.0)  # an idle weapon's clock runs on below zero; it is ready all the same
        return (units / scale).reshape(-1)


for _map in MAPS:
    register_environment(f"smax/{_map}", Smax, summary="a battle against a script", map_name=_map)
