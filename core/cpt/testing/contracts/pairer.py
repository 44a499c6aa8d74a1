"""What every pairer promises."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite

import attrs

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
        """At least one of the prompts gives a pair."""
        made = sum(len(self.pairs(prompt)) for prompt in self.prompts())
        assert made, f"None of {len(self.prompts())} prompts gave a pair."

    def test_pairs_belong_to_their_prompt(self) -> None:
        """A pair and both its answers are of the prompt that was given."""
        for prompt in self.prompts():
            for pair in self.pairs(prompt):
                what = f"A pair of prompt {prompt.id!r}"
                assert pair.prompt == prompt, f"{what} has the prompt {pair.prompt.id!r}."
                answered = {pair.chosen.prompt_id, pair.rejected.prompt_id}
                assert answered == {prompt.id}, f"{what} has answers to {answered}."
                assert pair.pairer in ("", self.component.name), (
                    f"{what} says that {pair.pairer!r} made it; leave `pairer` empty."
                )

    def test_the_metadata_of_the_prompt_stays(self) -> None:
        """A pair's prompt still has its domain, language, source and whatever else it had."""
        for prompt in self.prompts():
            labelled = attrs.evolve(prompt, info={**prompt.info, "domain": "sums"})
            for pair in self.pairs(labelled):
                kept = dict(pair.prompt.info)
                assert kept == labelled.info, f"Of the info {labelled.info} it kept {kept}."

    def test_numbers_make_sense(self) -> None:
        """A tier is at least 0, a weight is above 0, and a margin is finite or None."""
        for prompt in self.prompts():
            for pair in self.pairs(prompt):
                assert pair.tier >= 0, f"The tier {pair.tier} is below 0."
                assert pair.weight > 0, f"The weight {pair.weight} is not above 0."
                finite = pair.margin is None or isfinite(pair.margin)
                assert finite, f"The margin {pair.margin} is not finite; None is unknown."

    def test_the_same_answers_give_the_same_pairs(self) -> None:
        """Answers that were kept give the same pairs as the first time."""
        kept = self.ask()
        for prompt in self.prompts():
            first, second = self.pairs(prompt, kept), self.pairs(prompt, kept)
            assert first == second, f"Prompt {prompt.id!r} gave {first}, then {second}."

    def test_no_answers_give_no_pair(self) -> None:
        """Without an answer it raises `NoPair` (as `response.expect()` does) with a reason."""
        pairs = None
        with suppress(NoPair):
            pairs = asyncio.run(self._pair(self.prompts()[0], _no_answer))
        assert pairs is None, f"No answers gave {pairs}; raise NoPair, or use response.expect()."

    def pairs(self, prompt: Prompt, ask: Ask | None = None) -> Sequence[Pair]:
        """The pairs of one prompt; an empty list if it raised `NoPair`."""
        try:
            pairs = asyncio.run(self._pair(prompt, ask or self.ask()))
        except NoPair as no_pair:
            assert no_pair.reason, "Give NoPair a reason: it is counted."
            return []
        assert pairs, "It returned no pairs; raise NoPair instead."
        return [pair for pair in pairs if isinstance(pair, Pair)]

    async def _pair(self, prompt: Prompt, ask: Ask) -> Sequence[Pair | NoPair]:
        return await self.component.pair(prompt, ask)


async def _no_answer(responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
    return Response(
        prompt_id=prompt.id,
        text="",
        author=responder.author,
        outcome="failed",
        detail="no answer",
    )
