"""A model that says its own name to everything."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

import cpt


@attrs.frozen
class Echoes(cpt.Local):
    """Say the same to everything."""

    name = "echoes"
    model: str = ""
    """What it says."""
    temperature: float = 0.0
    """Changes nothing."""

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> list[cpt.Response]:
        return [
            cpt.Response(prompt_id=prompt.id, text=self.model, author=self.author)
            for prompt, _ in requests
        ]


@cpt.hookimpl
def cpt_responders() -> list[type[cpt.Responder]]:
    return [Echoes]
