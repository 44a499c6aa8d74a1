"""Prompts in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cpt.data.layouts.conversations import ASKED, PROMPT_COLUMNS, prompt_messages, shared_beginning
from cpt.data.layouts.messages import tools_of
from cpt.data.layouts.other_tools import usual
from cpt.data.rows.ids import Ids
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import Row
from cpt.data.rows.writing import (
    MESSAGES,
    TEXT,
    TOOLS,
    packed,
    packed_tools,
    plain_messages,
    write_rows,
)
from cpt.types import Prompt

COLUMNS = {"id": TEXT, "messages": MESSAGES, "info": TEXT, "tools": TOOLS}
NUMBERED = "row-"
"""How the id of a prompt begins that its source did not name."""


def read_prompts(source: str | Path, *, checked: bool = False) -> Iterator[Prompt]:
    """Yield the prompts of a source, one by one.

    A row has `prompt` (text or messages), `messages`, or `instruction` (with `input`), or one of
    the other layouts that `usual` knows, or two conversations (`chosen` and `rejected`) that begin
    alike; its `id`, or else its number, names the prompt; other columns become `info`. Raises
    `BadData` for a broken row, a row without a prompt, an id that occurs twice, and an empty
    source. Where the source was `checked` before, ids are not compared again, and memory does not
    grow with it.
    """
    seen = Ids()  # where they are would take more memory: the rare error looks it up
    for row in read_rows(source, "prompts"):
        prompt = prompt_of(row)
        if not prompt.messages:
            expected = "a column prompt, messages or instruction"
            raise row.bad(f"no prompt: {row.lacks(expected, *ASKED)}")
        if not checked:
            if prompt.id in seen and (where := _first(source, prompt.id)) != row.where:
                raise row.bad(f"the id {prompt.id!r} was used before, in {where}")
            seen.add(prompt.id)
        yield prompt


def _first(source: str | Path, name: str) -> str:
    """The place of the first row that has this id."""
    rows = read_rows(source, "prompts")
    return next(row.where for row in rows if prompt_of(row).id == name)


def prompt_of(row: Row, *others: str) -> Prompt:
    """The prompt of a row, without messages if it asks nothing; columns `others` are not its."""
    row = usual(row)
    given = row["id"]
    return Prompt(
        id=f"{NUMBERED}{row.number}" if given is None else str(given),
        messages=prompt_messages(row) or shared_beginning(row),
        info=row.info("id", "prompt_info", *PROMPT_COLUMNS, *others) | row.unpacked("prompt_info"),
        tools=tools_of(row["tools"], row),
    )


def write_prompts(path: str | Path, prompts: Iterable[Prompt]) -> int:
    """Write a table of prompts (`.parquet` or `.jsonl`) and return how many there were."""
    rows = (
        {
            "id": prompt.id,
            "messages": plain_messages(prompt.messages),
            "info": packed(prompt.info),
            "tools": packed_tools(prompt.tools),
        }
        for prompt in prompts
    )
    return write_rows(path, rows, COLUMNS)
