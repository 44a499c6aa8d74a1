"""From conversations to text: what the chat template writes, and where in it a prompt ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import jinja2

from cpt.errors import first_line
from cpt.types import Message

Conversation = tuple[Message, ...]


@attrs.frozen
class Continuation:
    """What the template writes after a prompt."""

    text: str = ""
    rewritten: bool = False
    """The template did not continue the prompt it gave: the answer was put behind that prompt."""
    problem: str = ""
    """Why there is no text."""


@attrs.frozen
class Rendered:
    """A conversation as text, with what follows it."""

    prompt: str
    """What a model is asked with; empty if the template refuses it."""
    answers: Mapping[str, Continuation]
    """By the answer's own text."""


def render(asked: Sequence[tuple[Conversation, Collection[str]]], tokenizer: Any) -> list[Rendered]:
    """Each conversation with the answers to it, as its tokenizer's template writes them."""
    chats = [
        [{"role": turn.role, "content": turn.content} for turn in messages] for messages, _ in asked
    ]
    replies = [
        [*chat, {"role": "assistant", "content": text}]
        for chat, (_, texts) in zip(chats, asked, strict=True)
        for text in texts
    ]
    prompts = _written(chats, tokenizer, add_generation_prompt=True)
    wholes = iter(_written(replies, tokenizer, add_generation_prompt=False))
    return [
        Rendered(
            prompt if isinstance(prompt, str) else "",
            {text: _continuation(prompt, next(wholes), text) for text in texts},
        )
        for prompt, (_, texts) in zip(prompts, asked, strict=True)
    ]


def _written(
    chats: Sequence[Sequence[Mapping[str, str]]], tokenizer: Any, **how: bool
) -> list[str | Exception]:
    """The text of each conversation, or why the template refuses it."""
    try:
        return list(tokenizer.apply_chat_template(chats, tokenize=False, **how))
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        if len(chats) == 1:
            return [error]
    return [text for chat in chats for text in _written([chat], tokenizer, **how)]


def _continuation(prompt: str | Exception, whole: str | Exception, answer: str) -> Continuation:
    for refused in (prompt, whole):
        if isinstance(refused, Exception):
            return Continuation(problem=f"the chat template refuses it ({first_line(refused)})")
    assert isinstance(prompt, str) and isinstance(whole, str)
    if whole.startswith(prompt):
        return Continuation(whole[len(prompt) :])
    start = whole.rfind(answer.strip())
    if not answer.strip() or start < 0:
        return Continuation(problem="the chat template does not keep its text")
    return Continuation(whole[start:], rewritten=True)
