"""Rows of every published layout with one thing in them that is not what it should be."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpt import CptError, NoPair
from cpt.data import each_pair, read_prompts, read_responses
from cpt.errors import LONGEST
from cpt.testing import FakeAsk
from cpt_scored.human import Human

from . import test_human as published

TALK: list[Any] = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello", "reasoning_content": "t"},
]
SAID = [{"role": "assistant", "content": "What?"}]
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
VOTE = {"value": "response_b", "user_id": "u", "status": "submitted"}

ROWS: Mapping[str, Mapping[str, Any]] = {
    **{f"{layout}-{at}": row for at, (row, _, _, layout) in enumerate(published.LAYOUTS)},
    "argilla": {
        "fields": {"prompt": "Hi", "response_a": "Hello", "response_b": "What?"},
        "metadata": {"margin": 1.0, "tier": 1, "chosen_author": "x"},
        "suggestions": {"preference": {"value": "response_a", "agent": "m"}},
        "responses": {"preference": [VOTE]},
    },
    "openai": {
        "input": {"messages": TALK[:2], "tools": TOOLS},
        "preferred_output": TALK[2:],
        "non_preferred_output": SAID,
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello"},
        "rejected": {"from": "gpt", "value": "What?"},
        "system": "s",
    },
    "swift": {"messages": TALK, "rejected_response": "What?"},
    "swift-messages": {"messages": TALK, "rejected_messages": SAID},
    "tools": {
        "prompt": TALK[:2],
        "chosen": [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "What?"}]}],
        "tools": TOOLS,
    },
    "alpaca": {
        **{"instruction": "i", "input": "x", "chosen": "Hello", "rejected": "What?"},
        **{"system": "s", "history": [["q", "a"]]},
    },
    "unpaired": {"prompt": "Hi", "completion": "Hello", "label": True},
    "own": {
        **{"id": "1", "prompt": TALK[:2], "prompt_id": "p", "prompt_info": {"a": 1}, "tier": 1},
        **{"chosen": TALK[2:], "rejected": SAID, "chosen_author": "x", "rejected_author": "y"},
        **{"chosen_info": {"finish_reason": "stop"}, "margin": 0.5, "weight": 1.0},
        **{"scores": {"chosen": 1.0, "rejected": 0.5}, "info": {"k": [1, 2]}},
    },
}
WRONG: list[Any] = [None, True, 1.5, "", "x", "\ud800", [], {}, [None], [[1]], [{"role": []}]]


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a value."""
    yield here
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*here, key))


def broken(row: Any) -> Iterator[Any]:
    """The row with one thing wrong, for each thing and each way."""
    for *above, last in filter(None, places(row)):
        for wrong in WRONG:
            changed = copy.deepcopy(row)
            inside = changed
            for key in above:
                inside = inside[key]
            inside[last] = wrong
            yield changed


def pair_by_people(path: Path) -> None:
    for prompt in read_prompts(path):
        with contextlib.suppress(NoPair):
            asyncio.run(Human().pair(prompt, FakeAsk()))


READERS: Sequence[Callable[[Path], Any]] = (
    lambda path: list(each_pair(path)),
    lambda path: list(read_responses(path)),
    pair_by_people,
)


def read_in_every_way(path: Path) -> None:
    for read in READERS:
        try:
            read(path)
        except CptError as error:
            assert len(error.message) <= LONGEST and "\n" not in error.message


@pytest.mark.parametrize("name", ROWS)
def test_a_row_with_one_thing_wrong_is_read_or_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "row.jsonl"
    for row in broken(ROWS[name]):
        path.write_text(json.dumps(row) + "\n")
        read_in_every_way(path)


@pytest.mark.parametrize("name", ROWS)
def test_as_it_is_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps(ROWS[name]) + "\n")
    assert list(read_prompts(path))
