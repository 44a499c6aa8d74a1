"""Pairs from a judge's preference among a model's own answers (RLAIF)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from attrs.validators import ge

import cpt


@attrs.frozen
class Rlaif(cpt.Pairer):
    """Prefer the best of several answers of one model to the worst, as a judge scores them.

    y_w, y_l = Judge(x, y_1, ..., y_n) with y_i = M(x): the on-policy judge of arXiv 2408.06266,
    equation 2, for n answers. The margin is the gap between their scores.
    """

    name = "rlaif"
    responder: cpt.Responder
    """Whose answers are compared: the model to be trained."""
    judge: cpt.Judge
    """Who scores them."""
    samples: int = attrs.field(default=4, validator=ge(2))
    """Answers to each prompt."""
    minimum_gap: float = 0.0
    """Scores less than this apart give no pair; equal ones never do."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        from asyncio import gather

        answers = await gather(
            *(ask(self.responder, prompt, sample) for sample in range(self.samples))
        )
        for answer in answers:
            if answer.outcome == "over_budget":  # with a larger one there is more to choose from
                answer.expect()
        usable = [answer for answer in answers if answer.outcome == "answered"]
        if len(usable) < 2:
            next(answer for answer in answers if answer.outcome != "answered").expect()
        verdict = await self.judge.judge(prompt, usable, ask)
        return [self._pair(prompt, usable, verdict)]

    def _pair(
        self, prompt: cpt.Prompt, answers: Sequence[cpt.Response], verdict: cpt.Verdict
    ) -> cpt.Pair:
        scores = [score for score in verdict.scores if score is not None]
        if len(scores) < 2:
            whys = [verdict.score_of(place) for place in range(len(answers))]
            first = next(why.detail for why in whys if isinstance(why, cpt.Missing))
            detail = (
                f"{len(answers) - len(scores)} of {len(answers)} answers have no score: {first}"
            )
            raise cpt.NoPair("unparsed", detail, "\n\n".join(verdict.raw))
        best, worst = max(scores), min(scores)
        if best == worst:
            raise cpt.NoPair("tie", f"all {len(scores)} answers scored {best:g}")
        if best - worst < self.minimum_gap:
            raise cpt.NoPair("small_gap", f"{best:g} and {worst:g} are too close")
        return cpt.Pair(
            prompt=prompt,
            chosen=answers[verdict.scores.index(best)],
            rejected=answers[verdict.scores.index(worst)],
            pairer=self.name,
            margin=best - worst,
            chosen_score=best,
            rejected_score=worst,
            rationale=verdict.rationale,
            info={"judge": self.judge.name, "scores": list(verdict.scores)},
        )


@cpt.hookimpl
def cpt_pairers() -> list[type[cpt.Pairer]]:
    return [Rlaif]
