"""Where a drift is looked at: ratios, values of M A, and what else it asks for."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .subject import NUMBERS, POLICIES, VECTORS, Samples, Subject

MS = (1.0, 0.0, 0.5, 2.0, 0.01, 10.0, 0.9, 1.5, 1000.0)
PLAIN = np.array([1.0, 2.0, 0.5, 10.0, 0.1])
PROBABILITIES = (0.5, 0.1, 0.9, 0.01, 1e-3, 0.3, 1e-6, 1.0)
UPDATES = (100, 1_000_000, 2, 10, 1000, 10_000, 5, 50, 1)
SHARES = (0.0, 1.0, 0.5, 0.25, 1.0, 0.01, 0.75, 0.1, 0.0)  # of the updates that are over
AGENTS = (2, 1, 3, 5, 8, 10, 27, 4, 100)

Context = dict[str, Any]  # what is the same for all actions of a state


def states(subject: Subject) -> set[str]:
    """What of a drift's wishes is the same for all actions of a state; M is, because the others' actions decide it."""
    asks = set(subject.asks)
    return asks & {"agent", *NUMBERS, *VECTORS} | ({"m"} if asks & {"m", "advantage"} else set())


def contexts(subject: Subject, rng: np.random.Generator, count: int = 9) -> list[Context]:
    """Nine different states, or fewer; more where more agents than these have hyper-parameters of their own.

    One where the drift asks for nothing of a state.
    """
    asked = states(subject)
    found = []
    for number in range(max(count, subject.kinds) if asked else 1):
        of = number % len(MS)
        updates, agents = UPDATES[of], subject.team or AGENTS[of]
        values = {
            "m": MS[of],
            "agent": subject.agents[number % agents] if subject.team else number % agents,
            "progress": min(int(SHARES[of] * updates), updates - 1) / updates,
            "num_updates": float(updates),
            "num_agents": float(agents),
        }
        vectors = {name: rng.normal(size=subject.width) * (0, 1, 10)[number % 3] for name in VECTORS}
        found.append({name: value for name, value in (values | vectors).items() if name in asked})
    return found


def complete(
    subject: Subject, ratio: ArrayLike, gain: ArrayLike, context: Context, rng: np.random.Generator
) -> Samples:
    """Samples (n,) with all that the drift asks for; policies that have not moved, where it asks for their divergence.

    gain: M A; where M is 0 it is the advantage, and M A is 0.
    """
    ratio, gain = (np.asarray(x, float) for x in np.broadcast_arrays(ratio, gain))
    count, m = len(ratio), context.get("m", 1.0)
    found: dict[str, Any] = {"ratio": ratio, "m_advantage": gain if m else 0 * gain}
    found |= {"m": np.full(count, m), "advantage": gain / (m or 1.0)}
    found |= {name: np.zeros(count) for name in POLICIES}
    found["old_prob"] = np.minimum(rng.choice(PROBABILITIES, count), 1 / np.maximum(ratio, 1.0))
    found |= {name: np.float64(context[name]) for name in NUMBERS if name in context}
    found |= {name: np.tile(context[name], (count, 1)) for name in VECTORS if name in context}
    if "agent" in context:
        found["agent"] = np.full(count, context["agent"])
    return found


def gains(subject: Subject, count: int = 640, least: float = 1e-8, most: float = 1e8) -> np.ndarray:
    """Values of M A: 0, both signs over many sizes, and the constants of the drift with what is close to them."""
    sizes = np.geomspace(least, most, count // 2)
    near = np.concatenate([subject.constants * (1 + e) for e in (0.0, 1e-9, -1e-9, 1e-3, -1e-3)])
    return np.unique(np.concatenate([[0.0], PLAIN, -PLAIN, sizes, -sizes, near, -near]))


def few_gains(subject: Subject) -> np.ndarray:
    """Values of M A: small and large ones, the constants of the drift, and numbers between these."""
    c = np.unique(np.abs(subject.constants[np.abs(subject.constants) <= 1e3]))[:24]
    some = np.concatenate([[1.0, 0.1, 20.0, 30.0], c, (c[1:] + c[:-1]) / 2])
    return np.array([gain * sign for gain in dict.fromkeys(some[some > 0]) for sign in (1, -1)] + [0.0])


def ratios(subject: Subject, count: int = 5000) -> np.ndarray:
    """Ratios, 0 first: log r from -40 to 40, more of them about 1, some further out, and what the constants suggest."""
    logs = np.concatenate(
        [
            np.linspace(-40, 40, count * 3 // 5),
            *(sign * np.geomspace(1e-12, 4, count // 6) for sign in (-1, 1)),
            *(sign * np.geomspace(40, 700, count // 50) for sign in (-1, 1)),
        ]
    )
    return np.unique(np.concatenate([[0.0], np.exp(logs), special(subject)]))


def special(subject: Subject) -> np.ndarray:
    """Ratios at which the drift may change, and what lies close to them."""
    offsets = [0.0, *(sign * size for size in (1e-12, 1e-9, 1e-7, 1e-6, 1e-4, 1e-3, 1e-2) for sign in (-1, 1))]
    return np.concatenate([spots(subject) * (1 + e) for e in offsets])


def spots(subject: Subject) -> np.ndarray:
    """Each constant of the drift as a ratio, as its logarithm, and as a distance from 1."""
    c = np.append(subject.constants, [0.5, 2.0])
    found = np.concatenate([c, -c, np.exp(c), np.exp(-c), 1 + c, 1 - c, 1 / c[c != 0]])
    return np.unique(np.abs(found[np.isfinite(found) & (found >= 0)]))
