"""Things that belong to prompts, found by the prompt's id or by its text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from cpt import paths
from cpt.data.layouts.other_tools import usual
from cpt.data.pairs import labels_of
from cpt.data.prompts import NUMBERED, prompt_of
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import Row
from cpt.errors import NoPair
from cpt.types import Message, Prompt

T = TypeVar("T")
Asked = tuple[Message, ...]


@attrs.frozen
class ByPrompt(Generic[T]):
    """What is known of each prompt: by an id that its source gave it, else by what it asks."""

    by_id: dict[str, list[T]] = attrs.field(factory=lambda: defaultdict(list))
    by_text: dict[Asked, list[T]] = attrs.field(factory=lambda: defaultdict(list))

    def add(self, prompt: Prompt, item: T) -> None:
        """Remember an item of a prompt, which may have an id of its own, messages, or both."""
        if not prompt.id.startswith(NUMBERED):
            self.by_id[prompt.id].append(item)
        if prompt.messages:
            self.by_text[_stripped(prompt)].append(item)

    def of(self, prompt: Prompt) -> Sequence[T]:
        """The items of a prompt, in the order in which they were added; those of its id first."""
        return self.by_id.get(prompt.id) or self.by_text.get(_stripped(prompt)) or ()


def _stripped(prompt: Prompt) -> Asked:
    return tuple(attrs.evolve(turn, content=turn.content.strip()) for turn in prompt.messages)


@attrs.frozen
class RowsByPrompt:
    """The rows of a source by the prompt that they are about, all in memory."""

    source: str
    rows: ByPrompt[tuple[Prompt, Row]]

    def of(self, prompt: Prompt) -> list[Row]:
        """The rows about a prompt; where prompts are rows of this source, all at the first.

        Raises `NoPair`: `no_preference` if there are none, `repeated` at a later row.
        """
        found = self.rows.of(prompt)
        if not found:
            raise NoPair("no_preference", f"{self.source} says nothing of prompt {prompt.id!r}")
        for other, row in found[1:]:
            if _same(other, prompt):
                raise NoPair("repeated", f"{row.where}: an earlier row has the same prompt")
        return [row for _, row in found]

    def __iter__(self) -> Iterator[Row]:
        return (row for rows in self.rows.by_text.values() for _, row in rows)


def _same(one: Prompt, other: Prompt) -> bool:
    """Whether two prompts are of one row."""
    return (one.id, one.messages, labels_of(one)) == (other.id, other.messages, labels_of(other))


def rows_by_prompt(source: str) -> RowsByPrompt:
    """The rows of a source, read once as long as its file is the same. Raises `BadData`."""
    path = Path(paths.resolve(source))
    state = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
    return _read(source, state)


@lru_cache(maxsize=4)
def _read(source: str, state: tuple[int, int] | None) -> RowsByPrompt:
    rows: ByPrompt[tuple[Prompt, Row]] = ByPrompt()
    for row in read_rows(source, "pairs"):
        prompt = prompt_of(row)
        if not prompt.messages:
            raise row.bad("no prompt: expected a column prompt, messages or instruction")
        if row["prompt_id"] is not None:  # a table of pairs, whose ids are those of pairs
            prompt = attrs.evolve(prompt, id=str(row["prompt_id"]))
        rows.add(prompt, (prompt, usual(row)))
    return RowsByPrompt(source, rows)
