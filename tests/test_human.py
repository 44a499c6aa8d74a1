"""Preferences of people: every published layout gives the pairs that it means."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpt import CptError, NoPair, Pair, Prompt, open_run, read_pairs, read_prompts
from cpt.testing import FakeAsk, PairerContract
from cpt_scored.human import Human

OWN_ANSWERS = {"test_no_answers_give_no_pair": "its answers are in the prompt's row"}
TALK = "\n\nHuman: Hi\n\nAssistant: "


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def rated(text: str, model: str, score: Any, honesty: str) -> dict[str, Any]:
    aspects = {"honesty": {"Rating": honesty, "Rationale": "Because."}}
    return {"response": text, "model": model, "overall_score": score, "annotations": aspects}


HH = {"chosen": f"{TALK}Hello", "rejected": f"{TALK}What?"}
BINARIZED = {
    "prompt": "Hi",
    "prompt_id": "x",
    "chosen": turns("Hi", "Hello"),
    "rejected": turns("Hi", "What?"),
    "messages": turns("Hi", "Hello"),
    "score_chosen": 8.0,
    "score_rejected": 6.5,
}
ULTRAFEEDBACK = {
    "source": "sharegpt",
    "instruction": "Hi",
    "models": ["a", "b", "c"],
    "completions": [
        rated("What?", "a", 6.5, "5"),
        rated("Hello", "b", 8.0, "3"),
        rated("Hey", "c", 7.0, "N/A"),
    ],
}
NECTAR = {
    "prompt": "\n\nHuman: Hi\n\nAssistant: ",
    "answers": [
        {"answer": "Hello", "model": "b", "rank": 1.0},
        {"answer": "Hey", "model": "c", "rank": 2.0},
        {"answer": "What?", "model": "a", "rank": 4.0},
    ],
    "turns": 1,
    "source": ["lmsys-chat-1m"],
    "good_natured": True,
}
SHP = {
    "post_id": "x",
    "domain": "askculinary_train",
    "history": "Hi",
    "human_ref_A": "What?",
    "human_ref_B": "Hello",
    "labels": 0,
    "score_A": 3,
    "score_B": 40,
    "score_ratio": 13.3,
}
PKU = {
    "prompt": "Hi",
    "response_0": "Hello",
    "response_1": "What?",
    "response_0_source": "b",
    "response_1_source": "a",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
ARENA = {
    "question_id": "x",
    "model_a": "a",
    "model_b": "b",
    "winner": "model_b",
    "judge": "arena_user_1",
    "conversation_a": turns("Hi", "What?"),
    "conversation_b": turns("Hi", "Hello"),
    "turn": 1,
    "language": "English",
}
KAGGLE = {
    "id": 7,
    "model_a": "a",
    "model_b": "b",
    "prompt": '["Hi"]',
    "response_a": '["What?"]',
    "response_b": '["Hello"]',
    "winner_model_a": 0,
    "winner_model_b": 1,
    "winner_tie": 0,
}
HELPSTEER3 = {
    "domain": "general",
    "language": "english",
    "context": turns("Hi"),
    "response1": "What?",
    "response2": "Hello",
    "overall_preference": 2,
}
HELPSTEER2 = {"prompt": "Hi", "response_1": "Hello", "response_2": "What?"} | {
    "preference_strength": -1
}
DISTILABEL = {
    "instruction": "Hi",
    "generations": ["What?", "Hello"],
    "generation_models": ["a", "b"],
    "ratings": [2, 5],
}
OWN = {"prompt": "Hi", "responses": {"a": "What?", "b": "Hello"}, "scores": {"a": 1, "b": 1.5}}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompt_of(row: Any, folder: Path) -> Prompt:
    (prompt,) = read_prompts(written(folder / "row.jsonl", row))
    return prompt


async def pairs_of(pairer: Human, prompt: Prompt) -> list[Pair]:
    return [one for one in await pairer.pair(prompt, FakeAsk()) if isinstance(one, Pair)]


LAYOUTS: list[tuple[Any, tuple[str, str], float | None, str]] = [
    (HH, ("", ""), None, "pair"),
    (BINARIZED, ("", ""), 1.5, "pair"),
    (ULTRAFEEDBACK, ("b", "a"), 1.5, "ultrafeedback"),
    (NECTAR, ("b", "a"), 3.0, "nectar"),
    (SHP, ("", ""), 37.0, "shp"),
    (PKU, ("b", "a"), 1.0, "pku_saferlhf"),
    (ARENA, ("b", "a"), 1.0, "arena"),
    (KAGGLE, ("b", "a"), 1.0, "arena"),
    (HELPSTEER3, ("", ""), 2.0, "helpsteer"),
    (HELPSTEER2, ("", ""), 1.0, "helpsteer"),
    (DISTILABEL, ("b", "a"), 3.0, "distilabel"),
    (OWN, ("b", "a"), 0.5, "by_author"),
]


@pytest.mark.parametrize(("row", "authors", "margin", "layout"), LAYOUTS)
@pytest.mark.parametrize("where", ["row", "file"])
async def test_a_layout_is_recognised(
    row: Any,
    authors: tuple[str, str],
    margin: float | None,
    layout: str,
    where: str,
    tmp_path: Path,
) -> None:
    prompt = prompt_of(row, tmp_path)
    source = str(written(tmp_path / "source.jsonl", row)) if where == "file" else ""
    pairer = Human(source=source)
    pairer.check()
    (pair,) = await pairs_of(pairer, prompt)
    assert pair.prompt == prompt
    assert [turn.content for turn in prompt.messages] == ["Hi"]
    assert (pair.chosen.text, pair.rejected.text) == ("Hello", "What?")
    assert {pair.chosen.prompt_id, pair.rejected.prompt_id} == {prompt.id}
    assert (pair.chosen.author, pair.rejected.author) == authors
    assert (pair.margin, pair.info["layout"]) == (margin, layout)


async def test_scores_are_carried_and_votes_are_none(tmp_path: Path) -> None:
    (scored,) = await pairs_of(Human(), prompt_of(ULTRAFEEDBACK, tmp_path))
    assert (scored.chosen_score, scored.rejected_score, scored.tier) == (8.0, 6.5, 2)
    assert scored.info["authors"] == ["a", "b", "c"]
    (given,) = await pairs_of(Human(), prompt_of(BINARIZED, tmp_path))
    assert (given.chosen_score, given.rejected_score) == (8.0, 6.5)
    (vote,) = await pairs_of(Human(), prompt_of(ARENA, tmp_path))
    assert (vote.chosen_score, vote.rejected_score) == (None, None)
    assert vote.prompt.info["language"] == "English"


async def test_a_criterion_of_the_row_counts(tmp_path: Path) -> None:
    (safer,) = await pairs_of(Human(criterion="safer"), prompt_of(PKU, tmp_path))
    assert (safer.chosen.text, safer.info["criterion"]) == ("What?", "safer")
    (honest,) = await pairs_of(Human(criterion="honesty"), prompt_of(ULTRAFEEDBACK, tmp_path))
    assert (honest.chosen.text, honest.rejected.text) == ("What?", "Hello")


async def test_the_rules_choose_among_many(tmp_path: Path) -> None:
    every = Human(rule="all_pairs", minimum_gap=1.0)
    pairs = await pairs_of(every, prompt_of(NECTAR, tmp_path))
    assert [pair.margin for pair in pairs] == [3.0, 2.0, 1.0]


TIES: list[dict[str, Any]] = [
    ARENA | {"winner": "tie"},
    ARENA | {"winner": "tie (bothbad)"},
    ARENA | {"winner": "both_bad"},
    KAGGLE | {"winner_model_b": 0, "winner_tie": 1},
    HELPSTEER3 | {"overall_preference": 0},
    BINARIZED | {"score_chosen": 7, "score_rejected": 7},
    OWN | {"scores": {"a": 1, "b": 1}},
]


@pytest.mark.parametrize("row", TIES)
async def test_a_tie_gives_no_pair(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(NoPair) as caught:
        await Human().pair(prompt_of(row, tmp_path), FakeAsk())
    assert caught.value.reason == "tie"


NOTHING: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "Hi"}, "no_preference", "found prompt"),
    ({"prompt": "Hi", "response": "Hello"}, "no_preference", "a response with a score"),
    (OWN | {"scores": {"a": 1}}, "one_answer", "1 scored answer"),
    (ULTRAFEEDBACK | {"completions": []}, "one_answer", "0 scored answer"),
    (BINARIZED | {"score_rejected": 7.9}, "small_gap", "the margin is 0.1"),
    (
        ARENA
        | {
            "conversation_a": turns("Hi", "a", "So?", "b"),
            "conversation_b": turns("Hi", "c", "So?", "d"),
        },
        "parts_early",
        "part before their last answer",
    ),
]


@pytest.mark.parametrize(("row", "reason", "detail"), NOTHING)
async def test_no_preference_says_why(
    row: dict[str, Any], reason: str, detail: str, tmp_path: Path
) -> None:
    with pytest.raises(NoPair) as caught:
        await Human(minimum_gap=0.5).pair(prompt_of(row, tmp_path), FakeAsk())
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ARENA | {"winner": "nobody"}, "winner is 'nobody'; expected model_a, model_b or tie"),
        (NECTAR | {"answers": "Hello"}, "answers: expected a list of objects, got 'Hello'"),
        (OWN | {"scores": {"a": "good", "b": 1}}, "score is 'good', not a number"),
        (OWN | {"responses": {"a": 7, "b": "x"}}, "expected an answer as text, got 7"),
        (DISTILABEL | {"ratings": [1]}, "2 generations, but 1 ratings"),
        ({"prompt": "Hi", "answer": "Hello"}, "no preference: expected chosen and rejected"),
    ],
)
async def test_a_file_that_is_wrong_is_refused_by_its_line(
    row: Any, complaint: str, tmp_path: Path
) -> None:
    source = written(tmp_path / "source.jsonl", HH, row)
    with pytest.raises(CptError) as caught:
        Human(source=str(source)).check()
    assert str(caught.value).startswith(f"{source}:2: ")
    assert complaint in str(caught.value)


def test_answers_in_rows_of_their_own_are_compared(
    cpt_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """HelpSteer2's ratings: the file is also the prompts, and each prompt is paired once."""
    rows = [
        {"prompt": prompt, "response": f"{prompt} {score}", "helpfulness": score, "verbosity": 2}
        for prompt, score in (("A?", 4), ("A?", 1), ("B?", 3), ("A?", 2), ("B?", 3))
    ]
    written(tmp_path / "rows.jsonl", *rows)
    line = "pair --prompts rows.jsonl --pairer human:rows.jsonl --output run"
    told = cpt_cli(*line.split())
    assert told.exit_code == 0, told.output
    assert [one["outcome"] for one in open_run("run").outcomes] == [
        *("kept", "repeated", "tie", "repeated", "repeated"),
    ]
    (pair,) = read_pairs("run")
    assert (pair.chosen.text, pair.rejected.text, pair.margin) == ("A? 4", "A? 1", 3.0)


def test_a_prompts_file_is_its_own_preferences(cpt_cli: Callable[..., Any], tmp_path: Path) -> None:
    written(tmp_path / "rows.jsonl", HELPSTEER3, SHP | {"history": "Why?"}, {"prompt": "Hi!"})
    line = "pair --prompts rows.jsonl --pairer human --output run"
    told = cpt_cli(*line.split())
    assert "outcomes (kept 2, no_preference 1)" in told.stdout
    first, second = read_pairs("run")
    assert (first.prompt.info["domain"], second.prompt.info["domain"]) == (
        *("general", "askculinary_train"),
    )
    written(tmp_path / "none.jsonl", {"prompt": "Hi!"})
    line = "pair --prompts none.jsonl --pairer human --output none"
    none = cpt_cli(*line.split())
    assert none.exit_code == 2
    assert "no prompt gave a pair (1 no_preference; for example: prompt 'row-1'" in none.stderr


def test_pairs_of_an_earlier_run_are_preferences_as_well(
    cpt_cli: Callable[..., Any], tmp_path: Path
) -> None:
    written(tmp_path / "rows.jsonl", ULTRAFEEDBACK | {"id": "u"}, OWN | {"id": "o"})
    line = "pair --prompts rows.jsonl --pairer human --output one"
    assert not cpt_cli(*line.split()).exit_code
    line = "pair --prompts one/pairs.parquet --pairer human --output two"
    assert not cpt_cli(*line.split()).exit_code
    line = "pair --prompts rows.jsonl --pairer human:one/pairs.parquet --output three"
    assert not cpt_cli(*line.split()).exit_code
    for run in ("two", "three"):
        kept = [(p.chosen.text, p.chosen.author, p.margin, p.tier) for p in read_pairs(run)]
        assert kept == [("Hello", "b", 1.5, 2), ("Hello", "b", 0.5, 1)]
    assert read_pairs("two")[0].prompt.info["source"] == "sharegpt"


class TestHuman(PairerContract):
    component = Human()
    breaks = OWN_ANSWERS

    def prompts(self) -> list[Prompt]:
        messages = [{"role": "user", "content": "Hi"}]
        rows: Sequence[Any] = (ULTRAFEEDBACK, OWN)
        from cpt.data import Row, prompt_of

        return [prompt_of(Row(row | {"prompt": messages}, "a row", 1)) for row in rows]
