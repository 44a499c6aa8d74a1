"""Whether the chosen answers of pairs are better than what a model says itself.

That decides which way training should push them: where they are better, up; where they are worse,
down, and the rejected ones more (D'Oosterlinck et al., arXiv 2408.06266, section 4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from heapq import nsmallest
from statistics import fmean
from typing import Literal

import attrs

from cpt.data import Annotation
from cpt.data.layouts.conversations import digest_of
from cpt.errors import NoPair
from cpt.matches.orders import judged
from cpt.roles import Ask, Judge, Responder
from cpt.statistics import wilson
from cpt.types import Pair

FEWEST = 10
"""Comparisons below which nothing is clear."""
Finding = Literal["better", "worse", "not clear"]


@attrs.frozen(kw_only=True)
class Advice:
    """How the chosen answers of a sample compare with a model's own answers."""

    chosen: Finding
    """What they are; `not clear` where the interval holds 50, or there are fewer than 10."""
    win_rate: float | None
    """How often a chosen answer is preferred to the model's own, in percent; a draw is half."""
    low: float | None
    """The lower end of the 95% interval of `win_rate` (Wilson 1927)."""
    high: float | None
    """Its upper end."""
    won: int
    lost: int
    drawn: int
    n: int
    """Prompts that were judged."""
    of: int
    """Prompts in the sample."""
    missing: Mapping[str, int]
    """Why the others were not judged."""
    chosen_characters: float | None
    """Mean length of the chosen answers that were judged."""
    own_characters: float | None
    """Mean length of the model's own."""


def sample_of(pairs: Iterable[Pair], size: int) -> list[Pair]:
    """One pair for each of at most `size` prompts; what a prompt says decides whether it is in.

    Single answers that are bad have no chosen side, and are left out.
    """
    first: dict[str, Pair] = {}
    for pair in pairs:
        if pair.label is not False:
            first.setdefault(digest_of(pair.prompt.messages, pair.prompt.tools), pair)
    drawn = nsmallest(size, first, key=lambda name: blake2b(name.encode()).digest())
    return [first[name] for name in drawn]


async def advise(
    pairs: Iterable[Pair], student: Responder, judge: Judge, ask: Ask, size: int
) -> Advice:
    """Ask the student, and the judge, over a sample of `size` prompts."""
    from asyncio import gather

    sample = sample_of(pairs, size)
    return advice_of(
        await gather(*(chosen_against_own(pair, student, judge, ask) for pair in sample))
    )


async def chosen_against_own(
    pair: Pair, student: Responder, judge: Judge, ask: Ask
) -> Annotation | str:
    """The chosen answer judged against the model's own in both orders; or why it is not."""
    try:
        own = (await ask(student, pair.prompt)).expect("cut_off", "empty")
    except NoPair as none:
        return none.reason
    return await judged(judge, pair.prompt, own, pair.chosen, ask)


def advice_of(found: Sequence[Annotation | str]) -> Advice:
    """What such judgements say together."""
    known = [one for one in found if isinstance(one, Annotation) and one.win is not None]
    wins = [one.win for one in known if one.win is not None]
    rate = fmean(wins) if wins else None
    ends = None if rate is None else wilson(rate, len(wins))
    lengths = [one.lengths for one in known if one.lengths is not None]
    return Advice(
        chosen=_finding(len(wins), ends),
        win_rate=None if rate is None else 100 * rate,
        low=None if ends is None else 100 * ends[0],
        high=None if ends is None else 100 * ends[1],
        won=sum(win > 0.5 for win in wins),
        lost=sum(win < 0.5 for win in wins),
        drawn=sum(win == 0.5 for win in wins),
        n=len(wins),
        of=len(found),
        missing=_reasons(found),
        chosen_characters=fmean(theirs for _, theirs in lengths) if lengths else None,
        own_characters=fmean(own for own, _ in lengths) if lengths else None,
    )


def _finding(n: int, ends: tuple[float, float] | None) -> Finding:
    if ends is None or n < FEWEST or ends[0] <= 0.5 <= ends[1]:
        return "not clear"
    return "better" if ends[0] > 0.5 else "worse"


def _reasons(found: Sequence[Annotation | str]) -> dict[str, int]:
    """A judge's reason is the first word of its note: `unread: no score`."""
    unjudged = (
        one if isinstance(one, str) else one.note.partition(":")[0]
        for one in found
        if isinstance(one, str) or one.win is None
    )
    return dict(Counter(unjudged))
