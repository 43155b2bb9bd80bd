"""The host loop: compiled blocks of updates with the seeds vmapped inside; between blocks record, evaluate, save, draw."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType

import jax
import jax.numpy as jnp
import numpy as np

from ...envs.protocol import Environment
from ...errors import ConfigError
from ...training.evaluate import ABSOLUTE_ROUNDS
from ...training.train import Trainer, make_learner
from ..configuration.jobs import Job
from ..configuration.machine import device_errors
from ..configuration.remarks import of_family, whole_rollouts
from ..drawing.plots import draw_runs
from ..drawing.tables import who_shares
from ..storage import checkpoints, inputs
from ..storage.checkpoints import Checkpoint
from ..storage.files import forget_unfinished
from ..storage.paths import as_typed, writing
from ..storage.rundir import RunDir
from . import record
from .exact import ExactColumns
from .failures import failures_of
from .loggers import NullLogger, exit_code, make_logger
from .non_finite import stop_for_non_finite
from .notes import Notes
from .pace import Pace, Signals, Streak, in_a_job
from .programs import CAPACITY, AnyPrograms, compiled
from .progress import Progress, progress_shapes, split_replay, with_replay
from .reporter import Reporter, clock
from .schedule import files_of, is_finished, schedule, steps_per_update

SAVE_SECONDS = 600.0  # a checkpoint at least this often, however long a tenth of the run takes


def train(
    job: Job,
    longer: bool = False,
    reporter: Callable[[int, int], Reporter] = Reporter,
    listening: Callable[[Callable[[str], None]], AbstractContextManager[Signals]] = in_a_job,
) -> RunDir:
    """Train all seeds of a job, or go on with them, and leave a run directory that explains itself.

    Args:
        job: what to train, and where.
        longer: whether the directory may hold a shorter run of this configuration.
        reporter: of its total steps and seeds: how it is shown. listening: how signals are heard meanwhile.

    Raises:
        ConfigError: it cannot be done.
        Stopped: training ended early and in order.
    """
    trainer = make_learner(job.config)
    with RunDir.open(job.resolved, job.run.resume, longer) as run:
        if run.begun and is_finished(run, job):
            print(f"'{run.path}' is finished; to train longer: hamljax resume {as_typed(run.path)} total_timesteps=...")
            return run
        if run.begun and not longer:
            inputs.check_unchanged(run.path, files_of(job))
        forget_unfinished(run.path)
        with contextlib.ExitStack() as stack:
            shown = reporter(job.config.num_updates * steps_per_update(job), job.run.num_seeds)
            stack.callback(shown.close)
            signals = stack.enter_context(listening(shown.say))
            training = Training(job, trainer, run, shown, signals)
            stack.push(training.close)
            with device_errors(), failures_of(trainer.env):
                training.begin()
                training.run_updates()
                training.finish()
    return run


class Training:
    """One run under way.

    Args:
        job: what is trained.
        trainer: of its configuration.
        run: its directory, open.
        reporter: is told how it goes.
        signals: are looked at between blocks.
    """

    def __init__(self, job: Job, trainer: Trainer, run: RunDir, reporter: Reporter, signals: Signals):
        self.job, self.trainer, self.run, self.reporter, self.signals = job, trainer, run, reporter, signals
        self.logger = NullLogger()
        signals.leave, signals.how_long = self._leave, self._how_long
        self.seeds = np.arange(job.run.seed, job.run.seed + job.run.num_seeds)
        self.ends, self.evals, self.saves = schedule(job)
        self.per_update = steps_per_update(job)
        # Where the time went, over all starts of the run; what each took last, and which of them goes on.
        self.seconds = dict.fromkeys(("compiling", "training", "evaluating", "saving"), 0.0)
        self.last: dict[str, float] = {}
        self.now = ""
        self.done, self.saved_at = 0, 0.0  # updates made, when they were saved
        self.shown: dict[str, float] = {}
        self.workers: Environment | AnyPrograms = trainer.env  # what is to be closed at the end
        self.notes = Notes(reporter.say)
        self.exact = ExactColumns(trainer, self.seeds)
        self.streak = Streak(len(self.seeds), {"stop": job.run.nan_patience, "raise": 1}.get(job.run.on_nan))

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Around what counts as ``what`` in ``seconds``."""
        began, self.now = time.perf_counter(), what
        yield
        self.last[what] = time.perf_counter() - began
        self.seconds[what] += self.last[what]

    def _how_long(self) -> str:
        seconds = self.last.get(self.now)
        return f" ({self.now}{'' if seconds is None else f', which took {seconds:.1f} s last time'})"

    def _leave(self, code: int) -> None:
        """The process ends at once."""
        self.reporter.close()
        self.logger.close(code)

    def close(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End what belongs to the run beside its files. A run that could not even begin leaves none."""
        self.logger.close(exit_code(error))
        self.workers.close()
        if isinstance(error, ConfigError) and not self.run.begun and not self.run.rows:
            self.run.clear()

    # BEGIN

    def begin(self) -> None:
        """Compile, and make or restore what changes."""
        if not self.run.begun:  # a longer run replaces nothing before it is known to fit
            self._write_metadata()
        words = "nothing was trained yet" if not self.run.begun else "nothing was trained since the last checkpoint"
        with self.signals.ending_at_once(f"stopped: {words}; to go on: hamljax resume {as_typed(self.run.path)}"):
            self._announce()
            found = self._restore() if self.run.begun else None
            self.logger = make_logger(
                self.job.logger, self.run.path, self.job.resolved, found.update * self.per_update if found else -1
            )
            about = self.trainer, len(self.seeds), bool(self.evals), self.job.run.devices_per_seed, self.job.configs
            programs = compiled.make(*about, inputs.stamps(files_of(self.job)))
            self.programs = self.workers = programs
            self.seconds["compiling"] += programs.seconds
            memory = f"needs about {programs.bytes / 2**20:,.0f} MiB"
            total = self.job.config.num_updates * self.per_update
            self.reporter.say(
                f"compiled in {programs.seconds:.1f} s, {memory}; training {total:,} steps per seed -> {self.run.path}"
            )
            if self.run.begun:
                self._write_metadata()
            if found:
                self._go_on_from(found)
            else:
                self._begin_anew()
            self.reporter.started(self.done * self.per_update)

    def _announce(self) -> None:
        """Say what is trained, and what is remarkable about it."""
        config, say = self.job.config, self.reporter.say
        for note in self.run.notes:
            say(f"note: {note}; the run goes on, but its numbers may differ from then on")
        if rounded := whole_rollouts(config):
            say(f"note: {rounded}")
        groups = self.trainer.learner.policy.groups
        shares = who_shares(groups, getattr(config.algo, "group_ratio", "folded"))
        sharing = f", policies {shares}" if 1 < len(groups) < sum(map(len, groups)) else ""
        self.notes.once("exact", self.exact.note)
        say(f"compiling {config.algo.name} on {config.env.name}, {len(self.seeds)} seed(s){sharing}")

    def _go_on_from(self, found: Checkpoint) -> None:
        """Restore what changes."""
        self.progress, self.done = self.programs.place(self._whole(found)), found.update
        self.streak.length = np.asarray(found.tree.state.skipped)
        self.seconds |= found.about["seconds"] | {"compiling": self.seconds["compiling"]}
        self.run.start_with(found.record)
        self.exact.go_on(found.record)
        self.reporter.say(f"going on from step {self.done * self.per_update:,}")
        if self.trainer.env.in_processes:
            self.reporter.say("note: environments in host processes cannot be restored: all begin fresh episodes")

    def _begin_anew(self) -> None:
        """Make what changes, and evaluate the untrained team if that is wanted."""
        self.run.start_with(None)
        self.progress = self.programs.begin(self.seeds)
        with self.timed("compiling"):
            untrained = self.exact.begin(self.progress)
        if 0 in self.evals:
            if self.trainer.env.in_processes:  # minutes, it may be
                episodes = self.job.config.num_eval_episodes
                self.reporter.say(f"evaluating the untrained team first: {episodes} episodes")
            self._record([untrained], {"steps_per_second": np.nan})

    def _write_metadata(self) -> None:
        self.run.versions["policies"] = self.trainer.learner.policy.groups
        self.run.remark = self.run.versions["family"] = of_family(self.job.config)
        self.run.write_metadata()
        with writing(self.run.path):
            inputs.keep(self.run.path, files_of(self.job))

    def _restore(self) -> Checkpoint | None:
        if not checkpoints.kept(self.run.path):
            self.reporter.say("no checkpoint yet: beginning anew")
            return None
        shapes, replay = split_replay(progress_shapes(self.trainer, len(self.seeds)))
        return checkpoints.restore(self.run.path, shapes, say=self.reporter.say, replay=replay)

    def _whole(self, found: Checkpoint) -> Progress:
        """The progress in a checkpoint; a replay that it lacks is empty, and fills up before learning goes on."""
        _, shapes = split_replay(self.programs.shapes)
        if shapes is None:
            return found.tree
        if found.replay is not None:
            return with_replay(found.tree, found.replay)
        self.reporter.say(
            "note: the checkpoint holds no replay (checkpoint_replay=false): the policies play until there are "
            "algo.learning_starts steps again, and only then learn on; this is not the run that was never stopped"
        )
        return with_replay(found.tree, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))

    # GO ON

    def run_updates(self) -> None:
        """Train to the end, looking up every few seconds and whenever the plan says so."""
        pace, self.saved_at, signals = Pace(CAPACITY), time.perf_counter(), self.signals
        while self.done < self.ends[-1]:
            self._block(next(end for end in self.ends if end > self.done), pace)
            if self.streak.broken:
                stop_for_non_finite(self, *self.streak.broken)
            if self.done in self.saves or signals.caught or self._is_late():
                self._save()
            if signals.caught:
                step = self.done * self.per_update
                raise signals.stop(
                    f"stopped at step {step:,} and saved; to go on: hamljax resume {as_typed(self.run.path)}"
                )

    def _block(self, end: int, pace: Pace) -> None:
        """Updates up to number ``end``, or until something has to be done about the run; then record them."""
        parts, began, first, spent = [], self.seconds["training"], self.done, self.programs.spent
        while self.done < end:
            count, before = pace.next(end - self.done), self.seconds["training"]
            with self.timed("training"):
                state, metrics = self.programs.advance(self.progress.state, np.int32(count))
                self.progress = self.progress._replace(state=state)
                parts.append(self.exact.of({name: np.asarray(x)[:, :count] for name, x in metrics.items()}))
            self.streak.watch(self.done, parts[-1]["train/skipped"])
            pace.took(count, self.seconds["training"] - before)
            self.done += count
            self.notes.of_workers(self.programs.losses, self.programs.notes)
            stuck = int(parts[-1]["train/no_legal_action"].sum())
            self.notes.of_the_stuck(stuck, self.done * self.per_update)
            self.reporter.tick(self.done * self.per_update, self.shown, self._left())
            if self.signals.caught or self.streak.broken or self._is_late():
                break
        steps, seconds = (self.done - first) * self.per_update * len(self.seeds), self.seconds["training"] - began
        bridge = record.of_bridge(spent, self.programs.spent, len(self.programs.losses))
        self.shown |= bridge
        self._record(parts, {"steps_per_second": steps / max(seconds, 1e-9), **bridge})

    def _left(self) -> float:
        """Seconds to the end, evaluations included, at the pace of this run so far."""
        spent, ends = self.seconds, [e for e in self.evals if e > self.done]
        rounds = len(ends) + (ABSOLUTE_ROUNDS if self.job.run.absolute_metric and self.evals else 0)
        evaluations = rounds * spent["evaluating"] / max(len(self.evals) - len(ends), 1)
        return (self.ends[-1] - self.done) * spent["training"] / max(self.done, 1) + evaluations

    def _record(self, parts: list[record.Metrics], speed: dict[str, float]) -> None:
        """Add rows for ``parts`` (metrics of the updates since the last rows), and evaluate if it is time."""
        metrics, found = record.joined(parts), dict[str, np.ndarray]()
        if self.done in self.evals:
            self.reporter.busy("evaluating")
            with self.timed("evaluating"):
                actors = self.trainer.actor_state(self.progress.state)
                assert self.programs.evaluate is not None
                measured = self.programs.evaluate(actors, np.int32(0))
                found = {name: np.asarray(x) for name, x in measured.items()}
                self.progress = self.progress._replace(best=self.programs.choose(self.progress.best, actors, measured))
        count = len(next(iter(metrics.values()))[0]) if metrics else 1
        updates = range(self.done - count + 1, self.done + 1)
        rows = record.rows(self.seeds, updates, self.per_update, metrics, found, speed)
        self.run.append(rows)
        self.shown = record.shown(metrics | found, self.shown)
        step = self.done * self.per_update
        self.logger.log(step, rows.drop(columns=["seed", "update", "step"]).mean(skipna=True).dropna().to_dict())
        if self.done:
            self.notes.of_workers(self.programs.losses, self.programs.notes)
            self.reporter.update(step, self.shown, self._left())

    def _is_late(self) -> bool:
        return time.perf_counter() - self.saved_at > SAVE_SECONDS

    def _save(self) -> None:
        with self.timed("saving"), writing(self.run.path):
            about, (tree, replay) = {"seconds": self.seconds}, split_replay(self.progress)
            replay = replay if self.job.run.checkpoint_replay else None
            checkpoints.save(self.run.path, Checkpoint(self.done, tree, self.run.metrics(), about, replay))
        self.saved_at = time.perf_counter()

    # FINISH

    def finish(self) -> None:
        """Measure the best team, sum up, draw."""
        words = (
            f"stopped: trained to the end and saved; to measure the best team: hamljax resume {as_typed(self.run.path)}"
        )
        with self.signals.ending_at_once(words):
            absolute = self._measure_best() if self.job.run.absolute_metric and self.evals else {}
            steps = self.done * self.per_update
            self.run.write_summary(record.summary(self.run.metrics(), self.seeds, steps, self.seconds, absolute))
            with writing(self.run.path):
                draw_runs([self.run.path], self.run.path / "curves.png")
            spent = clock(sum(self.seconds.values()) - self.seconds["compiling"])
            self.reporter.say(f"done in {spent}: {self.run.path}/curves.png, summary.json, metrics.parquet")

    def _measure_best(self) -> dict[str, np.ndarray]:
        """The best team's numbers over many episodes that training did not see."""
        with self.timed("evaluating"):
            assert self.programs.evaluate is not None
            best = self.progress.best.actors
            episodes = self.job.config.num_eval_episodes
            self.reporter.say(f"measuring the best team: {ABSOLUTE_ROUNDS} x {episodes} episodes")
            rounds = [self.programs.evaluate(best, np.int32(n + 1)) for n in range(ABSOLUTE_ROUNDS)]
            return {name: record.mean_of_numbers([r[name] for r in rounds]) for name in rounds[0]}
