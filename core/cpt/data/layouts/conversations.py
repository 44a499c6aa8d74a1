"""Conversations as rows hold them: text, message lists, or a transcript."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import takewhile
from typing import Any

from cpt.data.layouts.messages import message_of, text_of
from cpt.data.rows.row import Row
from cpt.errors import NoPair
from cpt.types import Message

PARTED = "parts_early"
"""Why conversations are no pair whose last answers follow different turns."""
BOTH = ("chosen", "rejected")
OF_OTHERS = (
    "to make pairs of answers, votes or scores: cpt pair --prompts FILE --pairer NAME (cpt show "
    "pairer lists them)"
)
ANSWERS = ("completion", "response", "output")
"""Columns that may hold the only answer of a row."""
SPEAKERS: dict[str, Any] = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")
TRANSCRIPT = re.compile(r"\s*Human:.*\n\nAssistant:\s*", re.DOTALL)
"""A prompt that is written as a transcript up to the answer."""
ASKED = ("prompt", "messages", "instruction")
"""Columns that may hold a prompt."""
PROMPT_COLUMNS = (*ASKED, "input", "system", "history", "tools")
SIDES = (("chosen", "rejected"), ("conversation_a", "conversation_b"))
"""Columns that may hold two whole conversations."""


def prompt_messages(row: Row) -> tuple[Message, ...]:
    """What a row asks; empty if it asks nothing. Raises `BadData`.

    From `prompt` (text or messages), `messages` (a last answer is left out), or `instruction` with
    `input`; after the column `system`, and the questions and answers of `history`.
    """
    asked = _asked(row)
    return with_context(asked, row) if asked else ()


def with_context(asked: tuple[Message, ...], row: Row) -> tuple[Message, ...]:
    """The conversation after the row's `system` and `history`. Raises `BadData`."""
    system = () if row["system"] is None else (Message("system", text_of(row["system"], row)),)
    first = asked[:1] if asked[0].role == "system" else ()
    if system and first and system != first:
        raise row.bad("the column system and the conversation hold different system messages")
    return (*(system or first), *_history(row), *asked[len(first) :])


def _history(row: Row) -> tuple[Message, ...]:
    """Earlier turns: pairs of a question and an answer, or messages."""
    given = row["history"] or ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise row.bad(f"history: expected a list of [question, answer], got {given!r:.60}")
    turns: list[Message] = []
    for turn in given:
        if isinstance(turn, Mapping):
            turns.append(message_of(turn, row))
        elif isinstance(turn, Sequence) and not isinstance(turn, str) and len(turn) == 2:
            texts = [text_of(text, row) for text in turn]
            turns += [Message("user", texts[0]), Message("assistant", texts[1])]
        else:
            raise row.bad(f"history: expected a list of [question, answer], got {turn!r:.60}")
    return tuple(turns)


def _asked(row: Row) -> tuple[Message, ...]:
    if row["prompt"] is not None:
        return ends_with_a_question(conversation(row["prompt"], row), row)
    if row["messages"] is not None:
        said = conversation(row["messages"], row)
        said = said[:-1] if said[-1].role == "assistant" else said
        return ends_with_a_question(said, row)
    if row["instruction"] is not None:
        parts = [row["instruction"], row["input"]]
        text = "\n\n".join(text_of(part, row) for part in parts if part is not None)
        return conversation(text, row)
    return ()


def shared_beginning(row: Row) -> tuple[Message, ...]:
    """What the two conversations of a row ask alike, up to the last such question; else empty."""
    for names in SIDES:
        sides = [row.values.get(name) for name in names]
        if None not in sides:
            first, second = (_said(side, row) for side in sides)
            shared = sum(
                1
                for _ in takewhile(
                    lambda turns: turns[0] == turns[1], zip(first, second, strict=False)
                )
            )
            asked = first[:shared]
            while asked and asked[-1].role == "assistant":
                asked = asked[:-1]
            return with_context(asked, row) if asked else ()
    return ()


def _said(side: Any, row: Row) -> tuple[Message, ...]:
    """A conversation that is a transcript or a list of messages."""
    return _transcript(text_of(side, row)) if isinstance(side, str) else _turns(side, row)


def conversation(value: Any, row: Row) -> tuple[Message, ...]:
    """Messages from a text (the user's, or a transcript up to the answer) or a list of messages.

    Raises `BadData`.
    """
    said: tuple[Message, ...]
    if isinstance(value, str) and TRANSCRIPT.fullmatch(value):
        said = _transcript(text_of(value, row))[:-1]
    elif isinstance(value, str):
        said = (Message("user", text_of(value, row)),)
    elif isinstance(value, Sequence):
        said = tuple(message_of(turn, row) for turn in value)
    else:
        raise row.bad(f"expected text or a list of messages, got {value!r:.60}")
    if not any(message.content.strip() or message.tool_calls for message in said):
        raise row.bad("the prompt is empty")
    return said


def ends_with_a_question(said: tuple[Message, ...], row: Row) -> tuple[Message, ...]:
    """The same messages. Raises `BadData` if there is nothing to answer at their end."""
    if not said or said[-1].role == "assistant":
        raise row.bad("the prompt does not end with a message of the user")
    return said


def single_of(row: Row) -> tuple[tuple[Message, ...], Message, bool] | None:
    """The prompt, the only answer and whether it is good; None for a row that is to be a pair.

    The answer is `completion`, `response`, `output`, the last turn of `messages`, or the side that
    the `label` names. Without a label it is good, as data for SFT has none. Raises `BadData`.
    """
    sides = [side for side in BOTH if row.values.get(side) is not None]
    label = label_of(row) if len(sides) < len(BOTH) else None
    if label is None and row.values.keys() & set(BOTH):
        return None
    found = [row[BOTH[0] if label else BOTH[1]]] if sides else [row[name] for name in ANSWERS]
    answer = next((value for value in found if value is not None), None)
    prompt = prompt_messages(row)
    if answer is not None and prompt:
        return prompt, _answer(answer, row), label is not False
    if answer is None and not sides and row["messages"] is not None:
        last = conversation(row["messages"], row)[-1]
        return (prompt, last, label is not False) if last.role == "assistant" else None
    return None


def label_of(row: Row) -> bool | None:
    """Whether the only answer of a row is good; None if it does not say. Raises `BadData`."""
    label = row["label"]
    known = {"true": True, "false": False, "1": True, "0": False}
    known |= {"1.0": True, "0.0": False}  # a column of a table that has gaps
    if label is None or str(label).lower() in known:
        return None if label is None else known[str(label).lower()]
    raise row.bad(f"label is {label!r:.60}, not true or false")


def _answer(value: Any, row: Row) -> Message:
    """An answer, as text or as a list of one message."""
    if isinstance(value, str):
        return Message("assistant", text_of(value, row))
    turns = _turns(value, row)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise row.bad("the answer is not one message of the assistant")
    return turns[0]


def answers_of(row: Row) -> tuple[tuple[Message, ...], Message, Message]:
    """The prompt, the chosen and the rejected answer of a pair.

    Raises `BadData`, and `NoPair` for conversations that part before their last answer.
    """
    chosen, rejected = sides = [row.values.get(side) for side in BOTH]
    if missing := [side for side in BOTH if row.values.get(side) is None]:
        raise row.bad(_no_pair(row, missing))
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _from_texts(row, text_of(chosen, row), text_of(rejected, row))
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise row.bad("chosen and rejected are not of one kind: text and messages")
    if any(isinstance(side, list) and side and isinstance(side[0], str) for side in sides):
        raise row.bad(f"chosen and rejected are lists of answers; {OF_OTHERS}")
    return _from_messages(row, *(_turns(side, row) for side in sides))


def _no_pair(row: Row, missing: Sequence[str]) -> str:
    why = f"no pair: {row.lacks('the columns chosen and rejected', *missing)}"
    return why if row.values.keys() & set(BOTH) else f"{why}; {OF_OTHERS}"


def _turns(value: Any, row: Row) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or not value:
        raise row.bad(f"expected text or a list of messages, got {value!r:.60}")
    return tuple(message_of(turn, row) for turn in value)


def _from_texts(
    row: Row, chosen: str, rejected: str
) -> tuple[tuple[Message, ...], Message, Message]:
    if prompt := prompt_messages(row):
        return prompt, Message("assistant", chosen), Message("assistant", rejected)
    marks = [mark.end() for mark in TURN.finditer(chosen) if mark[1] == "Assistant"]
    shared = [end for end in marks if rejected.startswith(chosen[:end])]
    if not shared:
        if marks and TURN.search(rejected):
            raise _parted()
        expected = "a column prompt, or transcripts (Human: ... Assistant: ...) that begin alike"
        raise row.bad(f"no prompt: {row.lacks(expected, *ASKED)}")
    asked, answer, other = chosen[: shared[-1]], chosen[shared[-1] :], rejected[shared[-1] :]
    if TURN.search(answer) or TURN.search(other):
        raise _parted()
    prompt = ends_with_a_question(with_context(_transcript(asked)[:-1], row), row)
    better, worse = (Message("assistant", text.removeprefix(" ")) for text in (answer, other))
    return prompt, better, worse


def _parted() -> NoPair:
    return NoPair(PARTED, "the two conversations part before their last answer")


def _transcript(text: str) -> tuple[Message, ...]:
    _, *turns = TURN.split("\n\n" + text.lstrip())
    return tuple(
        Message(SPEAKERS[speaker], said.removeprefix(" "))
        for speaker, said in zip(turns[::2], turns[1::2], strict=True)
    )


def _from_messages(
    row: Row, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], Message, Message]:
    """Whatever both sides begin with is the prompt, but never the last message of either."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    answers = chosen[shared:], rejected[shared:]
    if any(len(answer) > 1 or answer[0].role != "assistant" for answer in answers):
        raise _parted()
    asked = _asked(row)
    prompt = _joined(asked, chosen[:shared])
    if not prompt:
        expected = "a column prompt, or conversations that begin alike"
        raise row.bad(f"no prompt: {row.lacks(expected, *ASKED)}")
    prompt = ends_with_a_question(with_context(prompt, row), row)
    return prompt, answers[0][0], answers[1][0]


def _joined(named: tuple[Message, ...], shared: tuple[Message, ...]) -> tuple[Message, ...]:
    """The prompt of a row that names one, or whose sides begin alike, or both.

    The sides may repeat the end of it, continue after it, or hold more of it than is named.
    """
    if named[-len(shared) :] == shared or not shared:
        return named
    return named + shared if shared[0].role == "assistant" else shared


def digest_of(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """A short name for what is asked: the same for the same messages and tools."""
    said = "\0".join(f"{message.role}\0{message.content}" for message in messages)
    plain = [message.plain() for message in messages]
    if tools or any(len(turn) > len(("role", "content")) for turn in plain):
        said += "\0" + json.dumps([plain, list(tools)], sort_keys=True)
    return sha256(said.encode()).hexdigest()[:16]
