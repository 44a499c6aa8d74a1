"""One answer against another: judged in both orders, as a judge may prefer a place."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from cpt.data import NUMBERED, Annotation
from cpt.errors import NoPair
from cpt.roles import Ask, Judge
from cpt.types import Prompt, Response


@attrs.frozen
class Match:
    """How often an answer wins: 1 is a win, 0.5 a draw, 0 a loss."""

    shown_first: float
    """Where the judge saw it before the other."""
    shown_second: float
    """Where the judge saw it after the other."""

    @property
    def win(self) -> float:
        """The mean over both orders."""
        return (self.shown_first + self.shown_second) / 2


async def both_orders(
    judge: Judge, prompt: Prompt, answer: Response, other: Response, ask: Ask
) -> Match:
    """Judge two answers in both orders; equal texts are a draw, and nobody is asked.

    Raises `NoPair` if the judge gives no score in one of the orders: half a match would hold the
    judge's liking of a place.
    """
    from asyncio import gather

    if answer.text == other.text:
        return Match(0.5, 0.5)
    first, second = await gather(
        _wins(judge, prompt, [answer, other], ask), _wins(judge, prompt, [other, answer], ask)
    )
    return Match(first, 1 - second)


async def _wins(judge: Judge, prompt: Prompt, shown: Sequence[Response], ask: Ask) -> float:
    """How often the answer that is shown first wins."""
    verdict = await judge.judge(prompt, shown, ask)
    one, two = (verdict.score_of(place) for place in (0, 1))
    for score in (one, two):
        if not isinstance(score, int | float):
            raise NoPair(score.reason, score.detail, score.raw)
    return 0.5 if one == two else float(one > two)  # type: ignore[operator]


async def compared(
    judge: Judge, prompt: Prompt, baseline: Response, model: Response, ask: Ask
) -> Annotation:
    """The annotation of a model's answer against a baseline's. Raises `NoPair`."""
    match = await both_orders(judge, prompt, model, baseline, ask)
    unjudged = _unjudged(judge, prompt, baseline, model)
    first, second = match.shown_first, match.shown_second
    return attrs.evolve(unjudged, win=match.win, shown_first=first, shown_second=second)


async def judged(
    judge: Judge, prompt: Prompt, baseline: Response, model: Response, ask: Ask
) -> Annotation:
    """The same; where the judge gives no score it has no win, but a note of the reason."""
    try:
        return await compared(judge, prompt, baseline, model, ask)
    except NoPair as none:
        return attrs.evolve(_unjudged(judge, prompt, baseline, model), note=str(none))


def _unjudged(judge: Judge, prompt: Prompt, baseline: Response, model: Response) -> Annotation:
    return Annotation(
        win=None,
        id=None if prompt.id.startswith(NUMBERED) else prompt.id,
        instruction=prompt.text,
        outputs=(baseline.text, model.text),
        lengths=(len(baseline.text), len(model.text)),
        generators=(baseline.author, model.author),
        annotator=judge.name,
    )
