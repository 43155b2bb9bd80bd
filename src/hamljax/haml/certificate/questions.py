"""Questions with an answer at a point: is a cost one of a sample; is it 0 where nothing moves, and flat; does it jump."""

import jax
import numpy as np

from .findings import Finding
from .games import Game, as_data, is_negative, others_decide, play, two_actions, without_m
from .samples import Context, complete, contexts, few_gains, gains, ratios
from .subject import Samples, Subject

SHARES = np.array([1 / 2, 1 / 4, 3 / 4, 1 / 8, 1 / 16, 1 / 1024])  # of the first of two actions
FLAT = 0.9  # a rate that falls less than so, over three orders of magnitude of steps, does not go to 0
STEP = 1e-6  # of a cost, by which it jumps at least: single precision makes smaller steps


def of_one_sample(subject: Subject, rng: np.random.Generator) -> Finding | None:
    """Whether a sample costs the same twice, in another order, among others or alone, and as training has it."""
    for context in contexts(subject, rng, 2):
        whole = complete(subject, np.exp(rng.normal(size=600)), 3 * rng.normal(size=600), context, rng)
        order = rng.permutation(600)
        some, one = np.arange(0, 600, 91), np.array([17])
        first = _afresh(subject, whole)
        again = {
            "asked twice": (np.arange(600), _afresh(subject, whole)),
            "in another order": (order, _afresh(subject, _taken(whole, order))),
            "among seven": (some, _afresh(subject, _taken(whole, some))),
            "alone": (one, _afresh(subject, _taken(whole, one))),
            "in rows of twenty": (np.arange(600), _afresh(subject, _shaped(whole, (30, 20))).ravel()),
            "among a thousand": (np.arange(600), subject.costs(whole)),
            "among those of other seeds": (np.arange(600), _by_seed(subject, _shaped(whole, (20, 30))).ravel()),
        }
        for how, (places, found) in again.items():
            if (finding := _differing(whole, places, first[places], found, how)) is not None:
                return finding
    return None


def _afresh(subject: Subject, samples: Samples) -> np.ndarray:
    """The costs by a call of the function itself, not of a program that was made of it before."""
    asked = {name: samples[name] for name in subject.names}
    return np.asarray(jax.jit(lambda one: subject.call(one))(asked))


def _by_seed(subject: Subject, samples: Samples) -> np.ndarray:
    """The costs (seeds, n) of samples that are batched over seeds."""
    asked = {name: samples[name] for name in subject.names}
    axes = {name: 0 if np.ndim(x) else None for name, x in asked.items()}
    return np.asarray(jax.jit(jax.vmap(subject.call, (axes,)))(asked))


def negative_in_single(subject: Subject, slopes: list[float]) -> Finding | None:
    """Whether a sample costs less than nothing in the number type of training, by more than its roundings explain.

    slopes: at ratio 1, of every state.
    """
    rng = np.random.default_rng(0)  # its own, so that what is searched afterwards does not depend on this question
    for context, slope in zip(contexts(subject, rng), slopes, strict=False):
        whole = complete(subject, np.exp(rng.uniform(-2, 2, 600)), 3 * rng.normal(size=600), context, rng)
        linear = slope * (whole["ratio"] - 1)
        with jax.enable_x64(False):
            single = np.asarray(jax.jit(subject.call)(subject.in_single(whole)), float)
        double = subject.costs(whole)
        wrong = (single - linear < -np.maximum(1e-3, 1e-2 * np.abs(double))) & (double - linear >= 0)
        if wrong.any():
            among = np.where(wrong, single, double)
            return _differing(whole, np.arange(600), double, among, "in single precision, which training has")
    return None


def _taken(samples: Samples, places: np.ndarray) -> Samples:
    return {name: x[places] if np.ndim(x) else x for name, x in samples.items()}


def _shaped(samples: Samples, shape: tuple[int, ...]) -> Samples:
    """The same samples in an array of more axes, as training has them."""
    return {name: np.reshape(x, shape + x.shape[1:]) if np.ndim(x) else x for name, x in samples.items()}


def _differing(whole: Samples, places: np.ndarray, first: np.ndarray, found: np.ndarray, how: str) -> Finding | None:
    same = np.isclose(first, found, rtol=1e-9, atol=1e-12, equal_nan=True)
    if same.all():
        return None
    at = int(np.argmin(same))
    sample = {name: np.asarray(x[places[at]] if np.ndim(x) else x).tolist() for name, x in whole.items()}
    costs = [float(first[at]), float(found[at])]
    reason = (
        f"it is not a function of one sample: the same one costs {costs[0]:.6g} among 600, and {costs[1]:.6g} {how}"
    )
    return Finding("sample", reason, {"sample": sample, "costs": costs, "how": how})


def zero_where_nothing_moves(subject: Subject, rng: np.random.Generator) -> Finding | None:
    """f(1, g) = 0, for hundreds of values of M A in up to nine states."""
    for context in contexts(subject, rng):
        gain = gains(subject)
        samples = complete(subject, np.ones(len(gain)), gain, context, rng)
        wrong = ~(np.abs(subject.costs(samples)) <= 1e-12 * (1 + np.abs(gain)))
        for at in _simplest(gain, wrong):
            m, advantage = context.get("m", 1.0), samples["advantage"][at]
            shares = np.append(SHARES, samples["old_prob"][at])
            shares = shares[shares < 1]
            for game in (two_actions(shares, shares, advantage, context, m), others_decide(gain[at], context)):
                drift, costs = play(subject, game)
                share = game.weight[..., None] * game.old[:, None]
                wrong_here = ~(np.abs(drift) <= 1e-3 * (share * np.abs(costs)).sum((1, 2)))
                for number in np.flatnonzero(wrong_here):
                    said = f"D = {drift[number]:.3g}" if np.isfinite(drift[number]) else "D is no number"
                    cost = f"a sample costs {costs[number].flat[0]:.3g} at M A = {gain[at]:.3g}"
                    reason = f"where nothing has moved, {cost}, and {said}"
                    return Finding("value", reason, as_data(subject, game.only(int(number))))
    return None


def slopes_at_one(subject: Subject, context: Context, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Values of M A, the slope in the ratio at 1 for each, and a number for each that is not 0 where there is a kink."""
    gain = gains(subject)
    samples = complete(subject, np.ones(len(gain)), gain, context, rng)
    at_one = subject.slopes(samples)
    near = [[_slopes_beside(subject, samples, sign * 2.0**-k) for k in (50, 40)] for sign in (1, -1)]
    beside = (near[0][0] + near[1][0]) / 2
    at_one = np.where(np.isfinite(at_one), at_one, beside)
    tolerance = 1e-10 * (1 + np.abs(gain))
    kink = np.zeros(len(gain))
    for close, further in near:
        stays = (np.abs(close - at_one) > tolerance) & (np.abs(close - at_one) > FLAT * np.abs(further - at_one))
        kink = np.where(stays, close - at_one, kink)
    return gain, at_one, kink


def _slopes_beside(subject: Subject, samples: Samples, step: float) -> np.ndarray:
    return subject.slopes({**samples, "ratio": samples["ratio"] + step})


def slope(subject: Subject, rng: np.random.Generator) -> tuple[list[float], Finding | None]:
    """The slope c at ratio 1, state by state, which must be one number for all advantages: sum x - sum pi is 0."""
    found = []
    for context in contexts(subject, rng):
        gain, at_one, kink = slopes_at_one(subject, context, rng)
        c = float(np.median(at_one))
        found.append(0.0 if abs(c) < 1e-10 else c)
        uneven = np.abs(at_one - c) > 1e-10 * (1 + np.abs(gain)) + 1e-12 * abs(c)
        for at in _simplest(gain, uneven):
            if (finding := _downhill(subject, gain[at], context)) is not None:
                return found, finding
        for at in _simplest(gain, uneven | (kink != 0)):
            if (finding := steep(subject, gain[at], context, 0.0)) is not None:
                return found, finding
        for at in _simplest(gain, _creased(subject, gain, c, context, rng)):
            if (finding := steep(subject, gain[at], context)) is not None:
                return found, finding
    return found, None


def _creased(subject: Subject, gain: np.ndarray, c: float, context: Context, rng: np.random.Generator) -> np.ndarray:
    """For which M A costs fall no faster than the step from ratio 1, whatever their derivative is said to be."""
    found = np.zeros(len(gain), bool)
    for sign in (1, -1):
        far, near = (
            subject.costs(complete(subject, 1 + sign * t, gain, context, rng)) / t - sign * c
            for t in (2.0**-20, 2.0**-30)
        )
        found |= (np.abs(near) > FLAT * np.abs(far)) & (np.abs(near) > 1e-6 * (1 + np.abs(gain)))
    return found & (np.abs(gain) <= 1e3)  # of larger ones the steps are not small


def _simplest(gain: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Where something is wrong, at most twelve places, those with M A nearest to 1 first, of each sign."""
    places = np.flatnonzero(wrong)
    order = np.argsort(np.abs(np.log(np.abs(gain[places]) + 1e-30)), kind="stable")
    return places[order][:12]


def _downhill(subject: Subject, gain: float, context: Context) -> Finding | None:
    """A game in which slopes that differ between two actions let D fall below 0."""
    steps = np.array([sign * 2.0**-k for k in range(2, 41, 2) for sign in (1, -1)])
    for game in (_moving_two(gain, steps, context), _moving_two_of_three(gain, steps, context)):
        drift, _ = play(subject, game)
        for number in np.flatnonzero(drift < 0)[:40]:
            if is_negative(subject, one := game.only(int(number))):
                reason = f"its slope at ratio 1 depends on the advantage, and a game has D = {drift[number]:.3g} < 0"
                return Finding("game", reason, as_data(subject, one))
    return None


def _moving_two(gain: float, steps: np.ndarray, context: Context) -> Game:
    old = np.repeat(SHARES, len(steps))
    new = old + np.tile(steps, len(SHARES)) * np.minimum(old, 1 - old)
    return two_actions(old, new, gain, context, context.get("m", 1.0))


def _moving_two_of_three(gain: float, steps: np.ndarray, context: Context) -> Game:
    """Mass moves between the first action and the second, whatever their advantages; the third makes the mean 0."""
    second = np.repeat([1.0, -1.0, 0.0, 10.0], len(steps))
    moved = np.tile(steps, 4) / 4
    old = np.tile([1 / 4, 1 / 4, 1 / 2], (len(second), 1))
    new = old + np.stack([moved, -moved, 0 * moved], -1)
    rows = np.stack([np.full(len(second), gain), second, -(gain + second) / 2], -1)
    ones = np.ones((len(second), 1))
    return Game(old, new, rows[:, None], ones, ones, without_m(context))


def steep(subject: Subject, gain: float, context: Context, least: float = 1e-6) -> Finding | None:
    """A direction in which D / t does not go to 0 with the step t, though D(pi) = 0: its derivative at pi is not 0.

    least: of D / t, times 1 + abs(gain), that is told from rounding; 0 where the slope itself was seen.
    """
    sizes = np.array([2.0**-10, 2.0**-20, 2.0**-30])
    for share in SHARES[:4]:
        for sign in (1, -1):
            old = np.full(3, share)
            game = two_actions(old, old + sign * sizes, gain, context)
            drift, costs = play(subject, game)
            rates = drift / sizes
            terms = (game.old[2] * np.abs(costs[2, 0])).sum()  # which may cancel, but for rounding
            small = np.abs(rates[2]) <= least * (1 + abs(gain)) or np.abs(drift[2]) < 1e-3 * terms
            stays = np.isinf(rates[2]) or np.isfinite(rates).all() and abs(rates[2]) > FLAT * abs(rates[1]) > 0
            if stays and not small:
                step = f"for a step t = 2^-30 (M A = {gain:.3g})"
                reason = f"D has a derivative where nothing moves: D / t is {rates[2]:.3g} {step}"
                games = [as_data(subject, game.only(number)) for number in range(3)]
                return Finding("slope", reason, {"games": games, "t": sizes.tolist(), "rates": rates.tolist()})
    return None


def flat_along_games(subject: Subject, rng: np.random.Generator) -> Finding | None:
    """As ``steep``, of several advantages: what automatic differentiation does not see, and divergences of a policy."""
    for context in contexts(subject, rng, 3):
        if context.get("m", 1.0) != 1.0:
            continue
        for gain in few_gains(subject):
            if (finding := steep(subject, float(gain), context)) is not None:
                return finding
    return None


def jump(subject: Subject, rng: np.random.Generator) -> Finding | None:
    """A ratio at which the cost jumps: bisection where the cost changes most between neighbours of a grid."""
    grid = ratios(subject)
    grid = grid[(grid > 1e-12) & (grid < 1e12)]
    for context in contexts(subject, rng, 3):
        several = few_gains(subject)
        wide = [complete(subject, grid, np.full(len(grid), gain), context, rng) for gain in several]
        places = [_steepest(grid, subject.costs(_rare(samples))) for samples in wide]
        gain, at = np.repeat(several, [len(some) for some in places]), np.concatenate(places)
        samples = _rare(complete(subject, grid[at], gain, context, rng))
        if (finding := _bisected(subject, samples, grid[at + 1], context)) is not None:
            return finding
    return None


def _rare(samples: Samples) -> Samples:
    """Samples of actions with so little probability that any ratio is one of two policies."""
    return {**samples, "old_prob": np.full(len(samples["ratio"]), 1e-13)}


def _steepest(grid: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Places of a grid after which costs change most: as they are, by the step, and relative to both."""
    change = np.abs(np.diff(costs))
    change = np.where(np.isfinite(change), change, 0.0)
    size, step = 1 + np.abs(costs[1:]) + np.abs(costs[:-1]), np.diff(grid)
    rates = change / np.maximum(step, 1e-12), change / size / np.maximum(step / grid[1:], 1e-12)
    return np.unique(np.concatenate([np.argsort(-one)[:16] for one in (change, *rates)]))


def _bisected(subject: Subject, samples: Samples, high: np.ndarray, context: Context) -> Finding | None:
    """The first jump between the ratios of ``samples`` and ``high`` (n,)."""

    def costs(ratio: np.ndarray) -> np.ndarray:
        return subject.costs({**samples, "ratio": ratio})

    low = samples["ratio"]
    first, last = costs(low), costs(high)
    whole = np.abs(last - first)
    for _ in range(64):
        middle = (low + high) / 2
        cost = costs(middle)
        left = np.abs(cost - first) >= np.abs(last - cost)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
        first, last = np.where(left, first, cost), np.where(left, cost, last)
    jumped = np.abs(last - first) > np.maximum(1e-3 * whole, STEP * (1 + np.abs(first) + np.abs(last)))
    # Where a formula takes r - 1 of a small ratio, it is a staircase: a few roundings of 1 + r further are as many steps.
    near = 8 * np.finfo(float).eps * (1 + low)
    jumped &= np.abs(costs(high + near) - costs(np.maximum(low - near, low / 2))) < 3 * np.abs(last - first)
    for at in np.flatnonzero(jumped & (high > low)):
        share = min(0.5, 2.0 ** -np.ceil(np.log2(high[at]) + 1))
        pair = np.array([low[at], high[at]]) * share
        game = two_actions(np.full(2, share), pair, samples["advantage"][at], context)
        drift, _ = play(subject, game)
        if abs(drift[1] - drift[0]) > 1e-9 * share:
            reason = (
                f"D jumps by {abs(drift[1] - drift[0]):.3g} where a ratio passes {low[at]:.6g}; it is to be continuous"
            )
            return Finding("jump", reason, {"games": [as_data(subject, game.only(number)) for number in (0, 1)]})
    return None


def jumps_with_the_advantage(subject: Subject, rng: np.random.Generator) -> bool:
    """Whether costs differ on the two sides of M A = 0, where all else is equal."""
    ratio = np.repeat([0.25, 0.5, 0.9, 1.1, 1.5, 3.0], 2)
    samples = complete(subject, ratio, np.tile([1e-13, -1e-13], 6), contexts(subject, rng, 1)[0], rng)
    up, down = subject.costs({**samples, "old_prob": np.full(12, 0.25)}).reshape(6, 2).T
    return bool((np.abs(up - down) > 1e-9).any())
