"""Pairs of scored answers: the rules, the judged pairers, and preferences of people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import Ask, Judge, NoPair, Pair, Pairer, Prompt, Response, Verdict
from cpt.testing import FakeAsk, PairerContract, Scripted, fake_prompts
from cpt_ladder.stronger import Stronger
from cpt_scored.best_of_n import BestOfN
from cpt_scored.judged import Judged, Rlaif
from cpt_scored.rules import RULES, ranked, tier_of

PROMPT = attrs.evolve(fake_prompts(1)[0], info={"domain": "math", "turn": 2})


@attrs.frozen
class Reads(Judge):
    """Takes the number that an answer is for its score; what is no number has none."""

    name = "reads"

    async def judge(self, prompt: Prompt, responses: Sequence[Response], ask: Ask) -> Verdict:
        return Verdict(
            scores=tuple(
                float(answer.text) if answer.text.replace(".", "").isdigit() else None
                for answer in responses
            ),
            rationale="It is a number.",
        )


def says(*texts: str, author: str = "m") -> Scripted:
    return Scripted(model=author, says=texts)


def judged(*texts: str, **options: Any) -> Judged:
    return Judged(responders=(says(*texts),), judge=Reads(), samples=len(texts), **options)


async def texts_of(pairer: Pairer, prompt: Prompt = PROMPT) -> list[tuple[str, str]]:
    pairs = await pairer.pair(prompt, FakeAsk())
    return [(pair.chosen.text, pair.rejected.text) for pair in pairs if isinstance(pair, Pair)]


async def reason(pairer: Pairer, prompt: Prompt = PROMPT) -> NoPair:
    with pytest.raises(NoPair) as caught:
        await pairer.pair(prompt, FakeAsk())
    return caught.value


class TestJudged(PairerContract):
    component = judged("1", "5", "3")


class TestBestOfN(PairerContract):
    component = BestOfN(responder=says("1", "5", "3"), judge=Reads(), samples=3)


class TestBestOfNOverAnother(PairerContract):
    component = BestOfN(
        responder=says("1", "5"), judge=Reads(), samples=2, rejected=says("2", author="old")
    )


class TestStronger(PairerContract):
    component = Stronger(stronger=says("good", author="s"), student=says("bad"))


NINE = ("5", "1", "9", "4", "8")


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [
        ("best_worst", [("9", "1")]),
        ("largest_gap", [("8", "5")]),  # 9 8 5 4 1: gaps 1, 3, 1, 3; the upper of equal ones
        ("max_vs_mean_minus_2sd", [("9", "1")]),  # mean 5.4, sd 2.87: -0.34
    ],
)
async def test_a_rule_says_which_answers_meet(rule: Any, pairs: list[tuple[str, str]]) -> None:
    assert await texts_of(judged(*NINE, rule=rule)) == pairs


async def test_the_rejected_is_not_always_the_worst() -> None:
    """Mean 8, standard deviation 3: wanted is 2, and 1 is nearer to it than 6."""
    scores = ("9", "9", "9", "9", "9", "9", "9", "9", "9", "9", "6", "0.1", "4")
    wanted = fmean(map(float, scores)) - 2 * pstdev(map(float, scores))
    assert abs(4 - wanted) < abs(0.1 - wanted)
    rule = "max_vs_mean_minus_2sd"
    assert await texts_of(judged(*scores, rule=rule)) == [("9", "4")]


async def test_the_number_of_pairs_can_be_chosen() -> None:
    assert len(await texts_of(judged(*NINE, rule="all_pairs"))) == 10
    best = judged(*NINE, rule="all_pairs", pairs_per_prompt=2)
    assert await texts_of(best) == [("9", "1"), ("8", "1")]
    worst = judged(*NINE, pairs_per_prompt=2)
    assert await texts_of(worst) == [("9", "1"), ("9", "4")]


async def test_what_is_drawn_depends_on_the_prompt_and_the_seed_only() -> None:
    drawn = judged(*NINE, rule="best_random")
    first = {prompt.id: await texts_of(drawn, prompt) for prompt in fake_prompts(20)}
    again = {prompt.id: await texts_of(drawn, prompt) for prompt in reversed(fake_prompts(20))}
    assert first == again
    assert {pair[0][1] for pair in first.values()} == {"1", "4", "5", "8"}
    other = attrs.evolve(drawn, seed=1)
    assert first != {prompt.id: await texts_of(other, prompt) for prompt in fake_prompts(20)}


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (("5", "5", "5"), {}, "tie"),
        (("5", "5.5"), {"minimum_gap": 1}, "small_gap"),
        (("5", "5", "1"), {"ties": "none"}, "tie"),
        (("5", "1"), {"across_authors": True}, "same_author"),
        (("5", "five"), {}, "unparsed"),
        (("5", ""), {}, "unparsed"),
    ],
)
async def test_no_pair_says_why(
    texts: Sequence[str], options: dict[str, Any], expected: str
) -> None:
    none = await reason(judged(*texts, **options))
    assert none.reason == expected
    assert none.detail


async def test_ties_are_taken_as_they_come_or_drawn() -> None:
    twins = (says("7", author="a"), says("7", author="b"), says("1", author="c"))
    first = Judged(responders=twins, judge=Reads())
    authors = [
        {
            pair.chosen.author
            for prompt in fake_prompts(20)
            for pair in await pairer.pair(prompt, FakeAsk())
        }
        for pairer in (first, attrs.evolve(first, ties="random"))
    ]
    assert authors == [{"a"}, {"a", "b"}]
    with_more = attrs.evolve(first, responders=(*twins, says("5", author="d")), ties="none")
    assert (await reason(with_more)).reason == "tie"
    every = attrs.evolve(with_more, rule="all_pairs")
    assert await texts_of(every) == [("5", "1")]


async def test_a_judged_pair_says_who_wrote_and_who_judged() -> None:
    three = (says("4", author="a"), says("9", author="b"), says("none", author="c"))
    (pair,) = await Judged(responders=three, judge=Reads()).pair(PROMPT, FakeAsk())
    assert (pair.chosen.author, pair.rejected.author, pair.pairer) == ("b", "a", "judged")
    assert (pair.chosen_score, pair.rejected_score, pair.margin, pair.tier) == (9, 4, 5, 1)
    assert pair.rationale == "It is a number."
    assert pair.info == {
        "rule": "best_worst",
        "judge": "reads",
        "authors": ["a", "b", "c"],
        "scores": [4, 9, None],
    }
    assert pair.prompt.info == {"domain": "math", "turn": 2}


async def test_the_judges_models_are_named_however_deep_they_are() -> None:
    from cpt_judges.llm import Llm

    judge = Llm(responder=says("Score: 3", "Score: 4", author="grader"))
    pairer = judged("1", "5", rule="all_pairs")
    none = await reason(attrs.evolve(pairer, judge=judge))
    assert none.reason == "tie"
    from cpt_scored.judging import _models

    assert list(_models(judge)) == ["grader"]


async def test_one_short_name_is_the_other() -> None:
    short = Rlaif(responder=says(*NINE), judge=Reads(), samples=5, rule="all_pairs")
    whole = judged(*NINE, rule="all_pairs")
    one, other = [await pairer.pair(PROMPT, FakeAsk()) for pairer in (short, whole)]
    assert [attrs.evolve(pair, pairer="judged") for pair in one] == other


def test_one_answer_is_no_choice() -> None:
    with pytest.raises(ValueError, match="'samples' must be >= 2 where one responder answers"):
        Judged(responders=(says("1"),), judge=Reads())
    with pytest.raises(ValueError, match="'responders'"):
        Judged(responders=(), judge=Reads())


async def test_the_best_of_n_over_a_fixed_answer() -> None:
    pairer = attrs.evolve(TestBestOfNOverAnother.component, rule="best_random")
    (pair,) = await pairer.pair(PROMPT, FakeAsk())
    assert (pair.chosen.text, pair.rejected.author, pair.margin) == ("5", "old", 3.0)
    assert (pair.info["rule"], pair.info["scores"]) == ("fixed", [1.0, 5.0, 2.0])
    for text, why in (("5", "not_better"), ("6", "not_better"), ("six", "unparsed"), ("", "empty")):
        fixed = says(text, author="old")
        if not text:
            fixed = Silent(model="old")
        assert (await reason(attrs.evolve(pairer, rejected=fixed))).reason == why


@attrs.frozen
class Silent(Scripted):
    """Says nothing."""

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        said = super().answer_all(requests)
        return [attrs.evolve(answer, text="", outcome="empty") for answer in said]


scores = st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=8)


@given(scores, st.sampled_from(sorted(RULES)), st.integers())
def test_a_rule_never_prefers_the_worse(scored: list[float], rule: str, seed: int) -> None:
    for random in (None, Random(seed)):
        rank = ranked(scored, random)
        assert sorted(rank) == list(range(len(scored)))
        pairs = list(RULES[rule](scored, rank, Random(seed)))
        assert len(set(pairs)) == len(pairs)
        for chosen, rejected in pairs:
            assert chosen != rejected
            assert scored[chosen] >= scored[rejected]
            assert (tier_of(scored, chosen, rejected) == 0) == (scored[chosen] == scored[rejected])
        if rule != "largest_gap" and rule != "all_pairs":
            assert {scored[chosen] for chosen, _ in pairs} == {max(scored)}


@given(scores)
def test_the_largest_gap_is_between_neighbours(scored: list[float]) -> None:
    chosen, rejected = next(RULES["largest_gap"](scored, ranked(scored, None), Random(0)))
    between = [one for one in scored if scored[rejected] < one < scored[chosen]]
    assert not between
    ordered = sorted(scored)
    widest = max(high - low for low, high in pairwise(ordered))
    assert scored[chosen] - scored[rejected] == widest
