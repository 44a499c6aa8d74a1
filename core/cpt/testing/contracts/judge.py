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
        _, responses = self.case()
        scores = self._judge(responses).scores
        assert len(scores) == len(responses)
        assert all(score is None or isfinite(score) for score in scores)
        assert any(score is not None for score in scores)

    def test_the_order_of_presentation_does_not_count(self) -> None:
        _, responses = self.case()
        forward, backward = (self._judge(each).scores for each in (responses, responses[::-1]))
        assert list(backward[::-1]) == [
            score if score is None else pytest.approx(score, rel=1e-4, abs=1e-5)
            for score in forward
        ]

    def test_the_same_question_gets_the_same_verdict(self) -> None:
        _, responses = self.case()
        assert self._judge(responses) == self._judge(responses)

    def _judge(self, responses: Sequence[Response]) -> Verdict:
        prompt, _ = self.case()
        return asyncio.run(self._verdict(prompt, responses))

    async def _verdict(self, prompt: Prompt, responses: Sequence[Response]) -> Verdict:
        return await self.component.judge(prompt, responses, self.ask())
