"""What every judge promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import isfinite

import pytest

from cpt.roles import Ask, Judge
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import FakeAsk, fake_prompts, fake_responses
from cpt.types import Prompt, Response, Verdict


class JudgeContract(ComponentContract[Judge]):
    """What every judge promises."""

    def case(self) -> tuple[Prompt, Sequence[Response]]:
        """What is judged here: override it if the judge asks for something special."""
        prompt = fake_prompts(1)[0]
        return prompt, fake_responses(prompt, 3)

    def ask(self) -> Ask:
        """How it asks here, with nothing known yet."""
        return FakeAsk()

    def test_one_score_for_each_response(self) -> None:
        """Each response gets a finite score or None, and at least one of them a score."""
        _, responses = self.case()
        scores = self._judge(responses).scores
        assert len(scores) == len(responses), (
            f"{len(responses)} responses got {len(scores)} scores."
        )
        for score in scores:
            assert score is None or isfinite(score), f"The score {score} is not finite."
        assert any(score is not None for score in scores), "No response got a score."

    def test_the_order_of_presentation_does_not_count(self) -> None:
        """The same responses in the other order get the same scores."""
        _, responses = self.case()
        forward = self._judge(responses).scores
        backward = self._judge(responses[::-1]).scores[::-1]
        same = [
            score if score is None else pytest.approx(score, rel=1e-4, abs=1e-5)
            for score in forward
        ]
        assert list(backward) == same, (
            f"The scores are {forward}, and {backward} if the responses come in the other order."
        )

    def test_the_same_question_gets_the_same_verdict(self) -> None:
        """Judging twice gives equal verdicts."""
        _, responses = self.case()
        first, second = self._judge(responses), self._judge(responses)
        assert first == second, f"The same responses got {first}, then {second}."

    def _judge(self, responses: Sequence[Response]) -> Verdict:
        prompt, _ = self.case()
        return asyncio.run(self._verdict(prompt, responses))

    async def _verdict(self, prompt: Prompt, responses: Sequence[Response]) -> Verdict:
        return await self.component.judge(prompt, responses, self.ask())
