"""What contrastive training may break: lengths, repetition, refusals, distance from the start."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import attrs

import cpt

Known = cpt.PairLogps | cpt.Missing
WORDS = 4
"""Words in a row that count as repeated if they were there before."""
REFUSAL = re.compile(
    r"\W*(?:(?:i(?:'| a)?m )?(?:so |very )?sorry\b|i apologi[sz]e\b|unfortunately, i (?:can|am)"
    r"|i (?:can ?no|can'|am not able|am unable|won'|will not)"
    r"|as an? (?:ai|artificial|language)\b)",
    re.IGNORECASE,
)
"""How English refusals begin."""


@attrs.frozen
class Health(cpt.RunEvaluator):
    """What contrastive training may break, from one sampled answer to each prompt.

    Mean length in words, share of repeated words in a row (of four), shares of answers that refuse
    (by an English opening, or as the service says) and that are cut off, and the divergence from
    the reference: log pi(y|x) - log pi_ref(y|x) of an answer y that the model samples at
    temperature 1, whose mean is KL(pi || pi_ref) in nats an answer.
    """

    name = "health"
    lower_is_better = ("repetition", "refusals", "cut_off")
    side_effects: ClassVar[Mapping[str, str]] = {
        "words": "the length of an answer in words",
        "repetition": "the share of repeated words",
        "refusals": "the share of refusals",
        "cut_off": "the share of answers that are cut off",
        "kl": "the divergence from the reference in nats an answer",
    }

    def for_dry_run(self) -> cpt.Evaluator:
        return self

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import gather, to_thread

        model = evaluation.model.with_options(temperature=1.0)
        said = await gather(*(ask(model, prompt) for prompt in evaluation.prompts))
        final = [answer for answer in said if answer.outcome.is_final]
        missing = {
            answer.prompt_id: cpt.Missing(answer.outcome.value, answer.detail)
            for answer in said
            if not answer.outcome.is_final
        }
        if not final:
            raise cpt.CptError(f"the evaluator {self.name!r}: none of the prompts was answered.")
        found = {
            name: cpt.Score.mean({one.prompt_id: float(of(one)) for one in final}, missing)
            for name, of in MEASURES.items()
        }
        return found | await to_thread(_divergence, evaluation, final, missing)


def _divergence(
    evaluation: cpt.Evaluation, said: Sequence[cpt.Response], missing: Mapping[str, cpt.Missing]
) -> dict[str, cpt.Score]:
    """The score `kl`, of the answers that ended by themselves; none without weights."""
    prompts = {prompt.id: prompt for prompt in evaluation.prompts}
    pairs = [
        cpt.Pair(
            id=answer.prompt_id,
            prompt=prompts[answer.prompt_id],
            chosen=answer,
            rejected=attrs.evolve(answer, text="-"),  # a pair needs one
        )
        for answer in said
        if answer.outcome == "answered"
    ]
    if not pairs or not evaluation.model.model or not evaluation.reference:
        return {}
    policy = evaluation.logps_of(pairs, evaluation.model.model)
    reference = evaluation.logps_of(pairs, evaluation.reference)
    each = {name: _log_ratio(ours, reference[name]) for name, ours in policy.items()}
    known = {name: ratio for name, ratio in each.items() if not isinstance(ratio, cpt.Missing)}
    unknown = {name: why for name, why in each.items() if isinstance(why, cpt.Missing)}
    unended = {
        answer.prompt_id: cpt.Missing(answer.outcome.value, "no answer that ended by itself")
        for answer in said
        if answer.outcome != "answered"
    }
    return {"kl": cpt.Score.mean(known, {**missing, **unended, **unknown})} if known else {}


def _log_ratio(policy: Known, reference: Known) -> float | cpt.Missing:
    """That of an answer, in nats; `Missing` if either log-probability is."""
    if isinstance(policy, cpt.Missing):
        return policy
    if isinstance(reference, cpt.Missing):
        return reference
    return policy.chosen - reference.chosen


def repetition(text: str) -> float:
    """Share of the runs of `WORDS` words that were there before, from 0 to 1."""
    words = text.lower().split()
    runs = [tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def refuses(answer: cpt.Response) -> bool:
    """Whether an answer is a refusal, as far as its beginning says."""
    return answer.outcome in ("refused", "filtered") or bool(REFUSAL.match(answer.text))


MEASURES: Mapping[str, Callable[[cpt.Response], float]] = {
    "words": lambda answer: len(answer.text.split()),
    "repetition": lambda answer: repetition(answer.text),
    "refusals": refuses,
    "cut_off": lambda answer: answer.outcome == "cut_off",
}
