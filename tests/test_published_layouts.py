"""A row as published in data sets of 2024 to 2026 is the pair that it means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cpt import NoPair, Pair, read_pairs, read_prompts
from cpt.testing import FakeAsk
from cpt_scored.human import Human

ASKED, GOOD, BAD = "What is ice?", "Frozen water.", "A kind of glass."


def talk(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def parts(*texts: str) -> list[dict[str, Any]]:
    """Turns of which each is a list of parts, as in Arena's newer data."""
    empty = {"type": "text", "image": None, "mimeType": None}
    return [
        {"role": turn["role"], "content": [empty | {"text": turn["content"]}]}
        for turn in talk(*texts)
    ]


SIDES = {"chosen": talk(ASKED, GOOD), "rejected": talk(ASKED, BAD)}
TEXTS = {"chosen": GOOD, "rejected": BAD}
MODELS = {"chosen_model": "strong", "rejected_model": "weak"}
PAIRS: Mapping[str, tuple[dict[str, Any], tuple[str, str], float | None]] = {
    "allenai/Dolci-Instruct-DPO": ({**SIDES, **MODELS, "prompt": ASKED}, ("strong", "weak"), None),
    "allenai/olmo-2-preference-mix": (
        {**SIDES, **MODELS, "prompt": ASKED, "chosen_rating": 4.5, "rejected_rating": 2},
        ("strong", "weak"),
        2.5,
    ),
    "Skywork-Reward-Preference-80K-v0.2": ({**SIDES, "source": "magpie"}, ("", ""), None),
    "ultrafeedback-binarized-preferences-cleaned": (
        {
            **SIDES,
            "prompt": ASKED,
            **{"chosen-rating": 5.0, "chosen-model": "strong"},
            **{"rejected-rating": 2.0, "rejected-model": "weak"},
        },
        ("strong", "weak"),
        3.0,
    ),
    "HuggingFaceH4/ultrafeedback_binarized": (
        {**SIDES, "messages": talk(ASKED, GOOD), "score_chosen": 8.5, "score_rejected": 3.0},
        ("", ""),
        5.5,
    ),
    "distilabel-capybara-dpo": (
        {**SIDES, **MODELS, "prompt": ASKED, "rating_chosen": 5, "rating_rejected": 2},
        ("strong", "weak"),
        3.0,
    ),
    "Magpie-Align DPO": (
        {**SIDES, "instruction": ASKED, "conversations": talk(ASKED, GOOD), "uuid": "x"},
        ("", ""),
        None,
    ),
    "Magpie-Align DPO, ultra": ({**SIDES, "input": ASKED}, ("", ""), None),
    "orpo-dpo-mix-40k": ({**SIDES, "prompt": ASKED, "question": ASKED}, ("", ""), None),
    "trl-lib, explicit": (
        {"prompt": talk(ASKED), "chosen": SIDES["chosen"][1:], "rejected": SIDES["rejected"][1:]},
        ("", ""),
        None,
    ),
    "argilla/distilabel-intel-orca-dpo-pairs": (
        {**TEXTS, "system": "", "input": ASKED, "generations": [GOOD, BAD], "rating": [9, 3]},
        ("", ""),
        None,
    ),
    "argilla/distilabel-math-preference-dpo": (
        {
            "instruction": ASKED,
            **{"chosen_response": GOOD, "chosen_rating": 9.0},
            **{"rejected_response": BAD, "rejected_rating": 3.0},
        },
        ("", ""),
        6.0,
    ),
    "Vezora/Code-Preference-Pairs": (
        {"input": ASKED, "accepted": GOOD, "rejected": BAD},
        ("", ""),
        None,
    ),
    "nvidia/HelpSteer3, edit": (
        {"context": talk(ASKED), "original_response": BAD, "edited_response": GOOD},
        ("", ""),
        None,
    ),
    "nvidia/HelpSteer3, edit quality": (
        {
            "context": talk(ASKED),
            "original_response": "Ice.",
            "good_edited_response": GOOD,
            "bad_edited_response": BAD,
        },
        ("", ""),
        None,
    ),
}
"""Rows, the authors of both sides, and the margin."""
ARENA = {"model_a": "weak", "model_b": "strong", "winner": "model_b"}
VOTES: Mapping[str, tuple[dict[str, Any], tuple[str, str], float]] = {
    "lmarena-ai/arena-human-preference-140k": (
        {**ARENA, "conversation_a": parts(ASKED, BAD), "conversation_b": parts(ASKED, GOOD)},
        ("strong", "weak"),
        1.0,
    ),
    "lmarena-ai/arena-human-preference-100k": (
        {**ARENA, "conversation_a": talk(ASKED, BAD), "conversation_b": talk(ASKED, GOOD)},
        ("strong", "weak"),
        1.0,
    ),
    "nvidia/HelpSteer3, preference": (
        {
            "context": talk(ASKED),
            "response1": BAD,
            "response2": GOOD,
            "overall_preference": 2,
            "individual_preference": [{"score": 2, "reasoning": "It is right."}],
        },
        ("", ""),
        2.0,
    ),
    "PKU-Alignment/PKU-SafeRLHF": (
        {
            "prompt": ASKED,
            **{"response_0": BAD, "response_0_source": "weak", "is_response_0_safe": True},
            **{"response_1": GOOD, "response_1_source": "strong", "is_response_1_safe": True},
            **{"better_response_id": 1, "safer_response_id": 0},
        },
        ("strong", "weak"),
        1.0,
    ),
    "tatsu-lab/alpaca_farm": (
        {"instruction": ASKED, "input": "", "output_1": BAD, "output_2": GOOD, "preference": 2},
        ("", ""),
        1.0,
    ),
    "allenai/reward-bench-2": (
        {
            "prompt": ASKED,
            **{"chosen": [GOOD], "rejected": [BAD, "Sand.", "Salt."]},
            **{"num_correct": 1, "num_incorrect": 3, "total_completions": 4},
            **{"models": ["strong", "weak", "other", "other"], "subset": "Factuality"},
        },
        ("strong", "weak"),
        1.0,
    ),
    "openai/webgpt_comparisons": (
        {
            "question": {"dataset": "eli5", "id": "x", "full_text": ASKED},
            **{"quotes_0": {"title": ["Ice"], "extract": ["Ice is"]}, "quotes_1": {"title": []}},
            **{"answer_0": BAD, "tokens_0": {"prefix": [1], "completion": [2]}, "score_0": -0.75},
            **{"answer_1": GOOD, "tokens_1": {"prefix": [1], "completion": [3]}, "score_1": 0.75},
        },
        ("", ""),
        0.75,
    ),
    "BAAI/JudgeLM-100K": (
        {
            **{"question_id": 7, "question_body": ASKED, "text": "4 9\nThe second is right."},
            **{"answer1_body": BAD, "answer1_model_id": "weak", "answer1_metadata": {}},
            **{"answer2_body": GOOD, "answer2_model_id": "strong", "answer2_metadata": {}},
            "score": [4, 9],
        },
        ("strong", "weak"),
        5.0,
    ),
    "BAAI/JudgeLM-100K, with log-probabilities": (
        {
            "question_body": ASKED,
            **{"answer1_body": GOOD, "answer1_model_id": "strong"},
            **{"answer2_body": BAD, "answer2_model_id": "weak"},
            "score": [{"logprobs": -0.1, "score": 9.0}, {"logprobs": -0.2, "score": 4.0}],
        },
        ("strong", "weak"),
        5.0,
    ),
    "alpaca_eval, weighted": (
        {
            "instruction": ASKED,
            **{"output_1": GOOD, "generator_1": "strong"},
            **{"output_2": BAD, "generator_2": "weak", "preference": 1.1},
        },
        ("strong", "weak"),
        0.8,
    ),
}


def made(path: Path, row: Mapping[str, Any]) -> list[Pair | NoPair]:
    """What the pairer `human` makes of a file of one row."""
    path.write_text(json.dumps(row) + "\n")
    (prompt,) = read_prompts(path)
    return list(asyncio.run(Human().pair(prompt, FakeAsk([]))))


def said(pair: Pair | NoPair) -> tuple[str, str, str, tuple[str, str], float | None]:
    assert isinstance(pair, Pair)
    authors = pair.chosen.author, pair.rejected.author
    margin = None if pair.margin is None else round(pair.margin, 9)
    return pair.prompt.text, pair.chosen.text, pair.rejected.text, authors, margin


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str, tmp_path: Path) -> None:
    row, authors, margin = PAIRS[name]
    wanted = (ASKED, GOOD, BAD, authors, margin)
    assert [said(pair) for pair in made(tmp_path / "rows.jsonl", row)] == [wanted]
    assert [said(pair) for pair in read_pairs(tmp_path / "rows.jsonl")] == [wanted]


@pytest.mark.parametrize("name", VOTES)
def test_votes(name: str, tmp_path: Path) -> None:
    row, authors, margin = VOTES[name]
    wanted = (ASKED, GOOD, BAD, authors, margin)
    assert [said(pair) for pair in made(tmp_path / "rows.jsonl", row)] == [wanted]


SUMMARIES = [{"text": BAD, "policy": "sup4"}, {"text": GOOD, "policy": "ref", "note": None}]


@pytest.mark.parametrize(
    ("info", "asked"),
    [
        (
            {"id": "t3", "post": "It froze.", "title": "Help", "subreddit": "ice", "article": None},
            "SUBREDDIT: r/ice\n\nTITLE: Help\n\nPOST: It froze.\n\nTL;DR:",
        ),
        ({"id": "cnn", "article": "It froze.", "post": None}, "It froze.\n\nTL;DR:"),
    ],
)
def test_summaries(info: dict[str, Any], asked: str, tmp_path: Path) -> None:
    row = {"info": info, "summaries": SUMMARIES, "choice": 1, "worker": "x", "split": "train"}
    (pair,) = made(tmp_path / "rows.jsonl", row)
    assert said(pair) == (asked, GOOD, BAD, ("ref", "sup4"), 1.0)
    assert isinstance(pair, Pair)
    assert not {"post", "article"} & pair.prompt.info.keys()


def test_every_right_answer_meets_every_wrong_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": ASKED, "chosen": ["a", "b"], "rejected": ["c", "d"]}))
    (prompt,) = read_prompts(path)
    pairer = Human(rule="all_pairs", pairs_per_prompt=9)
    pairs = asyncio.run(pairer.pair(prompt, FakeAsk([])))
    assert [said(pair)[1:3] for pair in pairs] == [(one, two) for one in "ab" for two in "cd"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"output_1": GOOD, "output_2": BAD, "preference": 1.5}, "tie"),
        ({"output_1": GOOD, "output_2": BAD, "preference": 0}, "tie"),
        ({"output_1": GOOD, "output_2": BAD, "preference": None}, "no_preference"),
        ({"response_a": GOOD, "response_b": BAD, "preference": "A"}, "no_preference"),
        (
            {"conversation_a": talk(ASKED, GOOD), "conversation_b": talk(ASKED, BAD)},
            "no_preference",
        ),
    ],
)
def test_what_nobody_preferred_is_no_pair(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(NoPair) as found:
        made(tmp_path / "rows.jsonl", {"prompt": ASKED, **row})
    assert found.value.reason == reason
