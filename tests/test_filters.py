# ruff: noqa: RUF001  letters of other scripts are meant
"""The bundled filters: what is planted is found, and what is clean stays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from math import exp, log1p
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cpt
from cpt.testing import FilterContract, fake_pairs
from cpt_filters import near, texts
from cpt_filters.active import Active
from cpt_filters.balance import Balance
from cpt_filters.decontaminate import Decontaminate
from cpt_filters.difficulty import Difficulty
from cpt_filters.duplicates import Duplicates
from cpt_filters.flags import Flags
from cpt_filters.language import Language
from cpt_filters.length_balance import LengthBalance
from cpt_filters.length_ratio import LengthRatio
from cpt_filters.ranges import MarginRange, ScoreRange
from cpt_filters.refusals import Refusals

from . import tiny

POEM = (
    "the sun was shining on the sea shining with all his might he did his very best to make the "
    "billows smooth and bright and this was odd because it was the middle of the night"
)


def pair(number: int, prompt: str = "", chosen: str = "yes", rejected: str = "no", **more: Any):
    asked = cpt.Prompt(
        id=f"p{number}",
        messages=(cpt.Message("user", prompt or f"question {number}"),),
        info=more.pop("prompt_info", {}),
    )
    better, worse = (
        cpt.Response(prompt_id=asked.id, text=text, author=side)
        for side, text in (("chosen", chosen), ("rejected", rejected))
    )
    return cpt.Pair(id=str(number), prompt=asked, chosen=better, rejected=worse, **more)


def dropped(filter: cpt.Filter, pairs: Iterable[cpt.Pair]) -> dict[str, str]:
    """The reason of each dropped pair by its id."""
    pairs = list(pairs)
    decisions = zip(pairs, filter.filter(pairs), strict=True)
    return {pair.id: made.reason for pair, made in decisions if isinstance(made, cpt.Drop)}


def of_lengths(lengths: Sequence[tuple[int, int]]) -> list[cpt.Pair]:
    return [
        pair(number, chosen=" ".join("a" * chosen), rejected=" ".join("b" * rejected))
        for number, (chosen, rejected) in enumerate(lengths)
    ]


class TestDuplicates(FilterContract):
    component = Duplicates(of="prompts")


class TestNearDuplicates(FilterContract):
    component = Duplicates(near=0.7, permutations=32)


class TestLengthRatio(FilterContract):
    component = LengthRatio()


class TestLengthBalance(FilterContract):
    component = LengthBalance()

    def pairs(self) -> list[cpt.Pair]:
        return of_lengths([(1 + number % 5, 2) for number in range(40)])


class TestScoreRange(FilterContract):
    component = ScoreRange(chosen_min=0.5)

    def pairs(self) -> list[cpt.Pair]:
        return [pair(number, chosen_score=number / 9) for number in range(9)]


class TestMarginRange(FilterContract):
    component = MarginRange(min=10, max=50)


class TestDecontaminate(FilterContract):
    @pytest.fixture(autouse=True)
    def _component(self, tmp_path: Path) -> None:
        (tmp_path / "eval.jsonl").write_text(json.dumps({"prompt": "What is 3 plus 3?"}))
        self.component = Decontaminate(against=(str(tmp_path / "eval.jsonl"),))


class TestLanguage(FilterContract):
    component = Language(expected=("en",), shortest=20)


class TestRefusals(FilterContract):
    component = Refusals()


class TestBalance(FilterContract):
    component = Balance(clusters=3)


class TestFlags(FilterContract):
    @pytest.fixture(autouse=True)
    def _component(self, tmp_path: Path) -> None:
        flags = [{"pair_id": fake_pairs(3)[place].id, "flag": "swap"} for place in (0, 2)]
        (tmp_path / "flags.json").write_text(json.dumps(flags))
        self.component = Flags(str(tmp_path / "flags.json"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two small models with one tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    one, other = (str(tiny.folder(folder / name, seed=seed)) for seed, name in enumerate("ab"))
    return one, other


class TestActive(FilterContract):
    @pytest.fixture(autouse=True)
    def _component(self, models: tuple[str, str], monkeypatch, tmp_path_factory) -> None:
        monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        self.component = Active(*models, at_once=48)

    def pairs(self) -> list[cpt.Pair]:
        return [pair(number) for number in range(12)]


# Duplicates


def test_equal_but_for_case_and_punctuation_is_equal() -> None:
    pairs = [pair(0, "Why?"), pair(1, "why"), pair(2, "Who?"), pair(3, "WHY - ")]
    assert dropped(Duplicates(), pairs) == {"1": "equal", "3": "equal"}
    assert dropped(Duplicates(of="prompts"), pairs) == {"1": "equal", "3": "equal"}
    assert dropped(Duplicates(of="rejected"), pairs) == dict.fromkeys("123", "equal")
    (decision,) = list(Duplicates().filter(pairs))[1:2]
    assert decision == cpt.Drop("equal", "pairs as in 0")


def test_pairs_of_one_prompt_are_no_duplicates_of_each_other() -> None:
    ladder = fake_pairs(9)
    for of in ("prompts", "chosen", "rejected"):
        assert dropped(Duplicates(of=of), ladder) == {}
        assert dropped(Duplicates(of=of, near=0.8, n=1), ladder + ladder[:0]) == {}


def test_texts_without_words_are_told_apart() -> None:
    pairs = [pair(0, chosen="👍"), pair(1, chosen="👎"), pair(2, chosen="👍")]
    assert dropped(Duplicates(of="chosen"), pairs) == {"2": "equal"}


def test_planted_near_duplicates_are_found_and_others_stay() -> None:
    draw = Random(0)
    words = [f"w{number}" for number in range(400)]
    clean = [" ".join(draw.choices(words, k=60)) for _ in range(60)]
    changed = [" ".join([*text.split()[:30], "other", *text.split()[31:]]) for text in clean[:20]]
    pairs = [pair(number, text) for number, text in enumerate(clean + changed)]
    found = dropped(Duplicates(of="prompts", near=0.8, n=3), pairs)
    assert set(found) == {str(number) for number in range(60, 80)}
    assert set(found.values()) == {"alike"}
    assert dropped(Duplicates(of="prompts"), pairs) == {}


@settings(max_examples=30)
@given(st.lists(st.sets(st.integers(0, 30), min_size=1), max_size=20))
def test_groups_are_those_of_the_estimated_similarity(sets: list[set[int]]) -> None:
    """Every equal set is in the group of the first; a group leads to its first at once."""
    grams = [[texts.digest([str(value)]) for value in sorted(one)] for one in sets]
    firsts = near.firsts(grams, 0.9, 64).tolist()
    for place, first in enumerate(firsts):
        assert first <= place
        assert firsts[first] == first
        equal = next(other for other in range(len(sets)) if sets[other] == sets[place])
        assert firsts[equal] == first


def test_what_is_alike_through_another_is_one_group() -> None:
    base = [texts.digest([str(value)]) for value in range(100)]
    sets = [base[0:80], base[40:100] + base[0:0], base[20:100], base[5:85]]
    near_enough = near.firsts(sets, 0.5, 256).tolist()
    assert near_enough == [0, 0, 0, 0]
    assert near.firsts(sets, 0.99, 256).tolist() == [0, 1, 2, 3]


# Lengths

LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=40)


def test_a_ratio_and_a_difference() -> None:
    pairs = of_lengths([(3, 1), (4, 1), (1, 4), (60, 40), (5, 5)])
    assert dropped(LengthRatio(), pairs) == {"1": "ratio", "2": "ratio"}
    assert dropped(LengthRatio(most=None, difference=3), pairs) == {"3": "difference"}
    assert dropped(LengthRatio(most=None), pairs) == {}
    assert list(LengthRatio().filter(pairs))[1].detail == "4 words chosen, 1 rejected"  # type: ignore[union-attr]


def test_an_answer_without_text_counts_as_one() -> None:
    assert dropped(LengthRatio(unit="characters"), [pair(0, chosen="", rejected="abc")]) == {}
    assert dropped(LengthRatio(unit="characters"), [pair(0, chosen="", rejected="abcd")])


def test_tokens_are_counted_by_the_models_tokenizer(models: tuple[str, str]) -> None:
    counted = LengthRatio(tokenizer=models[0])
    counted.check()
    assert counted.counter()("yes no") != len(["yes", "no"]) or counted.counted == "tokens"
    with pytest.raises(cpt.CptError):
        LengthRatio(tokenizer="/no/such/model").check()


@given(LENGTHS, st.floats(0, 0.95), st.integers(0, 3))
def test_the_share_of_longer_ones_is_reached_with_no_pair_more(
    lengths: list[tuple[int, int]], share: float, seed: int
) -> None:
    gone = dropped(LengthBalance(share=share, seed=seed), of_lengths(lengths))
    longer = [str(place) for place, (chosen, rejected) in enumerate(lengths) if chosen > rejected]
    left, total = len(longer) - len(gone), len(lengths) - len(gone)
    assert set(gone) <= set(longer)
    assert left <= share * total + 1e-6
    if gone:
        assert left + 1 > share * (total + 1) - 1e-6


@given(LENGTHS, st.floats(0, 5))
def test_the_means_are_reached_with_no_pair_more(
    lengths: list[tuple[int, int]], means: float
) -> None:
    gone = dropped(LengthBalance(share=None, means=means), of_lengths(lengths))
    gaps = [chosen - rejected for chosen, rejected in lengths]
    left = [gap for place, gap in enumerate(gaps) if str(place) not in gone]
    out = [gaps[int(place)] for place in gone]
    assert sum(left) <= means * len(left) + 1e-6
    if gone:
        assert sum(left) + min(out) > means * (len(left) + 1) - 1e-6
        assert min(out) >= max(left, default=-9)


def test_balance_is_drawn_from_the_seed() -> None:
    pairs = of_lengths([(3, 1)] * 30 + [(1, 3)] * 10)
    one, again, other = (dropped(LengthBalance(seed=seed), pairs) for seed in (0, 0, 1))
    assert one == again != other
    assert len(one) == len(other) == 20
    assert dropped(LengthBalance(), pairs[20:]) == {}, "10 and 10 are balanced"


# Ranges


def test_scores_and_margins_in_a_range() -> None:
    pairs = [
        pair(0, chosen_score=0.9, rejected_score=0.1, margin=0.8),
        pair(1, chosen_score=0.4, rejected_score=0.3, margin=0.1),
        pair(2),
        pair(3, chosen_score=0.9, rejected_score=0.9, margin=0.0),
    ]
    scores = ScoreRange(chosen_min=0.5, rejected_max=0.5)
    assert dropped(scores, pairs) == {"1": "too_low", "2": "unknown", "3": "too_high"}
    margins = MarginRange(min=0.05, max=0.5)
    assert dropped(margins, pairs) == {"0": "too_high", "2": "unknown", "3": "too_low"}


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        (MarginRange(), "margin_range has no limit; give one, as in --filters.min 1"),
        (ScoreRange(), "score_range has no limit; give one, as in --filters.chosen-min 1"),
        (MarginRange(min=2, max=1), "margin_range: 2 to 1 holds nothing"),
        (MarginRange(min=float("nan")), "margin_range: nan is no limit"),
        (ScoreRange(rejected_max=float("nan")), "score_range: rejected nan is no limit"),
    ],
)
def test_a_range_that_is_none_is_refused(filter: cpt.Filter, said: str) -> None:
    with pytest.raises(cpt.CptError, match=said):
        filter.check()


# Contamination


@pytest.fixture
def evaluation(tmp_path: Path) -> str:
    rows = [{"id": "walrus", "prompt": POEM}, {"id": "short", "prompt": "Name three rivers."}]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "eval.jsonl")


def test_planted_contamination_is_found(evaluation: str) -> None:
    half = " ".join(POEM.split()[:24])
    pairs = [
        pair(0, f"Go on: {POEM.upper()}!"),
        pair(1, f"Go on: {half}"),
        pair(2, "name  three RIVERS"),
        pair(3, "Name three rivers of France."),
        pair(4, "Go on", chosen=POEM),
        pair(5, " ".join(reversed(POEM.split()))),
    ]
    filter = Decontaminate((evaluation,))
    assert dropped(filter, pairs) == {"0": "prompt", "1": "prompt", "2": "prompt"}
    assert "100% of the 8-grams of" in next(filter.filter(pairs)).detail  # type: ignore[union-attr]
    assert dropped(attrs.evolve(filter, answers=True), pairs)["4"] == "chosen"
    assert set(dropped(attrs.evolve(filter, share=0.9), pairs)) == {"0", "2"}


def test_share_zero_takes_any_one_n_gram(evaluation: str) -> None:
    thirteen = " ".join(POEM.split()[5:18])
    pairs = [pair(0, thirteen), pair(1, " ".join(thirteen.split()[1:])), pair(2, "odd")]
    assert dropped(Decontaminate((evaluation,), n=13, share=0), pairs) == {"0": "prompt"}


def test_an_evaluation_set_that_is_not_there_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(cpt.CptError, match="no such file"):
        Decontaminate((str(tmp_path / "none.jsonl"),)).check()


# Languages and refusals

SAID = {
    "en": "The river rises in the mountains, and it flows through three countries to the sea.",
    "de": "Der Fluss entspringt in den Bergen und fließt durch drei Länder bis ans Meer hinunter.",
    "fr": "Le fleuve prend sa source dans les montagnes et traverse trois pays avant la mer.",
    "ja": "その川は山から流れ出して、三つの国を通り、やがて海に注ぎます。とても長くて、有名です。",
}


def test_answers_in_another_language_go() -> None:
    pairs = [
        pair(place, chosen=text, rejected=SAID["en"]) for place, text in enumerate(SAID.values())
    ]
    assert dropped(Language(("en",)), pairs) == dict.fromkeys("123", "chosen")
    assert dropped(Language(("en", "de", "fr", "ja")), pairs) == {}
    asked = [pair(0, SAID["de"]), pair(1, SAID["en"])]
    assert dropped(Language(("en",)), asked) == {}
    assert dropped(Language(("en",), prompts=True), asked) == {"0": "prompt"}


def test_code_numbers_and_short_texts_are_in_any_language() -> None:
    code = "```python\nfor eintrag in liste:\n    ausgeben(eintrag, zeile, spalte)\n```"
    pairs = [pair(0, chosen="Ja, gerne."), pair(1, chosen="1 2 3 " * 20), pair(2, chosen=code)]
    assert dropped(Language(("en",)), pairs) == {}


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(cpt.CptError, match="language 'english' is unknown; there are: af, ar,"):
        Language(("english",)).check()


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I cannot assist with that request.",
    "I cannot provide instructions for this.",
    "I am unable to share that.",
    "As an AI language model, I don't have opinions, and I can't say.",
    "Sorry, this is against our guidelines.",
    "Es tut mir leid, aber dabei kann ich dir nicht helfen.",
    "Leider kann ich dabei nicht helfen.",
    "Je suis désolé, mais je ne peux pas répondre à cette demande.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Sorry, daar kan ik je niet bij helpen.",
    "Извините, но я не могу помочь с этим.",
    "抱歉,我无法提供这方面的帮助。",
    "申し訳ありませんが、そのご要望にはお応えできません。",
]
ANSWERS = [
    "You can't divide by zero, because no number times zero gives another.",
    "I can help with that: take two eggs.",
    "Sorry for the long answer. First, open the lid.",
    "Es regnet nicht, und ich kann kommen.",
    "Je peux vous aider avec plaisir.",
    "No hay problema: abre la tapa.",
    "Извините за длинный ответ. Сначала откройте крышку.",
    "当然可以,请先打开盖子。",
    "The error says 'I cannot open the file', so check its name.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_told(text: str) -> None:
    assert dropped(Refusals(), [pair(0, chosen=text)]) == {"0": "chosen"}


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_none(text: str) -> None:
    assert dropped(Refusals(), [pair(0, chosen=text)]) == {}


def test_which_side_refuses_is_an_option() -> None:
    no = REFUSALS[0]
    pairs = [pair(0, chosen=no), pair(1, rejected=no), pair(2, chosen=no, rejected=no), pair(3)]
    assert set(dropped(Refusals(), pairs)) == {"0", "2"}
    assert dropped(Refusals(sides="rejected"), pairs) == {"1": "rejected", "2": "rejected"}
    either = {"0": "chosen", "1": "rejected", "2": "chosen"}
    assert dropped(Refusals(sides="either"), pairs) == either
    assert dropped(Refusals(sides="both"), pairs) == {"2": "both"}
    assert dropped(Refusals(), [pair(0, chosen="Take an egg. " * 40 + no)]) == {}


# Balance


def test_a_column_is_balanced_whose_ever_metadata_it_is_in() -> None:
    domains = ["maths"] * 12 + ["law"] * 4 + ["code"] * 2
    pairs = [
        pair(place, info={"domain": name})
        if place % 2
        else pair(place, prompt_info={"domain": name})
        for place, name in enumerate(domains)
    ]
    gone = dropped(Balance(by="domain"), pairs)
    assert len(gone) == 8 and all(int(place) < 12 for place in gone), "4 is in the middle"
    assert len(dropped(Balance(by="domain", most=2), pairs)) == 12
    assert dropped(Balance(by="domain", seed=1), pairs) != gone
    with pytest.raises(cpt.CptError, match=r"balance\.by: no pair has 'domian' in its metadata"):
        dropped(Balance(by="domian"), pairs)


def test_clusters_are_prompts_about_one_thing() -> None:
    about = {
        "river water boat fish lake bridge": 20,
        "piano violin music concert song choir": 5,
        "bread oven flour yeast dough baker": 5,
    }
    draw = Random(1)
    prompts = [
        " ".join(draw.choices(words.split(), k=8))
        for words, count in about.items()
        for _ in range(count)
    ]
    pairs = [pair(place, text) for place, text in enumerate(prompts)]
    gone = dropped(Balance(clusters=3), pairs)
    assert len(gone) == 15 and all(int(place) < 20 for place in gone)
    assert dropped(Balance(clusters=3), pairs[:0]) == {}
    assert dropped(Balance(clusters=3), [pair(0, "?"), pair(1, "!")]) == {}


# Flags


def flags(tmp_path: Path, *rows: dict[str, Any]) -> Flags:
    (tmp_path / "flags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Flags(str(tmp_path / "flags.jsonl"))


def test_what_nobody_flagged_is_left_out_where_that_is_asked(tmp_path: Path) -> None:
    pairs = fake_pairs(3)
    filter = flags(
        tmp_path,
        {"pair_id": pairs[0].id, "flag": "keep"},
        {"pair_id": pairs[2].id, "flag": "swap"},
    )
    kept, none, swapped = attrs.evolve(filter, flagged_only=True).filter(pairs)
    assert (kept, none) == (pairs[0], cpt.Drop("unflagged"))
    assert isinstance(swapped, cpt.Pair) and swapped.chosen == pairs[2].rejected


def test_flags_of_pairs_that_are_not_there_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"pair_id": name, "flag": "drop"} for name in (fake_pairs(1)[0].id, "gone")]
    assert len(list(flags(tmp_path, *rows).filter(fake_pairs(2)))) == 2
    assert "1 of 2 flags are of pairs that are not here, such as 'gone'" in caplog.text


def test_what_people_flagged_is_done(tmp_path: Path) -> None:
    pairs = [pair(number, chosen_score=2.0, rejected_score=1.0, margin=1.0) for number in range(4)]
    filter = flags(
        tmp_path,
        {"pair_id": "0", "flag": "drop", "note": "both are\nwrong"},
        {"pair_id": "1", "flag": "swap", "note": "shorter is right"},
        {"pair_id": "2", "flag": "drop"},
        {"pair_id": "2", "flag": "keep"},
        {"pair_id": "of another run", "flag": "drop"},
    )
    gone, swapped, kept, unseen = filter.filter(pairs)
    assert gone == cpt.Drop("flagged", "both are wrong")
    assert (kept, unseen) == tuple(pairs[2:])
    assert isinstance(swapped, cpt.Pair)
    assert (swapped.chosen, swapped.rejected) == (pairs[1].rejected, pairs[1].chosen)
    assert (swapped.chosen_score, swapped.rejected_score, swapped.margin) == (1.0, 2.0, 1.0)
    assert swapped.info == {"flag": "swap", "note": "shorter is right"}
    assert swapped.id == "1"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"pair_id": "0", "flag": "delete"}, "flags.jsonl:1: flag is 'delete', and must be one of"),
        ({"id": "0", "flag": "drop"}, "flags.jsonl:1: expected pair_id, found id, flag."),
        ({"pair_id": "0"}, "flags.jsonl:1: flag is None, and must be one of drop, swap, keep."),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(cpt.CptError) as caught:
        flags(tmp_path, row).check()
    assert said in caught.value.message


def test_which_file_must_be_said() -> None:
    with pytest.raises(cpt.CptError, match="Write flags:FILE"):
        Flags("").check()


# Active selection


def test_the_gaps_are_those_of_dpo(
    models: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpt.likelihood import log_probabilities

    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    pairs = [pair(number, chosen="yes " * (1 + number % 3)) for number in range(9)]
    policy, reference = (log_probabilities(pairs, model) for model in models)
    gaps = {
        name: (policy[name].chosen - reference[name].chosen)  # type: ignore[union-attr]
        - (policy[name].rejected - reference[name].rejected)  # type: ignore[union-attr]
        for name in policy
    }
    ranked = sorted(gaps, key=gaps.__getitem__)
    third = Active(*models, share=1 / 3, at_once=4)
    assert set(gaps) - dropped(third, pairs).keys() == set(ranked[:3])
    largest = attrs.evolve(third, keep="largest")
    assert set(gaps) - dropped(largest, pairs).keys() == set(ranked[-3:])
    assert set(dropped(third, pairs).values()) == {"not_smallest"}


def test_a_pair_that_training_would_drop_is_not_selected(
    models: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    pairs = [pair(0), pair(1, chosen="yes " * 5000), pair(2)]
    assert dropped(Active(*models, share=1), pairs) == {"1": "answer_too_long"}


def test_a_model_that_is_not_there_is_refused(models: tuple[str, str]) -> None:
    with pytest.raises(cpt.CptError, match="none"):
        Active(models[0], "/no/such/none").check()


# Difficulty


class TestDifficulty(FilterContract):
    component = Difficulty()


def measured(filter: Difficulty, pairs: list[cpt.Pair]) -> dict[str, tuple[int, float | None]]:
    kept = [each for each in filter.filter(pairs) if isinstance(each, cpt.Pair)]
    return {pair.id: (pair.tier, pair.margin) for pair in kept}


def test_pairs_that_share_least_are_the_easiest() -> None:
    shared = ["a b c d", "a b c x", "a b x y", "a x y z"]
    pairs = [pair(n, chosen=text, rejected="a b c d e") for n, text in enumerate(shared)]
    found = measured(Difficulty(tiers=2), pairs)
    assert [found[str(n)][0] for n in range(4)] == [1, 1, 2, 2]
    assert found["0"][1] == pytest.approx(1 - 4 / 5)
    turned = measured(Difficulty(tiers=2, reverse=True), pairs)
    assert [turned[str(n)][0] for n in range(4)] == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("by", "expected"),
    [("score_gap", [1, 2]), ("tier", [2, 1]), ("margin", [1, 2]), ("column", [2, 1])],
)
def test_numbers_of_the_pairs_are_measures(by: Any, expected: list[int]) -> None:
    rows = [(2, 0.5, 1.0, {"n": 7}), (1, 2.0, 3.0, {"n": -7})]
    pairs = [
        attrs.evolve(
            pair(n), tier=tier, margin=margin, chosen_score=score, rejected_score=0, info=i
        )
        for n, (tier, margin, score, i) in enumerate(rows)
    ]
    made = list(Difficulty(by=by, column="n" * (by == "column"), tiers=2).filter([*pairs, pair(9)]))
    kept = [each for each in made if isinstance(each, cpt.Pair)]
    assert [each.tier for each in kept] == expected
    assert (kept[0].info["given_tier"], kept[0].info["given_margin"]) == (2, 0.5)
    assert isinstance(made[2], cpt.Drop) and made[2].reason == f"no_{by}"


def test_gaps_under_models_are_measures(
    models: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpt.likelihood import log_probabilities

    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    pairs = [pair(n, chosen="yes " * (1 + n % 3)) for n in range(6)]
    policy, reference = (log_probabilities(pairs, model) for model in models)
    one: Any = reference["1"]
    other: Any = policy["1"]
    of_reference = measured(Difficulty(by="reference_gap", reference=models[1]), pairs)
    assert of_reference["1"][1] == pytest.approx(one.chosen - one.rejected)
    gap = 0.1 * (other.chosen - one.chosen - other.rejected + one.rejected)
    both: dict[str, Any] = {"model": models[0], "reference": models[1]}
    rewards = measured(Difficulty(by="reward_gap", **both), pairs)
    losses = measured(Difficulty(by="loss", **both), pairs)
    assert rewards["1"][1] == pytest.approx(gap)
    assert losses["1"][1] == pytest.approx(-log1p(exp(-gap)))
    assert {name: tier for name, (tier, _) in rewards.items()} == {
        name: tier for name, (tier, _) in losses.items()
    }


def test_a_measure_without_its_model_is_refused() -> None:
    with pytest.raises(cpt.CptError, match="difficulty by loss: give model as well"):
        Difficulty(by="loss").check()
    with pytest.raises(cpt.CptError, match="give column as well"):
        Difficulty(by="column").check()


# All


@pytest.mark.parametrize(
    "filter", [Duplicates(near=0.8), Balance(), Language(("en",))], ids=lambda filter: filter.name
)
def test_a_library_that_is_missing_is_one_line(
    filter: cpt.Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cpt_filters import language

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(texts, "import_module", missing)
    language._factory.cache_clear()
    with pytest.raises(cpt.CptError) as caught:
        filter.check()
    assert "pip install 'contrastive-post-training[filters]'" in caught.value.message


def test_clean_pairs_are_untouched(evaluation: str) -> None:
    draw = Random(3)
    words = [f"word{number}" for number in range(300)]
    pairs = [
        pair(
            number,
            " ".join(draw.choices(words, k=20)),
            " ".join(draw.choices(words, k=10 + number % 2)),
            " ".join(draw.choices(words, k=11 - number % 2)),
        )
        for number in range(60)
    ]
    for filter in (
        Duplicates(),
        Duplicates(of="prompts", near=0.8),
        LengthRatio(),
        LengthBalance(),
        Decontaminate((evaluation,)),
        Refusals(),
    ):
        assert list(filter.filter(pairs)) == pairs, filter.name
