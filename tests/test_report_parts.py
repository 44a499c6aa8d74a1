"""What the page of a run is built from: comparisons, samples, numbers, ticks and bins."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt.report.formatting import DASH, MINUS, digits, duration, share, signed, with_interval
from cpt.report.histogram import beyond, equal_bins, whole_bins
from cpt.report.read.diff import MarkedText, compare
from cpt.report.read.pairs import spread
from cpt.report.svg import scale_of, text_width, tick_labels, ticks, ticks_that_fit
from cpt.types import Score


def marked(text: MarkedText) -> list[str]:
    return [piece for piece, is_marked in text.pieces if is_marked]


def test_the_words_that_differ_are_marked() -> None:
    chosen, rejected = compare("It is on Sunday, 3 days later.", "It is on Monday, 3 days later!")
    assert marked(chosen) == ["Sunday", "."]
    assert marked(rejected) == ["Monday", "!"]


def test_a_word_in_common_between_two_others_is_no_agreement() -> None:
    one, other = compare("Cut the red wire with great care", "Never touch the thing")
    assert len(marked(one)) == len(marked(other)) == 1
    assert "the" in marked(one)[0] and "the" in marked(other)[0]


@given(st.text(max_size=60), st.text(max_size=60), st.integers(1, 80))
def test_a_comparison_shows_the_texts_themselves(one: str, other: str, limit: int) -> None:
    for text, said in zip((one, other), compare(one, other, limit), strict=True):
        assert "".join(piece for piece, _ in said.pieces) == text[:limit]
        assert said.length == len(text)
    whole = [
        "".join(piece for piece, is_marked in said.pieces if not is_marked).split()
        for said in compare(one, other, 100)
    ]
    joined = ["".join(words) for words in whole]
    assert joined[0] == joined[1]


@given(st.integers(0, 5000), st.integers(1, 50), st.integers(0, 99))
def test_examples_come_from_everywhere(count: int, wanted: int, seed: int) -> None:
    found = spread(count, wanted, seed)
    assert found == spread(count, wanted, seed)
    assert len(found) == min(count, wanted)
    for part, index in enumerate(found):
        assert count * part // len(found) <= index < count * (part + 1) // len(found)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (digits(1234567.0), "1,234,567"),
        (digits(-0.26637), f"{MINUS}0.2664"),
        (digits(0.00001), f"1.000e{MINUS}05"),
        (digits(float("nan")), "not a number"),
        (digits(2.0), "2"),
        (digits(0.0), "0"),
        (share(0, 0), DASH),
        (share(23, 2415), "1.0%"),
        (share(1, 2), "50%"),
        (signed(-0.0001, 2), "0.00"),
        (duration(1.84), "1.8 s"),
        (duration(125), "2 min 05 s"),
        (duration(3 * 3600 + 59), "3 h 00 min"),
        (with_interval(Score(value=2, low=1, high=5), 0), "2 (1 to 5)"),
        (
            with_interval(Score(value=2, low=float("-inf"), high=float("inf")), 1),
            "2.0 (no interval)",
        ),
    ],
)
def test_numbers_are_for_people(said: str, expected: str) -> None:
    assert said == expected


# Plots


finite = st.floats(-1e9, 1e9, allow_subnormal=False)


@given(st.lists(finite, min_size=1, max_size=30), st.integers(2, 7), st.booleans())
def test_ticks_are_few_on_the_axis_and_apart(values: list[float], most: int, whole: bool) -> None:
    scale = scale_of(values, 0, 300)
    assert scale.low < min(values) <= max(values) < scale.high
    found = ticks(scale, most, whole=whole)
    assert len(found) <= most + 1
    assert all(scale.low <= tick <= scale.high for tick in found)
    assert not whole or all(tick == round(tick) for tick in found)
    assert sum(text_width(label) for label in tick_labels(ticks_that_fit(scale))) <= 300


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_a_narrow_axis_still_shows_a_scale(low: float, high: float) -> None:
    scale = scale_of([-low, high], 0, 110)
    first, *_, last = ticks_that_fit(scale)
    assert first < last
    assert len(set(tick_labels([first, last]))) == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([-0.25, 0.0, 0.25], [f"{MINUS}0.25", "0.00", "0.25"]),
        ([0.1 + 0.2, 0.4], ["0.3", "0.4"]),
        ([-0.5, 0.5], [f"{MINUS}0.5", "0.5"]),
        ([0.25], ["0.25"]),
        ([1000.0, 2000.0], ["1,000", "2,000"]),
        ([1e7, 2e7], ["1e+07", "2e+07"]),
        ([2e-6, 4e-6], ["2e\u221206", "4e\u221206"]),
    ],
)
def test_ticks_have_as_many_decimals_as_they_need(values: list[float], expected: list[str]) -> None:
    assert tick_labels(values) == expected


@given(st.lists(st.integers(-3000, 3000), min_size=1, max_size=200))
def test_bins_hold_every_value(values: list[int]) -> None:
    for bins in (equal_bins(values), whole_bins(values)):
        assert sum(part.count for part in bins) == len(values)
        assert all(one.high == pytest.approx(other.low) for one, other in pairwise(bins))
    assert beyond(values) <= 2 * (len(values) // 100)
    middle = [part for part in whole_bins(values) if part.low < 0 < part.high]
    assert all(part.low == -part.high for part in middle)


def test_a_bin_counts_what_is_in_it() -> None:
    bins = equal_bins([0.0, 1.0, 1.1, 25.0])
    assert [part.count for part in bins][:3] == [1, 2, 0]
    assert (bins[1].low, bins[1].high, bins[-1].count) == (1.0, 2.0, 1)
    assert [(part.low, part.high, part.count) for part in whole_bins([-1, 0, 0, 3])] == [
        (-1.5, -0.5, 1),
        (-0.5, 0.5, 2),
        (0.5, 1.5, 0),
        (1.5, 2.5, 0),
        (2.5, 3.5, 1),
    ]
