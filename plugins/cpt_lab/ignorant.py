"""The bottom of every ladder."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

import cpt


@attrs.frozen
class Ignorant(cpt.Local):
    """Answer every prompt with the same words.

    Below a single rung of a ladder, it lets every answer of that rung be chosen: two models would
    now and then say the same, which makes no pair, so that a loss that reads the chosen side alone
    would learn from a selection.
    """

    name = "lab_ignorant"
    journaled = False
    says: str = "I do not know."
    """Its answer."""

    @property
    def author(self) -> str:
        return self.name

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        return [
            cpt.Response(prompt_id=prompt.id, text=self.says, author=self.author)
            for prompt, _ in requests
        ]
