"""Asking for answers and having them judged: what all judged pairers share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

import cpt
from cpt_scored.selecting import Scored, Selecting

Wanted = tuple[cpt.Responder, int]
"""A responder, and the number of its answer."""


@attrs.frozen
class Judging(Selecting):
    """A pairer that asks for answers, has them judged, and chooses among them."""

    async def judged(
        self, prompt: cpt.Prompt, wanted: Sequence[Wanted], judge: cpt.Judge, ask: cpt.Ask
    ) -> list[cpt.Pair]:
        """The pairs of these answers. Raises `NoPair`."""
        answers = await answered(prompt, wanted, ask)
        verdict = await judge.judge(prompt, answers, ask)
        pairs = self.select(
            prompt,
            scored_by(verdict, answers),
            provenance(judge, answers, verdict),
            rationale=verdict.rationale,
        )
        return [with_verdict(pair, answers, verdict) for pair in pairs]


async def answered(
    prompt: cpt.Prompt, wanted: Sequence[Wanted], ask: cpt.Ask
) -> list[cpt.Response]:
    """The answers that there are, at least two of them. Raises `NoPair`."""
    from asyncio import gather

    answers = await gather(*(ask(responder, prompt, sample) for responder, sample in wanted))
    for answer in answers:
        if answer.outcome == "over_budget":  # with a larger one there is more to choose from
            answer.expect()
    usable = [answer for answer in answers if answer.outcome == "answered"]
    if len(usable) < 2:
        next(answer for answer in answers if answer.outcome != "answered").expect()
    return usable


def scored_by(verdict: cpt.Verdict, answers: Sequence[cpt.Response]) -> list[Scored]:
    """The answers with a score, at least two of them. Raises `NoPair`."""
    scored = [
        Scored(answer, score)
        for answer, score in zip(answers, verdict.scores, strict=True)
        if score is not None
    ]
    if len(scored) < 2:
        whys = [verdict.score_of(place) for place in range(len(answers))]
        first = next(why.detail for why in whys if isinstance(why, cpt.Missing))
        without = f"{len(answers) - len(scored)} of {len(answers)} answers have no score"
        raise cpt.NoPair("unparsed", f"{without}: {first}", "\n\n".join(verdict.raw))
    return scored


def provenance(
    judge: cpt.Judge, answers: Sequence[cpt.Response], verdict: cpt.Verdict
) -> dict[str, Any]:
    """Who judged whom: the judge, the models that it asks, all authors and their scores."""
    models = list(dict.fromkeys(_models(judge)))
    return {
        "judge": judge.name,
        **({"judge_models": models} if models else {}),
        "authors": [answer.author for answer in answers],
        "scores": list(verdict.scores),
    }


def with_verdict(pair: cpt.Pair, answers: Sequence[cpt.Response], verdict: cpt.Verdict) -> cpt.Pair:
    """The pair with what the judge said of just these two answers."""
    about = verdict.about(answers.index(pair.chosen), answers.index(pair.rejected))
    return attrs.evolve(pair, info={**pair.info, **about})


def _models(part: Any) -> Iterator[str]:
    """The authors of all responders in a judge, judges in it included, and its own model."""
    if isinstance(part, cpt.Responder):
        yield part.author
    elif isinstance(part, cpt.Judge):
        if isinstance(model := getattr(part, "model", None), str):
            yield model
        for field in attrs.fields(type(part)):
            yield from _models(getattr(part, field.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from _models(item)
