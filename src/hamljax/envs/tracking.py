"""A small continuous game with unlike agents and a known optimum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from .games import check_integer, check_real
from .protocol import Action, Environment, Observation, Step, Team
from .registry import register_environment

TARGET_SIZES = (1, 2, 3)  # coordinates of each agent's target, hence its action dimensions
BOUND = 0.8  # targets stay in [-BOUND, BOUND], inside the action bounds [-1, 1]
STRIDE = 0.2  # a coordinate moves by at most this much per step

OWNERS = np.repeat(np.arange(len(TARGET_SIZES)), TARGET_SIZES)  # (D,) which agent a coordinate belongs to
DIMENSIONS = np.concatenate([np.arange(size) for size in TARGET_SIZES])  # (D,) and its place in that agent's action
# (N, D): row i averages over the coordinates of agent i.
AVERAGE = ((OWNERS == np.arange(len(TARGET_SIZES))[:, None]) / np.array(TARGET_SIZES)[:, None]).astype(np.float32)


class TrackingState(NamedTuple):
    """The coordinates of all agents' targets in agent order, and the number of steps taken."""

    targets: Float[Array, " D"]
    time: Int[Array, ""]


class Tracking(Environment):
    """Three agents follow moving targets of 1, 2 and 3 coordinates; return = horizon exactly when nobody errs.

    Agent i of N acts a_i in [-1, 1]^d_i, its target is x_i in [-0.8, 0.8]^d_i, its error e_i = a_i - x_i. With q_i the
    mean of e_i's squared entries and m_i the mean of its entries, the team earns

        r = 1 - (1/N) sum_i q_i - (coupling / N) (sum_i m_i)^2.

    Optimum: for coupling >= 0 neither subtracted term is negative, so r <= 1. Both vanish when every a_i = x_i, which
    the bounds allow. Conversely r = 1 needs sum_i q_i = 0, hence every e_i = 0. Targets move by a random walk that no
    action touches, so maximising each step's reward maximises the return: a = x is the only optimal joint policy, every
    agent can play it from its own observation, and its return is exactly ``horizon``.

    Coupling: setting the derivative of r in e_i to zero gives the constant error e_i = -c/(1 + c) sum_{j != i} m_j:
    while its partners err on one side, an agent's best answer is to miss its own target on the other.

    Observations: agent 0 sees all targets, its own first; agent 1 its own; agent 2 its own and the time left (1 to 0).
    World state: all targets and the time left. The walk reflects at the bounds, so a target starts and stays
    uniformly distributed. Ends by truncation. Metric ``error``: mean over agents of the mean absolute error.

    Args:
        horizon: steps of an episode.
        coupling: weight of the errors' common bias, not negative.
    """

    def __init__(self, horizon: int = 16, coupling: float = 0.5):
        check_integer("horizon", horizon, 1)
        check_real("coupling", coupling, low=0.0)
        self.horizon, self.coupling = int(horizon), float(coupling)
        self.team = Team(
            obs_sizes=(len(OWNERS), TARGET_SIZES[1], TARGET_SIZES[2] + 1),
            action_sizes=TARGET_SIZES,
            world_state_size=len(OWNERS) + 1,
            discrete=False,
        )
        self.max_episode_length = self.horizon

    def reset(self, key: Key[Array, ""]) -> tuple[TrackingState, Observation]:
        targets = jax.random.uniform(key, OWNERS.shape, minval=-BOUND, maxval=BOUND)
        state = TrackingState(targets, jnp.zeros((), jnp.int32))
        return state, self._observe(state)

    def step(self, key: Key[Array, ""], state: TrackingState, action: Action) -> tuple[TrackingState, Step]:
        errors = action[OWNERS, DIMENSIONS] - state.targets
        squares = jnp.sum(AVERAGE * errors**2, axis=-1)
        biases = jnp.sum(AVERAGE * errors, axis=-1)
        reward = 1 - jnp.mean(squares) - self.coupling * jnp.sum(biases) ** 2 / len(TARGET_SIZES)
        metrics = {"error": jnp.mean(jnp.sum(AVERAGE * jnp.abs(errors), axis=-1))}

        moved = state.targets + jax.random.uniform(key, OWNERS.shape, minval=-STRIDE, maxval=STRIDE)
        state = TrackingState(_reflect(moved), state.time + 1)
        truncated = state.time >= self.horizon
        return state, Step(self._observe(state), reward, jnp.zeros_like(truncated), truncated, metrics)

    def _observe(self, state: TrackingState) -> Observation:
        time_left = 1 - state.time[None] / self.horizon
        first, second, third = (state.targets[agent == OWNERS] for agent in range(len(TARGET_SIZES)))
        return Observation(
            obs=self.team.pad([jnp.concatenate([first, second, third]), second, jnp.concatenate([third, time_left])]),
            world_state=jnp.concatenate([state.targets, time_left]),
            avail_actions=jnp.asarray(self.team.action_mask),
            alive=jnp.ones(self.team.num_agents, bool),
        )


def _reflect(targets: Float[Array, " D"]) -> Float[Array, " D"]:
    """Fold what stepped over a bound back inside; exact for overshoots of less than 2 * BOUND."""
    over = jnp.maximum(jnp.abs(targets) - BOUND, 0)
    return targets - 2 * over * jnp.sign(targets)


register_environment("game/tracking", Tracking)
