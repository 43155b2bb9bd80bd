"""Statistics: against recorded numbers, brute force, hand-computed cases, exact enumeration and simulation."""

import itertools
import json
import math
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hamljax
from hamljax.errors import ConfigError
from hamljax.lab.statistics import intervals
from hamljax.lab.storage import files
from hamljax.lab.storage.saved_config import write_yaml

st = hamljax.statistics
PAGE = (Path(__file__).parents[1] / "docs/statistics.md").read_text()
RECORDED = json.loads((Path(__file__).parent / "fixtures/statistics.json").read_text())
TOLERANCE = RECORDED["tolerance"]
SCORES = {name: np.array(x) for group in (RECORDED, RECORDED["odd"]) for name, x in group["scores"].items()}
AGGREGATES = RECORDED["aggregates"] | RECORDED["odd"]["aggregates"]
PAIRS = [pair.split(",") for pair in RECORDED["difference_of_iqm"]]


def recorded(found, wanted, ends=TOLERANCE["ends"], low="low", high="high"):
    """Whether an estimate is the recorded one, and its ends those of rliable where they were recorded too."""
    np.testing.assert_allclose(found.value, wanted["value"], atol=TOLERANCE["value"])
    np.testing.assert_allclose([found.low, found.high], [wanted[low], wanted[high]], atol=ends)
    for name in wanted.keys() & {"rliable", "rliable_10000"}:
        np.testing.assert_allclose([found.low, found.high], wanted[name], atol=ends)
    if "rliable_low" in wanted:
        np.testing.assert_allclose([found.low, found.high], [wanted["rliable_low"], wanted["rliable_high"]], atol=ends)


# RECORDED NUMBERS


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_are_the_recorded_ones(name):
    found = st.aggregates(SCORES[name], seed=1)
    assert found.keys() == AGGREGATES[name].keys()
    for statistic, wanted in AGGREGATES[name].items():
        recorded(found[statistic], wanted, TOLERANCE["ends_of_odd" if name in "xy" else "ends"])


@pytest.mark.parametrize("name", RECORDED["task_bootstrap_20000"])
def test_intervals_for_tasks_like_these_are_the_recorded_ones(name):
    found = st.aggregates(SCORES[name], resamples=20_000, task_bootstrap=True)
    for statistic, wanted in RECORDED["task_bootstrap_20000"][name].items():
        np.testing.assert_allclose(found[statistic].low, wanted["low"], atol=TOLERANCE["task_bootstrap"])
        np.testing.assert_allclose(found[statistic].high, wanted["high"], atol=TOLERANCE["task_bootstrap"])


@pytest.mark.parametrize("pair", RECORDED["probability_of_improvement"])
def test_probabilities_of_improvement_are_the_recorded_ones(pair):
    wanted, (x, y) = RECORDED["probability_of_improvement"][pair], (SCORES[name] for name in pair.split(","))
    recorded(st.probability_of_improvement(x, y), wanted, TOLERANCE["ends_of_odd" if pair == "x,y" else "ends"])
    np.testing.assert_allclose(st.improvement_by_task(x, y), wanted["per_task"], atol=TOLERANCE["value"])


@pytest.mark.parametrize("name", RECORDED["scores"])
def test_profiles_and_curves_are_the_recorded_ones(name):
    profile, curve = RECORDED["profile"], RECORDED["curve"]
    recorded(st.performance_profile(SCORES[name], profile["tau"], resamples=50_000), profile[name])
    recorded(st.sample_efficiency(curve["scores"][name], resamples=50_000), curve[name])


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_comparisons_are_the_recorded_ones(x, y):
    wanted = RECORDED["difference_of_iqm"][f"{x},{y}"]
    wanted |= dict(zip(("paired_low", "paired_high"), wanted["same_rows_low_high"], strict=True))
    tests, (x, y) = wanted["per_task"], (SCORES[name] for name in (x, y))
    recorded(st.difference(x, y), wanted)
    recorded(st.difference(x, y, paired=True), wanted, low="paired_low", high="paired_high")
    options = {"resamples": 10, "test": "mann_whitney"}
    by_rank = st.compare(x, y, **options)
    np.testing.assert_allclose(by_rank.p, tests["mannwhitneyu_two_sided"], rtol=1e-8)
    np.testing.assert_allclose(by_rank.adjusted, tests["mannwhitneyu_holm"], rtol=1e-8)
    discoveries = st.compare(x, y, correction="benjamini_hochberg", **options)
    np.testing.assert_allclose(discoveries.adjusted, tests["mannwhitneyu_bh"], rtol=1e-8)
    np.testing.assert_allclose(st.compare(x, y, resamples=10).p, tests["welch_two_sided"], rtol=1e-8)


# POINT ESTIMATES BY HAND AND BY LOOPS


def test_aggregates_by_hand():
    scores = [[0.0, 0.5], [0.2, 0.7], [0.1, 3.0]]  # six scores, of which one goes at either end
    assert st.iqm(scores) == pytest.approx((0.1 + 0.2 + 0.5 + 0.7) / 4)
    assert st.mean(scores) == pytest.approx((0.1 + 1.4) / 2)
    assert st.median(np.c_[scores, [1.0, 1.0, 1.3]]) == pytest.approx(1.1)  # the middle of 0.1, 1.4 and 1.1
    assert st.optimality_gap(scores) == pytest.approx(1 - (0.0 + 0.5 + 0.2 + 0.7 + 0.1 + 1.0) / 6)
    assert st.optimality_gap(scores, target=2.0) == pytest.approx(2 - (0.0 + 0.5 + 0.2 + 0.7 + 0.1 + 2.0) / 6)
    np.testing.assert_allclose(st.task_means(scores), [0.1, 1.4])
    np.testing.assert_allclose(st.share_above(scores, [0.1, 0.5, 0.0]), [4 / 6, 2 / 6, 5 / 6])  # strictly above


@pytest.mark.parametrize("runs", range(1, 8))
@pytest.mark.parametrize("tasks", range(1, 5))
def test_estimates_are_those_of_loops(runs, tasks):
    generator = np.random.default_rng(10 * runs + tasks)
    x, y = generator.integers(0, 5, (runs, tasks)) / 4, generator.integers(0, 5, (runs + 2, tasks)) / 4
    assert st.iqm(x) == pytest.approx(stats.trim_mean(x, 0.25, axis=None))
    pool = sorted(x.ravel().tolist())
    cut = len(pool) // 4
    kept = pool[cut : len(pool) - cut]
    assert st.iqm(x) == pytest.approx(sum(kept) / len(kept))
    found = st.improvement_by_task(x, y)
    for task in range(tasks):
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in x[:, task] for b in y[:, task]]
        assert found[task] == pytest.approx(sum(wins) / len(wins))
        u = stats.mannwhitneyu(x[:, task], y[:, task]).statistic
        assert found[task] == pytest.approx(u / (runs * (runs + 2)))
    np.testing.assert_allclose(found + st.improvement_by_task(y, x), 1)


def test_estimates_keep_the_axes_after_the_first_two():
    scores = np.random.default_rng(0).random((5, 3, 4, 2))
    for statistic in (*st.AGGREGATES.values(), lambda x: st.improvement_by_task(x, x[:2] + 0.1)[1]):
        found = statistic(scores)
        assert found.shape == (4, 2)
        for i, j in np.ndindex(4, 2):
            assert found[i, j] == pytest.approx(statistic(scores[:, :, i, j]))


def test_equal_scores_are_one_half_exactly():
    same = np.tile([0.1, 0.7, 1.0], (7, 1))
    found = st.probability_of_improvement(same, same[:3], resamples=100)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    drawn = np.random.default_rng(0).random((7, 11))
    assert (st.improvement_by_task(drawn, drawn) == 0.5).all()


# THE BOOTSTRAP


def enumerated(x, tasks):
    """Every resample of runs within each of ``tasks``: arrays (runs, tasks)."""
    columns = [list(itertools.product(x[:, task], repeat=len(x))) for task in tasks]
    return [np.array(drawn).T for drawn in itertools.product(*columns)]


def is_quantile(outcomes, end, share):
    """Whether ``share`` of all outcomes, which are equally likely, lie below ``end``, up to ties and what 50,000 draws show."""
    outcomes = np.asarray(outcomes)
    below, up_to = (outcomes < end - 1e-9).mean(), (outcomes <= end + 1e-9).mean()
    return below - 0.01 <= share <= up_to + 0.01


X, Y = np.array([[0.1, 0.52], [0.33, 0.74], [0.95, 0.6]]), np.array([[0.2, 0.58], [0.41, 0.97]])


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_are_those_of_every_resample_there_is(level):
    tails = (1 - level) / 2, (1 + level) / 2
    stratified = [st.iqm(drawn) for drawn in enumerated(X, (0, 1))]
    of_tasks = [st.iqm(d) for tasks in itertools.product((0, 1), repeat=2) for d in enumerated(X, tasks)]
    for outcomes, drawn_too in ((stratified, False), (of_tasks, True)):
        found = st.bootstrap("iqm", X, level=level, task_bootstrap=drawn_too)
        assert is_quantile(outcomes, found.low, tails[0]) and is_quantile(outcomes, found.high, tails[1])
    gaps = np.subtract.outer(
        [st.mean(d) for d in enumerated(X[:2], (0, 1))], [st.mean(d) for d in enumerated(Y, (0, 1))]
    )
    same_rows = np.diagonal(gaps)  # both lists go through the rows in one order
    for outcomes, paired in ((gaps.ravel(), False), (same_rows, True)):
        found = st.difference(X[:2], Y, "mean", level=level, paired=paired)
        assert is_quantile(outcomes, found.low, tails[0]) and is_quantile(outcomes, found.high, tails[1]), paired


def test_resamples_do_not_depend_on_how_many_are_in_memory(monkeypatch):
    x, y = RECORDED["curve"]["scores"]["happo"], np.array(RECORDED["curve"]["scores"]["haa2c"])[:7]
    options = {"resamples": 61, "task_bootstrap": True, "seed": 3}
    whole = st.difference(x, y, **options)
    monkeypatch.setattr(intervals, "CELLS", 10 * 7 * 4 * 6 * 9)
    cut = st.difference(x, y, **options)
    np.testing.assert_array_equal([whole.low, whole.high], [cut.low, cut.high])
    assert (whole.resamples, whole.seed, whole.runs, whole.level) == (61, 3, (10, 7), 0.95)
    other = st.difference(x, y, **options | {"seed": 4})
    assert (other.low != whole.low).any()


def test_many_resamples_of_curves_need_little_memory():
    scores = np.random.default_rng(0).random((10, 18, 30))
    tracemalloc.start()
    st.sample_efficiency(scores, resamples=6_000)  # 0.26 GB, all at once
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6


def test_whole_runs_are_drawn_of_curves():
    """Curves that differ by a constant stay parallel in every resample, so that a difference along them has no width."""
    runs = np.random.default_rng(0).random((6, 3, 1))
    scores = np.concatenate([runs, runs + 0.5], axis=2)
    rise = st.bootstrap(lambda x: x[:, :, 1].mean((0, 1)) - x[:, :, 0].mean((0, 1)), scores, resamples=200)
    np.testing.assert_allclose([rise.value, rise.low, rise.high], 0.5)


def test_intervals_move_with_the_units():
    x = SCORES["happo"]
    one, other = st.bootstrap("iqm", x, resamples=500), st.bootstrap("iqm", 3 * x - 2, resamples=500)
    np.testing.assert_allclose([other.low, other.high], 3 * np.array([one.low, one.high]) - 2)


def test_students_interval_by_hand():
    found = st.student_t([[1.0], [2.0], [3.0], [4.0], [5.0]])
    half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)
    np.testing.assert_allclose([found.value[0], found.low[0], found.high[0]], [3, 3 - half, 3 + half])
    x = SCORES["happo"]
    found = st.student_t(x, level=0.9)
    for task in range(4):
        wanted = stats.ttest_1samp(x[:, task], 0).confidence_interval(0.9)
        np.testing.assert_allclose([found.low[task], found.high[task]], wanted)
    assert np.isnan(st.student_t(x[:1]).low).all()


# Normal scores around one half: the truth of a mean, and by symmetry of an IQM, is known.


def test_students_interval_covers_as_often_as_it_says():
    for runs in (2, 5):
        found = st.student_t(np.random.default_rng(runs).normal(0.5, 0.1, (runs, 4_000)))
        assert ((found.low <= 0.5) & (0.5 <= found.high)).mean() == pytest.approx(0.95, abs=0.015)


def coverage(runs, repetitions=200):
    generator, count = np.random.default_rng(runs), 0
    for seed in range(repetitions):
        scores = generator.normal([0.2, 0.4, 0.6, 0.8], 0.1, (runs, 4))
        found = st.bootstrap("iqm", scores, resamples=500, seed=seed)
        count += found.low <= 0.5 <= found.high
    return count / repetitions


def test_the_bootstrap_covers_enough_with_ten_runs_and_too_little_with_three():
    assert 0.88 <= coverage(10) <= 0.98
    assert coverage(3) < 0.87


# TESTS, CORRECTIONS, PLANS


def test_tests_are_scipys_where_scores_have_spread():
    x, y = SCORES["x"], SCORES["y"]
    np.testing.assert_allclose(st.welch(x, y), stats.ttest_ind(x, y, equal_var=False).pvalue)
    np.testing.assert_allclose(st.paired_t(x[:5], y), stats.ttest_rel(x[:5], y).pvalue)
    np.testing.assert_allclose(st.mann_whitney(x, y), stats.mannwhitneyu(x, y).pvalue)
    tied = np.c_[x, np.ones(7)], np.c_[y, np.ones(5)]
    np.testing.assert_allclose(st.mann_whitney(*tied), [*st.mann_whitney(x, y), 1])


def test_scores_without_spread_have_a_p_value():
    solved, near = np.full((5, 2), 0.1), np.full((3, 2), [0.1, 0.3])
    np.testing.assert_array_equal(st.welch(solved, near), [1, 0])
    np.testing.assert_array_equal(st.paired_t(solved[:3], near), [1, 0])
    np.testing.assert_array_equal(st.paired_t(np.full((3, 1), 0.1), np.zeros((3, 1))), 0)  # whose mean is not 0.1
    one_sided = st.welch(solved[:, :1], [[0.2], [0.3], [0.4]])
    np.testing.assert_allclose(one_sided, stats.ttest_1samp([0.2, 0.3, 0.4], 0.1).pvalue)


def test_corrections_by_hand():
    p = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(st.holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(st.benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(st.holm([0.9, 0.6]), [1, 1])


@pytest.mark.parametrize(("runs", "least"), [(3, 0.1), (4, 0.029), (5, 0.008), (6, 0.002)])
def test_ranks_have_a_smallest_p(runs, least):
    apart = np.arange(2.0 * runs)[:, None]
    assert st.smallest_p(runs, runs) == pytest.approx(least, abs=5e-4)
    assert st.mann_whitney(apart[:runs], apart[runs:])[0] == pytest.approx(st.smallest_p(runs, runs))


@pytest.mark.parametrize(
    ("difference", "wanted"), [(0.05, [7, 17, 64, 253]), (0.1, [3, 6, 17, 64]), (0.2, [2, 3, 6, 17])]
)
def test_how_many_runs_tell_two_algorithms_apart(difference, wanted):
    assert [st.runs_to_tell_apart(difference, sd, sd) for sd in (0.03, 0.05, 0.1, 0.2)] == wanted
    for sd, runs in zip((0.03, 0.05, 0.1, 0.2), wanted, strict=True):
        assert st.power(difference, runs, sd, sd) >= 0.8
        assert runs == 2 or st.power(difference, runs - 1, sd, sd) < 0.8


@pytest.mark.parametrize("sds", [(1.0, 1.0), (0.5, 2.0), (1.0,)])
def test_power_is_how_often_a_test_rejects(sds):
    generator, repetitions = np.random.default_rng(0), 4_000
    for gap in (0.0, 1.3):
        samples = [generator.normal(0, sd, (8, repetitions)) for sd in sds]
        if len(sds) == 2:
            p = st.welch(samples[0] + gap, samples[1])
        else:
            p = st.paired_t(samples[0] + gap, np.zeros((8, repetitions)))
        assert (p < 0.05).mean() == pytest.approx(st.power(gap, 8, *sds), abs=0.025)


def test_power_of_differences_large_and_small():
    assert st.power(0.0, 5, 0.1, 0.1) == pytest.approx(0.05)
    for sd in (1e-12, 1e-3, 0.063, 0.1):  # which all are far below the difference
        assert st.power(1.0, 5, sd, sd) == pytest.approx(1)
    assert st.power(1e-9, 5, 1.0, 1.0) == pytest.approx(0.05)
    normal = stats.norm(loc=0.01 / math.sqrt(2 / 40_000))  # which so many runs come to
    assert st.power(0.01, 40_000, 1.0, 1.0) == pytest.approx(normal.sf(1.959964) + normal.cdf(-1.959964), abs=1e-4)
    assert st.runs_to_tell_apart(0.0, 0.1, 0.1) == st.runs_to_tell_apart(1e-9, 0.1, 0.1) == math.inf
    assert (st.power(0.1, 9, 0.0, 0.0), st.power(0.0, 9, 0.0, 0.0)) == (1, 0)


WIDTHS = {  # (win rate, sd between runs): runs for half-widths of 0.1, 0.05 and 0.02; with 32, 320 and 1000 episodes
    (0.9, 0.02): [[4, 8, 34], [3, 4, 10], [3, 4, 8]],
    (0.9, 0.05): [[5, 11, 54], [4, 7, 30], [4, 7, 28]],
    (0.9, 0.10): [[8, 23, 126], [7, 19, 102], [7, 18, 100]],
    (0.5, 0.05): [[7, 19, 102], [4, 8, 34], [4, 7, 29]],
    (0.5, 0.10): [[10, 30, 174], [7, 20, 106], [7, 19, 101]],
    (0.5, 0.20): [[21, 76, 462], [19, 66, 395], [18, 65, 389]],
}


@pytest.mark.parametrize(("win_rate", "between"), WIDTHS)
def test_how_many_runs_make_an_interval_narrow(win_rate, between):
    sds = [st.sd_of_win_rates(win_rate, between, episodes) for episodes in (32, 320, 1000)]
    found = [[st.runs_for_half_width(sd, half) for half in (0.1, 0.05, 0.02)] for sd in sds]
    assert found == WIDTHS[win_rate, between]


def test_win_rates_vary_between_runs_and_by_their_episodes():
    generator = np.random.default_rng(0)
    rates = generator.normal(0.6, 0.05, 40_000)
    measured = generator.binomial(50, rates) / 50
    assert measured.std() == pytest.approx(st.sd_of_win_rates(0.6, 0.05, 50), rel=0.02)


def test_how_many_more_runs_would_decide():
    x, y = SCORES["happo"], SCORES["mappo_s"]
    found = st.compare(x, y, resamples=10).more_runs
    for task in range(4):
        gap = x[:, task].mean() - y[:, task].mean()
        needed = st.runs_to_tell_apart(gap, x[:, task].std(ddof=1), y[:, task].std(ddof=1))
        assert found[task] == needed - 10
    assert found[3] == math.inf and (found[:3] > 0).all()  # two means that are equal
    assert st.compare(x, SCORES["haa2c"], resamples=10).more_runs[1] == 0
    paired = st.compare(x, y, resamples=10, paired=True)
    np.testing.assert_allclose(paired.p, st.paired_t(x, y))
    assert paired.more_runs[0] == st.runs_to_tell_apart((x - y)[:, 0].mean(), (x - y)[:, 0].std(ddof=1)) - 10


# WHAT IS SAID, AND WHAT IS REFUSED


def test_few_runs_have_a_note():
    x = SCORES["happo"]
    assert st.bootstrap("iqm", x[:5], resamples=10).note == ""
    assert "4 run(s)" in st.bootstrap("iqm", x[:4], resamples=10).note
    assert "4 run(s)" in st.difference(x, x[:4], resamples=10).note and "4 run(s)" in st.student_t(x[:4]).note
    by_rank = st.compare(x[:3], x[3:6], resamples=10, test="mann_whitney")
    assert "3 run(s)" in by_rank.note and "0.1" in by_rank.note
    assert "only" not in st.compare(x[:5], x[5:], resamples=10, test="mann_whitney").note
    assert st.compare(x, x, resamples=10, test="mann_whitney").note == ""


def test_an_estimate_is_shown_with_its_interval():
    assert str(st.bootstrap("iqm", SCORES["happo"], resamples=2_000)).startswith("0.739 [0.6")
    assert "(4,)" in str(st.student_t(SCORES["happo"]))


def with_nan(shape, *place):
    values = np.zeros(shape)
    values[place] = np.nan
    return values


GOOD = np.arange(6.0).reshape(3, 2)
NAMED = st.Scores(GOOD, ("3m", "8m"), ("seed 0", "seed 1", "seed 2"))
REFUSED = {
    "run 2, task 1 is nan": lambda: st.bootstrap("iqm", with_nan((3, 2), 2, 1)),
    "run seed 7, task 8m is nan": lambda: st.Scores(with_nan((2, 2), 1, 1), ("3m", "8m"), ("seed 3", "seed 7")),
    "run 0, task 0, evaluation 4 is nan": lambda: st.iqm(with_nan((3, 2, 5), 0, 0, 4)),
    "is inf": lambda: st.student_t([[math.inf]]),
    r"the shape \(3,\) .* scores\[:, None\]": lambda: st.iqm([1.0, 2.0, 3.0]),
    r"the shape \(0, 2\)": lambda: st.mean(np.zeros((0, 2))),
    "no array of numbers": lambda: st.iqm([[1.0, 2.0], [3.0]]),
    "no array of numbers: every": lambda: st.iqm([["a"]]),
    "3 names of tasks": lambda: st.Scores(GOOD, ("a", "b", "c")),
    r"other tasks: \(3, 2\) and \(3, 1\)": lambda: st.difference(GOOD, GOOD[:, :1]),
    "other tasks: '8m' and '5m'": lambda: st.difference(NAMED, st.Scores(GOOD, ("3m", "5m"))),
    r"the same runs .* \(3 and 2\)": lambda: st.compare(GOOD, GOOD[:2], paired=True),
    "the same runs of both": lambda: st.compare(NAMED, st.Scores(GOOD, runs=("a", "b", "c")), paired=True),
    "statistic 'iqr'; did you mean 'iqm'": lambda: st.bootstrap("iqr", GOOD),
    "test 'welsh'; did you mean 'welch'": lambda: st.compare(GOOD, GOOD, test="welsh"),
    "correction 'hulm'; did you mean 'holm'": lambda: st.compare(GOOD, GOOD, correction="hulm"),
    "test=welch is for": lambda: st.compare(GOOD, GOOD, test="welch", paired=True),
    "level=95 must": lambda: st.student_t(GOOD, level=95),
    "level=0 must": lambda: st.bootstrap("iqm", GOOD, level=0),
    "resamples=0 must": lambda: st.bootstrap("iqm", GOOD, resamples=0),
    "seed=0.5 must": lambda: st.bootstrap("iqm", GOOD, seed=0.5),
    "taus must": lambda: st.performance_profile(GOOD, []),
    "needs two runs": lambda: st.welch(GOOD, GOOD[:1]),
    r"a curve needs scores .* \(3, 2\)": lambda: st.sample_efficiency(GOOD),
    "a comparison needs scores": lambda: st.compare(GOOD[..., None], GOOD[..., None]),
    "p-values must lie": lambda: st.holm([0.1, 1.2]),
    "p-values must be": lambda: st.benjamini_hochberg([0.1, math.nan]),
    "is below 0": lambda: st.runs_to_tell_apart(0.1, -0.1, 0.1),
    "standard deviations must be": lambda: st.runs_to_tell_apart(0.1),
    "wanted_power=1 must": lambda: st.runs_to_tell_apart(0.1, 0.1, wanted_power=1),
    "half_width=0 must": lambda: st.runs_for_half_width(0.1, 0),
    "win_rate=90 must": lambda: st.sd_of_win_rates(90, 0.1, 32),
    "episodes=0 must": lambda: st.sd_of_win_rates(0.9, 0.1, 0),
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_makes_no_sense_is_one_line(line):
    with pytest.raises(ConfigError, match=line) as caught:
        REFUSED[line]()
    assert "\n" not in str(caught.value)


def test_statistics_need_no_jax():
    code = "import sys, hamljax; hamljax.statistics.iqm([[1.0]]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# SCORES OF RUN DIRECTORIES


def leave_run(path, algo, env, scores, seed=0, per_update=100, lr=5e-4, metric="eval/won", hops=1):
    """What a finished run leaves that its scores are read from; scores: (seeds, evaluations), of which the best is absolute."""
    path.mkdir(parents=True)
    config = {"algo": {"name": algo, "actor_lr": lr}, "env": {"name": env, "hops": hops}, "network": {"name": "mlp"}}
    config |= {"logger": {"kind": "none"}, "total_timesteps": 800, "num_envs": 10, "num_steps": per_update // 10}
    config |= {"seed": seed, "num_seeds": len(scores), "run_dir": str(path)}
    files.write_text(path / "config.yaml", write_yaml(config))
    best = {metric: {"mean": float(np.mean(scores)), "per_seed": [max(row) for row in scores]}}
    seeds = list(range(seed, seed + len(scores)))
    files.write_json(path / "summary.json", {"seeds": seeds, "absolute": best})
    rows = [
        {"seed": s, "update": u, "step": u * per_update, metric: row[u // 2] if u % 2 == 0 else np.nan, "train/x": 0.0}
        for s, row in zip(seeds, scores, strict=True)
        for u in range(2 * len(row))
    ]
    pd.DataFrame(rows).to_parquet(path / "metrics.parquet", index=False, write_page_checksum=True)


@pytest.fixture
def sweep(tmp_path):
    """Two algorithms on two tasks; one of the four is in two directories, and one was evaluated twice as often."""
    sweep = tmp_path / "runs/sweep"
    leave_run(sweep / "0", "happo", "smax/8m", [[0.0, 0.2, 0.3], [0.1, 0.5, 0.4]])
    leave_run(sweep / "1", "happo", "smax/3m", [[0.2, 0.6, 0.7]], lr=1e-4)
    leave_run(sweep / "2", "happo", "smax/3m", [[0.1, 0.9, 0.8]], lr=1e-4, seed=1)
    leave_run(sweep / "3", "mappo_s", "smax/3m", [[0.3, 0.4, 0.5], [0.0, 0.1, 0.2]])
    leave_run(sweep / "4", "mappo_s", "smax/8m", [[0.0, 9, 0.1, 9, 0.6], [0.0, 9, 0.2, 9, 0.4]], per_update=50)
    return sweep


def test_scores_are_read_from_runs(sweep):
    found = hamljax.load_scores(sweep)
    assert list(found) == ["happo", "mappo_s"]
    np.testing.assert_array_equal(found["happo"].values, [[0.7, 0.3], [0.9, 0.5]])
    np.testing.assert_array_equal(found["mappo_s"].values, [[0.5, 9], [0.2, 9]])
    for scores in found.values():
        assert scores.tasks == ("smax/3m", "smax/8m") and scores.runs == ("seed 0", "seed 1") and not scores.steps
    happo = hamljax.load_scores([sweep / name for name in "012"], "eval/won")
    np.testing.assert_array_equal(happo["happo"].values, found["happo"].values)


def test_curves_are_read_at_steps_that_all_runs_have(sweep):
    found = hamljax.load_scores(sweep, curves=True)
    assert found["happo"].steps == found["mappo_s"].steps == (0, 200, 400)
    np.testing.assert_array_equal(found["happo"].values[1], [[0.1, 0.9, 0.8], [0.1, 0.5, 0.4]])
    np.testing.assert_array_equal(found["mappo_s"].values[:, 1], [[0.0, 0.1, 0.6], [0.0, 0.2, 0.4]])
    assert st.sample_efficiency(found["happo"], resamples=10).value.shape == (3,)


def test_algorithms_that_differ_on_a_task_are_told_apart(sweep):
    leave_run(sweep / "5", "happo", "smax/3m", [[0.9], [0.9]], lr=0.1)
    leave_run(sweep / "6", "happo", "smax/8m", [[0.9], [0.9]], lr=0.1)
    (sweep / "0/config.yaml").write_text((sweep / "0/config.yaml").read_text().replace("0.0005", "0.0001"))
    assert list(hamljax.load_scores(sweep)) == ["happo actor_lr=0.0001", "happo actor_lr=0.1", "mappo_s"]


def test_a_setting_of_an_environment_makes_another_task(tmp_path):
    for hops in (0, 1):
        leave_run(tmp_path / str(hops), "happo", "mamujoco/ant_4x2", [[hops]], hops=hops, metric="eval/return")
    found = hamljax.load_scores(tmp_path)["happo"]
    assert found.tasks == ("mamujoco/ant_4x2 hops=0", "mamujoco/ant_4x2 hops=1")
    np.testing.assert_array_equal(found.values, [[0, 1]])


def spoil_summary(change):
    def spoil(run):
        summary = files.read_json(run / "summary.json")
        change(summary)
        files.write_json(run / "summary.json", summary)

    return spoil


def leave_a_hole(run, first_step):
    record = pd.read_parquet(run / "metrics.parquet")
    record.loc[(record["seed"] == 1) & (record["step"] >= first_step), "eval/won"] = np.nan
    record.to_parquet(run / "metrics.parquet", index=False, write_page_checksum=True)


SPOILT = {
    "3' is not finished; hamljax resume": lambda run: (run / "summary.json").unlink(),
    "cannot read .*3/summary.json": lambda run: (run / "summary.json").write_text("{"),
    "cannot read .*3/summary.json': 'absolute'": spoil_summary(lambda summary: summary.pop("absolute")),
    "3' has no absolute metric": spoil_summary(lambda summary: summary["absolute"].clear()),
    "seed 1 of the run in .*3' has no finite eval/won": spoil_summary(
        lambda summary: summary["absolute"]["eval/won"]["per_seed"].__setitem__(1, None)
    ),
    "mappo_s has no run of seed 0 on smax/3m": shutil.rmtree,
    "mappo_s has no run of seed 1 on smax/3m": spoil_summary(
        lambda summary: (summary["seeds"].pop(), summary["absolute"]["eval/won"]["per_seed"].pop())
    ),
}


@pytest.mark.parametrize("line", SPOILT)
def test_runs_without_scores_are_named(sweep, line):
    SPOILT[line](sweep / "3")
    with pytest.raises(ConfigError, match=line) as caught:
        hamljax.load_scores(sweep)
    assert "\n" not in str(caught.value)


def test_what_the_record_does_not_have_is_named(sweep):
    with pytest.raises(ConfigError, match="has no 'eval/win'; did you mean 'eval/won'"):
        hamljax.load_scores(sweep, "eval/win")
    with pytest.raises(ConfigError, match="holds no run"):
        (sweep / "empty").mkdir()
        hamljax.load_scores(sweep / "empty")
    for step, where in ((200, " at step 200"), (0, "; leave")):  # the second: at no step
        leave_a_hole(sweep / "3", step)
        with pytest.raises(ConfigError, match=f"seed 1 of the run in .*3' has no finite eval/won{where}"):
            hamljax.load_scores(sweep, curves=True)


# ITS PAGE


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.S))
def test_the_python_of_the_page_runs(code, sweep, monkeypatch, capsys):
    monkeypatch.chdir(sweep.parents[1])
    exec(code, {})
    said = capsys.readouterr().out
    assert "smax/8m -" in said and "only 2 run(s)" in said or said.endswith("\n64\n")


def page_rows(first):
    """Cells, as lists of numbers, below the heading that begins with ``first``."""
    table = PAGE.split(f"| {first}")[1].split("\n\n")[0].splitlines()[2:]
    return [[[float(x) for x in cell.split(",")] for cell in line.strip("|").split("|")] for line in table]


def test_the_tables_of_the_page_are_computed():
    for (gap,), *cells in page_rows("difference"):
        assert [int(cell) for (cell,) in cells] == [st.runs_to_tell_apart(gap, s, s) for s in (0.03, 0.05, 0.1, 0.2)]
    found = {tuple(row[0]): [list(map(int, cell)) for cell in row[1:]] for row in page_rows("win rate, sd")}
    assert found == WIDTHS
