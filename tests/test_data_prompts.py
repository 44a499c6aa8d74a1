"""Prompts and responses, in and out."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from cpt import CptError, Message, Prompt
from cpt.data import read_prompts, read_responses, write_prompts


def source(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def said(*content: str) -> tuple[Message, ...]:
    return tuple(
        Message("assistant" if index % 2 else "user", text) for index, text in enumerate(content)
    )


HELLO = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": " Hello\n"}, said(" Hello\n")),
        ({"prompt": [HELLO]}, said("Hello")),
        ({"messages": [HELLO]}, said("Hello")),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "Hi"}, HELLO]},
            said("Hello", "Hi", "Hello"),
        ),
        ({"messages": [HELLO, {"role": "assistant", "content": "Hi"}]}, said("Hello")),
        ({"instruction": "Translate.", "input": ""}, said("Translate.")),
        ({"instruction": "Translate.", "input": "chat"}, said("Translate.\n\nchat")),
        ({"prompt": "\n\nHuman: Hello\n\nAssistant: "}, said("Hello")),
        ({"prompt": "Say\n\nHuman: a\n\nAssistant:"}, said("Say\n\nHuman: a\n\nAssistant:")),
    ],
)
def test_the_ways_to_ask(
    row: dict[str, Any], messages: tuple[Message, ...], tmp_path: Path
) -> None:
    (prompt,) = read_prompts(source(tmp_path, row))
    assert prompt == Prompt(id="row-1", messages=messages)


TALK = "\n\nHuman: Hello\n\nAssistant: "
HI = [HELLO, {"role": "assistant", "content": "Hi"}]
HEY = [HELLO, {"role": "assistant", "content": "Hey"}]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": f"{TALK}Hi", "rejected": f"{TALK}Hey"},
        {"chosen": HI, "rejected": HEY},
        {"chosen": HI, "rejected": HI},
        {"conversation_a": HI, "conversation_b": HEY},
        {"conversation_a": HI + HI, "conversation_b": HEY + HI},
        {"history": "Hello", "human_ref_A": "Hi", "human_ref_B": "Hey"},
        {"context": [HELLO], "response1": "Hi", "response2": "Hey"},
        {"prompt": '["Hello"]', "response_a": '["Hi"]', "response_b": "[null]"},
    ],
)
def test_preferences_are_prompts_as_well(row: dict[str, Any], tmp_path: Path) -> None:
    (prompt,) = read_prompts(source(tmp_path, row))
    assert prompt.messages == said("Hello")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": "Hi", "rejected": "Hey"},
        {"chosen": [{"role": "user", "content": "A?"}, HI[1]], "rejected": HI},
        {"history": "Hello"},
        {"prompt": "", "context": [HELLO]},
    ],
)
def test_preferences_without_a_prompt_are_refused(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CptError, match=r"rows\.jsonl:1: (no prompt|history)"):
        list(read_prompts(source(tmp_path, row)))


def test_other_columns_are_kept(tmp_path: Path) -> None:
    row = {"id": 7, "prompt": "Hello", "dataset": "koala", "info": {"level": 3}, "none": None}
    (prompt,) = read_prompts(source(tmp_path, row))
    assert prompt.id == "7"
    assert prompt.info == {"dataset": "koala", "level": 3}


def test_a_list_of_alpaca_eval_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "model_outputs.json"
    path.write_text(json.dumps([{"instruction": "Hi", "output": "Hello.", "generator": "gpt4"}]))
    assert [prompt.messages for prompt in read_prompts(path)] == [said("Hi")]
    ((prompt, response),) = read_responses(path)
    assert (prompt.messages, response.text, response.author) == (said("Hi"), "Hello.", "gpt4")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"text": "Hello"}], "rows.jsonl:1: no prompt: expected a column prompt, messages or"),
        ([{"prompt": "a"}, {"prompt": ""}], "rows.jsonl:2: no prompt: its prompt is empty"),
        ([{"prompt": "  "}], "rows.jsonl:1: the prompt is empty"),
        ([{"prompt": []}], "rows.jsonl:1: the prompt is empty"),
        ([{"prompt": 3}], "rows.jsonl:1: expected text or a list of messages, got 3"),
        ([{"prompt": ["Hello"]}], "rows.jsonl:1: expected messages with a role and a content"),
        (
            [{"prompt": [{"role": "narrator", "content": "x"}]}],
            "rows.jsonl:1: unknown role 'narrator'",
        ),
        ([{"prompt": [{"role": "user", "content": None}]}], "rows.jsonl:1: expected text, got"),
        (
            [{"prompt": [HELLO, {"role": "assistant", "content": "Hi"}]}],
            "rows.jsonl:1: the prompt does not end with a message of the user",
        ),
        ([{"prompt": "\ud83d"}], "rows.jsonl:1: a text holds half of a character"),
        (
            [{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}],
            "rows.jsonl:2: the id 'a' was used before, in {folder}/rows.jsonl:1.",
        ),
    ],
)
def test_rows_that_are_no_prompts(rows: list[Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CptError) as caught:
        list(read_prompts(source(tmp_path, *rows)))
    message = caught.value.format_message()
    assert complaint.replace("{folder}", str(tmp_path)) in message
    assert "\n" not in message


def test_what_was_checked_is_read_again_without_memory(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'{{"id": {n}, "prompt": "x"}}\n' for n in range(20_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_prompts(path, checked=True)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_a_table_of_responses(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "Hello", "responses": {"x": "Hi", "y": ["1", "2"], "z": None}}
    found = [(answer.author, answer.text) for _, answer in read_responses(source(tmp_path, row))]
    assert found == [("x", "Hi"), ("y", "1"), ("y", "2")]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"response": "Hi"}, "no prompt and no id"),
        ({"prompt": "Hello"}, "no response: expected a column response, output, text or responses"),
        ({"prompt": "Hello", "response": 3}, "expected text, got 3"),
    ],
)
def test_rows_that_are_no_responses(row: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CptError, match=complaint):
        list(read_responses(source(tmp_path, row)))


def test_an_unwritable_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CptError, match=r"name a \.parquet or \.jsonl file"):
        write_prompts(tmp_path / "prompts.xml", [])
    assert not list(tmp_path.iterdir())
