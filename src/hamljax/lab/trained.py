"""A run directory brought back to life: its configuration, its environment and its trained policies."""

from pathlib import Path
from typing import NamedTuple

import jax
import yaml

from ..errors import ConfigError
from ..learning.on_policy import RunnerState
from ..learning.train import Learner, make_learner
from . import checkpoints
from .configuration import Job, job_of, load_plugin


class Trained(NamedTuple):
    """``state`` is stacked over the seeds of ``job``, as it was after ``update`` updates."""

    job: Job
    learner: Learner
    state: RunnerState
    update: int

    def of_seed(self, seed: int) -> RunnerState:
        """The state of one seed. Raises ConfigError when the run has no such seed."""
        first, count = self.job.seed, self.job.num_seeds
        if not first <= seed < first + count:
            raise ConfigError(f"this run trained seeds {first} to {first + count - 1}, not {seed}")
        return jax.tree.map(lambda x: x[seed - first], self.state)


def load(run: str | Path) -> Trained:
    """Read a run directory. Raises ConfigError where it holds no run or no checkpoint, or is damaged."""
    path = Path(run).expanduser()
    if not (path / "config.yaml").is_file():
        raise ConfigError(f"'{run}' is not a run directory (no config.yaml in it)")
    try:
        values = yaml.safe_load((path / "config.yaml").read_text())
        plugin = values["plugin"]
    except Exception as error:  # a damaged file can break its reader in any way
        raise ConfigError(f"cannot read '{path / 'config.yaml'}': {' '.join(str(error).split())}") from None
    if plugin:
        load_plugin(plugin)
    job = job_of(values)
    learner = make_learner(job.config)
    keys = jax.random.split(jax.random.key(0), job.num_seeds)  # only their shapes matter
    state, update = checkpoints.restore(path, jax.eval_shape(jax.vmap(learner.init), keys))
    return Trained(job, learner, state, update)
