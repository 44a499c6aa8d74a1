"""The best answer over the next one that is clearly worse."""

from asyncio import gather
from collections.abc import Sequence

import attrs
from attrs.validators import ge, gt

import cpt


@attrs.frozen
class NearMiss(cpt.Pairer):
    """Prefers the best of several answers to the next one that is clearly worse."""

    name = "near_miss"
    responder: cpt.Responder
    """Who answers."""
    judge: cpt.Judge
    """Who scores the answers."""
    samples: int = attrs.field(default=4, validator=ge(2))
    """How often each prompt is answered."""
    gap: float = attrs.field(default=0.1, validator=gt(0.0))
    """How much lower the score of the rejected answer is, at least; in the unit of the judge."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        """Ask, have all answers judged at once, and pick two."""
        said = await gather(*(ask(self.responder, prompt, n) for n in range(self.samples)))
        answers = [answer.expect() for answer in said]
        verdict = await self.judge.judge(prompt, answers, ask)
        return [self._pick(prompt, answers, verdict.scores)]

    def _pick(
        self,
        prompt: cpt.Prompt,
        answers: Sequence[cpt.Response],
        scores: Sequence[float | None],
    ) -> cpt.Pair:
        known = {place: score for place, score in enumerate(scores) if score is not None}
        if not known:
            raise cpt.NoPair("unscored", "no answer has a score")
        best = max(known, key=known.__getitem__)
        worse = {at: score for at, score in known.items() if score <= known[best] - self.gap}
        if not worse:
            raise cpt.NoPair("too_close", f"no answer is {self.gap:g} below {known[best]:g}")
        miss = max(worse, key=worse.__getitem__)
        return cpt.Pair(
            prompt=prompt,
            chosen=answers[best],
            rejected=answers[miss],
            margin=known[best] - known[miss],
            chosen_score=known[best],
            rejected_score=known[miss],
        )
