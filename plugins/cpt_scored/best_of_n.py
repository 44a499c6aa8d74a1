"""Pairs of the best of n answers and another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
from attrs.validators import ge

import cpt
from cpt_scored.judging import Judging, answered, provenance, scored_by, with_verdict

Best = Literal["best_worst", "best_random", "max_vs_mean_minus_2sd"]


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
