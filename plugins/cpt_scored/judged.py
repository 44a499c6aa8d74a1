"""Pairs of answers that a judge scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs
from attrs.validators import ge, min_len

import cpt
from cpt_scored.selecting import Scored, Selecting

Wanted = tuple[cpt.Responder, int]
"""A responder, and the number of its answer."""
Best = Literal["best_worst", "best_random", "max_vs_mean_minus_2sd"]


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


def _check_samples(judged: Judged, _: attrs.Attribute[Any], samples: int) -> None:
    if samples * len(judged.responders) < 2:
        raise ValueError("'samples' must be >= 2 where one responder answers: 1")


@attrs.frozen
class Judged(Judging):
    """Prefer one of several answers to another by the scores of a judge and a rule.

    y_1, ..., y_n are answers of any responders, y_w and y_l two of them: of models other than the
    trained one, the off-policy judge of arXiv 2408.06266, equation 3; of the trained one, the
    on-policy judge, equation 2. The margin is the gap between their scores; the tier counts the
    distinct scores from one to the other.
    """

    name = "judged"
    responders: tuple[cpt.Responder, ...] = attrs.field(validator=min_len(1))
    """Who answers: any models, live or recorded; repeat the flag for several."""
    judge: cpt.Judge
    """Who scores the answers."""
    samples: int = attrs.field(default=1, validator=[ge(1), _check_samples])
    """Answers of each responder."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        wanted = [(who, sample) for who in self.responders for sample in range(self.samples)]
        return await self.judged(prompt, wanted, self.judge, ask)


@attrs.frozen
class Rlaif(Judging):
    """Prefer the best of several answers of one model to the worst, as a judge scores them.

    `judged` with one responder, the model to be trained: y_w, y_l = Judge(x, y_1, ..., y_n) with
    y_i = M(x), the on-policy judge of arXiv 2408.06266, equation 2, for n answers.
    """

    name = "rlaif"
    responder: cpt.Responder
    """Whose answers are compared: the model to be trained."""
    judge: cpt.Judge
    """Who scores them."""
    samples: int = attrs.field(default=4, validator=ge(2))
    """Answers to each prompt."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        wanted = [(self.responder, sample) for sample in range(self.samples)]
        return await self.judged(prompt, wanted, self.judge, ask)


@attrs.frozen
class BestOfN(Judging):
    """Prefer the best of n answers of one model, by a judge, to another one.

    The rejected answer is one of the n, by the rule, or a fixed one: that of `rejected`, which is
    judged as well and gives a pair only where the best is better. Without a fixed one,
    `max_vs_mean_minus_2sd` is the choice of arXiv 2502.16825.
    """

    name = "best_of_n"
    responder: cpt.Responder
    """Whose answers the best is chosen from."""
    judge: cpt.Judge
    """Who scores them."""
    samples: int = attrs.field(default=8, validator=ge(2))
    """Answers to each prompt: n."""
    rejected: cpt.Responder | None = None
    """Whose answer is rejected, live or recorded; without it, one of the n."""
    rule: Best = attrs.field(default="best_worst", kw_only=True)
    """Which of the n is rejected, where `rejected` is not given: `best_worst`, the worst;
    `best_random`, one that is drawn; `max_vs_mean_minus_2sd`, the one nearest to the mean less two
    standard deviations."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        wanted = [(self.responder, sample) for sample in range(self.samples)]
        if not self.rejected:
            return await self.judged(prompt, wanted, self.judge, ask)
        fixed = (await ask(self.rejected, prompt)).expect()
        answers = await answered(prompt, wanted, ask)
        verdict = await self.judge.judge(prompt, [*answers, fixed], ask)
        return [self._over(prompt, fixed, answers, verdict)]

    def _over(
        self,
        prompt: cpt.Prompt,
        fixed: cpt.Response,
        answers: Sequence[cpt.Response],
        verdict: cpt.Verdict,
    ) -> cpt.Pair:
        """The best over the fixed answer. Raises `NoPair`."""
        *_, last = verdict.scores
        if last is None:
            why = verdict.score_of(len(answers))
            detail = why.detail if isinstance(why, cpt.Missing) else ""
            raise cpt.NoPair("unparsed", f"the rejected answer has no score: {detail}")
        scored = scored_by(verdict, [*answers, fixed])
        best = max(scored[:-1], key=lambda one: one.score)
        if best.score <= last:
            scores = f"{best.score:g}, the rejected answer {last:g}"
            raise cpt.NoPair("not_better", f"the best of {len(answers)} scored {scores}")
        about = {"rule": "fixed", **provenance(self.judge, [*answers, fixed], verdict)}
        (pair,) = self.select(prompt, [best, scored[-1]], about, rationale=verdict.rationale)
        return with_verdict(pair, [*answers, fixed], verdict)
