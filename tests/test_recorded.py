"""Answers on disk find their prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpt import CptError, Message, Prompt, Response
from cpt.data import read_prompts, write_responses
from cpt.testing import FakeAsk, ResponderContract, fake_prompts
from cpt_recorded.responder import Recorded


def source(folder: Path, *rows: Any, name: str = "answers.jsonl") -> str:
    path = folder / name
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompt(text: str, name: str = "row-1") -> Prompt:
    return Prompt(id=name, messages=(Message("user", text),))


def texts(responder: Recorded, *requests: tuple[Prompt, int]) -> list[str]:
    return [response.text for response in responder.answer_all(requests)]


@pytest.fixture(autouse=True)
def _answers_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_responses(
        "contract.parquet",
        (
            (prompt, Response(prompt_id=prompt.id, text=f"{prompt.id} {sample}", author="strong"))
            for prompt in fake_prompts(3)
            for sample in range(2)
        ),
    )


class TestRecorded(ResponderContract):
    component = Recorded(source="contract.parquet#strong")


def test_alpaca_eval_is_matched_by_text(tmp_path: Path) -> None:
    rows = [
        {"instruction": "A?", "output": "a", "generator": "gpt4"},
        {"instruction": "B?\n", "output": "b", "generator": "gpt4"},
    ]
    responder = Recorded(source=source(tmp_path, *rows, name="model_outputs.json") + "#gpt4")
    assert texts(responder, (prompt("B?", "1"), 0), (prompt("A?", "x"), 0)) == ["b", "a"]
    assert responder.author == "gpt4"


def test_an_id_goes_before_the_text(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "prompt": "A?", "response": "by id", "author": "m"},
        {"id": "2", "prompt": "B?", "response": "by text", "author": "m"},
    ]
    responder = Recorded(source=source(tmp_path, *rows) + "#m")
    assert texts(responder, (prompt("B?", "1"), 0), (prompt("B?", "row-1"), 0)) == [
        "by id",
        "by text",
    ]


def test_numbers_of_rows_are_no_ids(tmp_path: Path) -> None:
    """Row 1 of one file is not row 1 of another."""
    file = source(tmp_path, {"prompt": "A?", "response": "a", "author": "m"})
    (other,) = Recorded(source=f"{file}#m").answer_all([(prompt("B?", "row-1"), 0)])
    assert other.outcome == "rejected"


def test_a_file_may_hold_ids_alone(tmp_path: Path) -> None:
    file = source(tmp_path, {"id": "a", "response": "x"})
    assert texts(Recorded(source=file), (prompt("A?", "a"), 0)) == ["x"]
    assert Recorded(source=file).author == "answers"
    assert Recorded(source=f"{file}#me").answer_all([(prompt("A?", "a"), 0)])[0].author == "me"


def test_the_only_author_of_a_file_signs(tmp_path: Path) -> None:
    rows = [{"prompt": text, "response": "x", "author": "strong"} for text in ("A?", "B?")]
    responder = Recorded(source=source(tmp_path, *rows))
    assert responder.author == "strong"
    assert responder.answer_all([(prompt("B?"), 0)])[0].author == "strong"
    several = Recorded(source=source(tmp_path, *rows, {**rows[0], "author": "w"}, name="2.jsonl"))
    missing = Recorded(source=str(tmp_path / "nothing.jsonl"))
    assert (several.author, missing.author) == ("2", "nothing")


def test_a_table_by_author_and_samples(tmp_path: Path) -> None:
    row = {"prompt": "A?", "responses": {"strong": ["s0", "s1"], "weak": "w"}}
    file = source(tmp_path, row)
    strong, weak = Recorded(source=f"{file}#strong"), Recorded(source=f"{file}#weak")
    assert texts(strong, (prompt("A?"), 1), (prompt("A?"), 0)) == ["s1", "s0"]
    assert texts(weak, (prompt("A?"), 0)) == ["w"]
    (missing,) = weak.answer_all([(prompt("A?"), 1)])
    assert (missing.outcome, missing.detail) == (
        "rejected",
        f"{file}#weak has only 1 answer to prompt 'row-1'",
    )


def test_what_is_not_there_is_a_rejected_request(tmp_path: Path) -> None:
    file = source(tmp_path, {"prompt": "A?", "response": "  ", "author": "m"})
    empty, missing = Recorded(source=f"{file}#m").answer_all(
        [(prompt("A?"), 0), (prompt("Z?", "z"), 0)]
    )
    assert empty.outcome == "empty"
    assert (missing.outcome, missing.text) == ("rejected", "")
    assert missing.detail == f"{file}#m has no answer to prompt 'z'"


@pytest.mark.parametrize(
    ("author", "complaint"),
    [("#gpt5", "no such author.*there is 'strong', 'weak'"), ("", "there is 'strong', 'weak'")],
)
def test_an_unknown_author_is_named(author: str, complaint: str, tmp_path: Path) -> None:
    file = source(tmp_path, {"prompt": "A?", "responses": {"strong": "s", "weak": "w"}})
    with pytest.raises(CptError, match=complaint):
        Recorded(source=file + author).check()


def test_a_missing_file_is_found_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(CptError, match="no such file"):
        Recorded(source=f"{tmp_path}/none.jsonl#gpt4").check()


@pytest.mark.parametrize("nothing", ["", " ", "#", "#strong"])
def test_no_file_is_not_the_current_folder(nothing: str, tmp_path: Path) -> None:
    source(tmp_path, {"prompt": "A?", "responses": {"strong": "s"}})
    with pytest.raises(CptError, match=f"^recorded:{nothing}: which file\\? Write recorded:FILE#A"):
        Recorded(source=nothing).check()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    responder = Recorded(source=source(tmp_path, {"id": "a", "response": "old"}))
    assert texts(responder, (prompt("A?", "a"), 0)) == ["old"]
    source(tmp_path, {"id": "a", "response": "new and longer"})
    assert texts(responder, (prompt("A?", "a"), 0)) == ["new and longer"]


@pytest.mark.parametrize("author", ["gpt4", "gpt-3.5-turbo-0301", "text_davinci_003"])
async def test_every_published_answer_is_found(
    author: str, published: Callable[[str], Path]
) -> None:
    ladder = published("ladder_805.jsonl")
    responder, ask = Recorded(source=f"{ladder}#{author}"), FakeAsk()
    responder.check()
    requests: Sequence[tuple[Prompt, int]] = [(prompt, 0) for prompt in read_prompts(ladder)]
    answers = responder.answer_all(requests)
    assert len(answers) == 805
    assert {answer.outcome for answer in answers} == {"answered"}
    assert (await ask(responder, requests[3][0])).text == answers[3].text


@pytest.mark.parametrize("name", ["answers.jsonl", "an#swers.jsonl"])
@pytest.mark.parametrize("author", ["gpt#4", "#", "a#b#c", "gpt4"])
def test_files_and_authors_may_hold_the_sign_between_them(
    tmp_path: Path, name: str, author: str
) -> None:
    (tmp_path / "an").mkdir()
    rows = [
        {"prompt": "A?", "response": "theirs", "author": author},
        {"prompt": "A?", "response": "of another", "author": "b"},
    ]
    responder = Recorded(source=f"{source(tmp_path, *rows, name=name)}#{author}")
    responder.check()
    assert responder.author == author
    assert texts(responder, (prompt("A?"), 0)) == ["theirs"]


def test_a_file_whose_name_holds_the_sign_needs_no_author(tmp_path: Path) -> None:
    rows = [{"prompt": "A?", "response": "a", "author": "x"}]
    responder = Recorded(source=source(tmp_path, *rows, name="an#swers.jsonl"))
    assert responder.author == "x"
    assert texts(responder, (prompt("A?"), 0)) == ["a"]
