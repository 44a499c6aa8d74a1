"""Which of two answers a judge prefers, read in what it says; and its published raw outputs."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt_judges.verdicts import read_logprobs, read_verdict

AB = ("A", "B")


def rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file) as lines:
        return [json.loads(line) for line in lines]


def preference(first_wins: float | None, row: dict[str, Any]) -> float | None:
    """As AlpacaEval writes it: 1 for the first model, 2 for the second."""
    if first_wins is None:
        return None
    return 1 + first_wins if row["presented_swapped"] else 2 - first_wins


def test_published_logprobs_give_the_published_preferences(
    published: Callable[[str], Path],
) -> None:
    file = published("judgements/raw_logprob.weighted_alpaca_eval_gpt4_turbo.jsonl.gz")
    judged = [row for row in rows(file) if row["top_logprobs"]]
    assert len(judged) == 1605
    for row in judged:
        mass = read_logprobs(row["top_logprobs"], ("m", "M"))
        assert mass is not None
        assert preference(mass.first, row) == pytest.approx(row["preference"], abs=1e-6)


def test_published_rankings_give_the_published_preferences(
    published: Callable[[str], Path],
) -> None:
    file = published("judgements/raw_ranking.alpaca_eval_cot_gpt4_turbo_fn.jsonl.gz")
    judged = [row for row in rows(file) if row["raw_completion"] is not None]
    assert len(judged) == 1603
    for row in judged:
        found = read_verdict(json.dumps(row["raw_completion"]), ("m", "M"))
        assert preference(found, row) == row["preference"]


@pytest.mark.parametrize(
    ("said", "first_wins"),
    [
        ("[[A]]", 1.0),
        ("It is close.\n[[B]]", 0.0),
        ("[[C]]", 0.5),
        ("[[tie]]", 0.5),
        ("[[A>>B]]", 1.0),
        ("[[A=B]]", 0.5),
        ("My final verdict is: [[B>A]]", 0.0),
        ("Neither [[A]] at first.\nNo: [[B]]", 0.0),
        ("A", 1.0),
        ("(b).", 0.0),
        ("**A**", 1.0),
        ("Answer B", 0.0),
        ("**Verdict**: Answer B", 0.0),
        ("The better answer is A.", 1.0),
        ("Winner: tie", 0.5),
        ("\\boxed{A}", 1.0),
        ("<think>[[A]]</think>[[B]]", 0.0),
        ('{"reasons": "[[B]] is short", "verdict": "A"}', 1.0),
        ('```json\n{"winner": "Answer B"}\n```', 0.0),
        ('I quote {"x": 1}. [[A]]', 1.0),
        ('{"ranking": ["B", "A"]}', 0.0),
        ("\uff3b\uff3bA\uff3d\uff3d", 1.0),
    ],
)
def test_a_verdict_is_read_as_judges_write_it(said: str, first_wins: float) -> None:
    assert read_verdict(said, AB) == first_wins


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I like A more",
        "A is better than B",
        "[[A]] or [[B]]?",
        "[[A>A]]",
        "Verdict: A or B",
        "<think>[[A]]",
        '{"verdict": "maybe"}',
        '{"verdict": 1}',
        "[[D]]",
        "\0",
        "\u202e[[\u202cX]]",
        "{" * 100_000,
        "[[A" * 50_000,
        "answer is " * 20_000,
    ],
)
def test_what_is_not_certain_is_not_read(said: str) -> None:
    assert read_verdict(said, AB) is None


@given(st.text())
def test_no_text_breaks_the_reader(said: str) -> None:
    assert read_verdict(said, AB) in (None, 0.0, 0.5, 1.0)
    assert read_verdict(f"{said}\n[[A]]", AB) in (None, 1.0, 0.0, 0.5)


@given(st.floats(0.001, 0.998))
def test_the_share_is_that_of_both_labels(first: float) -> None:
    second = 0.999 - first
    tokens = [("A", math.log(first)), ("B", math.log(second)), ("The", math.log(0.001))]
    mass = read_logprobs(tokens, AB)
    assert mass is not None
    assert mass.total == pytest.approx(0.999)
    assert mass.first == pytest.approx(first / 0.999)


def test_a_label_that_is_not_listed_has_no_probability() -> None:
    mass = read_logprobs([(" A", -0.1), ("The", -3.0)], AB)
    assert mass is not None
    assert mass.first == 1.0
    assert read_logprobs([("The", -0.1)], AB) is None
    certain = read_logprobs([("A", 1e6), ("B", -0.1)], AB)
    assert certain and certain.total == 1.0
    assert read_logprobs([], AB) is None
