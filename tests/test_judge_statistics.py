"""How a judge judges: agreement, kappa, bias of position and of length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import Comparison, Pair, Response, Verdict, WrongReturn
from cpt.statistics import Judgement, JudgementCounts, preference_of
from cpt.testing import fake_prompts


def counted(judgements: Sequence[Judgement]) -> JudgementCounts:
    counts = JudgementCounts()
    for judgement in judgements:
        counts.add(judgement)
    return counts


def judged(preference: float | None, label: float | None = None, longer: int = 0) -> Judgement:
    return Judgement(preference=preference, label=label, lengths=(5 + longer, 5))


def shown(first: int, first_wins: float | None) -> Comparison:
    return Comparison(first=first, second=1 - first, first_wins=first_wins)


def test_agreement_and_kappa_of_a_table_by_hand() -> None:
    """20, 5, 10, 15: Cohen's example has the agreement 0.7 and kappa 0.4."""
    cells = [(1.0, 1.0, 20), (1.0, 0.0, 5), (0.0, 1.0, 10), (0.0, 0.0, 15)]
    found = counted([judged(one, two) for one, two, count in cells for _ in range(count)])
    assert (found.n, found.agreement) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.agreement_interval == pytest.approx((0.5625, 0.8090), abs=1e-4)


@given(st.integers(1, 3000), st.sampled_from([0.0, 1.0]))
def test_the_interval_holds_what_it_is_of(n: int, verdict: float) -> None:
    found = counted([judged(verdict, 1.0)] * n)
    assert found.agreement is not None and found.agreement_interval is not None
    low, high = found.agreement_interval
    assert 0 <= low <= found.agreement <= high <= 1


def test_a_tie_agrees_with_a_tie_only() -> None:
    found = counted([judged(0.5, 0.5), judged(0.5, 1.0), judged(0.5 + 1e-12, 0.5)])
    assert found.agreement == pytest.approx(2 / 3)
    assert found.ties == 1.0


def test_one_label_alone_has_no_kappa() -> None:
    """All pairs say chosen: agreement by chance is agreement."""
    assert counted([judged(1.0, 1.0)] * 5).kappa is None
    assert counted([judged(1.0, 1.0), judged(0.0, 1.0)]).kappa == 0.0


def test_what_is_not_read_is_counted_and_left_out() -> None:
    found = counted([judged(None, 1.0), judged(1.0, 1.0), judged(1.0, None)])
    assert (found.unparsed, found.judged, found.n, found.agreement) == (1, 2, 1, 1.0)
    empty = JudgementCounts()
    assert empty.agreement is empty.kappa is empty.position_bias is empty.longer_wins is None
    assert empty.flips is empty.longer_preferred is None
    assert empty.agreement_interval is None


def test_length_alone_against_the_labels_and_against_the_judge() -> None:
    longer_is_right = judged(0.0, 1.0, longer=3)
    shorter_is_right = judged(0.0, 0.0, longer=3)
    found = counted([longer_is_right] * 3 + [shorter_is_right] + [judged(1.0, 1.0)])
    assert found.longer_wins == pytest.approx(3 / 5)
    assert found.longer_preferred == 0.0


def test_lengths_that_are_not_known_say_nothing() -> None:
    found = counted([Judgement(preference=1.0, label=1.0)])
    assert found.longer_wins is found.longer_preferred is None


def test_a_judge_that_takes_the_first_place_is_found_out() -> None:
    both = Judgement(preference=0.5, comparisons=(shown(0, 1.0), shown(1, 1.0)))
    found = counted([both] * 4)
    assert (found.position_bias, found.flips) == (1.0, 1.0)
    fair = Judgement(preference=1.0, comparisons=(shown(0, 0.9), shown(1, 0.1)))
    found = counted([fair] * 4)
    assert (found.position_bias, found.flips) == (0.5, 0.0)


def test_a_tie_in_one_order_is_no_flip_and_an_unread_one_no_comparison() -> None:
    tied = Judgement(preference=0.75, comparisons=(shown(0, 1.0), shown(1, 0.5)))
    unread = Judgement(preference=None, comparisons=(shown(0, 1.0), shown(1, None)))
    found = counted([tied, unread])
    assert found.flips == 0.0
    assert found.position_bias == pytest.approx(2.5 / 3)


Some = st.lists(
    st.builds(
        judged,
        st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]),
        st.sampled_from([None, 0.0, 0.5, 1.0]),
        st.integers(-2, 2),
    )
)


def turned(one: Judgement) -> Judgement:
    def back(value: float | None) -> float | None:
        return None if value is None else 1 - value

    assert one.lengths is not None
    return attrs.evolve(
        one, preference=back(one.preference), label=back(one.label), lengths=one.lengths[::-1]
    )


@given(Some)
def test_which_answer_is_called_a_changes_nothing(judgements: list[Judgement]) -> None:
    """Nor does the order, and every figure is a share or not there."""
    found, other = counted(judgements), counted([turned(one) for one in reversed(judgements)])
    for name, value in found.plain().items():
        assert other.plain()[name] == pytest.approx(value), name
        if isinstance(value, float):
            assert math.isfinite(value)
            assert (-1 if name == "kappa" else 0) <= value <= 1


def verdict(*scores: float | None, comparisons: tuple[Comparison, ...] = ()) -> Verdict:
    return Verdict(scores=scores, comparisons=comparisons)


def test_scores_of_single_answers_are_an_order_and_of_comparisons_a_probability() -> None:
    assert preference_of(verdict(7.0, 3.0)) == 1.0
    assert preference_of(verdict(0.2, 0.8)) == 0.0
    assert preference_of(verdict(3.0, 3.0)) == 0.5
    assert preference_of(verdict(3.0, None)) is None
    compared = (shown(0, 0.2), shown(1, 0.8))
    assert preference_of(verdict(0.2, 0.8, comparisons=compared)) == 0.2


def test_what_a_pair_keeps_of_its_comparisons_is_read_again() -> None:
    prompt = fake_prompts(1)[0]
    sides = [Response(prompt_id=prompt.id, text=text, author="m") for text in ("abc", "a")]
    found = verdict(0.5, 0.9, 0.1, comparisons=(Comparison(first=2, second=1, first_wins=0.25),))
    pair = Pair(prompt=prompt, chosen=sides[0], rejected=sides[1], info=found.about(1, 2))
    judgement = Judgement.of_pair(pair)
    assert judgement.lengths == (3, 1)
    assert [(one.first, one.first_wins) for one in judgement.comparisons] == [(1, 0.25)]
    spoilt = attrs.evolve(pair, info={"comparisons": [7, {"first": "x"}, {"first": "chosen"}]})
    assert [one.first_wins for one in Judgement.of_pair(spoilt).comparisons] == [None]


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, "x", True])
def test_a_comparison_holds_a_probability(value: float) -> None:
    with pytest.raises(WrongReturn, match="must be from 0 to 1"):
        shown(0, value)
