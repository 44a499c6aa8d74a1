"""A judge of whom it is known what it likes."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

import cpt


@attrs.frozen
class Likes(cpt.Judge):
    """Prefer the longer answer, or the one shown first; say nothing of one with a `!`."""

    name = "likes"
    first: bool = False
    """Whether the place counts, not the length."""

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        texts = [response.text for response in responses]
        if any("!" in text for text in texts):
            missing = tuple(cpt.Missing("unread", "no score") for _ in texts)
            return cpt.Verdict(scores=(None,) * len(texts), missing=missing)
        places = range(len(texts), 0, -1)
        return cpt.Verdict(scores=tuple(map(float, places if self.first else map(len, texts))))


@cpt.hookimpl
def cpt_judges() -> list[type[cpt.Judge]]:
    return [Likes]
