"""How long runs of a study take here: as those did that are finished, else as a short trial does."""

from collections.abc import Iterable

from ..configuration.jobs import Job
from ..runs.schedule import steps_per_update
from ..runs.trial import tried
from .leaderboard import Line

SPENT = ("training", "evaluating", "saving")


class Costs:
    """Seconds to compile, and seconds for each environment step of each seed, by environment and row.

    Args:
        lines: of finished runs, which are taken to have been made on a machine like this.
    """

    def __init__(self, lines: Iterable[Line]):
        self.compiling: dict[str, float] = {}
        self.stepping: dict[tuple[str, str], float] = {}
        for line in lines:
            self.learn(line)

    def learn(self, line: Line) -> None:
        """What a run took."""
        seconds, steps = line.seconds, line.steps * len(line.seeds)
        known = self.compiling.get(line.environment, 0.0)
        self.compiling[line.environment] = max(known, seconds["compiling"])
        self.stepping[line.environment, line.row] = sum(seconds.get(name, 0.0) for name in SPENT) / steps

    def knows(self, job: Job) -> bool:
        """Whether anything is known of the environment of a job."""
        return any(name == job.config.env.name for name, _ in self.stepping)

    def measure(self, job: Job) -> None:
        """Compile a job and let it make some updates, to know its environment."""
        trial = tried(job)
        self.add(job, trial.compiling, trial.of(job)[0] / steps_of(job))

    def add(self, job: Job, compiling: float, stepping: float) -> None:
        """What a job takes: seconds to compile it, and for each step of each seed."""
        name = job.config.env.name
        self.compiling[name], self.stepping[name, job.config.algo.name] = compiling, stepping

    def seconds(self, job: Job) -> float:
        """What a job takes, of which the environment is known; another row of it is taken to be as fast as the slowest."""
        name, row = job.config.env.name, job.config.algo.name
        rates = {known: rate for (environment, known), rate in self.stepping.items() if environment == name}
        rate = rates.get(row, max(rates.values()))
        return self.compiling[name] + rate * steps_of(job)


def steps_of(job: Job) -> int:
    """Environment steps of all seeds of a job."""
    return job.config.num_updates * steps_per_update(job) * job.run.num_seeds
