"""A search for games in which a drift is negative: on a grid, at its own constants, by chance, and downhill from there."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .games import Game, as_data, is_negative, play, two_actions
from .samples import Context, complete, contexts, ratios, special
from .subject import POLICIES, Samples, Subject

SHARES = np.concatenate([2.0 ** -np.arange(1, 20), 1 - 2.0 ** -np.arange(2, 12), 2.0 ** -np.arange(20, 1020, 20)])
DIGITS = (1, 2, 3, 4, 6, 9, 17)


def asks_of_policies(subject: Subject) -> bool:
    """Whether it asks for divergences, which no single sample decides."""
    return bool(set(subject.asks) & set(POLICIES))


def negative_sample(subject: Subject, c: list[float], rng: np.random.Generator, quick: bool = False) -> Finding | None:
    """A sample with f - c (r - 1) < 0, and the game that shows it; ``c``: the slope at 1 of every state."""
    states = contexts(subject, rng)
    for context, slope in zip(states, [*c, *[c[-1]] * len(states)], strict=False):
        for samples in _places(subject, context, rng, quick or len(states) > 1):
            value = subject.costs(samples) - slope * (samples["ratio"] - 1)
            if (finding := _undefined(subject, samples, value, context)) is not None:
                return finding
            if (finding := _shown(subject, samples, value, slope, context)) is not None:
                return finding
        if (finding := _downhill(subject, slope, context, rng, 200 if quick else 3000 // len(states))) is not None:
            return finding
    return None


def _places(subject: Subject, context: Context, rng: np.random.Generator, quick: bool) -> Iterator[Samples]:
    """Samples of a grid, of the constants, and of chance."""
    sizes = np.geomspace(1e-8, 1e8, 17 if quick else 25)
    grid = np.meshgrid(ratios(subject, 1200 if quick else 5000), np.concatenate([[0.0], sizes, -sizes]), indexing="ij")
    yield complete(subject, grid[0].ravel(), grid[1].ravel(), context, rng)
    c = subject.constants
    some = np.concatenate([c, -c, c + 1e-9, c - 1e-9, [0.0, 1.0, -1.0, 10.0, -10.0]])
    grid = np.meshgrid(special(subject), some, indexing="ij")
    pairs = np.stack([x.ravel() for x in grid])
    pairs = pairs[:, rng.permutation(pairs.shape[1])[: 20_000 if quick else 120_000]]
    yield complete(subject, pairs[0], pairs[1], context, rng)
    count = 20_000 if quick else 200_000
    scale = 10 ** rng.uniform(-3, 0.7, count)
    gain = rng.normal(size=count) * 10 ** rng.uniform(-4, 4, count)
    yield complete(subject, np.exp(rng.normal(size=count) * scale), gain, context, rng)


def _undefined(subject: Subject, samples: Samples, value: np.ndarray, context: Context) -> Finding | None:
    """A cost that is no number, or minus infinity, where neither double precision nor an M A of exactly 0 is an excuse."""
    mild = (samples["ratio"] <= 100) & ((samples["ratio"] >= 1e-6) | (samples["ratio"] == 0))
    mild &= (np.abs(samples["m_advantage"]) <= 1e3) & ((samples["m_advantage"] != 0) | (samples["m"] == 0))
    wrong = np.flatnonzero(mild & (np.isnan(value) | (value == -np.inf)))
    for at in wrong[np.argsort(np.abs(samples["m_advantage"][wrong]), kind="stable")][:20]:
        ratio = samples["ratio"][at]
        share = np.array([min(0.5, 2.0 ** -np.ceil(np.log2(max(ratio, 1.0)) + 1)), samples["old_prob"][at]])
        share = share[(share < 1) & (share * ratio <= 1)]
        game = two_actions(share, share * ratio, samples["advantage"][at], context, context.get("m", 1.0))
        drift, _ = play(subject, game)
        for number in np.flatnonzero(np.isnan(drift) | (drift == -np.inf)):
            of_m = f", M = {context['m']:.3g}" if "m" in context else ""
            reason = f"D is no number where a ratio is {ratio:.3g} (M A = {samples['m_advantage'][at]:.3g}{of_m})"
            return Finding("undefined", reason, as_data(subject, game.only(int(number))))
    return None


def _shown(subject: Subject, samples: Samples, value: np.ndarray, slope: float, context: Context) -> Finding | None:
    """The game of one of the samples whose value is below 0 by more than the last digit, the plainest tried first."""
    hits = np.flatnonzero(value < -1e-15 * np.abs(slope * (samples["ratio"] - 1)))
    if not len(hits):
        return None
    ratio, gain = samples["ratio"][hits], samples["m_advantage"][hits]
    plain = np.abs(np.log(np.abs(ratio - 1) + 1e-3)) + 0.5 * np.abs(np.log(np.abs(gain) + 1e-3))
    depth = value[hits] / (np.minimum((ratio - 1) ** 2, 1e300) * (np.abs(gain) + 1e-12) + 1e-300)
    orders = [np.argsort(x, kind="stable")[:6] for x in (plain, depth, value[hits])]
    for at in dict.fromkeys(hits[np.concatenate(orders)]):
        place = {name: float(samples[name][at]) for name in ("ratio", "advantage", "old_prob")}
        if (game := smallest_game(subject, place, context)) is not None:
            drift, costs = play(subject, game)
            game_ratio = float(game.new[0, 0] / game.old[0, 0])
            reason = f"D = {drift[0]:.3g} < 0 in a game where a ratio of {game_ratio:.6g} costs {costs.flat[0]:.3g}"
            return Finding("game", reason, as_data(subject, game))
    return None


def smallest_game(subject: Subject, place: dict[str, float], context: Context) -> Game | None:
    """A game of two actions with D < 0 about a sample that costs less than nothing: few digits, and large probabilities."""
    m = context.get("m", 1.0)
    for digits in DIGITS:
        ratio, advantage = (_rounded(place[name], digits) for name in ("ratio", "advantage"))
        shares = np.append(SHARES, place["old_prob"] if "old_prob" in subject.asks else 0.5)
        shares = shares[(shares < 1) & (shares * ratio <= 1)]
        others = np.repeat([0.0, 1.0, -1.0], len(shares)) if m != 1 else np.zeros(len(shares))
        shares = np.resize(shares, len(others))
        game = two_actions(shares, shares * ratio, advantage, context, m, others)
        drift, _ = play(subject, game)
        for number in np.flatnonzero(drift < 0)[:8]:
            if is_negative(subject, one := game.only(int(number))):
                return one
    return None


def _rounded(x: float, digits: int) -> float:
    return float(f"{x:.{digits - 1}e}") if digits < 17 else x


def _downhill(
    subject: Subject, slope: float, context: Context, rng: np.random.Generator, starts: int
) -> Finding | None:
    """From many random places, small steps towards where (f - c (r - 1)) / (r - 1)^2 is least, by M A in half of them."""
    log = rng.normal(size=starts) * 10 ** rng.uniform(-4, 1.2, starts)
    gain = rng.normal(size=starts) * 10 ** rng.uniform(-4, 4, starts)
    by_gain = np.arange(starts) % 2

    def score(log: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, Samples, np.ndarray]:
        samples = complete(subject, np.exp(log), gain, context, rng)
        value = subject.costs(samples) - slope * (samples["ratio"] - 1)
        size = np.minimum(np.expm1(log) ** 2, log**2) * np.where(by_gain, np.abs(gain), 1.0)
        return np.where(size > 0, value / size, np.inf), samples, value

    best, _, _ = score(log, gain)
    for step in range(20 if starts == 200 else 60):
        size = 0.5 * 0.85**step
        there = log * np.exp(size * rng.normal(size=starts)) + 0.1 * size**3 * rng.normal(size=starts)
        aside = gain * np.exp(size * rng.normal(size=starts))
        found, _, _ = score(there, aside)
        better = found < best
        log, gain, best = np.where(better, there, log), np.where(better, aside, gain), np.where(better, found, best)
    _, samples, value = score(log, gain)
    return _shown(subject, samples, value, slope, context)
