"""Responses in and out, each with the prompt that it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.data.layouts.messages import message_of, text_of
from cpt.data.layouts.other_tools import usual
from cpt.data.prompts import prompt_of
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import Row
from cpt.data.rows.writing import MESSAGES, TEXT, packed, plain_messages, write_rows
from cpt.types import Outcome, Prompt, Response, Usage

COLUMNS = {
    "id": TEXT,
    "prompt": MESSAGES,
    "response": TEXT,
    "author": TEXT,
    "response_info": TEXT,
    "info": TEXT,
}
TEXTS = ("response", "output", "text", "completion")
AUTHORS = ("author", "generator", "model")
OUTCOMES = ("outcome", "finish_reason", "detail")
TOKENS = ("input_tokens", "cached_tokens", "output_tokens")
DETAILS = ("outcome", "finish_reason", "detail", "usage", "info", "reasoning_content", "tool_calls")


def read_responses(source: str | Path) -> Iterator[tuple[Prompt, Response]]:
    """Yield the responses of a source, one by one, each with its prompt.

    A row has `response`, `output` (AlpacaEval's) or `text` (`cpt respond`'s), signed by `author`,
    `generator` or `model`; or `responses`, a table of texts (or lists of them) by author. How an
    answer ended and what it took may stand in columns of their own. The prompt is as `read_prompts`
    takes it; a row with an `id` may leave it out. Raises `BadData`.
    """
    for given in read_rows(source, "responses"):
        row = usual(given)
        prompt = prompt_of(row, *TEXTS, *AUTHORS, *OUTCOMES, *TOKENS, "responses", "response_info")
        if not prompt.messages and row["id"] is None:
            raise row.bad("no prompt and no id: a response needs one of them")
        for response in _responses(row, prompt.id):
            yield prompt, response


def _responses(row: Row, prompt_id: str) -> Iterator[Response]:
    table = row["responses"]
    if isinstance(table, Mapping):
        for author, texts in table.items():
            # A table from Parquet has every author in every row, None where one said nothing.
            for text in texts if isinstance(texts, list) else [texts]:
                if text is not None:
                    yield Response(prompt_id=prompt_id, text=text_of(text, row), author=author)
        return
    text = next((row.values[name] for name in TEXTS if row.values.get(name) is not None), None)
    if text is None:
        raise row.bad("no response: expected a column response, output, text or responses")
    details = row.unpacked("response_info") | _columns_of(row)
    author = str(row.first(*AUTHORS) or "")
    text = _answer(text, row)
    yield response_of(row, details, prompt_id=prompt_id, text=text, author=author)


def _answer(value: Any, row: Row) -> str:
    """The text of an answer, which may be a list of one message."""
    if isinstance(value, list) and len(value) == 1:
        return message_of(value[0], row).content
    return text_of(value, row)


def _columns_of(row: Row) -> dict[str, Any]:
    """The details that have columns of their own."""
    said = {name: row[name] for name in OUTCOMES if row[name] is not None}
    used = {name: row[name] for name in TOKENS if row[name] is not None}
    return said | ({"usage": used} if used else {})


def response_of(
    row: Row, details: Mapping[str, Any], *, prompt_id: str, text: str, author: str
) -> Response:
    """A response of a row from what `details_of` kept of it. Raises `BadData`."""
    given = {name: details[name] for name in DETAILS if details.get(name) is not None}
    for name in ("finish_reason", "detail"):
        if not isinstance(given.get(name, ""), str):
            raise row.bad(f"{name} is {given[name]!r:.60}, not text")
    if given.get("outcome", Outcome.ANSWERED) not in list(Outcome):
        raise row.bad(f"outcome is {given['outcome']!r:.60}, not one of {', '.join(Outcome)}")
    if not isinstance(given.get("info", {}), Mapping):
        raise row.bad(f"info is {given['info']!r:.60}, not a mapping")
    if "usage" in given:
        given["usage"] = _usage(row, given["usage"])
    return Response(prompt_id=prompt_id, text=text, author=author, **given)


def _usage(row: Row, counts: Any) -> Usage:
    """Tokens by kind. Raises `BadData` if they are anything else."""
    if not isinstance(counts, Mapping) or counts.keys() - set(TOKENS):
        raise row.bad(f"usage is {counts!r:.60}; expected {', '.join(TOKENS)}")
    numbers = {name: Row(counts, row.where).whole_of(name) or 0 for name in counts}
    if min(numbers.values(), default=0) < 0:
        raise row.bad(f"usage is {counts!r:.60}, less than nothing")
    return Usage(**numbers)


def details_of(response: Response) -> dict[str, Any]:
    """All that a response says beside its text and author, where it says anything."""
    silent = Response(prompt_id="", text="", author="")
    said = {name for name in DETAILS if getattr(response, name) != getattr(silent, name)}
    return {name: value for name, value in attrs.asdict(response).items() if name in said}


def write_responses(path: str | Path, responses: Iterable[tuple[Prompt, Response]]) -> int:
    """Write a table of responses (`.parquet` or `.jsonl`) and return how many there were."""
    rows = (
        {
            "id": prompt.id,
            "prompt": plain_messages(prompt.messages),
            "response": response.text,
            "author": response.author,
            "response_info": packed(details_of(response)),
            "info": packed(prompt.info),
        }
        for prompt, response in responses
    )
    return write_rows(path, rows, COLUMNS)
