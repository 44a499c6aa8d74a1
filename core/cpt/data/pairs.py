"""Preference pairs in and out, in the format of the ecosystem with our columns beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from cpt.data.layouts.annotated import refuse_undecided
from cpt.data.layouts.conversations import ANSWERS, PROMPT_COLUMNS, answers_of, digest_of, single_of
from cpt.data.layouts.messages import tools_of
from cpt.data.layouts.other_tools import usual
from cpt.data.responses import details_of, response_of
from cpt.data.rows.ids import Ids
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import Row
from cpt.data.rows.writing import (
    COUNT,
    MESSAGES,
    NUMBER,
    SCORES,
    TEXT,
    TOOLS,
    TRUTH,
    packed,
    packed_tools,
    plain_messages,
    write_rows,
    writing,
)
from cpt.errors import Media, NoPair, WrongReturn
from cpt.types import Message, Pair, Prompt, Response

COLUMNS = {
    "prompt": MESSAGES,
    "chosen": MESSAGES,
    "rejected": MESSAGES,
    "id": TEXT,
    "prompt_id": TEXT,
    "pairer": TEXT,
    "tier": COUNT,
    "margin": NUMBER,
    "chosen_author": TEXT,
    "rejected_author": TEXT,
    "rationale": TEXT,
    "scores": SCORES,
    "weight": NUMBER,
    "label": TRUTH,
    "info": TEXT,
    "chosen_info": TEXT,
    "rejected_info": TEXT,
    "prompt_info": TEXT,
    "tools": TOOLS,
}
OTHERS = {"chosen_score": ("score_chosen",), "rejected_score": ("score_rejected",)}
"""What other data sets call our columns."""
RATIONALE = ("rationale", "rational")
NO_ANSWER = Message("assistant", "")
"""What unpaired data has on its other side."""
USED = {*COLUMNS, *PROMPT_COLUMNS, *OTHERS, *sum(OTHERS.values(), ()), *RATIONALE} - {"info"}

LONGEST_LABEL = 200
"""Characters of a text that pairs are distinguished by."""


@attrs.frozen
class Unusable:
    """A row that can be read but gives no pair."""

    id: str
    reason: str
    """A short name that is counted, as that of a `NoPair`."""
    detail: str


def read_pairs(source: str | Path) -> list[Pair]:
    """Return the pairs of a source, as `each_pair` yields them. Raises `BadData`."""
    return list(each_pair(source))


def each_pair(source: str | Path) -> Iterator[Pair]:
    """Yield the pairs of a source, one by one, without the rows that give none.

    A row has `chosen` and `rejected`, as text or messages; the prompt is a column, or what both
    sides begin with (shared messages, or a transcript of Human and Assistant). Other layouts: see
    `usual`. Where there are scores but no margin, their difference is the margin. A row with one
    answer gives a pair with a `label` and an empty side (`single_of`). Raises `BadData`.
    """
    return (found for found in pairs_and_unusable(source) if isinstance(found, Pair))


def pairs_and_unusable(source: str | Path) -> Iterator[Pair | Unusable]:
    """Yield the pair of every row, or why the row gives none. Raises `BadData`."""
    return map(pair_or_unusable, rows_of_pairs(source))


def rows_of_pairs(source: str | Path) -> Iterator[Row]:
    """Yield the rows of a source, each with an id of its own. Raises `BadData`."""
    seen = Ids()
    for row in read_rows(source, "pairs"):
        if (name := _id(row)) in seen:
            raise row.bad(f"the id {name!r} was used before")
        seen.add(name)
        yield row


def pair_of(values: Mapping[str, Any], where: str) -> Pair:
    """The pair of one row of a source, as `each_pair` reads it; `where` is what errors name.

    Raises `BadData`, and `NoPair` for conversations that part before their last answer.
    """
    return _pair(usual(Row(values, where)))


def pair_or_unusable(row: Row) -> Pair | Unusable:
    """The pair of a row, or why the row gives none. Raises `BadData`."""
    try:
        row = usual(row)
        return _pair(row)
    except Media as media:
        return Unusable(_id(row), "media", str(media))
    except NoPair as none:
        return Unusable(_id(row), none.reason, f"{row.where}: {none.detail}")
    except WrongReturn as error:  # what no pair may hold, whoever makes it
        raise row.bad(str(error).removeprefix("Pair.").rstrip(".")) from error


def _id(row: Row) -> str:
    return str(row["id"] if row["id"] is not None else row.number)


def _pair(row: Row) -> Pair:
    refuse_undecided(row.values)
    single = single_of(row)
    if single is None:
        label = None
        messages, chosen, rejected = answers_of(row)
    else:
        messages, answer, label = single
        chosen, rejected = (answer, NO_ANSWER) if label else (NO_ANSWER, answer)
    tools = tools_of(row["tools"], row)
    name = str(row["prompt_id"] or digest_of(messages, tools))
    prompt = Prompt(id=name, messages=messages, tools=tools, info=row.unpacked("prompt_info"))
    better, worse = (_score(row, side) for side in ("chosen", "rejected"))
    gap = None if better is None or worse is None else better - worse
    margin, weight = row.number_of("margin"), row.number_of("weight")
    return Pair(
        id=_id(row),
        prompt=prompt,
        chosen=_response(row, "chosen", prompt.id, chosen),
        rejected=_response(row, "rejected", prompt.id, rejected),
        pairer=str(row["pairer"] or ""),
        tier=row.whole_of("tier") or 0,
        margin=gap if margin is None else margin,
        chosen_score=better,
        rejected_score=worse,
        weight=1.0 if weight is None else weight,
        label=label,
        rationale=str(row.first(*RATIONALE) or ""),
        info=row.info(*USED, *(() if single is None else ANSWERS)),
    )


def _response(row: Row, side: str, prompt_id: str, answer: Message) -> Response:
    author = str(row[f"{side}_author"] or "")
    details = row.unpacked(f"{side}_info")
    said = response_of(row, details, prompt_id=prompt_id, text=answer.content, author=author)
    if not answer.reasoning_content and not answer.tool_calls:
        return said
    return attrs.evolve(
        said, reasoning_content=answer.reasoning_content, tool_calls=answer.tool_calls
    )


def _score(row: Row, side: str) -> float | None:
    ours = row["scores"]
    if isinstance(ours, Mapping):
        return Row(ours, row.where).number_of(side)
    return row.number_of(f"{side}_score", *OTHERS[f"{side}_score"])


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> int:
    """Write a table of pairs (`.parquet` or `.jsonl`) and return how many there were.

    Of the `info` of their prompts, what distinguishes pairs: numbers, truth values, short
    texts and lists of these. The rest is left to the table of prompts.
    """
    return write_rows(path, (row_of(pair) for pair in pairs), COLUMNS)


@contextmanager
def writing_pairs(path: str | Path) -> Iterator[Callable[[Pair], None]]:
    """The same for pairs that come one by one: the table is there if the block succeeds."""
    with writing(path, COLUMNS) as add:
        yield lambda pair: add(row_of(pair))


def row_of(pair: Pair) -> dict[str, Any]:
    """The columns of a pair, as a table of pairs has them."""
    chosen, rejected = (
        plain_messages([side.message]) if side in pair.answers else None
        for side in (pair.chosen, pair.rejected)
    )
    return {
        "prompt": plain_messages(pair.prompt.messages),
        "chosen": chosen,
        "rejected": rejected,
        "id": pair.id,
        "prompt_id": pair.prompt.id,
        "pairer": pair.pairer,
        "tier": pair.tier,
        "margin": pair.margin,
        "chosen_author": pair.chosen.author,
        "rejected_author": pair.rejected.author,
        "rationale": pair.rationale,
        "scores": {"chosen": pair.chosen_score, "rejected": pair.rejected_score},
        "weight": pair.weight,
        "label": pair.label,
        "info": packed(pair.info),
        "chosen_info": packed(details_of(pair.chosen)),
        "rejected_info": packed(details_of(pair.rejected)),
        "prompt_info": packed(labels_of(pair.prompt)),
        "tools": packed_tools(pair.prompt.tools),
    }


def labels_of(prompt: Prompt) -> dict[str, Any]:
    """The metadata of a prompt that its pairs carry: domain, language, source, turn, ..."""
    return {name: value for name, value in prompt.info.items() if _is_label(value)}


def _is_label(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) < LONGEST_LABEL and all(map(_is_label, value))
    if isinstance(value, str):
        return len(value) <= LONGEST_LABEL
    return value is None or isinstance(value, bool | int | float)
