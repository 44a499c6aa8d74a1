"""Things that belong to prompts, found by the prompt's id or by its text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Generic, TypeVar

import attrs

from cpt.data.prompts import NUMBERED
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
