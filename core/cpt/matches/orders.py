"""One answer against another: judged in both orders, as a judge may prefer a place."""

from __future__ import annotations

import attrs

from cpt.data import NUMBERED, Annotation
from cpt.errors import NoPair
from cpt.roles import Ask, Judge
from cpt.statistics.judges import preference_of
from cpt.types import Missing, Prompt, Response, Verdict


@attrs.frozen
class Match:
    """How often an answer wins: 1 is a win, 0.5 a draw, 0 a loss."""

    shown_first: float
    """Where the judge saw it before the other."""
    shown_second: float
    """Where the judge saw it after the other."""
    weights: tuple[float, float] | None = None
    """How often the two orders count, of verdicts in grades."""

    @property
    def win(self) -> float:
        """The mean over both orders."""
        first, second = self.weights or (1.0, 1.0)
        return (first * self.shown_first + second * self.shown_second) / (first + second)

    @property
    def weight(self) -> float | None:
        """How often it counts, where plain verdicts count once."""
        return sum(self.weights) / 2 if self.weights else None


async def both_orders(
    judge: Judge, prompt: Prompt, answer: Response, other: Response, ask: Ask
) -> Match:
    """Judge two answers in both orders; equal texts are a draw, and nobody is asked.

    A judge that compares answers in both orders itself is called once, any other for each order.
    Raises `NoPair` if it gives no score in one of the orders: half a match would hold the judge's
    liking of a place.
    """
    if answer.text == other.text:
        return Match(0.5, 0.5)
    verdict = await judge.judge(prompt, [answer, other], ask)
    by_place = [_mean_of(verdict, shown) for shown in (0, 1)]
    if by_place[0] is not None and by_place[1] is not None:
        weights = _weight_of(verdict, 0), _weight_of(verdict, 1)
        graded = None if weights[0] is None or weights[1] is None else (weights[0], weights[1])
        return Match(by_place[0], 1 - by_place[1], graded)
    if len({one.first for one in verdict.comparisons}) > 1:
        _wins(verdict)  # both orders were asked for: if one is unread, there is no use in another
    turned = await judge.judge(prompt, [other, answer], ask)
    return Match(_wins(verdict), 1 - _wins(turned))


def _wins(verdict: Verdict) -> float:
    """How often the first answer wins. Raises `NoPair`."""
    preference = preference_of(verdict)
    if preference is not None:
        return preference
    scores = (verdict.score_of(place) for place in (0, 1))
    why = next(score for score in scores if isinstance(score, Missing))
    raise NoPair(why.reason, why.detail, why.raw)


def _mean_of(verdict: Verdict, shown: int) -> float | None:
    """How often an answer won where it was shown first; None if that is not known."""
    wins = [
        one.first_wins
        for one in verdict.comparisons
        if one.first == shown and one.first_wins is not None
    ]
    return sum(wins) / len(wins) if wins else None


def _weight_of(verdict: Verdict, shown: int) -> float | None:
    """How often what was judged with an answer shown first counts; None without grades."""
    known = (one.weight for one in verdict.comparisons if one.first == shown)
    return next((weight for weight in known if weight is not None), None)


async def compared(
    judge: Judge, prompt: Prompt, baseline: Response, model: Response, ask: Ask
) -> Annotation:
    """The annotation of a model's answer against a baseline's. Raises `NoPair`."""
    match = await both_orders(judge, prompt, model, baseline, ask)
    unjudged = _unjudged(judge, prompt, baseline, model)
    first, second = match.shown_first, match.shown_second
    return attrs.evolve(
        unjudged, win=match.win, shown_first=first, shown_second=second, weight=match.weight
    )


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
