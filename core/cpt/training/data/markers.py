"""What marks the turns of a conversation, and should not be in the text of an answer."""

from __future__ import annotations

from typing import Any

from cpt.training.data.rendering import Conversation, TemplateInputs, render
from cpt.training.data.thoughts import CLOSE, OPEN_END
from cpt.types import Message

KNOWN = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|end_of_text|>"),
    *(
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
        "</s>",
        "<eos>",
        "[INST]",
        "[/INST]",
    ),
    *("\n\nHuman:", "\n\nAssistant:", "### Instruction:", "### Response:"),
)
"""Markers of widespread templates: those of another model end up in data too."""
QUESTION, ANSWER = "qqqq", "aaaa"


def markers_of(tokenizer: Any, inputs: TemplateInputs) -> tuple[str, ...]:
    """Special tokens of a tokenizer, and what its template writes where a turn begins."""
    added = tokenizer.added_tokens_decoder.values()
    special = [token.content for token in added if token.special]
    found = [*special, tokenizer.eos_token, *_between(tokenizer, inputs), *KNOWN]
    return tuple(dict.fromkeys(mark for mark in found if not _is_thought(mark)))


def _between(tokenizer: Any, inputs: TemplateInputs) -> list[str]:
    """What the template writes between an answer and the next question, if it is telling."""
    chat = Conversation((Message("user", QUESTION), Message("assistant", ANSWER)))
    (written,) = render([(chat.then(Message("user", QUESTION)), ())], tokenizer, inputs)
    between = written.prompt.rpartition(ANSWER)[2].partition(QUESTION)[0].rstrip()
    return [between] if any(letter.isalnum() for letter in between) else []


def _is_thought(mark: str) -> bool:
    return bool(CLOSE.fullmatch(mark) or OPEN_END.fullmatch(mark))
