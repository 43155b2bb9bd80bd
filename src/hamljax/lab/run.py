"""The host loop: compiled blocks of updates with the seeds vmapped inside; between blocks record, evaluate, save, draw."""

import contextlib
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..bridge.environment import NON_FINITE
from ..errors import ConfigError, Stopped
from ..learning.evaluate import ABSOLUTE_ROUNDS
from ..learning.train import Learner, evaluation_points, make_learner
from . import checkpoints, inputs, record
from .checkpoints import Checkpoint
from .configuration import Job, whole_rollouts
from .evidence import not_finite
from .files import forget_unfinished, replaced
from .info import who_shares
from .loggers import Nowhere, exit_code, make_logger
from .machine import device_errors
from .pace import Pace, Signals, Streak, listening
from .plots import draw_runs
from .programs import CAPACITY, apart, failures_of, make_programs, progress_shapes, with_replay
from .progress import Reporter, clock
from .rundir import RunDir, as_typed, writing

SAVE_SECONDS = 600.0  # a checkpoint at least this often, however long a tenth of the run takes


def train(job: Job, longer: bool = False) -> RunDir:
    """Train all seeds of a job, or go on with them, and leave a run directory that explains itself.

    longer: the directory may hold a shorter run of this configuration. Raises ConfigError for what cannot be done, and
    Stopped when training ended early and in order.
    """
    learner = make_learner(job.config)
    with RunDir.open(job.resolved, job.run.resume, longer) as run:
        if run.begun and is_finished(run, job):
            print(f"'{run.path}' is finished; to train longer: hamljax resume {as_typed(run.path)} total_timesteps=...")
            return run
        if run.begun and not longer:
            inputs.check_unchanged(run.path, files_of(job))
        forget_unfinished(run.path)
        with contextlib.ExitStack() as stack:
            reporter = Reporter(job.config.num_updates * steps_per_update(job), job.run.num_seeds)
            stack.callback(reporter.close)
            signals = stack.enter_context(listening(reporter.say))
            training = Training(job, learner, run, reporter, signals)
            stack.push(training.close)
            with device_errors(), failures_of(learner.env):
                training.begin()
                training.go_on()
                training.finish()
    return run


def files_of(job: Job) -> dict[str, Any]:
    """The settings of a job that may name files, by dotted name."""
    return {"plugin": job.run.plugin, **{f"env.{name}": x for name, x in dataclasses.asdict(job.config.env).items()}}


def steps_per_update(job: Job) -> int:
    return job.config.num_envs * job.config.num_steps


def is_finished(run: RunDir, job: Job) -> bool:
    done = checkpoints.kept(run.path)[-1:] == [job.config.num_updates]
    return done and (run.path / "summary.json").is_file() and not checkpoints.damage(run.path, job.config.num_updates)


def plan(job: Job) -> tuple[list[int], set[int], set[int]]:
    """After how many updates the host records, evaluates and saves; (all of them, evaluations, checkpoints)."""
    total, run = job.config.num_updates, job.run
    evals = {int(e) for e in evaluation_points(job.config)} if job.config.num_evals else set()
    log_every, save_every = (
        every or max(1, total // n) for every, n in ((run.log_every, 50), (run.checkpoint_every, 10))
    )
    saves = {*range(save_every, total, save_every), total}
    ends = {*range(log_every, total, log_every), *saves, *evals} - {0}
    return sorted(ends), evals, saves


class Training:
    """One run under way. ``done`` counts updates; ``seconds`` says where the time went, over all starts of the run."""

    def __init__(self, job: Job, learner: Learner, run: RunDir, reporter: Reporter, signals: Signals):
        self.job, self.learner, self.run, self.reporter, self.signals = job, learner, run, reporter, signals
        self.logger = Nowhere()
        signals.leave, signals.how_long = self._leave, self._how_long
        self.seeds = np.arange(job.run.seed, job.run.seed + job.run.num_seeds)
        self.ends, self.evals, self.saves = plan(job)
        self.per_update = steps_per_update(job)
        self.seconds = dict.fromkeys(("compiling", "training", "evaluating", "saving"), 0.0)
        self.last, self.now = {}, ""  # seconds that each of them took last, and which of them goes on
        self.done, self.shown, self.saved_at, self.told, self.programs = 0, {}, 0.0, 0, None
        self.noted: set[str] = set()  # what was said once
        self.streak = Streak(len(self.seeds), {"stop": job.run.nan_patience, "raise": 1}.get(job.run.on_nan))

    @contextlib.contextmanager
    def timed(self, what: str):
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

    def close(self, kind, error, trace) -> None:
        """End what belongs to the run beside its files. A run that could not even begin leaves none."""
        self.logger.close(exit_code(error))
        (self.programs or self.learner.env).close()
        if isinstance(error, ConfigError) and not self.run.begun and not self.run.rows:
            self.run.clear()

    # BEGIN

    def begin(self) -> None:
        """Compile, and make or restore what changes."""
        if not self.run.begun:  # a longer run replaces nothing before it is known to fit
            self._sign()
        words = "nothing was trained yet" if not self.run.begun else "nothing was trained since the last checkpoint"
        with self.signals.ending_at_once(f"stopped: {words}; to go on: hamljax resume {as_typed(self.run.path)}"):
            self._begin()

    def _begin(self) -> None:
        config, say = self.job.config, self.reporter.say
        for note in self.run.notes:
            say(f"note: {note}; the run goes on, but its numbers may differ from then on")
        if rounded := whole_rollouts(config):
            say(f"note: {rounded}")
        layout = self.learner.algorithm.policies.layout
        sharing = f", policies {who_shares(layout.groups)}" if 1 < layout.num_policies < len(layout.policy_of) else ""
        say(f"compiling {config.algo.name} on {config.env.name}, {len(self.seeds)} seed(s){sharing}")
        found = self._restore() if self.run.begun else None
        step = found.update * self.per_update if found else -1
        self.logger = make_logger(self.job.logger, self.run.path, self.job.resolved, step)
        programs = self.programs = make_programs(self.learner, len(self.seeds), bool(self.evals))
        self.seconds["compiling"] += programs.seconds
        memory = f"needs about {programs.bytes / 2**20:,.0f} MiB"
        total = config.num_updates * self.per_update
        say(f"compiled in {programs.seconds:.1f} s, {memory}; training {total:,} steps per seed -> {self.run.path}")
        if self.run.begun:
            self._sign()
        if found:
            self.progress, self.done = programs.place(self._whole(found)), found.update
            self.streak.length = np.asarray(found.tree.state.skipped)
            self.seconds |= found.about["seconds"] | {"compiling": self.seconds["compiling"]}
            self.run.start_with(found.record)
            say(f"going on from step {self.done * self.per_update:,}")
            if self.learner.env.vectorise:
                say("note: environments in host processes cannot be restored: all begin fresh episodes")
        else:
            self.run.start_with(None)
            self.progress = programs.begin(self.seeds)
            if 0 in self.evals:
                if self.learner.env.vectorise:  # minutes, it may be
                    say(f"evaluating the untrained team first: {config.num_eval_episodes} episodes")
                self._record([], {"steps_per_second": np.nan})
        self.reporter.started(self.done * self.per_update)

    def _sign(self) -> None:
        self.run.versions["policies"] = self.learner.algorithm.policies.layout.groups
        self.run.sign()
        with writing(self.run.path):
            inputs.keep(self.run.path, files_of(self.job))

    def _restore(self) -> Checkpoint | None:
        if not checkpoints.kept(self.run.path):
            self.reporter.say("no checkpoint yet: beginning anew")
            return None
        shapes, replay = apart(progress_shapes(self.learner, len(self.seeds)))
        return checkpoints.restore(self.run.path, shapes, say=self.reporter.say, replay=replay)

    def _whole(self, found: Checkpoint):
        """The progress in a checkpoint; a replay that it lacks is empty, and fills up before learning goes on."""
        _, shapes = apart(self.programs.shapes)
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

    def go_on(self) -> None:
        """Train to the end, looking up every few seconds and whenever the plan says so."""
        pace, self.saved_at, signals = Pace(CAPACITY), time.perf_counter(), self.signals
        while self.done < self.ends[-1]:
            self._block(next(end for end in self.ends if end > self.done), pace)
            if self.streak.broken:
                self._report_non_finite(*self.streak.broken)
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
                parts.append({name: np.asarray(x)[:, :count] for name, x in metrics.items()})
            self.streak.watch(self.done, parts[-1]["train/skipped"])
            pace.took(count, self.seconds["training"] - before)
            self.done += count
            self._tell_of_losses()
            self._tell_of_the_stuck(int(parts[-1]["train/no_legal_action"].sum()))
            self.reporter.tick(self.done * self.per_update, self.shown, self._left())
            if self.signals.caught or self.streak.broken or self._is_late():
                break
        steps, seconds = (self.done - first) * self.per_update * len(self.seeds), self.seconds["training"] - began
        bridge = self._bridge(spent)
        self.shown |= bridge
        self._record(parts, {"steps_per_second": steps / max(seconds, 1e-9), **bridge})

    def _tell_of_losses(self) -> None:
        losses = self.programs.losses
        for loss in losses[self.told :]:
            self.reporter.say(f"note: {loss}; another took its place")
        self.told = len(losses)
        for what, note in self.programs.notes.items():
            self._note(what, note)

    def _note(self, what: str, note: str) -> None:
        """Say it, unless something was said of ``what`` already."""
        if what not in self.noted:
            self.noted.add(what)
            self.reporter.say(f"note: {note}")

    def _tell_of_the_stuck(self, count: int) -> None:
        """Once: how often, by now, an agent had to act and could not."""
        if count:
            steps = self.done * self.per_update
            self._note(
                "no_legal_action",
                f"{count:,} times in the last updates (up to step {steps:,}) an agent was alive and had no legal action: "
                f"one was drawn from all of its actions; mark such an agent as not alive, or give it an action that does nothing",
            )

    def _left(self) -> float:
        """Seconds to the end, evaluations included, at the pace of this run so far."""
        spent, ends = self.seconds, [e for e in self.evals if e > self.done]
        rounds = len(ends) + (ABSOLUTE_ROUNDS if self.job.run.absolute_metric and self.evals else 0)
        evaluations = rounds * spent["evaluating"] / max(len(self.evals) - len(ends), 1)
        return (self.ends[-1] - self.done) * spent["training"] / max(self.done, 1) + evaluations

    def _bridge(self, before: dict[str, float]) -> dict[str, float]:
        """With environments in host processes: where the time since ``before`` went, and how many workers were lost so far."""
        spent = {part: now - before[part] for part, now in self.programs.spent.items()}
        shares = {part: x / max(sum(spent.values()), 1e-9) for part, x in spent.items()}
        return shares and shares | {"restarts": len(self.programs.losses)}

    def _record(self, parts: list[dict], speed: dict[str, float]) -> None:
        """Add rows for ``parts`` (metrics of the updates since the last rows), and evaluate if it is time."""
        metrics, found = record.joined(parts), {}
        if self.done in self.evals:
            self.reporter.busy("evaluating")
            with self.timed("evaluating"):
                players = self.progress.state.players
                measured = self.programs.evaluate(players, np.int32(0))
                found = {name: np.asarray(x) for name, x in measured.items()}
                self.progress = self.progress._replace(best=self.programs.choose(self.progress.best, players, measured))
        count = len(next(iter(metrics.values()))[0]) if metrics else 1
        updates = range(self.done - count + 1, self.done + 1)
        rows = record.rows(self.seeds, updates, self.per_update, metrics, found, speed)
        self.run.append(rows)
        self.shown = record.shown(metrics | found, self.shown)
        step = self.done * self.per_update
        self.logger.log(step, rows.drop(columns=["seed", "update", "step"]).mean(skipna=True).dropna().to_dict())
        if self.done:
            self._tell_of_losses()
            self.reporter.update(step, self.shown, self._left())

    def _is_late(self) -> bool:
        return time.perf_counter() - self.saved_at > SAVE_SECONDS

    def _save(self) -> None:
        with self.timed("saving"), writing(self.run.path):
            about, (tree, replay) = {"seconds": self.seconds}, apart(self.progress)
            replay = replay if self.job.run.checkpoint_replay else None
            checkpoints.save(self.run.path, Checkpoint(self.done, tree, self.run.metrics(), about, replay))
        self.saved_at = time.perf_counter()

    # NON-FINITE NUMBERS

    def _report_non_finite(self, seed: int, first: int) -> None:
        """Stop with what there is to say of the first bad update, number ``first``."""
        evidence, culprits = self._evidence(seed, first)
        advice = "Try a smaller learning rate"
        if culprits:
            advice = f"The environment gave what is not finite ({', '.join(culprits)}): mend it"
        message = (
            f"{self.streak.patience} update(s) in a row were not finite (seed {self.seeds[seed]}, from step "
            f"{first * self.per_update:,}) and were not taken; {evidence}, and checkpoints are as they were. "
            f"{advice}, or on_nan=skip"
        )
        if self.job.run.on_nan == "raise":
            raise FloatingPointError(message)
        raise Stopped(message, 1)

    def _evidence(self, seed: int, first: int) -> tuple[str, list[str]]:
        """Make the run again up to update number ``first``, keep what that learns from, and say where.

        Also what of it the environment gave and is not finite.
        """
        if self.learner.env.vectorise:
            gone = (
                "what the first one learnt from is gone, because environments in host processes cannot be played again"
            )
            return gone, [words for what, words in NON_FINITE.items() if what in self.noted]
        self.reporter.say("an update was not finite: looking for what it learnt from, from the last checkpoint on")
        with self.signals.ending_at_once(
            f"stopped: updates were not finite; to go on: hamljax resume {as_typed(self.run.path)}"
        ):
            return self._find_evidence(seed, first)

    def _find_evidence(self, seed: int, first: int) -> tuple[str, list[str]]:
        before = [u for u in checkpoints.kept(self.run.path) if u < first and not checkpoints.damage(self.run.path, u)]
        if before:
            shapes, replay = apart(self.programs.shapes)
            found = checkpoints.restore(self.run.path, shapes, before[-1], replay=replay)
            state, done = self.programs.place(self._whole(found)).state, found.update
        else:
            state, done = self.programs.begin(self.seeds).state, 0
        while done < first - 1:
            count = min(first - 1 - done, CAPACITY)
            state, _ = self.programs.advance(state, np.int32(count))
            done += count
        batch = jax.jit(self.learner.algorithm.evidence)(jax.tree.map(lambda x: x[seed], state))
        file = self.run.path / "non_finite_batch.npz"
        with writing(self.run.path), replaced(file) as unfinished:
            arrays = {jax.tree_util.keystr(path).lstrip("."): x for path, x in jax.tree.leaves_with_path(batch)}
            np.savez(unfinished, **arrays)
        culprits = not_finite(self.learner.env.team, batch, self.job.config.truncation)
        return f"what the first one learnt from is in {file}", culprits

    # FINISH

    def finish(self) -> None:
        """Measure the best team, sum up, draw."""
        words = (
            f"stopped: trained to the end and saved; to measure the best team: hamljax resume {as_typed(self.run.path)}"
        )
        with self.signals.ending_at_once(words):
            self._finish()

    def _finish(self) -> None:
        absolute = {}
        if self.job.run.absolute_metric and self.evals:
            with self.timed("evaluating"):
                best = self.progress.best.players
                self.reporter.say(
                    f"measuring the best team: {ABSOLUTE_ROUNDS} x {self.job.config.num_eval_episodes} episodes"
                )
                rounds = [self.programs.evaluate(best, np.int32(n + 1)) for n in range(ABSOLUTE_ROUNDS)]
                absolute = {name: record.mean_of_numbers([r[name] for r in rounds]) for name in rounds[0]}
        steps = self.done * self.per_update
        self.run.write_summary(record.summary(self.run.metrics(), self.seeds, steps, self.seconds, absolute))
        with writing(self.run.path):
            draw_runs([self.run.path], self.run.path / "curves.png")
        spent = clock(sum(self.seconds.values()) - self.seconds["compiling"])
        self.reporter.say(f"done in {spent}: {self.run.path}/curves.png, summary.json, metrics.parquet")
