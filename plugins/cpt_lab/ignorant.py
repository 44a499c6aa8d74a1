"""The bottom of every ladder."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

import cpt


@attrs.frozen
class Ignorant(cpt.Local):
    """Answer every prompt with the same words.

    It is the lower rung of a ladder with one real model: every answer of that model is then chosen.
    With a real model as the lower rung, both would now and then say the same, which makes no pair.
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
