"""What a report says of finished runs, and of the study that they belong to."""

from collections.abc import Sequence

import numpy as np

from ... import __version__
from ...errors import ConfigError
from ..drawing import report as pictures
from ..runs.reporter import clock
from ..statistics import Scores, student_t
from ..storage.files import number
from ..storage.saved_config import flatten
from .choice import best, scores_of_draws
from .comparison import ByTask, Pair, compared, groups_of, names_of, of_task, pair, runs_to_decide, verdict
from .leaderboard import Line
from .page import Page
from .plan import draws_of, searched, written
from .study import Study
from .tables import COLUMNS, rows_of, shown

MOST_PAIRS = 40


def report(lines: Sequence[Line], study: Study | None = None, budget: str = "", where: str = "") -> Page:
    """The page of finished runs.

    Args:
        lines: of all of them; of a study those of all stages. study, budget: which they belong to, if to one.
        where: the folder that is reported.

    Raises:
        ConfigError: these runs have no metric in common, or cannot be pooled.
    """
    page = Page(study.title if study else f"Runs in {where}")
    tuned = [line for line in lines if not line.study or line.stage == "tuned"]
    measured = [line for line in tuned if line.is_whole(study.metric)] if study else tuned
    if study:
        page.text(study.question)
        page.text(f"Study {study.name}, budget {budget}. {study.scope}", "note")
    if not measured:
        page.text(f"No run is measured yet; {len(lines)} are there in which arms were tuned.")
        return page
    metric, groups = groups_of(measured, study.metric if study else "")
    pairs = _pairs(groups, metric, study)
    if study:
        _answer(page, study, groups, metric, study.budget(budget).tasks)
    for line in [line for line in tuned if line not in measured]:
        page.text(f"Note: a score of {line.arm} on {line.task} is no finite number; the run is left out.", "note")
    _curves(page, measured, metric)
    _scores(page, lines, groups, metric, study)
    _comparisons(page, pairs, study)
    _profile(page, groups, metric)
    if study:
        _tuning(page, lines, study, budget)
    _settings(page, measured)
    _made(page, lines)
    return page


def acting(metric: str) -> str:
    """How teams act where a metric is measured."""
    return "sampled actions" if metric.startswith("eval_sampled") else "greedy"


def primary_of(groups: dict[str, ByTask], metric: str, study: Study) -> Pair | None:
    """The comparison that a study is made for; None while it cannot be made."""
    x, y = study.primary.x, study.primary.y
    try:
        return pair(groups, x, y, metric, study.primary.statistic) if groups[x].keys() & groups[y].keys() else None
    except (KeyError, ConfigError):
        return None


def answer(found: Pair, study: Study, wanted: Sequence[str]) -> str:
    """What the primary comparison says, in a sentence.

    Args:
        found: as far as it was measured. study: that it is of. wanted: the tasks that it is about.
    """
    decides, tasks = found.decides, [row.task for row in found.rows]
    told = {"ahead": "Yes", "behind": "No, the other way about", "undecided": "Undecided"}[verdict(decides)]
    gap = f"P({found.x} > {found.y}) = {shown(found.probability, digits=2)}"
    if study.primary.statistic != "improvement":
        gap = f"iqm of {found.metric}, {found.x} - {found.y}: {shown(found.difference, '+')}; {gap}"
    more = runs_to_decide(decides)
    plan = f" About {more:,.0f} more seeds of each would show a difference like this one." if 0 < more < 10_000 else ""
    seeds = " and ".join(str(count) for count in dict.fromkeys(found.difference.runs))
    so_far = ""
    if len(tasks) < len(wanted):
        told, so_far = f"So far {told[0].lower()}{told[1:]}", f"{len(tasks)} of {len(wanted)} tasks: "
    few = f" {found.difference.note[0].upper()}{found.difference.note[1:]}." if found.difference.note else ""
    return (
        f"{study.primary.question} {told}. {gap} ({so_far}{', '.join(tasks)}; {seeds} seeds of each, 95 %).{plan}{few}"
    )


def _answer(page: Page, study: Study, groups: dict[str, ByTask], metric: str, wanted: Sequence[str]) -> None:
    found = primary_of(groups, metric, study)
    page.heading("The primary comparison")
    if found is None:
        page.text(f"{study.primary.question} Not measured yet.", "answer")
        return
    page.text(answer(found, study, wanted), "answer")
    page.text(
        "The comparison was written down before the first run (study.yaml). Everything below is exploratory.", "note"
    )


def _pairs(groups: dict[str, ByTask], metric: str, study: Study | None) -> list[Pair]:
    try:
        return compared(groups, metric, study.primary.statistic if study else "iqm")[:MOST_PAIRS]
    except ConfigError:  # there is one arm, or one seed
        return []


def curves_of(lines: Sequence[Line], metric: str) -> dict[str, dict[str, pictures.Curve]]:
    """The evaluations of finished runs, by task and group; of several runs of one group at the steps that all have."""
    by_task: dict[str, dict[str, pictures.Curve]] = {}
    for line, (group, task) in zip(lines, names_of(lines), strict=True):
        if metric not in line.curves:
            continue
        scores, there = np.array(line.curves[metric], np.float64), by_task.setdefault(task, {})
        at = list(line.at)
        if group in there:  # more seeds of it
            before, others = there[group]
            both = [step for step in at if step in before]
            others, scores = others[:, [list(before).index(x) for x in both]], scores[:, [at.index(x) for x in both]]
            at, scores = both, np.concatenate([others, scores])
        there[group] = (at, scores)
    return by_task


def _curves(page: Page, lines: Sequence[Line], metric: str) -> None:
    by_task = curves_of(lines, metric)
    if by_task:
        page.heading("Curves")
        page.picture(
            pictures.curves(by_task, f"{metric}, {acting(metric)}"),
            f"{metric} over environment steps, a panel for each task",
        )
        page.text("Lines: means over seeds, whose number stands beside the name. Bands: Student's t, 95 %.", "note")


def _scores(page: Page, lines: Sequence[Line], groups: dict[str, ByTask], metric: str, study: Study | None) -> None:
    tasks = list(dict.fromkeys(task for by_task in groups.values() for task in by_task))
    page.heading("Scores")
    presets: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line.stage == "preset" and metric in line.absolute:
            presets.setdefault((line.arm, line.task), []).extend(line.scores(metric))
    rows = []
    for name, by_task in groups.items():
        cells = [_mean(list(by_task[task].values())) if task in by_task else "-" for task in tasks]
        rows.append((name, *cells))
        untuned = [presets.get((name, task)) for task in tasks]
        if study and any(untuned):
            same = [chose_preset(lines, study, name, task) for task in tasks]
            cells = [_mean(x) if x else "as tuned" if alike else "-" for x, alike in zip(untuned, same, strict=True)]
            rows.append((f"{name}, preset", *cells))
    page.table(("", *tasks), rows)
    page.text(
        f"{metric} of each seed's best team over ten times the episodes of an evaluation, {acting(metric)}: means over seeds "
        f"with Student's t intervals of 95 %.",
        "note",
    )


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return number(values[0]) if values else "-"
    return shown(of_task(student_t(np.array(values)[:, None])))


def _comparisons(page: Page, pairs: Sequence[Pair], study: Study | None) -> None:
    if not pairs:
        return
    page.heading("Comparisons" + (", exploratory but for the primary one" if study else ""))
    by_task: dict[str, list[tuple[str, float, float, float]]] = {}
    for each in pairs:
        for row in each.rows:
            gap = row.difference
            by_task.setdefault(row.task, []).append(
                (f"{each.x} - {each.y}", float(gap.value), float(gap.low), float(gap.high))
            )
    for task, some in by_task.items():
        page.picture(pictures.differences(some, f"{task}: X - Y"), f"differences on {task} with their intervals")
    page.table(COLUMNS, rows_of(pairs))
    page.text(
        "Of a task: Student's t (Welch) of the means; p, after Holm over the tasks, decides. Of all: the stratified bootstrap. "
        "More seeds: of each, that would show a difference like this one with a power of 80 %.",
        "note",
    )


def _profile(page: Page, groups: dict[str, ByTask], metric: str) -> None:
    tasks = [task for task in next(iter(groups.values())) if all(task in by_task for by_task in groups.values())]
    every = {name: [list(by_task[task].values()) for task in tasks] for name, by_task in groups.items()}
    counts = {name: {len(scores) for scores in by_task} for name, by_task in every.items()}
    if not tasks or any(len(count) != 1 for count in counts.values()):
        return
    low, high = np.zeros(len(tasks)), np.ones(len(tasks))
    label = metric
    if metric != "eval/won":
        pools = [np.concatenate([by_task[i] for by_task in every.values()]) for i in range(len(tasks))]
        low, high = np.array([pool.min() for pool in pools]), np.array([pool.max() for pool in pools])
        label = f"{metric}, 0 and 1: the worst and the best run of a task"
    if (high <= low).any():
        return
    scaled = {name: Scores((np.array(by_task).T - low) / (high - low), tuple(tasks)) for name, by_task in every.items()}
    page.heading("Performance profile")
    page.picture(pictures.profiles(scaled, label), f"share of runs above each {label}")


def chose_preset(lines: Sequence[Line], study: Study, arm: str, task: str) -> bool:
    """Whether tuning an arm on a task chose the preset."""
    tuned = [line for line in lines if (line.stage, line.arm, line.task) == ("tune", arm, task)]
    return bool(tuned) and best(scores_of_draws(tuned, study.metric)) == 0


def _tuning(page: Page, lines: Sequence[Line], study: Study, budget: str) -> None:
    size = study.budget(budget)
    draws, rows = draws_of(study, size), []
    tuned = [line for line in lines if line.stage == "tune" and study.metric in line.curves]
    for task, arm in dict.fromkeys((line.task, line.arm) for line in tuned if line.arm in study.arms):
        scores = scores_of_draws([line for line in tuned if (line.task, line.arm) == (task, arm)], study.metric)
        first, ranges = best(scores), searched(study, size, arm)
        if first >= len(draws):  # of a leaderboard that somebody else wrote
            continue
        own = [f"{key}={written(value)}" for key, value in draws[first].items() if key in ranges]
        spread = f"{number(min(scores.values()))} to {number(max(scores.values()))}"
        numbers = number(scores[first]), number(scores.get(0))
        rows.append((task, arm, str(len(scores)), " ".join(own) or "the preset", *numbers, spread))
    if rows:
        page.heading("Tuning")
        page.table(("task", "arm", "draws", "chosen", "its score", "the preset's", "all draws"), rows)
        page.text(
            "Every arm had the same draws, on seeds of their own. Score: mean over the later half of the evaluations.",
            "note",
        )


def _settings(page: Page, lines: Sequence[Line]) -> None:
    flat = [flatten(line.settings) for line in lines]
    keys = sorted(set().union(*flat))
    same = {key for key in keys if len({each.get(key) for each in flat}) == 1}
    page.heading("Settings")
    names = [line.arm or line.row for line in lines]
    columns = [f"{name}, {line.task or line.environment}" for name, line in zip(names, lines, strict=True)]
    page.folded(
        "in which the runs differ",
        ("setting", *columns),
        [(key, *(each.get(key, "-") for each in flat)) for key in keys if key not in same],
    )
    page.folded("which all have", ("setting", "value"), [(key, flat[0][key]) for key in keys if key in same])


def _made(page: Page, lines: Sequence[Line]) -> None:
    page.heading("To repeat it")
    page.code(line.command for line in lines)
    devices = ", ".join(sorted({line.device for line in lines}))
    versions = ", ".join(sorted({f"hamljax {line.version} {line.commit}".strip() for line in lines}))
    seconds = sum(sum(line.seconds.values()) for line in lines)
    steps = sum(line.steps * len(line.seeds) for line in lines)
    page.text(
        f"{len(lines)} runs, {steps:,} steps of all seeds, {clock(seconds)} of computing ({devices}; {versions}). "
        f"Written by hamljax {__version__}.",
        "note",
    )
