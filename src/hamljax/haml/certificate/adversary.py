"""Whole policies against a drift: games of two, three and five actions, with exact divergences, made worse step by step."""

import numpy as np

from .findings import Finding
from .games import Game, as_data, is_negative, play, two_actions
from .samples import Context, contexts
from .search import asks_of_policies
from .subject import Subject

STEPS = 25
KEPT = 64  # games that are made worse
ROUNDING = 1e-14  # of probabilities that do not quite add up to 1; single samples are searched for what is smaller


def negative_game(subject: Subject, rng: np.random.Generator, quick: bool = False) -> Finding | None:
    """A game with D < 0, of two actions if there is one; far steps and nearly deterministic policies included."""
    states = contexts(subject, rng, 3 if quick else 9)
    for context in states:
        count = (500 if quick else 4000) // len(states)
        for actions, rows in ((2, 1), (2, 2), (3, 1), (3, 2), (5, 2)):
            if rows == 1 and "m" in context:
                continue  # M is 1 where nobody was before
            games = [_random_games(actions, rows, context, rng, count)]
            games = (
                [_pairs(subject, context), *games] if (actions, rows) == (2, 1) and asks_of_policies(subject) else games
            )
            for game in games:
                if (finding := _worst(subject, game, rng)) is not None:
                    return finding
    return None


def _pairs(subject: Subject, context: Context) -> Game:
    """Two actions: every old policy with every new one, the plainest first, for several advantages."""
    old = np.array([1 / 2, 1 / 4, 3 / 4, 1 / 16, 15 / 16, 2.0**-10, 1 - 2.0**-10, 2.0**-30])
    odds = np.concatenate([np.linspace(-700, 700, 281), np.linspace(-8, 8, 161)])
    odds = odds[np.argsort(np.abs(odds), kind="stable")]
    gain = np.concatenate([[1.0, -1.0, 0.0, 10.0, -10.0], subject.constants])
    old, odds, gain = (x.ravel() for x in np.meshgrid(old, odds, gain, indexing="ij"))
    return two_actions(old, 1 / (1 + np.exp(-odds)), gain, context)


def _policies(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _random_games(actions: int, rows: int, context: Context, rng: np.random.Generator, count: int) -> Game:
    """rows: of what those before the agent may have done; their advantages need no mean of 0 each."""
    spread = 10 ** rng.uniform(-1, 1.3, (count, 1))
    old = rng.normal(size=(count, actions)) * spread
    new = old + rng.normal(size=(count, actions)) * 10 ** rng.uniform(-3, 2.5, (count, 1))
    weight = _policies(rng.normal(size=(count, rows)))
    m = _policies(rng.normal(size=(count, rows)) * 2) / weight if rows > 1 else np.ones((count, 1))
    advantage = rng.normal(size=(count, rows, actions)) * 10 ** rng.uniform(-3, 3, (count, 1, 1))
    return _game(_policies(old), _policies(new), advantage, m, weight, context)


def _game(
    old: np.ndarray, new: np.ndarray, advantage: np.ndarray, m: np.ndarray, weight: np.ndarray, context: Context
) -> Game:
    """With advantages of mean 0 under the old policies, and probabilities above 0."""
    old = np.maximum(old, 1e-300)
    mean = (weight[..., None] * old[:, None] * advantage).sum((1, 2), keepdims=True)
    rest = {name: value for name, value in context.items() if name != "m"}
    return Game(old, new, advantage - mean, m, weight, rest)


def _worst(subject: Subject, game: Game, rng: np.random.Generator) -> Finding | None:
    """The first of the games that is negative, or becomes so."""

    def score(game: Game) -> tuple[np.ndarray, np.ndarray]:
        drift, costs = play(subject, game)
        terms = (game.weight[..., None] * game.old[:, None] * np.abs(costs)).sum((1, 2))
        drift = np.where(drift < -1e-13 * terms - ROUNDING, drift, np.maximum(drift, 0.0))
        far = ((game.new - game.old) ** 2 / game.old).sum(-1)
        return np.where(np.isfinite(drift), drift / (np.minimum(far, 1e6) + 1e-12), np.inf), drift

    value, drift = score(game)
    for _ in range(STEPS):
        if (finding := _found(subject, game, drift)) is not None:
            return finding
        best = np.argsort(value, kind="stable")[:KEPT]
        game, value, drift = game.at(best), value[best], drift[best]
        other = _nudged(game, rng)
        found, elsewhere = score(other)
        better = found < value
        game = game.or_else(other, better)
        value, drift = np.where(better, found, value), np.where(better, elsewhere, drift)
    return _found(subject, game, drift)


def _nudged(game: Game, rng: np.random.Generator) -> Game:
    def moved(policy: np.ndarray) -> np.ndarray:
        return _policies(np.log(policy + 1e-300) + rng.normal(size=policy.shape) * 10 ** rng.uniform(-2, 0.5))

    advantage = game.advantage * np.exp(0.3 * rng.normal(size=game.advantage.shape))
    return _game(moved(game.old), moved(game.new), advantage, game.m, game.weight, game.context)


def _found(subject: Subject, game: Game, drift: np.ndarray) -> Finding | None:
    plain = np.flatnonzero(drift < -1e-9)[:4]
    for number in dict.fromkeys([*plain, *np.argsort(drift, kind="stable")[:4]]):
        if drift[number] < 0 and is_negative(subject, one := game.only(int(number))):
            reason = f"D = {drift[number]:.3g} < 0 in a game of {game.old.shape[1]} actions"
            return Finding("game", reason, as_data(subject, one))
    return None
