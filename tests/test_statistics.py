"""Intervals, paired differences, and the fits behind length and style control."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpt import statistics
from cpt.errors import BadData
from cpt.statistics.logistic import Problem, fit
from cpt.types import Score

WINS = st.lists(st.sampled_from([None, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40)


def covered(interval, truth: float) -> bool:
    return bool(interval[0] <= truth <= interval[1])


def test_95_percent_intervals_cover_the_truth_95_times_in_100() -> None:
    random, truth = np.random.default_rng(0), 0.7
    bootstrap = normal = 0
    for draw in range(1000):
        wins = random.choice([0.0, 0.5, 1.0], 100, p=[0.9 - truth, 0.2, truth - 0.1]).tolist()
        interval = statistics.bootstrap(wins, draws=500, seed=draw)
        bootstrap += covered(interval, truth)
        score = Score.mean(dict(enumerate(wins)))  # type: ignore[arg-type]
        normal += covered((score.low, score.high), truth)
    assert 930 <= bootstrap <= 970
    assert 930 <= normal <= 970


def test_the_interval_of_arena_hards_score_covers_it_although_verdicts_have_weights() -> None:
    random, shares = np.random.default_rng(2), np.array([0.1, 0.3, 0.1, 0.3, 0.2])
    wins, counts = map(np.array, zip(*statistics.GRADES.values(), strict=True))
    truth = (shares * wins * counts).sum() / (shares * counts).sum()
    hits = 0
    for draw in range(400):
        verdicts = random.choice(5, (80, 2), p=shares)
        weights = counts[verdicts].mean(axis=1)
        of_both = (wins * counts)[verdicts].mean(axis=1) / weights
        interval = statistics.bootstrap(of_both.tolist(), weights.tolist(), draws=400, seed=draw)
        hits += covered(interval, truth)
    assert 0.92 <= hits / 400 <= 0.98


def test_intervals_of_several_differences_hold_all_at_once_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    together = alone = 0
    for _ in range(400):
        base, *others = random.normal(size=(6, 60))
        pairs = [(scored(other), scored(base)) for other in others]
        corrected = [statistics.difference(*pair, comparisons=5) for pair in pairs]
        single = [statistics.difference(*pair) for pair in pairs]
        together += all(covered((gap.low, gap.high), 0) for gap in corrected if gap)
        alone += all(covered((gap.low, gap.high), 0) for gap in single if gap)
    assert 0.93 <= together / 400 <= 0.99
    assert alone / 400 < 0.9


def scored(values) -> Score:
    return Score.mean({str(place): float(value) for place, value in enumerate(values)})


def test_one_value_has_no_interval() -> None:
    assert statistics.bootstrap([1.0]) is None
    assert statistics.win_rate([1.0]).standard_error is None
    alone = statistics.difference(scored([1.0]), scored([0.0]))
    assert alone and (alone.low, alone.high) == (-math.inf, math.inf)


def test_a_difference_is_over_shared_prompts_and_names_the_others() -> None:
    one = Score.mean({"a": 3.0, "b": 1.0, "c": 9.0})
    other = Score.mean({"b": 1.0, "a": 1.0, "d": 7.0})
    gap = statistics.difference(one, other)
    assert gap and dict(gap.each) == {"a": 2.0, "b": 0.0}
    assert {name: why.reason for name, why in gap.missing.items()} == {
        "c": "unpaired",
        "d": "unpaired",
    }
    assert statistics.difference(one, Score.mean({"x": 1.0})) is None


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [place**2 / 7 for place in range(50)]
    assert statistics.bootstrap(values, seed=3) == statistics.bootstrap(values, seed=3)
    assert statistics.bootstrap(values, seed=3) != statistics.bootstrap(values, seed=4)


@given(WINS)
def test_win_rates_count_every_comparison_once(wins) -> None:
    known = [win for win in wins if win is not None]
    if not known:
        with pytest.raises(BadData, match="no win rate"):
            statistics.win_rate(wins)
        return
    found = statistics.win_rate(wins)
    assert found.n_wins + found.n_wins_base + found.n_draws == found.n_total == len(known)
    assert found.win_rate == pytest.approx(100 * sum(known) / len(known))
    against = statistics.win_rate([None if win is None else 1 - win for win in wins])
    assert against.win_rate == pytest.approx(100 - found.win_rate)
    assert against.discrete_win_rate == pytest.approx(100 - found.discrete_win_rate)


@pytest.mark.parametrize("preference", [3, -1, 0.5, 2.01, math.inf])
def test_what_is_no_preference_is_refused(preference: float) -> None:
    with pytest.raises(ValueError, match="from 1 to 2"):
        statistics.win_of(preference)


def problem(seed: int, rows: int = 80) -> Problem:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 3))
    return Problem(features, random.uniform(size=rows), random.uniform(0.1, 2, size=rows))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([1e-3, 0.05, 1.0, 20.0, 1e4]))
def test_the_fit_is_a_minimum(seed: int, c: float) -> None:
    """The conditions of Karush, Kuhn and Tucker: the slope is -sign(w), within +-1 at zero."""
    given = problem(seed)
    w = fit(given, c)
    chance = 1 / (1 + np.exp(-given.features @ w))
    slope = c * given.features.T @ (given.weights * (chance - given.targets))
    for weight, one in zip(w, slope, strict=True):
        if weight:
            assert one == pytest.approx(-np.sign(weight), abs=1e-4 + 1e-7 * c)
        else:
            assert abs(one) <= 1 + 1e-6


@pytest.mark.parametrize("c", [0.05, 2.78, 1e3])
def test_the_fit_is_that_of_scikit_learn(c: float) -> None:
    """With soft targets as there: each row twice, with the labels 1 and 0."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    given = problem(7)
    theirs = linear_model.LogisticRegression(
        C=c, l1_ratio=1, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=10_000
    )
    labels = np.repeat([1, 0], len(given.targets))
    weights = np.concatenate([given.weights * given.targets, given.weights * (1 - given.targets)])
    theirs.fit(np.vstack([given.features] * 2), labels, sample_weight=weights)
    assert fit(given, c) == pytest.approx(theirs.coef_[0], abs=1e-4)


def test_separable_comparisons_give_a_finite_fit() -> None:
    found = statistics.length_controlled([1.0] * 30, [(10, 20 + place) for place in range(30)])
    assert 90 < found.win_rate <= 100
    assert found.interval and math.isfinite(found.interval[0])


def test_a_win_that_only_length_explains_is_taken_out() -> None:
    random = np.random.default_rng(5)
    gaps = random.normal(500, 400, 600)
    lengths = [(3000, int(3000 + gap)) for gap in gaps]
    wins = (random.uniform(size=600) < 1 / (1 + np.exp(-gaps / 150))).astype(float).tolist()
    found = statistics.length_controlled(wins, lengths)
    assert statistics.win_rate(wins).win_rate > 70
    assert found.win_rate < 60
    assert found.interval and found.interval[0] < 50 < found.interval[1]
    assert (statistics.shares_of_length(wins, lengths)[1] or 0) > 80


def test_few_comparisons_are_not_drawn_to_50() -> None:
    lengths = [(100, 90 + place) for place in range(20)]
    found = statistics.length_controlled([1.0, 1.0, 1.0, 0.0] * 5, lengths)
    assert found.win_rate == pytest.approx(75, abs=3)
    assert found.interval and found.interval[0] < 60 and found.interval[1] > 85


def test_a_model_that_is_the_baseline_is_at_50_exactly() -> None:
    found = statistics.length_controlled([0.5, None, 0.5], [(3, 3), (4, 4), (5, 5)])
    assert (found.win_rate, found.spread) == (50, 0)


# Arena-Hard


def test_verdicts_count_for_the_model_in_both_orders() -> None:
    assert statistics.grade_values("[[A>>B]]", model_is_a=True) == [1.0, 1.0, 1.0]
    assert statistics.grade_values("A>B", model_is_a=False) == [0.0]
    assert statistics.grade_values("[[B>>A]]", model_is_a=False) == [1.0, 1.0, 1.0]
    assert statistics.grade_values("B=A", model_is_a=False) == [0.5]
    assert statistics.grade_values("A<<B", model_is_a=True) == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="expected a verdict"):
        statistics.grade_values("[[A]]", model_is_a=True)


@given(st.sampled_from([*statistics.GRADES, "A<<B", "B=A"]))
def test_what_one_side_wins_the_other_loses(verdict: str) -> None:
    ours = statistics.grade_values(verdict, model_is_a=True)
    theirs = statistics.grade_values(verdict, model_is_a=False)
    assert [1 - win for win in ours] == theirs


def test_style_is_counted_outside_of_code() -> None:
    answer = "# One\n\nTwo **bold** words\n- a\n- b\n1. c\n```\n# no header\n- no list\n```\n"
    style = statistics.style_of(answer)
    assert (style["headers"], style["bold"], style["lists"]) == (1, 1, 3)


def test_wins_that_only_style_explains_are_taken_out() -> None:
    random = np.random.default_rng(2)
    plain = {"length": 100, "headers": 0, "bold": 0, "lists": 0}
    styles, wins = [], []
    for _ in range(500):
        bold = int(random.integers(0, 12))
        styles.append((plain, plain | {"bold": bold, "length": 100 + int(random.integers(9))}))
        wins.append(float(random.uniform() < 1 / (1 + np.exp(-0.4 * bold))))
    found = statistics.style_controlled(wins, styles)
    assert np.mean(wins) > 0.8
    assert found.win_rate == pytest.approx(50, abs=8)
    assert found.interval and found.interval[0] < 50 < found.interval[1]
    assert found.weights["bold"] > 0.5 > abs(found.weights["headers"])
