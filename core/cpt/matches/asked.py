"""Answers on disk, judged through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cpt.asking import Asker
from cpt.asking.options import Asking
from cpt.asking.stats import Stats
from cpt.data import Annotation
from cpt.matches.advice import chosen_against_own
from cpt.matches.answers import Answers
from cpt.matches.orders import judged
from cpt.roles import Judge, Responder
from cpt.types import Pair


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
    ask.stop_if_over_budget(journal.parent)
    return list(found), ask.stats.unfinished


def annotate_own(
    judge: Judge, student: Responder, pairs: Sequence[Pair], journal: Path, asking: Asking
) -> tuple[list[Annotation | str], Stats]:
    """Judge the chosen answer of each pair against what the student says, and what it took.

    All is kept in the journal. Raises `Stopped` if the budget does not reach.
    """
    return asyncio.run(_annotate_own(judge, student, pairs, journal, asking))


async def _annotate_own(
    judge: Judge, student: Responder, pairs: Sequence[Pair], journal: Path, asking: Asking
) -> tuple[list[Annotation | str], Stats]:
    async with Asker(journal, options=asking, stage="advice", total=len(pairs)) as ask:
        found = await asyncio.gather(
            *(chosen_against_own(pair, student, judge, ask) for pair in pairs)
        )
    ask.stop_if_over_budget(journal.parent)
    return list(found), ask.stats
