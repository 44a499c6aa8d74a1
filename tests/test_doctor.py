"""What is wrong with pairs, and that none of it is trained on silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import CptError
from cpt.training.data import prepare as preparing
from cpt.training.data.corpus import mismatch
from cpt.training.data.findings import refuse_none_left
from cpt.training.data.prepare import examine, prepare
from cpt.training.data.sequences import TokenSequence
from cpt.training.options import Training

from . import tiny

TOKENIZER = tiny.tokenizer()
GOOD = tiny.pair("good", "abab", "cdcd", id="good")


def lengths(pair: Any) -> tuple[int, int, int]:
    corpus, _ = prepare([pair], TOKENIZER, Training())
    chosen, rejected = (corpus.sequences[int(side[0])] for side in (corpus.chosen, corpus.rejected))
    return len(chosen.prompt), len(chosen.answer), len(rejected.answer)


def found(*pairs: Any, vocabulary: int | None = None, **options: Any) -> list[tuple[str, str]]:
    diagnosis = examine([GOOD, *pairs], TOKENIZER, Training(**options), vocabulary)
    dropped = sum(diagnosis.dropped.values())
    assert diagnosis.kept == diagnosis.pairs - dropped == len(pairs) + 1 - dropped
    return [(finding.pair, finding.problem) for finding in diagnosis.findings]


def test_a_good_pair_is_good() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("problem", "pair", "options"),
    [
        ("identical", tiny.pair("q", "same", "same", id="bad"), {}),
        ("empty", tiny.pair("q", " \n", "ab", id="bad"), {}),
        ("empty", tiny.pair("q", "ab", "", id="bad"), {}),
        ("prompt_too_long", tiny.pair("q" * 60, "a", "b", id="bad"), {"max_prompt_length": 60}),
        ("prompt_too_long", tiny.pair("q" * 99, "a", "b", id="bad"), {"max_length": 90}),
        ("answer_too_long", tiny.pair("q", "a" * 90, "b", id="bad"), {"max_length": 90}),
        ("answer_too_long", tiny.pair("q", "b", "a" * 90, id="bad"), {"max_length": 90}),
        (
            "one_side_too_long",
            tiny.pair("q", "a" * 90, "b", id="bad"),
            {"max_length": 90, "truncate": True},
        ),
        ("outside_vocabulary", tiny.pair("q", "abcd", "b", id="bad"), {"vocabulary": 261}),
    ],
)
def test_a_pair_that_cannot_be_trained_on_is_dropped_and_named(
    problem: str, pair: Any, options: Any
) -> None:
    assert found(pair, **options) == [("bad", problem)]
    assert GOOD in prepare([GOOD, pair], TOKENIZER, Training())[0].pairs


def test_a_pair_that_the_template_refuses_is_dropped() -> None:
    strict = "{% if 'z' in messages[-1].content %}{{ raise_exception('No z.') }}{% endif %}"
    tokenizer = tiny.tokenizer(template=strict + tiny.CHATML)
    bad = tiny.pair("q", "z", "b", id="bad")
    diagnosis = examine([GOOD, bad], tokenizer, Training())
    assert [(finding.pair, finding.problem, finding.detail) for finding in diagnosis.findings] == [
        ("bad", "template", "the chat template refuses it (No z)")
    ]


def test_two_answers_that_are_too_long_are_cut_alike_if_asked() -> None:
    pair = tiny.pair("q", "a" * 90, "b" * 99, id="long")
    assert found(pair, max_length=90, truncate=True) == [("long", "truncated")]
    corpus, _ = prepare([pair], TOKENIZER, Training(max_length=90, truncate=True))
    assert {len(row.prompt) + len(row.answer) for row in corpus.sequences} == {90}


def test_two_answers_that_differ_only_behind_the_cut_are_one() -> None:
    pair = tiny.pair("q", "a" * 90 + "b", "a" * 90 + "c", id="bad")
    assert found(pair, max_length=90, truncate=True) == [("bad", "identical")]


def test_the_limit_itself_is_allowed() -> None:
    pair = tiny.pair("q", "a" * 20, "b", id="long")
    prompt, chosen, _ = lengths(pair)
    assert found(pair, max_length=prompt + chosen) == []
    assert found(pair, max_length=prompt + chosen - 1) == [("long", "answer_too_long")]
    assert found(pair, max_prompt_length=prompt + len("good") - len("q")) == []


def test_what_a_pair_is_kept_in_spite_of() -> None:
    merged = tiny.pair("q", "\nab", "b", id="merged")
    cut_off = tiny.pair("q", "ad", "b", id="cut")
    cut_off = attrs.evolve(cut_off, chosen=attrs.evolve(cut_off.chosen, outcome="cut_off"))
    assert found(merged, cut_off) == [("merged", "boundary_merge"), ("cut", "cut_off")]


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("ab\n\nHuman: cd", tiny.CHATML),
        ("ab\nuser> cd", "{% for m in messages %}{{ m.role }}> {{ m.content }}\n{% endfor %}"),
    ],
)
def test_a_marker_of_turns_in_a_text_is_noted(text: str, template: str) -> None:
    tokenizer = tiny.tokenizer(template=template)
    noted = examine([GOOD, tiny.pair("q", text, "b")], tokenizer, Training()).noted
    assert noted["marker_in_text"] == 1
    assert "marker_in_text" not in examine([GOOD], tokenizer, Training()).noted


@pytest.mark.parametrize("text", ["ab<|im_end|>", "ab<s>", "ab<end_of_turn>"])
def test_a_token_that_ends_a_turn_is_an_error(text: str) -> None:
    assert found(tiny.pair("q", text, "b", id="bad")) == [("bad", "control_token")]


def test_a_template_that_is_not_the_models_own_is_noted() -> None:
    assert examine([GOOD], tiny.tokenizer(template=None), Training()).noted == {"plain_template": 1}


@pytest.mark.parametrize(("better", "noted"), [(1.0, True), (2.0, False), (3.0, False)])
def test_a_chosen_side_with_the_lower_score_is_noted(better: float, noted: bool) -> None:
    pair = attrs.evolve(GOOD, chosen_score=better, rejected_score=2.0)
    diagnosis = examine([pair], TOKENIZER, Training())
    assert diagnosis.noted == ({"scored_below": 1} if noted else {})
    assert diagnosis.severities() == ({"scored_below": "error"} if noted else {})


def test_pairs_that_part_early_are_counted_and_dropped(
    cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.folder(tmp_path / "student")
    talk = "\n\nHuman: a\n\nAssistant: "
    rows = [(f"{talk}b", f"{talk}c"), (f"{talk}b{talk}d", f"{talk}e{talk}f"), (f"{talk}b", talk)]
    lines = [json.dumps({"chosen": chosen, "rejected": rejected}) for chosen, rejected in rows]
    Path("hh.jsonl").write_text("\n".join(lines))
    done = cpt_cli("doctor", "hh.jsonl", "--model", "student")
    assert "3 pairs, 1 can be trained on." in done.output
    assert "1 warning, dropped: parts_early - the two conversations part before" in done.output
    asked = ["--pairs", "hh.jsonl", "--output", "run"]
    done = cpt_cli("train", *asked, "--model", "student", "--loss", "dpo", "--json")
    assert done.exit_code == 0, done.output
    dropped = json.loads(done.stdout)["stages"]["pairs"]["dropped"]
    assert dropped == {"parts_early": 1, "empty": 1}


def test_pairs_that_are_wrong_only_together() -> None:
    again = attrs.evolve(GOOD, id="again")
    other_way = tiny.pair("good", "cdcd", "abab", id="other")
    assert found(again) == [("again", "repeated")]
    assert sorted(found(other_way)) == [("good", "contradicted"), ("other", "contradicted")]


def test_bos_twice_and_an_end_that_is_missing() -> None:
    tokenizer = tiny.tokenizer(template="<s><s>{% for m in messages %}{{ m.content }}:{% endfor %}")
    tokenizer.bos_token = "<s>"
    diagnosis = examine([GOOD], tokenizer, Training())
    assert diagnosis.noted == {"eos_added": 1, "double_bos": 1}


def test_lengths_are_those_of_the_tokens() -> None:
    longer = tiny.pair("q", "a" * 9, "b" * 3)
    shorter = tiny.pair("q", "a" * 3, "b" * 5)
    diagnosis = examine([longer, shorter], TOKENIZER, Training())
    assert diagnosis.lengths
    sizes = [lengths(longer), lengths(shorter)]
    chat = [{"role": "user", "content": "q"}]
    asked = TOKENIZER.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert diagnosis.lengths.prompt_tokens == len(asked)
    assert diagnosis.lengths.chosen_tokens == sum(size[1] for size in sizes) / 2
    assert diagnosis.lengths.rejected_tokens == sum(size[2] for size in sizes) / 2
    assert diagnosis.lengths.chosen_longer == 0.5
    assert diagnosis.lengths.longest == max(size[0] + max(size[1:]) for size in sizes)


def test_no_pair_left_is_an_error_that_says_why() -> None:
    bad = [tiny.pair("q", "same", "same", id="first"), tiny.pair("q", "", "b")]
    diagnosis = examine([*bad, tiny.pair("p", "x", "x")], TOKENIZER, Training())
    with pytest.raises(CptError, match=r"None of the 3 pairs.*empty 1, identical 2.*pair first"):
        refuse_none_left(diagnosis)
    with pytest.raises(CptError, match="no pairs"):
        refuse_none_left(examine([], TOKENIZER, Training()))


@pytest.mark.parametrize(
    ("problem", "flag", "options"),
    [
        ("answer_too_long", "--train.max-length", {"max_length": 90}),
        ("one_side_too_long", "--train.max-length", {"max_length": 90, "truncate": True}),
        ("prompt_too_long", "--train.max-prompt-length", {"max_prompt_length": 9}),
    ],
)
def test_what_is_too_long_names_the_flag_that_fixes_it(
    problem: str, flag: str, options: Any
) -> None:
    diagnosis = examine([tiny.pair("q", "a" * 90, "b")], TOKENIZER, Training(**options))
    with pytest.raises(CptError, match=f"{problem}: .*{flag}\\b.*for example"):
        refuse_none_left(diagnosis)


def test_the_sequences_of_a_pair_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TokenSequence] = []

    def counted(*parts: Any) -> TokenSequence:
        made.append(TokenSequence(*parts))
        return made[-1]

    monkeypatch.setattr(preparing, "TokenSequence", counted)
    prepare([GOOD, tiny.pair("q", "same", "other")], TOKENIZER, Training())
    assert len(made) == 4


def test_every_sequence_is_known_by_its_digest() -> None:
    ladder = tiny.ladder(prompts=3, rungs=3)
    corpus, _ = prepare([*ladder, *ladder], TOKENIZER, Training())
    assert len(corpus.sequences) == 9
    crossed, _ = mismatch(corpus, [range(len(ladder))], longest=2048)
    assert len(crossed.sequences) > 9
    for made in (corpus, crossed):
        assert made.sequences.digests.tobytes() == b"".join(
            sequence.digest for sequence in made.sequences
        )


@pytest.mark.parametrize("options", [{"max_prompt_length": 2048}, {"batch_size": 0}])
def test_options_that_cannot_work_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(options)).split("_prompt")[0]):
        Training(**options)
