"""Pairs from the log of an application."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cpt import CptError, NoPair, Prompt, open_run, read_pairs
from cpt.testing import FakeAsk, PairerContract, fake_prompts
from cpt_feedback.pairer import Feedback

PROMPT = fake_prompts(1)[0]
ASKED = PROMPT.text


def log(path: Path, *rows: dict[str, Any]) -> str:
    whole = [{"prompt": ASKED, "author": "app", **row} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in whole))
    return str(path)


async def texts(pairer: Feedback, prompt: Prompt = PROMPT) -> list[tuple[str, str, str]]:
    pairs = await pairer.pair(prompt, FakeAsk())
    return [(pair.chosen.text, pair.rejected.text, pair.info["kind"]) for pair in pairs]


class TestFeedback(PairerContract):
    breaks: ClassVar = {"test_no_answers_give_no_pair": "its answers are in the log"}

    @pytest.fixture(autouse=True)
    def _component(self, tmp_path: Path) -> None:
        rows = [{"response": "a", "rating": "up"}, {"response": "b", "rating": "down"}]
        self.component = Feedback(source=log(tmp_path / "log.jsonl", *rows))


CASES: list[tuple[Sequence[dict[str, Any]], list[tuple[str, str, str]]]] = [
    ([{"response": "a", "edited": "A"}], [("A", "a", "edit")]),
    ([{"response": "a", "regenerated": "b"}], [("b", "a", "regeneration")]),
    (
        [{"response": "a", "rating": "up"}, {"response": "b", "rating": "down"}],
        [("a", "b", "rating")],
    ),
    (
        [{"response": "a", "rating": True}, {"response": "b", "rating": -1}],
        [("a", "b", "rating")],
    ),
    # A new answer that users like less is not preferred.
    (
        [
            {"response": "a", "rating": "up", "regenerated": "b"},
            {"response": "b", "rating": "down"},
        ],
        [("a", "b", "rating")],
    ),
    # Of opposite thumbs none counts; the widest gap comes first.
    (
        [
            {"response": "a", "rating": "up"},
            {"response": "b", "rating": "down"},
            {"response": "c", "rating": "up"},
            {"response": "c", "rating": "up"},
            {"response": "d", "rating": "up"},
            {"response": "d", "rating": "down"},
            {"response": "e", "edited": "E"},
        ],
        [("E", "e", "edit"), ("c", "b", "rating"), ("a", "b", "rating")],
    ),
]


@pytest.mark.parametrize(("rows", "pairs"), CASES)
async def test_what_users_did_is_a_preference(
    rows: Sequence[dict[str, Any]], pairs: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    pairer = Feedback(source=log(tmp_path / "log.jsonl", *rows))
    pairer.check()
    assert await texts(pairer) == pairs


async def test_a_pair_says_who_wrote_and_how_many_thumbs(tmp_path: Path) -> None:
    rows = [
        {"response": "a", "rating": "up", "author": "v2"},
        {"response": "a", "rating": "up", "author": "v2"},
        {"response": "b", "rating": "down", "author": "v1", "edited": "B", "editor": "ada"},
    ]
    edit, rating = await Feedback(source=log(tmp_path / "log.jsonl", *rows)).pair(PROMPT, FakeAsk())
    assert (edit.chosen.author, edit.rejected.author, edit.margin) == ("ada", "v1", None)
    assert (rating.chosen.author, rating.rejected.author) == ("v2", "v1")
    assert (rating.margin, rating.chosen_score, rating.rejected_score) == (3.0, 2.0, -1.0)
    assert rating.info == {"judge": "user", "kind": "rating"}


async def test_kinds_and_the_number_of_pairs_can_be_chosen(tmp_path: Path) -> None:
    source = log(tmp_path / "log.jsonl", *CASES[-1][0])
    assert len(await texts(Feedback(source=source, pairs_per_prompt=2))) == 2
    assert await texts(Feedback(source=source, kinds=("edit",))) == [("E", "e", "edit")]
    with pytest.raises(NoPair) as caught:
        await texts(Feedback(source=source, kinds=("regeneration",)))
    assert (caught.value.reason, caught.value.detail) == (
        *("no_feedback", "7 answers, of which none was preferred"),
    )


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"rating": "up"}, "no answer: expected a column response"),
        ({"response": "a", "rating": "meh"}, "rating is 'meh'; expected up or down"),
        ({"response": "a", "edited": 3}, "edited: expected text, got 3"),
        ({"response": "a", "prompt": ""}, "no prompt"),
    ],
)
def test_a_wrong_log_is_refused_by_its_line(
    row: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    source = log(tmp_path / "log.jsonl", {"response": "a"}, row)
    with pytest.raises(CptError, match=complaint) as caught:
        Feedback(source=source).check()
    assert str(caught.value).startswith(f"{source}:2: ")


def test_a_log_is_its_own_prompts(cpt_cli: Callable[..., Any], tmp_path: Path) -> None:
    rows = [
        {"response": "a", "rating": "up", "domain": "math"},
        {"response": "b", "rating": "down", "domain": "math"},
        {"response": "c", "prompt": "Why?", "edited": "C"},
    ]
    log(tmp_path / "log.jsonl", *rows)
    line = "pair --prompts log.jsonl --pairer feedback:log.jsonl --output run"
    done = cpt_cli(*line.split())
    assert done.exit_code == 0, done.output
    assert [one["outcome"] for one in open_run("run").outcomes] == ["kept", "repeated", "kept"]
    first, second = read_pairs("run")
    assert (first.chosen.text, first.prompt.info["domain"]) == ("a", "math")
    assert (second.chosen.text, second.chosen.author) == ("C", "user")
    line = "pair --prompts log.jsonl --pairer feedback:none.jsonl --output no"
    none = cpt_cli(*line.split())
    assert (none.exit_code, none.stderr.count("\n")) == (2, 1)
    assert "none.jsonl: no such file" in none.stderr
