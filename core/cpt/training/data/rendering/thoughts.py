"""Thoughts of answers in training: prompts that open one, and answers as they were sampled."""

from __future__ import annotations

import re

import attrs

from cpt.types import Message
from cpt.types.thoughts import MARKS, OPEN_START, OPENS, split_thought

OPEN_END = re.compile(rf"({OPENS})\s*\Z")


@attrs.frozen
class Opened:
    """How the prompt of a template opens a thought."""

    text: str
    """The end of the prompt, from its mark on: `<think>` and a line end."""
    mark: str

    @property
    def close(self) -> str:
        """The mark that closes it."""
        return MARKS.get(self.mark) or self.mark.replace("<", "</", 1)

    @property
    def closing(self) -> str:
        """What closes it while it is empty, where the template does not say."""
        line_ends = "\n" if self.text.endswith("\n") else "\n\n"
        return f"{line_ends}{self.close}\n\n"


def opened_by(prompt: str) -> Opened | None:
    """How a prompt opens a thought; None if it does not."""
    found = OPEN_END.search(prompt)
    return Opened(found[0], found[1]) if found else None


def thinks(answer: Message) -> bool:
    """Whether an answer has a thought with any text in it."""
    return bool(answer.reasoning_content.strip() or split_thought(answer.content)[0].strip())


def as_sampled(answer: Message, opened: Opened | None) -> str:
    """The text of an answer as a model writes it after a prompt that may have opened a thought."""
    text = answer.content
    if answer.reasoning_content:
        mark = opened or Opened("<think>\n", "<think>")
        text = f"{mark.text}{answer.reasoning_content}\n{mark.close}\n\n{text}"
    return _without_opening(text, opened) if opened else text


def inside(text: str, opened: Opened, closing: str) -> str:
    """What follows a prompt that opened a thought: its mark is not repeated, the thought closed."""
    if OPEN_START.match(text):
        return _without_opening(text, opened)
    return text if opened.close in text else closing + text


def _without_opening(text: str, opened: Opened) -> str:
    if text.startswith(opened.text):
        return text.removeprefix(opened.text)
    return OPEN_START.sub("", text, count=1) if OPEN_START.match(text) else text
