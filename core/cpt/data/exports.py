"""Pairs in the layouts of other trainers, each of which is read here again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.data.annotation_tools import argilla_row, potato_row
from cpt.data.layouts.messages import with_thought
from cpt.data.pairs import COLUMNS, Unusable, row_of
from cpt.data.rows.writing import MESSAGES, RARE, write_rows
from cpt.errors import BadData, NoPair
from cpt.files import atomic, from_json, json_text, writing_lines
from cpt.types import Message, Pair

Plain = dict[str, Any]
SHAREGPT = {"user": "human", "assistant": "gpt", "tool": "observation"}
ASKING, ANSWERING = ("human", "observation"), ("gpt", "function_call")
"""What LLaMA-Factory expects in turn."""

LISTS = ("argilla",)
"""Layouts that are one list; the others are lines."""


@attrs.frozen
class Exported:
    """What was written."""

    pairs: int
    left_out: Mapping[str, int]
    """Rows that give no pair or that the layout cannot hold, by why."""


def export(pairs: Iterable[Pair | Unusable], layout: str, path: Path) -> Exported:
    """Write pairs one by one, and return how many. Raises `BadData`."""
    left_out: Counter[str] = Counter()

    def rows() -> Iterator[Plain]:
        for pair in pairs:
            if isinstance(pair, Unusable):
                left_out[pair.reason] += 1
                continue
            try:
                if pair.label is not None and layout != "trl":
                    raise NoPair("layout", f"one answer alone, which {layout}'s pairs cannot hold")
                yield LAYOUTS[layout](pair)
            except NoPair as none:
                left_out[none.detail] += 1

    if layout == "trl":
        return Exported(write_rows(path, rows(), COLUMNS), left_out)
    as_list = layout in LISTS
    if path.suffix != (".json" if as_list else ".jsonl"):
        reads = "a list in JSON, name a .json" if as_list else "lines of JSON, name a .jsonl"
        raise BadData(f"{path}: cannot be written; {layout} reads {reads} file.")
    return Exported((_write_list if as_list else _write_lines)(path, rows()), left_out)


def _write_lines(path: Path, rows: Iterable[Plain]) -> int:
    count = 0
    with writing_lines(path) as write:
        for row in rows:
            write(row)
            count += 1
    return count


def _write_list(path: Path, rows: Iterable[Plain]) -> int:
    count = 0
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(("[\n" if count == 0 else ",\n") + json_text(row))
            count += 1
        file.write("\n]\n" if count else "[]\n")
    return count


def _llama_factory(pair: Pair) -> Plain:
    """ShareGPT's turns, with a message for each side."""
    system, *turns = _with_system(pair.prompt.messages)
    conversations = [_sharegpt(message) for message in turns]
    for place, turn in enumerate(conversations):
        if turn["from"] not in (ANSWERING if place % 2 else ASKING):
            raise NoPair("layout", "questions and answers do not alternate, as llama-factory needs")
    return {
        "conversations": conversations,
        "chosen": _sharegpt(pair.chosen.message),
        "rejected": _sharegpt(pair.rejected.message),
        "system": system.content,
        "tools": _tools(pair) or "",
        **_beside(pair),
    }


def _with_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with a system message at its begin, which may be empty."""
    if messages[0].role == "system":
        return [*messages]
    return [Message("system", ""), *messages]


def _sharegpt(message: Message) -> Plain:
    if message.role == "system":
        raise NoPair("layout", "a system message is not the first one, as llama-factory needs")
    if message.tool_calls and message.content:
        raise NoPair("layout", "a turn has a text and calls of tools, which llama-factory lacks")
    if not message.tool_calls:
        return {"from": SHAREGPT[message.role], "value": with_thought(message).content}
    calls = [
        {"name": call.name, "arguments": _parsed(call.arguments)} for call in message.tool_calls
    ]
    thought = with_thought(message).content
    said = json.dumps(calls if len(calls) > 1 else calls[0], ensure_ascii=False)
    return {"from": "function_call", "value": thought + said}


def _ms_swift(pair: Pair) -> Plain:
    """Two conversations, which differ in their last message."""
    chosen, rejected = (
        [with_thought(message).plain() for message in (*pair.prompt.messages, side.message)]
        for side in (pair.chosen, pair.rejected)
    )
    tools = {"tools": _tools(pair)} if pair.prompt.tools else {}
    return {"messages": chosen, "rejected_messages": rejected, **tools, **_beside(pair)}


def _openai(pair: Pair) -> Plain:
    """`input`, `preferred_output` and `non_preferred_output`, and no column beside them."""
    asked: Plain = {"messages": [with_thought(turn).plain() for turn in pair.prompt.messages]}
    if pair.prompt.tools:
        asked["tools"] = list(pair.prompt.tools)
    return {
        "input": asked,
        "preferred_output": [with_thought(pair.chosen.message).plain()],
        "non_preferred_output": [with_thought(pair.rejected.message).plain()],
    }


def _rewardbench(pair: Pair) -> Plain:
    """Two whole conversations and no column `prompt`, as `rewardbench --load_json` reads them."""
    sides = [(*pair.prompt.messages, side.message) for side in (pair.chosen, pair.rejected)]
    if pair.prompt.tools or any(turn.tool_calls for turns in sides for turn in turns):
        raise NoPair("layout", "there are tools or calls of them, which rewardbench lacks")
    chosen, rejected = ([with_thought(turn).plain() for turn in turns] for turns in sides)
    return {"chosen": chosen, "rejected": rejected, "id": pair.id}


def _beside(pair: Pair) -> Plain:
    """Our columns, which other trainers do not read."""
    row = row_of(pair)
    return {name: row[name] for name, kind in COLUMNS.items() if kind not in (MESSAGES, *RARE)}


def _tools(pair: Pair) -> str | None:
    return json.dumps(list(pair.prompt.tools), ensure_ascii=False) if pair.prompt.tools else None


def _parsed(arguments: str) -> Any:
    try:
        return from_json(arguments)
    except ValueError:
        return arguments


LAYOUTS: Mapping[str, Callable[[Pair], Plain]] = {
    "trl": row_of,
    "llama-factory": _llama_factory,
    "ms-swift": _ms_swift,
    "openai": _openai,
    "rewardbench": _rewardbench,
    "argilla": argilla_row,
    "potato": potato_row,
}


def llama_factory_entry(path: Path) -> Plain:
    """What LLaMA-Factory's `dataset_info.json` says of a file."""
    names = {name: name for name in ("chosen", "rejected", "system", "tools")}
    return {
        "file_name": path.name,
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", **names},
    }
