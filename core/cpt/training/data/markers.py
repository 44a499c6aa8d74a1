"""What marks the turns of a conversation, and should not be in the text of an answer."""

from __future__ import annotations

from typing import Any

from cpt.training.data.checks.texts import Words
from cpt.training.data.checks.words import CONTROL, MARKERS
from cpt.training.data.rendering.template import Conversation, TemplateInputs, render
from cpt.training.data.rendering.thoughts import OPEN_END
from cpt.types import Message
from cpt.types.thoughts import CLOSE

QUESTION, ANSWER = "qqqq", "aaaa"


def words_of(tokenizer: Any, inputs: TemplateInputs) -> Words:
    """Special tokens of a tokenizer, and what its template writes where a turn begins."""
    added = tokenizer.added_tokens_decoder.values()
    special = [token.content for token in added if token.special]
    return Words(
        control=_distinct([*special, tokenizer.eos_token, *CONTROL]),
        markers=_distinct([*_between(tokenizer, inputs), *MARKERS]),
    )


def _distinct(marks: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark for mark in marks if mark and not _is_thought(mark)))


def _between(tokenizer: Any, inputs: TemplateInputs) -> list[str]:
    """What the template writes between an answer and the next question, if it is telling."""
    chat = Conversation((Message("user", QUESTION), Message("assistant", ANSWER)))
    (written,) = render([(chat.then(Message("user", QUESTION)), ())], tokenizer, inputs)
    between = written.prompt.rpartition(ANSWER)[2].partition(QUESTION)[0].rstrip()
    return [between] if any(letter.isalnum() for letter in between) else []


def _is_thought(mark: str) -> bool:
    return bool(CLOSE.fullmatch(mark) or OPEN_END.fullmatch(mark))
