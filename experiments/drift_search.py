"""A search for a better drift: hinges and powers against the shipped ones, on finite games with estimated advantages.

    python experiments/drift_search.py                     stopped and started again, it goes on where it was
    python experiments/drift_search.py --quick --out DIR   the same in seconds, with numbers that mean nothing

Three disjoint sets of random games: the cross-entropy method searches on the first, the second chooses among what it found and
among the grids of the shipped drifts, and on the third those chosen are compared. Tables and pictures go to the folder.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hamljax.lab.configuration import machine

machine.prepare()

import numpy as np  # noqa: E402
from drift_search_families import Family, bar, hinges, powers  # noqa: E402
from drift_search_report import write  # noqa: E402
from drift_search_trials import Scorer, Trials, make_trials  # noqa: E402

from hamljax.errors import ConfigError  # noqa: E402
from hamljax.lab.storage.files import read_json, write_json  # noqa: E402

RATES = (1.0, 2.0, 3.0)  # at which the radii of annealed grids shrink: by exp(-rate) over a run
# Of the cross-entropy method: how far it goes to the elite, and where its deviations begin.
SMOOTHING, WIDTH = 0.7, 0.35


class Budget(NamedTuple):
    """Sizes of the run; games: of one generation, of all generations together, for the choice, held out."""

    generation_games: int = 100
    search_games: int = 400
    choice_games: int = 200
    held_out_games: int = 600
    generations: int = 12
    population: int = 24
    elite: int = 6
    finalists: int = 5
    sweeps: int = 30
    samples: int = 16
    sigmas: tuple[float, ...] = (1.0, 4.0)
    seed: int = 0


QUICK = Budget(4, 8, 4, 6, 3, 4, 2, 2, 3, 8)


class Store:
    """A folder of what was computed, a file each. A name that is there already is read and not computed again."""

    def __init__(self, folder: Path, budget: Budget):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if self("budget", lambda: list(budget))["value"] != [list(x) if isinstance(x, tuple) else x for x in budget]:
            raise ConfigError(f"'{folder}' holds a search of another size; choose another --out")

    def __call__(self, name: str, compute: Callable[[], Any]) -> dict[str, Any]:
        """``{"value": what was computed, "seconds": of a processor}``."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            start = time.process_time()
            value = compute()
            write_json(path, {"value": value, "seconds": time.process_time() - start})
            print(f"{name}: {time.process_time() - start:.1f} s", flush=True)
        return read_json(path)

    def seconds(self) -> float:
        """Of all that is there, however often it was stopped."""
        return sum(read_json(path)["seconds"] for path in self.folder.glob("*.json"))


class Members(NamedTuple):
    """Members of a family among which the choice is made: (C, D) thetas and (C,) rates."""

    family: Family
    thetas: np.ndarray
    rates: np.ndarray

    def one(self, number: int) -> "Members":
        return Members(self.family, self.thetas[[number]], self.rates[[number]])


def at_edge(grid: np.ndarray, row: int) -> bool:
    """Whether a row of a grid (C, D) has the smallest or largest value of some column: the best may then lie outside."""
    low, high = grid.min(0), grid.max(0)
    return bool(np.any((low < high) & ((grid[row] == low) | (grid[row] == high))))


class Search:
    """The three stages; every set of games has seeds of its own."""

    def __init__(self, store: Store, budget: Budget):
        self.store, self.budget = store, budget
        self.scorer = Scorer(budget.sigmas, budget.samples, budget.sweeps)

    def trials(self, number: int, count: int) -> Trials:
        return make_trials(1000 * self.budget.seed + number, count)

    @functools.cached_property
    def pools(self) -> list[Trials]:
        """The games of the search, in parts of which every generation has the next."""
        count = self.budget.search_games // self.budget.generation_games
        return [self.trials(10 + k, self.budget.generation_games) for k in range(count)]

    @functools.cached_property
    def choice(self) -> Trials:
        return self.trials(1, self.budget.choice_games)

    @functools.cached_property
    def held_out(self) -> Trials:
        return self.trials(2, self.budget.held_out_games)

    def generation(
        self, family: Family, annealed: bool, number: int, mean: np.ndarray, width: np.ndarray
    ) -> dict[str, Any]:
        """One step of the cross-entropy method: the next mean and deviations, and what the candidates scored."""
        rng = np.random.default_rng([self.budget.seed, number, annealed, len(mean)])
        candidates = mean + width * rng.standard_normal((self.budget.population, len(mean)))
        candidates[0] = mean
        thetas, rates = (candidates[:, :-1], candidates[:, -1]) if annealed else (candidates, 0 * candidates[:, 0])
        trials = self.pools[number % len(self.pools)]
        scores = self.scorer(family, thetas, rates, trials, 100 + number)[..., -1].mean((1, 2, 3))
        elite = candidates[np.argsort(-scores, kind="stable")[: self.budget.elite]]
        mean, width = (
            (1 - SMOOTHING) * old + SMOOTHING * new
            for old, new in ((mean, elite.mean(0)), (width, elite.std(0, ddof=1)))
        )
        return {"mean": mean.tolist(), "width": width.tolist(), "scores": scores.tolist()}

    def found(self, name: str, family: Family, annealed: bool) -> Members:
        """What the cross-entropy method comes to: the means of its last generations, and the start."""
        mean = np.append(family.members[0], 1.0) if annealed else family.members[0]
        width, means = np.full(len(mean), WIDTH), [mean]
        for number in range(self.budget.generations):
            arguments = (family, annealed, number, mean, width)
            step = self.store(f"search {name} {number:02d}", lambda given=arguments: self.generation(*given))["value"]
            mean, width = np.array(step["mean"]), np.array(step["width"])
            means.append(mean)
        kept = np.array(means[:1] + means[-self.budget.finalists :])
        return Members(family, *((kept[:, :-1], kept[:, -1]) if annealed else (kept, np.zeros(len(kept)))))

    def contenders(self) -> dict[str, Members]:
        """The bar, its best rows annealed, and what was found."""
        shipped = bar()
        result = {name: Members(x, x.members, np.zeros(len(x.members))) for name, x in shipped.items()}
        for name in ("clip", "spo"):
            members = shipped[name].members
            thetas, rates = np.repeat(members, len(RATES), 0), np.tile(RATES, len(members))
            result[f"{name}, annealed"] = Members(shipped[name], thetas, rates)
        for name, family in (("hinges", hinges()), ("powers", powers())):
            result[name] = self.found(name, family, False)
            result[f"{name}, annealed"] = self.found(f"{name}, annealed", family, True)
        return result

    def scored(self, what: str, members: Members, trials: Trials, seed: int, each: bool) -> Any:
        """Scores (C, T, L) of all members, or of the games of ``one``: at the end (G, T, L), and over the sweeps (T, L)."""

        def compute():
            curves = self.scorer(*members, trials, seed)
            if each:
                return {"final": curves[0, ..., -1].tolist(), "area": curves[0].mean((0, -1)).tolist()}
            return curves[..., -1].mean(1).tolist()

        return self.store(what, compute)["value"]

    def result(self, name: str, members: Members) -> dict[str, Any]:
        """The member with the best mean on the games of the choice, and what it scores on those held out.

        tuned: the same, where in every setting (start, noise) the member is taken that is best in that setting.
        """
        scores = np.array(self.scored(f"choice {name}", members, self.choice, 1, False))
        best = int(scores.mean((1, 2)).argmax())
        numbers = sorted({best, *scores.argmax(0).ravel().tolist()})
        held = {
            number: self.scored(f"held {name} {number:02d}", members.one(number), self.held_out, 2, True)
            for number in numbers
        }
        chosen = members.one(best)
        final = {number: np.array(value["final"]) for number, value in held.items()}
        tuned = np.empty_like(final[best])
        for start, noise in np.ndindex(tuned.shape[1:]):
            tuned[:, start, noise] = final[int(scores[:, start, noise].argmax())][:, start, noise]
        edge = len(members.family.members) > 1 and at_edge(np.column_stack([members.thetas, members.rates]), best)
        facts = {"theta": chosen.thetas[0], "rate": float(chosen.rates[0]), "family": members.family, "edge": edge}
        return facts | {
            "choice": scores[best].mean(),
            "final": final[best],
            "area": np.array(held[best]["area"]),
            "tuned": tuned,
        }


def search(out: Path, budget: Budget) -> dict[str, dict[str, Any]]:
    """All stages; the results by name, those of the bar first."""
    stages = Search(Store(out / "parts", budget), budget)
    return {name: stages.result(name, members) for name, members in stages.contenders().items()}


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/drift_search"), help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    given = parser.parse_args(words)
    budget = QUICK if given.quick else Budget()
    try:
        results = search(given.out, budget)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write(results, list(bar()), given.out)
    print(
        f"{Store(given.out / 'parts', budget).seconds():.0f} s of a processor in all; tables and pictures in {given.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
