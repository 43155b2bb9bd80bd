"""Families of games: random ones, and those on which a claim is decided."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import softmax

from ..envs.games import crowding_payoff
from ..errors import ConfigError
from .game import Game, check_size, make_game


def random_games(
    seed: int, num_games: int = 1, num_states: int = 4, actions: Sequence[int] = (3, 3), discount: float = 0.9
) -> Game:
    """(G, ...) rewards N(0, 1), transitions Dirichlet(1/2), first states 0.9 Dirichlet(1) + 0.1 / S: all are visited."""
    check_size(num_games, num_states, actions)
    rng = np.random.default_rng(seed)
    joint = int(np.prod(actions))
    reward = rng.standard_normal((num_games, num_states, joint))
    transition = rng.dirichlet(np.full(num_states, 0.5), (num_games, num_states, joint))
    initial = 0.9 * rng.dirichlet(np.ones(num_states), num_games) + 0.1 / num_states
    return Game(reward, transition, initial, np.full(num_games, discount), tuple(int(a) for a in actions))


def random_policies(games: Game, seed: int, concentration: float = 1.0) -> np.ndarray:
    """(G, N, S, A) Dirichlet(concentration) over the actions that each agent has; (N, S, A) for one game."""
    mask = games.action_mask[:, None]
    shape = (*games.initial.shape[:-1], games.num_agents, games.num_states, mask.shape[-1])
    # Logarithms: at a small concentration a gamma variate of its own would be 0. G(a) = G(a + 1) U^(1/a).
    rng = np.random.default_rng(seed)
    logs = np.log(rng.gamma(concentration + 1, size=shape)) + np.log(rng.random(shape)) / concentration
    return softmax(np.where(mask, logs, -np.inf), axis=-1)


def uniform_policies(game: Game) -> np.ndarray:
    """(N, S, A): every agent chooses uniformly among its actions (of several games: the same for all)."""
    mask = np.broadcast_to(game.action_mask[:, None], (game.num_agents, game.num_states, max(game.actions)))
    return mask / mask.sum(-1, keepdims=True)


def pure_policies(games: Game, seed: int) -> np.ndarray:
    """(G, N, S, A): every agent plays one of its actions, drawn uniformly; (N, S, A) for one game."""
    drawn = random_policies(games, seed)
    return (drawn == drawn.max(-1, keepdims=True)).astype(np.float64)


def matrix_game(payoff: np.ndarray) -> Game:
    """One state, one step: the team earns ``payoff[a1, ..., aN]``."""
    payoff = np.asarray(payoff, np.float64)
    return make_game(payoff[None], np.ones((1, *payoff.shape, 1)), np.ones(1), 0.0)


def crowding(num_agents: int = 4, congestion: float = 2.0, scale: float = 10.0) -> Game:
    """A place that is good for one and too crowded for many.

    At Pr(1) = x for all, J = scale (N x - congestion N (N - 1) x^2 / 2): a simultaneous step from below the top to 1
    overshoots by more the more agents there are, a sequential one does not.
    """
    return matrix_game(crowding_payoff(num_agents, congestion, scale))


def alternation() -> Game:
    """Three agents and ties: where ties are left, the fixed order goes round in a circle of joint actions for ever.

    The reward is 0 if agent 2 plays 0; else 1 if agents 1 and 3 play the same, else -10.
    """
    first, second, third = np.indices((2, 2, 2))
    return matrix_game(np.where(second == 0, 0.0, np.where(first == third, 1.0, -10.0)))


def gridworld(width: int = 3, height: int = 2, discount: float = 0.9, slip: float = 0.1) -> Game:
    """Two agents on a grid earn 1 for every step that they begin on one cell; both start anywhere.

    An agent stays or goes right, left, up or down; with probability ``slip`` it stays instead, at a border as well.
    """
    cells = width * height
    if cells < 2:
        raise ConfigError("a gridworld needs two cells at least")
    check_size(1, cells**2, (5, 5))
    x, y = np.arange(cells) % width, np.arange(cells) // width
    step = np.zeros((cells, 5, cells))
    for action, (dx, dy) in enumerate([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]):
        to = np.clip(x + dx, 0, width - 1) + width * np.clip(y + dy, 0, height - 1)
        step[np.arange(cells), action, to] += 1 - slip
        step[np.arange(cells), action, np.arange(cells)] += slip
    transition = np.einsum("iax,jby->ijabxy", step, step).reshape(cells**2, 5, 5, cells**2)
    together = np.eye(cells).reshape(cells**2)
    reward = np.broadcast_to(together[:, None, None], (cells**2, 5, 5))
    return make_game(reward, transition, np.full(cells**2, 1 / cells**2), discount)


# Games with a name of their own, beside those that are registered as environments.
FAMILIES: dict[str, Callable[..., Game]] = {"crowding": crowding, "alternation": alternation, "gridworld": gridworld}
