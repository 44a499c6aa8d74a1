"""How good a judge finds a model's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

import cpt

Found = dict[str, float | cpt.Missing]
"""The score of each prompt, or why there is none."""


@attrs.frozen
class Judged(cpt.Evaluator):
    """The mean score that a judge gives the model's answers, sampled and greedy.

    A prompt counts if the model answered (or was cut off) and the judge's score can be read; the
    others are named with the reason. The interval is that of the mean over prompts, at 95%.
    """

    name = "judged"
    quality = ("*",)
    judge: cpt.Judge
    """Who scores the answers."""
    temperatures: tuple[float, ...] = ()
    """At which the model is sampled; without it, at its own and greedily (0)."""

    def for_dry_run(self) -> cpt.Evaluator:
        return self

    async def evaluate(
        self, model: cpt.Responder, prompts: Sequence[cpt.Prompt], ask: cpt.Ask
    ) -> Mapping[str, cpt.Score]:
        models = {
            "greedy" if temperature == 0 else f"T={temperature:g}": model.with_options(
                temperature=temperature
            )
            for temperature in self.temperatures
        } or {"sampled": model, "greedy": model.with_options(temperature=0.0)}
        found = {name: await self._scores(one, prompts, ask) for name, one in models.items()}
        return {name: self._mean(found[name], one) for name, one in models.items()}

    async def _scores(
        self, model: cpt.Responder, prompts: Sequence[cpt.Prompt], ask: cpt.Ask
    ) -> Found:
        from asyncio import gather

        scores = await gather(*(self._score(model, prompt, ask) for prompt in prompts))
        return dict(zip((prompt.id for prompt in prompts), scores, strict=True))

    def _mean(self, found: Found, model: cpt.Responder) -> cpt.Score:
        known = {name: score for name, score in found.items() if isinstance(score, float)}
        missing = {name: why for name, why in found.items() if isinstance(why, cpt.Missing)}
        if not known:
            raise cpt.CptError(
                f"the evaluator {self.name!r}: the judge {self.judge.name!r} scored none of the "
                f"{len(found)} answers of {model.author} ({_reasons(missing)})."
            )
        return cpt.Score.mean(known, missing)

    async def _score(
        self, model: cpt.Responder, prompt: cpt.Prompt, ask: cpt.Ask
    ) -> float | cpt.Missing:
        try:
            answer = (await ask(model, prompt)).expect("cut_off", "empty")
            verdict = await self.judge.judge(prompt, [answer], ask)
        except cpt.NoPair as none:
            return cpt.Missing(none.reason, none.detail, none.raw)
        score = verdict.score_of(0)
        return score if isinstance(score, cpt.Missing) else float(score)


def _reasons(missing: Mapping[str, cpt.Missing]) -> str:
    """`2 unread, 1 failed; for example: ...`."""
    counts = Counter(why.reason for why in missing.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    example = next((why.detail.rstrip(".") for why in missing.values() if why.detail), "")
    return f"{reasons}; for example: {example}" if example else reasons
