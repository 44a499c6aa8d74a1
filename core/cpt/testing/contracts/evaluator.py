"""What every evaluator promises."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from cpt.roles import Ask, Evaluation, Evaluator, Responder, RunEvaluator
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import FakeAsk, Scripted, fake_prompts
from cpt.types import Prompt, Score


class EvaluatorContract(ComponentContract[Evaluator]):
    """What every evaluator promises."""

    def model(self) -> Responder:
        """The model that is measured here."""
        return Scripted()

    def prompts(self) -> list[Prompt]:
        """What it is measured on here: override it if the evaluator asks for something special."""
        return fake_prompts(12)

    def evaluation(self) -> Evaluation:
        """What it is given here: override it if the evaluator needs more than prompts."""
        return Evaluation(model=self.model(), base=self.model(), prompts=self.prompts())

    def ids(self) -> set[str]:
        """The ids that values may have: those of what it is given, if it brings none of its own."""
        given = self.evaluation()
        return {prompt.id for prompt in given.prompts} | {pair.id for pair in given.pairs}

    def ask(self) -> Ask:
        """How it asks here, with nothing known yet."""
        return FakeAsk()

    def test_every_value_lies_in_its_interval(self) -> None:
        """It returns at least one score, and each value is between its low and its high."""
        scores = self._scores()
        assert scores, "It returned no scores."
        for name, score in scores.items():
            assert score.low <= score.value <= score.high, (
                f"Score {name!r}: {score.value} is not between {score.low} and {score.high}."
            )

    def test_single_values_are_by_prompt(self) -> None:
        """The keys of a score's `each` and `missing` are ids of the prompts, or of the pairs."""
        ids = self.ids()
        for name, score in self._scores().items():
            unknown = (score.each.keys() | score.missing.keys()) - ids
            assert not unknown, f"Score {name!r} has values of {unknown}, which were not given."

    def test_the_same_answers_give_the_same_scores(self) -> None:
        """Evaluating twice gives equal scores."""
        first, second = self._scores(), self._scores()
        assert first == second, f"The same answers gave {first}, then {second}."

    def _scores(self) -> Mapping[str, Score]:
        return asyncio.run(self._evaluate())

    async def _evaluate(self) -> Mapping[str, Score]:
        given, ask = self.evaluation(), self.ask()
        if isinstance(self.component, RunEvaluator):
            return await self.component.measure(given, ask)
        return await self.component.evaluate(given.model, given.prompts, ask)
