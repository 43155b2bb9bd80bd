"""Studies: what their files say, that they go on wherever they were cut off, and that their comparisons find what is there."""

import dataclasses
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sizes import long

from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.commands import study as command
from hamljax.lab.commands.report import study_at
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.statistics import mean_difference, runs_to_tell_apart
from hamljax.lab.studies import comparison, leaderboard
from hamljax.lab.studies.choice import chosen, scores_of_draws
from hamljax.lab.studies.comparison import compared, groups_of, pair, runs_to_decide, verdict
from hamljax.lab.studies.leaderboard import Line, lines_at
from hamljax.lab.studies.marl_eval import as_marl_eval
from hamljax.lab.studies.page import Page
from hamljax.lab.studies.plan import draws_of, job_of_cell, measuring, pairs, tuning
from hamljax.lab.studies.report import answer, report
from hamljax.lab.studies.study import BUDGETS, known, read_study, study_of
from hamljax.lab.studies.tables import as_csv, as_latex, as_markdown

SMALL = """
title: "Two <b>arms</b> & a game"
question: Which?
primary: {question: "Is a ahead?", x: a, y: b, statistic: improvement}
settings: [num_envs=4, num_steps=4, "network.hidden_sizes=[8]", algo.critic_epochs=1]
arms: {a: [algo=happo], b: [algo=mappo_ns, algo.update_epochs=1]}
tasks: {climbing: [env=game/climbing]}
tuning:
  algo.actor_lr: {low: 1e-3, high: 1e-1, log: true}
  algo.update_epochs: [1, 2]
budgets:
  smoke: {total_timesteps: 64, tuning_timesteps: 32, draws: 2}
"""

PLAIN = {"title": "t", "question": "q?", "primary": {"question": "?", "x": "a", "y": "b"}}
PLAIN |= {"arms": {"a": [], "b": []}, "tasks": {"t": []}}


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A folder with a study of one's own, in which one types; how long it takes is not tried."""
    monkeypatch.setattr(command.Costs, "measure", lambda self, job: self.add(job, 10.0, 1e-4))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    return tmp_path


def line(row: str, game: str, scores, seeds=None, **more) -> Line:
    seeds = list(range(len(scores))) if seeds is None else seeds
    settings = {"algo": {"name": row}, "env": {"name": f"game/{game}"}, "seed": seeds[0]}
    return Line(
        **{
            "row": row,
            "environment": f"game/{game}",
            "settings": settings,
            "settings_sha256": f"{row}{game}{seeds}",
            "seeds": seeds,
            "steps": 100,
            "absolute": {"eval/return": list(map(float, scores))},
            "at": [0, 50, 100],
            "curves": {"eval/return": [[0.0, x / 2, float(x)] for x in scores]},
            "seconds": {"compiling": 1.0, "training": 2.0, "evaluating": 1.0, "saving": 0.0},
            "version": "0",
            "commit": "",
            "device": "cpu",
            "command": "hamljax train",
        }
        | more
    )


# WHAT FILES SAY


@pytest.mark.parametrize("name", known())
def test_every_study_says_what_decides_and_composes(name):
    study = read_study(name)
    assert study.question.endswith("?") and study.primary.question.endswith("?") and study.scope
    for key in BUDGETS:
        budget = study.budget(key)
        assert next(iter(pairs(study, budget)))[1] in (study.primary.x, study.primary.y)
    budget = study.budget("smoke")
    for task, arm in pairs(study, budget):
        assert [
            job_of_cell(cell)
            for cell in [*tuning(study, budget, task, arm), *measuring(study, budget, "tuned", task, arm, {})]
        ]


@pytest.mark.parametrize("name", long(*known()))
def test_every_run_of_every_study_composes(name):
    study = read_study(name)
    budget = study.budget("paper")
    draw = draws_of(study, budget)[-1]
    for task, arm in pairs(study, budget):
        (cell,) = measuring(study, budget, "tuned", task, arm, draw)
        job = job_of_cell(cell)
        assert job.run.num_seeds == budget.seeds
        for cell in tuning(study, budget, task, arm):
            assert len(job_of_cell(cell).configs) == len(cell.draws) * budget.tuning_seeds


def test_every_arm_has_the_same_draws_on_seeds_of_the_search():
    study = read_study("figure1")
    budget = study.budget("cpu")
    draws = draws_of(study, budget)
    assert draws == draws_of(study, budget) and len(draws) == 8 and draws[0] == {}
    for draw in draws[1:]:
        for key, where in study.tuning.items():
            assert draw[key] in where.choices if where.choices else where.low <= draw[key] <= where.high
    happo, mappo = (tuning(study, budget, "5m_vs_6m", arm) for arm in ("happo", "mappo_ns"))
    same = [[word for word in cell.words if not word.startswith("algo=")] for cell in happo]
    assert same == [[word for word in cell.words if not word.startswith("algo=")] for cell in mappo]
    assert (
        sorted(n for cell in happo for n in cell.draws) == list(range(8)) and len(happo) == 2
    )  # one program for each epochs
    job = job_of_cell(happo[0])
    assert job.run.seed == 100_000 and job.config.algo.actor_lr == 1e-3  # the preset's own
    one, more, rest = measuring(study, budget, "tuned", "5m_vs_6m", "happo", draws[1], seeds=25)
    assert [(each.run.seed, each.run.num_seeds) for each in map(job_of_cell, (one, more, rest))] == [
        (0, 10),
        (10, 10),
        (20, 5),
    ]
    assert len({each.name for each in (one, more, rest)}) == 3


def test_what_an_arm_itself_names_is_not_tuned():
    study = read_study("coordination")
    (cell,) = tuning(study, study.budget("cpu"), "climbing", "happo_small")
    assert not any("actor_lr" in word and "per_seed" in word for word in cell.words)
    assert any(word.startswith("per_seed.algo.critic_lr") for word in cell.words)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"primary": {"question": "?", "x": "a", "y": "c"}}, "unknown primary arm 'c'"),
        ({"primary": {"question": "?", "x": "a"}}, "'primary.y' is missing"),
        ({"primary": {"question": "?", "x": "a", "y": "b", "statistic": "mean"}}, "unknown primary.statistic 'mean'"),
        ({"tunning": {}}, "unknown 'tunning'; did you mean 'tuning'?"),
        ({"tuning": {"algo.actor_lr": {"low": 1, "high": 0}}}, "is no interval: low=1 high=0"),
        ({"tuning": {"algo.actor_lr": {"low": 0, "high": 1, "log": True}}}, "is no interval"),
        ({"tuning": {"algo.actor_lr": {"lo": 0}}}, "unknown 'tuning.algo.actor_lr.lo'; did you mean 'low'?"),
        ({"budgets": {"cpuu": {}}}, "unknown budget 'cpuu'; did you mean 'cpu'?"),
        ({"budgets": {"cpu": {"seeds": 0}}}, "budgets.cpu.seeds must be at least 1"),
        ({"budgets": {"cpu": {"seeds": "x"}}}, "budgets.cpu.seeds must be a whole number"),
        ({"budgets": {"cpu": {"arms": ["a"]}}}, "lacks an arm of the primary comparison"),
        ({"budgets": {"cpu": {"tasks": ["k"]}}}, "name in budgets.cpu.tasks 'k'"),
        ({"arms": {}}, "there are no arms"),
        ({"arms": {"a/b": []}}, "the name 'a/b' of arms must be of letters"),
        ({"tasks": ["t"]}, "tasks must be names with values"),
        ({"arms": {"a": [], "b": [], "c(d)": []}}, "must be of letters, digits and"),
        ({"tasks": {"t": [], "t-x": []}, "arms": {"a": [], "b": [], "x-a": []}}, "two runs would be called 't-x-a'"),
        ({"primary": {"question": "?", "x": "a", "y": "a"}}, "are both 'a'"),
        ({"tuning": {"algo.actor_lr": []}}, "tuning.algo.actor_lr"),
        ({"tuning": {"algo.actor_lr": {"low": 0, "high": float("inf")}}}, "is no interval"),
        ({"title": None}, "title"),
    ],
)
def test_a_file_that_says_something_else_is_one_line(wrong, said):
    assert study_of("mine", PLAIN).budget("cpu").seeds == 10
    with pytest.raises(ConfigError, match=re.escape(said)):
        study_of("mine", PLAIN | wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "study takes one name"),
        (["figure4", "budget=cpu"], "unknown study 'figure4'; did you mean 'figure"),
        (["figure1"], "needs budget=, one of: smoke, cpu, gpu, paper"),
        (["figure1", "budget=large"], "unknown budget 'large'"),
        (["figure1", "budget=cpu", "arms=hapo"], "unknown arm 'hapo'; did you mean 'happo'?"),
        (["figure1", "budget=cpu", "seeds=3"], "seeds must be a whole number, at least 10"),
        (["figure1", "budget=cpu", "task=3m"], "study knows no 'task'; did you mean 'tasks'?"),
        (["mine.yaml", "budget=cpu"], "'mine.yaml' is not a file"),
        (["figure1", "budget=cpu", "-m"], "study knows no '-m'"),
        (["figure1", "budget=cpu", "dry_run=1x"], "dry_run must be true or false"),
    ],
)
def test_a_word_that_is_mistaken_is_one_line(words, said, capsys):
    assert main(["study", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


# HOW A STUDY IS CONDUCTED


class Cut(Exception):
    pass


def conduct(monkeypatch, most: int | None = None) -> int:
    """``hamljax study small.yaml``, killed in the run after ``most``. Returns how many were trained."""
    from hamljax.lab.commands import hydra_app

    trained, real = [], hydra_app.train

    def some(words: list[str]) -> None:
        if len(trained) == most:
            raise Cut
        trained.append(words)
        real(words)

    with monkeypatch.context() as patch:
        patch.setattr(hydra_app, "train", some)
        try:
            assert main(["study", "small.yaml", "budget=smoke"]) == 0
        except Cut:
            pass
    return len(trained)


def shown(folder: Path) -> list[dict]:
    """The leaderboard without what depends on how fast it was."""
    texts = (folder / leaderboard.FILE).read_text(encoding="utf-8").splitlines()
    return sorted(({**json.loads(text), "seconds": None} for text in texts), key=lambda x: x["settings_sha256"])


def test_a_study_cut_off_anywhere_goes_on_to_the_same_tables(large, small, monkeypatch, capsys):
    """Its runs are the ordinary ones, of which others test that what was stopped is as what was not."""
    folder = small / "studies/small-smoke"
    assert main(["study", "small.yaml", "budget=smoke", "dry_run=true"]) == 0 and not folder.exists()
    assert conduct(monkeypatch, most=2) == 2
    assert "report: studies/small-smoke/report.html" in capsys.readouterr().out and len(shown(folder)) == 2
    assert conduct(monkeypatch, most=1) + conduct(monkeypatch) == 3
    whole = shown(folder)
    # Two numbers of epochs are two programs; b has one of its own.
    assert sorted((one["arm"], one["stage"], *one["draws"]) for one in whole) == [
        ("a", "tune", 0),
        ("a", "tune", 1),
        ("a", "tuned"),
        ("b", "tune", 0, 1),
        ("b", "tuned"),
    ]
    said = capsys.readouterr().out
    assert "Is a ahead?" in said.splitlines()[-1] and "2 seeds of each" in said
    shutil.rmtree(folder / "runs")  # the lines are enough
    assert conduct(monkeypatch) == 0 and shown(folder) == whole
    if large:
        folder.rename(small / "elsewhere")
        conduct(monkeypatch)  # undisturbed
        assert shown(folder) == whole

    for one in whole:
        words = shlex.split(one["command"])
        assert (
            words[:2] == ["hamljax", "train"]
            and leaderboard.fingerprint(make_job(words[2:]).resolved) == one["settings_sha256"]
        )
    check_page(folder / "report.html")
    assert main(["report", str(folder), "out=page.html"]) == 0
    assert (small / "page.html").read_text(encoding="utf-8") == (folder / "report.html").read_text(encoding="utf-8")
    assert (
        main(["compare", str(folder), "out=table.md"]) == 0
        and "| a | b | climbing |" in (small / "table.md").read_text()
    )
    if large:
        assert main(["study", "small.yaml", "budget=smoke", "seeds=4"]) == 0  # more of them are runs of their own
        assert len(shown(folder)) == len(whole) + 2 and "4 seeds of each" in capsys.readouterr().out.splitlines()[-1]
        whole = shown(folder)
    (small / "small.yaml").write_text(SMALL.replace("Is a ahead", "Is b behind"), encoding="utf-8")
    assert main(["study", "small.yaml", "budget=smoke"]) == 2 and "asks something else" in capsys.readouterr().err
    assert shown(folder) == whole


class Reader(HTMLParser):
    """What a page refers to, its tags and its text."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "poster")]

    def handle_data(self, data):
        self.text += data


def check_page(file: Path) -> None:
    """It needs nothing else, and what was typed is text."""
    source = file.read_text(encoding="utf-8")
    page = Reader()
    page.feed(source)
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", source))
    assert "b" not in page.tags and "script" not in page.tags and "Two <b>arms</b> & a game" in page.text
    for part in ("The primary comparison", "Curves", "Scores", "Tuning", "Settings", "To repeat it", "the preset"):
        assert part in page.text


def test_whatever_stands_on_a_page_is_text():
    page, evil = Page("<script>1</script>"), '"><img src=x onerror=alert(1)>'
    page.text(evil, evil)
    page.heading(evil)
    page.table([evil], [[evil]])
    page.code([evil])
    page.folded(evil, [evil], [[evil]])
    read = Reader()
    read.feed(str(page))
    assert not read.links and not {"img", "script"} & set(read.tags) and read.text.count(evil) == 8


def test_a_run_that_fails_does_not_keep_the_others(small, monkeypatch, capsys):
    from hamljax.errors import Stopped
    from hamljax.lab.commands import hydra_app

    begun = []

    def fail(words: list[str]) -> None:
        begun.append(words[2])
        raise Stopped("it diverged", 130 if len(begun) == 4 else 1)

    monkeypatch.setattr(hydra_app, "train", fail)
    assert (
        main(["study", "small.yaml", "budget=smoke"]) == 1 and len(begun) == 3
    )  # no arm has a draw to be measured with
    error = capsys.readouterr().err
    assert error.count("it diverged") == 3 and "3 run(s) failed; the same command tries them again" in error
    assert main(["study", "small.yaml", "budget=smoke"]) == 130 and len(begun) == 4


def test_a_launcher_has_all_runs_of_a_stage_at_once(small, monkeypatch):
    from hamljax.lab.commands import hydra_app

    swept = []
    monkeypatch.setattr(hydra_app, "train", swept.append)
    main(["study", "small.yaml", "budget=smoke", "hydra/launcher=joblib"])
    (words,) = swept  # what is to be measured is not known as long as nothing is tuned
    assert words[-3:-1] == ["-m", "hydra/launcher=joblib"] and words[2].count(",") == 2


@pytest.mark.parametrize("name", known())
def test_a_dry_run_of_every_study(name, monkeypatch, capsys):
    monkeypatch.setattr(command.Costs, "measure", lambda self, job: self.add(job, 10.0, 1e-4))
    assert main(["study", name, "budget=smoke", "dry_run=true"]) == 0
    out = capsys.readouterr().out
    assert "about" in out and "one after another" in out and read_study(name).primary.question[:20] in out


@pytest.mark.parametrize("name", long(*known()))
def test_every_study_is_conducted_at_its_smallest(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", name, "budget=smoke"]) == 0
    study, page = read_study(name), tmp_path / f"studies/{name}-smoke/report.html"
    assert study.primary.question in capsys.readouterr().out.splitlines()[-1] and "data:image/png" in page.read_text()
    stages = [one.stage for one in lines_at([str(page.parent)], every=True)]
    assert stages.count("tuned") == 2 and ("tune" in stages) == bool(study.tuning)


# COMPARISONS


@pytest.fixture
def fewer_resamples(monkeypatch):
    for name in ("difference", "probability_of_improvement"):
        whole = getattr(comparison, name)
        monkeypatch.setattr(comparison, name, lambda *x, whole=whole, **options: whole(*x, resamples=1_000, **options))


def test_the_draw_with_the_best_later_half_is_chosen():
    def tried(draws, curves):
        return line("a", "t", [0.0] * len(curves), draws=draws, curves={"eval/return": curves})

    lines = [
        tried([0, 2], [[0, 5, 1, 1], [0, 5, 1, 3], [0, 0, 2, 3], [0, 0, 3, 2]]),
        tried([1], [[9, 9, 0, 0], [9, 9, 0, None]]),
    ]
    assert scores_of_draws(lines, "eval/return") == {0: 1.5, 2: 2.5, 1: -np.inf}
    draws = [{}, {"x": 1.0}, {"x": 2.0}]
    assert chosen(lines, "eval/return", draws) == {"x": 2.0} and chosen([], "eval/return", draws) == {}


def test_by_a_setting_runs_are_compared_that_differ_in_nothing_else():
    def of(name, coordination, drift, scores):
        settings = {
            "algo": {"name": name, "coordination": coordination, "drift": drift},
            "env": {"name": "game/t"},
            "seed": 0,
        }
        return line(name, "t", scores, settings=settings)

    lines = [of("happo", "sequential", "clip", [1, 2]), of("mappo_ns", "simultaneous", "clip", [1, 1])]
    lines += [of("haa2c", "sequential", "none", [5, 6]), of("maa2c_ns", "simultaneous", "none", [3, 4])]
    metric, groups = groups_of(lines, by="algo.coordination")
    assert metric == "eval/return" and set(groups) == {"sequential", "simultaneous"}
    with pytest.raises(ConfigError, match="is a search"):
        groups_of([line("happo", "t", [1, 2], settings={"algo": {}, "env": {}, "per_seed": {"gamma": [0.9, 0.5]}})])
    (found,) = compared(groups, metric)
    assert [row.task for row in found.rows] == ["game/t drift=clip", "game/t drift=none"]
    assert [float(row.difference.value) for row in found.rows] == [0.5, 2.0]
    with pytest.raises(ConfigError, match="no setting 'algo.coordinatoin'; did you mean 'algo.coordination'"):
        groups_of(lines, by="algo.coordinatoin")
    with pytest.raises(ConfigError, match="by=arm is for runs of a study"):
        groups_of(lines, by="arm")
    with pytest.raises(ConfigError, match="no two were measured on the same task"):
        compared(groups_of(lines[1:3], by="algo.coordination")[1], metric)
    with pytest.raises(ConfigError, match="there is no 'happ' among these runs; did you mean"):
        compared(groups_of(lines)[1], metric, against="happ")


def test_a_planted_difference_is_found_with_the_seeds_that_were_said(fewer_resamples):
    generator, gap, sd = np.random.default_rng(0), 0.3, 0.25
    runs = int(runs_to_tell_apart(gap, sd, sd))
    found = []
    for _ in range(200):
        x, y = (generator.normal(mean, sd, runs) for mean in (gap, 0.0))
        _, groups = groups_of([line("a", "t", x), line("b", "t", y)])
        (one,) = compared(groups, "eval/return")
        found.append([one.rows[0].verdict, verdict(one.decides)])
    ahead = (np.array(found) == "ahead").mean(axis=0)
    assert (ahead > 0.72).all() and not (np.array(found) == "behind").any()  # it was said for a power of 0.8
    few = compared(groups_of([line("a", "t", [3.0, 2.0]), line("b", "t", [1.0, 1.5])])[1], "eval/return")[0]
    assert float(few.decides.low) > 0 and verdict(few.decides) == "undecided" and runs_to_decide(few.decides) >= 3
    assert few.rows[0].verdict == "undecided" and few.rows[0].more > 0


@pytest.mark.parametrize("statistic", ["iqm", *long("improvement")])
def test_equals_are_seldom_declared_different(statistic, fewer_resamples):
    generator, declared = np.random.default_rng(1), np.zeros(2, int)
    for _ in range(400):
        win_rates = 1 / (1 + np.exp(-(1.5 + 0.7 * generator.normal(size=(2, 2, 10)))))
        groups = {
            name: {task: dict(enumerate(scores)) for task, scores in zip("st", both, strict=True)}
            for name, both in zip("ab", win_rates, strict=True)
        }
        found = pair(groups, "a", "b", "eval/won", statistic)
        declared += [verdict(found.decides) != "undecided", found.rows[0].verdict != "undecided"]
    assert (declared <= 31).all() and (declared > 4).all()


def test_more_runs_are_asked_for_by_how_wide_the_interval_is():
    _, groups = groups_of([line("a", "t", [1.0, 2.0, 3.0, 2.5]), line("b", "t", [1.1, 2.0, 2.0, 2.5])])
    found = compared(groups, "eval/return")[0].decides
    wider = dataclasses.replace(
        found, low=found.value - 0.2, high=found.value + 0.2, value=np.array(0.1), runs=(10, 10)
    )
    # A standard error of 0.2 / 1.96 with ten runs; 0.1 is 2.8 of them with 10 (2.8 * 0.102 / 0.1)^2 = 81.6 runs.
    assert runs_to_decide(dataclasses.replace(wider, low=np.array(-0.1), high=np.array(0.3))) == 72
    assert runs_to_decide(dataclasses.replace(wider, low=np.array(0.05))) == 0
    assert runs_to_decide(dataclasses.replace(wider, value=np.array(0.0), low=np.array(-0.1))) == np.inf


def test_tables_of_papers():
    columns, rows = ("a|b", "x_1"), [("1 < 2", "50 %"), ("q,r", 'say "x"')]
    assert as_markdown(columns, rows).splitlines()[0] == "| a\\|b | x_1 |"
    latex = as_latex(columns, rows)
    assert r"x\_1" in latex and r"1 $<$ 2 & 50 \% \\" in latex and latex.count("&") == 3
    assert as_csv(columns, rows).splitlines()[2] == '"q,r","say ""x"""'


# WHAT IS KEPT HERE

HERE = Path(__file__).parents[1]
KEPT = sorted((HERE / "experiments/studies").glob("*/leaderboard.jsonl"))


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.parent.name)
def test_a_leaderboard_that_is_kept_here_can_be_made_again(file):
    """Every line is of a run of its study that composes today, and no two are of one."""
    lines = leaderboard.read_lines(file)
    study, budget = study_at([file.parent])
    assert study.primary.question and file.parent.name == f"{study.name}-{budget}"
    for one in lines:
        words = shlex.split(one.command)
        assert leaderboard.fingerprint(make_job(words[2:]).resolved) == one.settings_sha256
        assert one.study == study.name and one.arm in study.arms and one.task in study.tasks
        shape = (len(one.seeds), len(one.at))
        assert all(np.shape(scores) == shape for scores in one.curves.values()) and one.at[-1] == one.steps
        assert all(len(scores) == len(one.seeds) for scores in one.absolute.values())
    assert len({one.settings_sha256 for one in lines}) == len(lines)


def test_what_the_front_page_says_is_what_was_found():
    """Each interval of the README's answer, and of the claims above the tables, stands in a table that a program wrote."""
    results, readme = ((HERE / name).read_text(encoding="utf-8") for name in ("experiments/RESULTS.md", "README.md"))
    claims, tables = results.split("<!-- What follows", 1)
    answer = readme.split("## Does coordination pay?", 1)[1].split("\n## ", 1)[0]
    number = r"[-+]?\d+\.\d+"
    said = re.findall(rf"({number}) \[({number}), ({number})\]", answer + claims)
    found = [tuple(map(float, x)) for x in re.findall(rf"({number}) \[({number}), ({number})\]", tables)]
    found += [tuple(-x for x in (value, high, low)) for value, low, high in found]  # said of Y minus X
    assert len(said) >= 4
    for interval in said:
        assert tuple(map(float, interval)) in found, interval


def test_intervals_of_differences_are_those_of_the_book():
    from scipy import stats

    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(7, 2)), 3 * generator.normal(size=(5, 2))
    found = mean_difference(x, y, level=0.9)
    wanted = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.9)
    np.testing.assert_allclose([found.low, found.high], wanted, rtol=1e-12)
    paired = stats.ttest_rel(x[:5], y).confidence_interval(0.95)
    ours = mean_difference(x[:5], y, paired=True)
    np.testing.assert_allclose([ours.low, ours.high], paired, rtol=1e-12)
    same = mean_difference(np.ones((3, 1)), np.ones((4, 1)))
    assert same.low[0] == same.high[0] == 0


def test_every_task_has_its_own_seeds_and_paired_ones_are_those_of_both():
    groups = {
        "a": {"s": dict(enumerate([1.0, 2, 3, 4])), "t": {0: 1.0, 1: 2}},
        "b": {"s": {0: 0.0, 1: 1}, "t": {0: 0.0, 1: 3}},
    }
    (found,) = compared(groups, "eval/return")
    assert [row.x.runs for row in found.rows] == [(4,), (2,)] and found.difference.runs == (2, 2)
    (found,) = compared(groups, "eval/return", paired=True)
    assert [float(row.difference.value) for row in found.rows] == [1.0, 0.0] and found.rows[0].x.runs == (2,)
    groups["c"] = {"s": {0: 1.0}}  # one seed, which is no reason to compare nothing
    assert [(each.x, each.y) for each in compared(groups, "eval/return")] == [("a", "b")]
    with pytest.raises(ConfigError, match="needs two seeds of each"):
        compared(groups, "eval/return", against="c")


def test_of_several_studies_or_lengths_the_task_says_which():
    about = {"stage": "tuned", "task": "t", "arm": "a"}
    lines = [line("a", "t", [1, 2], study="s", **about), line("a", "t", [3, 4], study="r", **about)]
    assert set(groups_of(lines)[1]["a"]) == {"s t", "r t"}
    lines = [line("a", "t", [1, 2], study="s", **about), line("a", "t", [3, 4], study="s", steps=200, **about)]
    assert set(groups_of(lines)[1]["a"]) == {"t, 100 steps", "t, 200 steps"}


# FILES OF OTHERS


def test_the_communitys_json_is_what_its_package_takes():
    """Against a file that the package was given, and took."""
    recorded = json.loads((Path(__file__).parent / "fixtures/marl_eval.json").read_text(encoding="utf-8"))
    raw, lines = recorded["raw"], []
    for task, algorithms in raw["SMAX"].items():
        for algorithm, runs in algorithms.items():
            names = [name for name in runs["seed_0"] if name.startswith("step")]
            at = [runs["seed_0"][name]["step_count"] for name in names]
            means = {
                f"eval/{mine}": [[float(np.mean(run[name][theirs])) for name in names] for run in runs.values()]
                for mine, theirs in (("return", "return"), ("won", "win_rate"))
            }
            absolute = {
                f"eval/{mine}": [float(np.mean(run["absolute_metrics"][theirs])) for run in runs.values()]
                for mine, theirs in (("return", "return"), ("won", "win_rate"))
            }
            about = {"environment": f"SMAX/{task}", "study": "s", "stage": "tuned", "task": task, "arm": algorithm}
            lines.append(line(algorithm, task, range(len(runs)), at=at, curves=means, absolute=absolute, **about))
    table = as_marl_eval(lines)
    assert table.keys() == raw.keys()
    for task, algorithms in raw["SMAX"].items():
        for algorithm, runs in algorithms.items():
            for name, run in runs.items():
                ours = table["SMAX"][task][algorithm][name]
                later = [step for step in run.values() if step.get("step_count")]
                assert list(ours) == [*(f"step_{k}" for k in range(len(later))), "absolute_metrics"]
                for k, step in enumerate(later):
                    assert ours[f"step_{k}"]["step_count"] == step["step_count"]
                    for metric in ("return", "win_rate"):
                        assert ours[f"step_{k}"][metric] == [pytest.approx(np.mean(step[metric]))]
                wanted = run["absolute_metrics"]
                assert ours["absolute_metrics"] == {key: [pytest.approx(np.mean(x))] for key, x in wanted.items()}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "no finished run"),
        ([("a", "s", [1, 2]), ("a", "t", [1, 2]), ("b", "t", [1, 2])], "the same algorithms on every task; 'b'"),
        ([("a", "s", [1, 2]), ("a", "t", [1, 2, 3])], "the same seeds and steps"),
        ([("a", "s", [1, 2]), ("A", "s", [1, 2])], "makes names lower case"),
        ([("a,b", "s", [1, 2])], "no comma"),
        ([("a", "s", [1, 2]), ("a", "s", [1, 2])], "seed 0 of a on s is there twice"),
    ],
)
def test_what_the_package_would_break_at_is_said(lines, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        as_marl_eval([line(*each) for each in lines])


def test_a_line_of_a_leaderboard_is_read_back_or_named(tmp_path):
    file = tmp_path / leaderboard.FILE
    wanted = [line("a", "t", [1.0, 2.0]), line("b", "t", [3.0, 4.0], study="s", stage="tune", arm="b", task="t")]
    leaderboard.write_lines(file, wanted)
    assert leaderboard.read_lines(file) == wanted and leaderboard.read_lines(tmp_path / "none") == []
    assert lines_at([str(tmp_path)]) == wanted[:1] and lines_at([str(file)], every=True) == wanted
    whole = file.read_text()
    damaged = ["{}", "[", "[]", whole.splitlines()[0].replace("[1.0, 2.0]", "[1.0]")]
    damaged += [whole.splitlines()[0].replace("[1.0, 2.0]", '["x", 2.0]'), whole.splitlines()[0].replace("[0, 1]", "3")]
    for text in damaged:
        file.write_text(f"{whole}{text}\n")
        with pytest.raises(ConfigError, match="line 3 of"):
            leaderboard.read_lines(file)
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="cannot read"):
        leaderboard.read_lines(file)


@pytest.mark.parametrize(
    "text", ["a: [1", "3", "budgets: 3", "budgets: {cpu: {}}", "name: x\nbudgets: {cpu: {}}\ntitle: t"]
)
def test_a_damaged_study_is_one_line(text, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(text)
    leaderboard.write_lines(tmp_path / leaderboard.FILE, [line("a", "t", [1.0, 2.0])])
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "study.yaml" in error and error.count("\n") == 1


def test_a_report_leaves_out_what_is_no_number_and_says_so():
    study = study_of(
        "s",
        {**PLAIN, "tuning": {"algo.actor_lr": {"low": 0.1, "high": 1.0}}, "arms": {"a": [], "b": ["algo.actor_lr=1"]}},
    )
    about = {"study": "s", "task": "t"}
    lines = [line("a", "t", [1.0, 2.0], stage="tuned", arm="a", **about)]
    broken = {"absolute": {"eval/return": [None, 2.0]}, "stage": "tuned", "arm": "b"}
    lines += [line("b", "t", [1.0, 2.0], **about, **broken)]
    lines += [line("a", "t", [1.0, 2.0], stage="tune", arm="a", draws=[0, 1], **about)]
    text = Reader()
    text.feed(str(report(lines, study, "cpu", "here")))
    assert "a score of b on t is no finite number; the run is left out" in text.text and "Not measured yet" in text.text
    assert "algo.actor_lr=" in text.text  # which tuning chose for a
    assert str(report([], study, "cpu", "here")).count("No run is measured yet") == 1


def test_a_run_in_the_folder_of_another_is_not_taken_for_it(small, monkeypatch):
    """A study whose preset was changed has another run, and the line of the old one goes."""
    from hamljax.lab.studies.conduct import Conduct

    study = read_study("small.yaml")
    ours = Conduct(study, "smoke", study.budget("smoke"), small / "x")
    (cell,) = ours.measured("tuned", "climbing", "a", {})
    folder = ours.run_of(cell)
    assert main(["train", *cell.words, "gamma=0.5", f"run_dir={folder}"]) == 0
    ours.collect([cell])
    assert ours.line(cell) is None and ours.lines == {}


def test_an_answer_says_how_far_a_study_is():
    ahead = {"a": {"t": dict(enumerate([3.0, 4, 5, 4, 3, 4]))}, "b": {"t": dict(enumerate([1.0, 2, 1, 2, 1, 2]))}}
    (found,) = compared(ahead, "eval/return")
    assert answer(found, study_of("s", PLAIN), ["t"]).startswith("? Yes. iqm of eval/return, a - b: +2.")
    so_far = answer(found, study_of("s", PLAIN), ["t", "u"])
    assert so_far.startswith("? So far yes. ") and "(1 of 2 tasks: t; 6 seeds of each, 95 %)" in so_far
    other = study_of("s", {**PLAIN, "primary": {**PLAIN["primary"], "statistic": "improvement"}})
    turned = answer(dataclasses.replace(found, statistic="improvement"), other, ["t"])
    assert "iqm" not in turned and "P(a > b) = 1.00 [1.00, 1.00]" in turned
