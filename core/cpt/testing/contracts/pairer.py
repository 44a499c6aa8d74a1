"""What every pairer promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import isfinite

import pytest

from cpt.errors import NoPair
from cpt.roles import Ask, Pairer, Responder
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import FakeAsk, fake_prompts
from cpt.types import Pair, Prompt, Response


class PairerContract(ComponentContract[Pairer]):
    """What every pairer promises. Its responders answer: give it `Scripted` ones."""

    def prompts(self) -> list[Prompt]:
        """What pairs are made of here: override it if its responders know only some prompts."""
        return fake_prompts(3)

    def ask(self) -> Ask:
        """How it asks here, with nothing known yet."""
        return FakeAsk()

    def test_it_makes_pairs(self) -> None:
        assert sum(len(self.pairs(prompt)) for prompt in self.prompts())

    def test_pairs_belong_to_their_prompt(self) -> None:
        for prompt in self.prompts():
            for pair in self.pairs(prompt):
                assert pair.prompt == prompt
                assert {pair.chosen.prompt_id, pair.rejected.prompt_id} == {prompt.id}
                assert pair.pairer in ("", self.component.name)

    def test_numbers_make_sense(self) -> None:
        for prompt in self.prompts():
            for pair in self.pairs(prompt):
                assert pair.tier >= 0
                assert pair.weight > 0
                assert pair.margin is None or isfinite(pair.margin)

    def test_the_same_answers_give_the_same_pairs(self) -> None:
        """The first time they are asked for, and from what was kept."""
        kept = self.ask()
        for prompt in self.prompts():
            assert self.pairs(prompt, kept) == self.pairs(prompt, kept)

    def test_no_answers_give_no_pair(self) -> None:
        """Raise `NoPair` (`response.expect()` does), so that the reason is counted."""
        with pytest.raises(NoPair):
            asyncio.run(self._pair(self.prompts()[0], _nobody_answers))

    def pairs(self, prompt: Prompt, ask: Ask | None = None) -> Sequence[Pair]:
        """The pairs of one prompt: none if it says so, but never an empty list."""
        try:
            pairs = asyncio.run(self._pair(prompt, ask or self.ask()))
        except NoPair as reason:
            assert reason.reason
            return []
        assert pairs, "raise NoPair instead of returning nothing"
        return [pair for pair in pairs if isinstance(pair, Pair)]

    async def _pair(self, prompt: Prompt, ask: Ask) -> Sequence[Pair | NoPair]:
        return await self.component.pair(prompt, ask)


async def _nobody_answers(responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
    return Response(
        prompt_id=prompt.id,
        text="",
        author=responder.author,
        outcome="failed",
        detail="nobody is there",
    )
