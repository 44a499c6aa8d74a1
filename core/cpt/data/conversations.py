"""Conversations as rows hold them: text, message lists, or a transcript."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, get_args

import attrs

from cpt.data.rows import Row
from cpt.types import Message

ROLES = get_args(attrs.fields_dict(attrs.resolve_types(Message))["role"].type)
SPEAKERS: dict[str, Any] = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")
ASKED = ("prompt", "messages", "instruction")
"""Columns that may hold a prompt."""
PROMPT_COLUMNS = (*ASKED, "input")


def prompt_messages(row: Row) -> tuple[Message, ...]:
    """What a row asks; empty if it asks nothing. Raises `BadData`.

    From `prompt` (text or messages), `messages` (a last answer is left out), or `instruction` with
    `input`.
    """
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


def conversation(value: Any, row: Row) -> tuple[Message, ...]:
    """Messages from a text (the user's) or a list of messages. Raises `BadData`."""
    if isinstance(value, str):
        said: tuple[Message, ...] = (Message("user", text_of(value, row)),)
    elif isinstance(value, Sequence):
        said = tuple(_message(turn, row) for turn in value)
    else:
        raise row.bad(f"expected text or a list of messages, got {value!r:.60}")
    if not any(message.content.strip() for message in said):
        raise row.bad("the prompt is empty")
    return said


def ends_with_a_question(said: tuple[Message, ...], row: Row) -> tuple[Message, ...]:
    """The same messages. Raises `BadData` if there is nothing to answer at their end."""
    if not said or said[-1].role == "assistant":
        raise row.bad("the prompt does not end with a message of the user")
    return said


def _message(turn: Any, row: Row) -> Message:
    if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
        raise row.bad(f"expected messages with a role and a content, got {turn!r:.60}")
    if turn["role"] not in ROLES:
        raise row.bad(f"unknown role {turn['role']!r}; there are {', '.join(ROLES)}")
    return Message(turn["role"], text_of(turn["content"], row))


def text_of(value: Any, row: Row) -> str:
    """The same text. Raises `BadData` if it is none."""
    if not isinstance(value, str):
        raise row.bad(f"expected text, got {value!r:.60}")
    return value


def answers_of(row: Row) -> tuple[tuple[Message, ...], str, str]:
    """The prompt, the chosen and the rejected text of a pair. Raises `BadData`."""
    chosen, rejected = row.values.get("chosen"), row.values.get("rejected")
    if missing := [side for side in ("chosen", "rejected") if row.values.get(side) is None]:
        raise row.bad(f"no pair: {row.lacks('the columns chosen and rejected', *missing)}")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _from_texts(row, text_of(chosen, row), text_of(rejected, row))
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise row.bad("chosen and rejected are not of one kind: text and messages")
    return _from_messages(row, *(_turns(side, row) for side in (chosen, rejected)))


def _turns(value: Any, row: Row) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or not value:
        raise row.bad(f"expected text or a list of messages, got {value!r:.60}")
    return tuple(_message(turn, row) for turn in value)


def _from_texts(row: Row, chosen: str, rejected: str) -> tuple[tuple[Message, ...], str, str]:
    if prompt := prompt_messages(row):
        return prompt, chosen, rejected
    marks = [mark.end() for mark in TURN.finditer(chosen) if mark[1] == "Assistant"]
    shared = [end for end in marks if rejected.startswith(chosen[:end])]
    if not shared:
        expected = "a column prompt, or transcripts (Human: ... Assistant: ...) that begin alike"
        raise row.bad(f"no prompt: {row.lacks(expected, *ASKED)}")
    asked, answer, other = chosen[: shared[-1]], chosen[shared[-1] :], rejected[shared[-1] :]
    if TURN.search(answer) or TURN.search(other):
        raise row.bad("the two conversations part before their last answer")
    prompt = ends_with_a_question(_transcript(asked)[:-1], row)
    return prompt, answer.removeprefix(" "), other.removeprefix(" ")


def _transcript(text: str) -> tuple[Message, ...]:
    _, *turns = TURN.split("\n\n" + text.lstrip())
    return tuple(
        Message(SPEAKERS[speaker], said.removeprefix(" "))
        for speaker, said in zip(turns[::2], turns[1::2], strict=True)
    )


def _from_messages(
    row: Row, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], str, str]:
    """Whatever both sides begin with is the prompt, but never the last message of either."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    answers = chosen[shared:], rejected[shared:]
    if any(len(answer) > 1 or answer[0].role != "assistant" for answer in answers):
        raise row.bad("chosen and rejected differ in more than one last message of the assistant")
    prompt = _joined(prompt_messages(row), chosen[:shared])
    if not prompt:
        expected = "a column prompt, or conversations that begin alike"
        raise row.bad(f"no prompt: {row.lacks(expected, *ASKED)}")
    return ends_with_a_question(prompt, row), answers[0][0].content, answers[1][0].content


def _joined(named: tuple[Message, ...], shared: tuple[Message, ...]) -> tuple[Message, ...]:
    """The prompt of a row that names one, or whose sides begin alike, or both.

    The sides may repeat the end of it, go on after it, or hold more of it than is named.
    """
    if named[-len(shared) :] == shared or not shared:
        return named
    return named + shared if shared[0].role == "assistant" else shared


def digest_of(messages: Sequence[Message]) -> str:
    """A short name for what is asked: the same for the same messages."""
    said = "\0".join(f"{message.role}\0{message.content}" for message in messages)
    return sha256(said.encode()).hexdigest()[:16]
