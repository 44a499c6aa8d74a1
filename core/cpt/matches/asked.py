"""Answers on disk, judged through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cpt.asking import Asker
from cpt.asking.options import Asking
from cpt.data import Annotation
from cpt.errors import Stopped
from cpt.matches.answers import Answers
from cpt.matches.orders import judged
from cpt.roles import Judge


def annotate(
    judge: Judge, answers: Sequence[Answers], journal: Path, asking: Asking
) -> tuple[list[Annotation], int]:
    """Judge all in both orders; and how many requests another run would ask again.

    What was judged is kept in the journal. Raises `Stopped` if the budget does not reach.
    """
    return asyncio.run(_annotate(judge, answers, journal, asking))


async def _annotate(
    judge: Judge, answers: Sequence[Answers], journal: Path, asking: Asking
) -> tuple[list[Annotation], int]:
    async with Asker(journal, options=asking, stage="judgements", total=len(answers)) as ask:
        found = await asyncio.gather(
            *(judged(judge, one.prompt, one.baseline, one.model, ask) for one in answers)
        )
    if over := ask.stats.outcomes["over_budget"]:
        raise Stopped(
            f"{journal.parent}: the budget is used up and {over} judgements were not asked for. "
            "Every answer is kept: the same command with a larger --budget goes on."
        )
    return list(found), ask.stats.unfinished
