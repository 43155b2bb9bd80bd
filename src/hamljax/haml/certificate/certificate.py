"""The certificate of a drift: whether it meets Definition 1, in the interior of the simplex and on all of it."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..drifts import Drift
from . import questions
from .adversary import negative_game
from .boundary import Boundary, classify, is_bounded
from .findings import Finding
from .games import as_data, play, two_actions
from .practice import Practice, look
from .prover import Proof, box_in_words, prove
from .samples import contexts
from .search import asks_of_policies, negative_sample, smallest_game
from .subject import VECTORS, WIDTHS, Subject, in_double

PROVED, OPEN, REFUTED = "proved", "not refuted", "refuted"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """``verdict``: proved, not refuted or refuted; why; and what refutes it (see ``Finding``), where something does."""

    verdict: str
    reason: str
    counter_example: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is known of a drift.

    interior: Definition 1 for old policies that give every action a probability above 0. closed: for all policies.
    slope: c, the slope at ratio 1, state by state where they differ. boundary: what new mass costs. practice: what training
    meets. curve: for pictures, costs and drifts in a game of two actions. proof: the boxes of branch and bound; None where
    there was none. box: where it holds. evaluations: samples that were costed. notes: what else a person should know.
    """

    drift: str
    parameters: dict[str, Any]
    asks: tuple[str, ...]
    interior: Verdict
    closed: Verdict
    slope: float | list[float]
    boundary: Boundary | None
    practice: Practice | None
    curve: dict[str, Any]
    proof: Proof | None
    box: dict[str, Any]
    notes: tuple[str, ...]
    evaluations: int
    seconds: float
    seed: int

    def as_data(self) -> dict[str, Any]:
        """Plain numbers and texts, for JSON."""
        return _plain(self)


def _plain(x: Any) -> Any:
    if isinstance(x, Finding):
        return x.as_data()
    if dataclasses.is_dataclass(x):
        return {f.name: _plain(getattr(x, f.name)) for f in dataclasses.fields(x)}
    if isinstance(x, Mapping):
        return {str(key): _plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    return x if isinstance(x, str | int | float | bool) or x is None else np.asarray(x).tolist()


def examine(
    name: str, drift: Drift, values: Mapping[str, Any], budget: float = 20.0, seed: int = 0, quick: bool = False
) -> Certificate:
    """Certify ``drift`` with its hyper-parameters out of ``values``.

    budget: seconds for the proof, at most. quick: a short search and no proof. The same seed finds the same.
    Raises what the drift itself raises when it is called.
    """
    begun, rng = time.monotonic(), np.random.default_rng(seed)
    with in_double():
        subjects = _subjects(drift, values)
        first = subjects[0]
        slopes, finding = _first_violation(subjects, rng, quick)
        proof = None
        if finding is None and not quick and len(set(slopes)) == 1:
            proof, finding = _proved(first, slopes[0], budget)
        limits = None if finding is not None and finding.kind in ("sample", "value") else classify(first, rng)
        finding = finding or questions.of_one_sample(first, rng)  # as it was at first
        practice = None if quick else look(first, rng)
        jumps = finding is None and questions.jumps_with_the_advantage(first, rng)
        evaluations = sum(subject.evaluations for subject in subjects)
        interior = _interior(finding, proof, jumps, evaluations, several=len(set(slopes)) > 1)
        return Certificate(
            drift=name,
            parameters=dict(first.bound.values),
            asks=first.asks,
            interior=interior,
            closed=_closed(interior, limits, first, slopes),
            slope=slopes[0] if len(set(slopes)) == 1 else slopes,
            boundary=limits,
            practice=practice,
            curve={} if quick else _curve(first, rng),
            proof=proof,
            box=box_in_words(first, slopes[0]) if proof else {},
            notes=_notes(slopes, practice) if finding is None else (),
            evaluations=sum(subject.evaluations for subject in subjects),
            seconds=time.monotonic() - begun,
            seed=seed,
        )


def _subjects(drift: Drift, values: Mapping[str, Any]) -> list[Subject]:
    """The drift with each size of observations that it takes."""
    if not set(drift.asks) & set(VECTORS):
        return [Subject(drift, values)]
    found, trouble = [], None
    for width in WIDTHS:
        subject = Subject(drift, values, width)
        try:
            subject.program_of(2)
            found.append(subject)
        except Exception as error:  # a user's code can break in any way on a size that it is not for
            trouble = error
    if not found and trouble is not None:
        raise trouble
    return found


def _first_violation(
    subjects: list[Subject], rng: np.random.Generator, quick: bool
) -> tuple[list[float], Finding | None]:
    """The slopes at 1, and what refutes the drift for the first size of observations for which something does."""
    slopes, finding = [0.0], None
    for subject in subjects:
        slopes, finding = _refuted(subject, rng, quick)
        if finding is not None:
            break
    return slopes, finding


def _refuted(subject: Subject, rng: np.random.Generator, quick: bool) -> tuple[list[float], Finding | None]:
    """The slope at 1, and the first violation of Definition 1 that is met."""
    for question in (questions.of_one_sample, questions.zero_where_nothing_moves):
        if (finding := question(subject, rng)) is not None:
            return [0.0], finding
    slopes, finding = questions.slope(subject, rng)
    if finding is None:
        finding = questions.flat_along_games(subject, rng) or questions.negative_in_single(subject, slopes)
    if finding is None and not asks_of_policies(subject):
        finding = negative_sample(subject, slopes, rng, quick)
    if finding is None:
        finding = negative_game(subject, rng, quick)
    if finding is None:
        finding = questions.jump(subject, rng)
    return slopes, finding


def _proved(subject: Subject, c: float, budget: float) -> tuple[Proof | None, Finding | None]:
    """Branch and bound; where a box is below 0 for sure, the game that shows it."""
    proof = prove(subject, c, budget)
    if proof.negative is None:
        return proof, None
    place = {"old_prob": 0.5, "advantage": proof.negative["m_advantage"], **proof.negative}
    game = smallest_game(subject, place, contexts(subject, np.random.default_rng(0), 1)[0])
    if game is None:
        return proof, None
    drift, _ = play(subject, game)
    return proof, Finding("game", f"D = {drift[0]:.3g} < 0 in a game that the proof ran into", as_data(subject, game))


def _interior(finding: Finding | None, proof: Proof | None, jumps: bool, evaluations: int, several: bool) -> Verdict:
    """several: whether the slope at 1 is another one in another state."""
    if finding is not None:
        return Verdict(REFUTED, finding.reason, finding.as_data())
    searched = f"no counter-example in {evaluations:,} evaluations"
    if proof is None:
        why = "there was no proof, for its slope at 1 is not one number" if several else "no proof was tried"
        return Verdict(OPEN, f"{searched}; {why}")
    if not proof.complete:
        boxes = "box" if proof.undecided == 1 else "boxes"
        return Verdict(OPEN, f"{searched}; the proof left {proof.undecided:,} {boxes} open")
    if jumps:
        return Verdict(
            OPEN,
            "never negative, but it jumps where an advantage passes 0: there D is not continuous in the old policy",
        )
    used = " + ".join(f"{rule} {count}" for rule, count in proof.rules.items() if count)
    return Verdict(
        PROVED,
        f"never negative on the box, by interval arithmetic ({used} boxes); value, slope and jumps tried at points",
    )


def _closed(interior: Verdict, limits: Boundary | None, subject: Subject, slopes: list[float]) -> Verdict:
    if interior.verdict == REFUTED or limits is None:
        return interior
    if limits.finding is not None:
        return Verdict(REFUTED, limits.finding.reason, limits.finding.as_data())
    if interior.verdict == PROVED and not any(slopes) and is_bounded(subject):
        return Verdict(PROVED, "as in the interior, and costs are bounded, so that new mass is free of charge at first")
    return Verdict(OPEN, "new mass on an action without probability costs nothing at first, as far as was measured")


def _notes(slopes: list[float], practice: Practice | None) -> tuple[str, ...]:
    notes = []
    if any(slopes):
        notes.append("its slope at ratio 1 is not 0: that adds up to nothing in expectation, and to noise in a batch")
    if practice is not None and not practice.follows:
        notes.append("the gradient that JAX takes of it is not its derivative")
    if practice is not None and practice.worst is not None:
        notes.append("its gradient in float32 is not finite at log-ratio {:.3g}, M A = {:.3g}".format(*practice.worst))
    return tuple(notes)


def _curve(subject: Subject, rng: np.random.Generator) -> dict[str, Any]:
    """By the ratio of the first of two actions, which had probability 1/4 and has M A = +-1: what it costs, and D."""
    ratio = np.linspace(0, 4, 241)
    found: dict[str, Any] = {"ratio": ratio.tolist()}
    for gain in (1.0, -1.0):
        game = two_actions(0.25, ratio / 4, gain, contexts(subject, rng, 1)[0])
        drift, costs = play(subject, game)
        found[f"{gain:+.0f}"] = {"cost": costs[:, 0, 0].tolist(), "drift": drift.tolist()}
    return found
