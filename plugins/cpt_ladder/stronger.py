"""Pairs of a stronger model's answer and the student's own."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

import cpt


@attrs.frozen
class Stronger(cpt.Pairer):
    """Prefer a stronger model's answer to the student's own, without a judge.

    y_l = M(x), y_w = Stronger(x): Stronger Preferred, equation 4 of arXiv 2408.06266. A ladder of
    two rungs of which the lower is the model to be trained.
    """

    name = "stronger"
    stronger: cpt.Responder
    """Whose answers are preferred, live or recorded."""
    student: cpt.Responder
    """Whose answers are rejected: the model to be trained, or its recorded answers."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        from asyncio import gather

        better, worse = await gather(ask(self.stronger, prompt), ask(self.student, prompt))
        pair = cpt.Pair(
            prompt=prompt,
            chosen=better.expect(),
            rejected=worse.expect(),
            pairer=self.name,
            tier=1,
            margin=1.0,
        )
        return [pair]
