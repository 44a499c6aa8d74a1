"""What contrastive training may break is measured."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import cpt
from cpt.testing import EvaluatorContract, Scripted, fake_prompts
from cpt_checks.health import Health, refuses, repetition


@attrs.frozen
class Speaker(Scripted):
    """Has weights and a temperature."""

    temperature: float = 1.0
    model: str = "trained"


def logps_of(pairs: Any, model: str) -> dict[str, cpt.PairLogps | cpt.Missing]:
    value = {"trained": -2.0, "base": -5.0}[model]
    return {
        pair.id: cpt.PairLogps(chosen=value, rejected=0.0, chosen_tokens=3, rejected_tokens=1)
        for pair in pairs
    }


class TestHealth(EvaluatorContract):
    component = Health()

    def evaluation(self) -> cpt.Evaluation:
        model = Speaker(says=("I'm sorry, but I can't.",))
        return cpt.Evaluation(
            model=model,
            base=model,
            reference="base",
            prompts=fake_prompts(5),
            logps_of=logps_of,
        )

    async def test_it_measures_what_was_said(self) -> None:
        found = await Health().measure(self.evaluation(), self.ask())
        assert {name: score.value for name, score in found.items()} == {
            "words": 5.0,
            "repetition": 0.0,
            "refusals": 1.0,
            "cut_off": 0.0,
            "kl": 3.0,
        }


OUTCOMES = ("answered", "cut_off", "refused", "failed", "answered")
"""Of the answers to five prompts; the last is too long for a log-probability."""


async def test_an_answer_without_a_divergence_is_named() -> None:
    prompts = fake_prompts(5)
    ends = {prompt.id: end for prompt, end in zip(prompts, OUTCOMES, strict=True)}

    async def ask(responder: cpt.Responder, prompt: cpt.Prompt, sample: int = 0) -> cpt.Response:
        return cpt.Response(prompt_id=prompt.id, text="Yes.", author="a", outcome=ends[prompt.id])

    def some(pairs: Any, model: str) -> dict[str, cpt.PairLogps | cpt.Missing]:
        return logps_of(pairs, model) | {prompts[4].id: cpt.Missing("too_long")}

    model = Speaker(says=("Yes.",))
    evaluation = cpt.Evaluation(
        model=model, base=model, reference="base", prompts=prompts, logps_of=some
    )
    kl = (await Health().measure(evaluation, ask))["kl"]
    reasons = {prompt.id: kl.missing[prompt.id].reason for prompt in prompts[1:]}
    assert list(reasons.values()) == ["cut_off", "refused", "failed", "too_long"]
    assert (kl.n, kl.of, kl.value) == (1, 5, 3.0)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I cannot help with that.", True),
        ("As an AI language model, I do not eat.", True),
        ("Sorry, no.", True),
        ("I can help you.", False),
        ("A sorry sight.", False),
        ("As an example, take this.", False),
    ],
)
def test_a_refusal_is_known_by_its_beginning(text: str, is_one: bool) -> None:
    assert refuses(cpt.Response(prompt_id="p", text=text, author="a")) is is_one


def test_repetition_is_the_share_of_runs_that_were_there() -> None:
    assert repetition("one two three") == 0.0
    assert repetition("no more of this no more of this") == 1 - 4 / 5
    assert repetition("go " * 50) > 0.97
