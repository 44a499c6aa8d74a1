"""Questions with known answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs

import cpt
from cpt_checks.questions import Question, read_questions
from cpt_checks.reading import is_right, read_letter


@attrs.frozen
class ScoredQa(cpt.RunEvaluator):
    """The share of questions that the model answers rightly, by rule, from a file of yours.

    The file is MixEval's JSON or has rows with its columns: `prompt`, `target`, `options` (of
    multiple choice), `context`. A choice is the letter that the answer names, or the option whose
    letter the model finds most likely; a free answer is right if it is, or contains, a target. An
    answer whose letter cannot be read is wrong, is counted in `unparsed`, and is never guessed.
    """

    name = "scored_qa"
    quality = ("accuracy",)
    needs = frozenset()
    questions: str = attrs.field(metadata=cpt.PATH)
    """File of the questions: .json or .jsonl."""
    choice: Literal["letter", "logprob"] = "letter"
    """How a choice is read: from what the model writes, or from its probabilities."""
    rule: Literal["contains", "exact"] = "contains"
    """When a free answer is right: if it has a target among its words, or is one."""
    temperature: float = 0.0
    """At which the model answers."""

    def check(self) -> None:
        read_questions(Path(self.questions))

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import gather

        questions = read_questions(Path(self.questions))
        likely = self._likely(evaluation, questions)
        model = evaluation.model.with_options(temperature=self.temperature)
        found = await gather(*(self._grade(model, one, likely, ask) for one in questions))
        given = dict(zip((one.id for one in questions), found, strict=True))
        missing = {name: one for name, one in given.items() if isinstance(one, cpt.Missing)}
        grades = {name: one for name, one in given.items() if not isinstance(one, cpt.Missing)}
        if not grades:
            reasons = sorted({one.reason for one in missing.values()})
            raise cpt.CptError(f"the evaluator {self.name!r}: no answer ({', '.join(reasons)}).")
        right = {name: float(bool(grade)) for name, grade in grades.items()}
        unread = {name: float(grade is None) for name, grade in grades.items()}
        return {
            "accuracy": cpt.Score.mean(right, missing),
            "unparsed": cpt.Score.mean(unread, missing),
            **_by_benchmark(questions, right),
        }

    async def _grade(
        self,
        model: cpt.Responder,
        question: Question,
        likely: Mapping[str, str | cpt.Missing],
        ask: cpt.Ask,
    ) -> bool | cpt.Missing | None:
        """Whether the answer is right; None if it cannot be read."""
        if question.id in likely:
            letter = likely[question.id]
            return letter in question.letters_of_targets if isinstance(letter, str) else letter
        try:
            answer = (await ask(model, question.prompt)).expect("cut_off", "empty")
        except cpt.NoPair as none:
            return cpt.Missing(none.reason, none.detail, none.raw)
        if not question.options:
            return is_right(answer.text, question.targets, exact=self.rule == "exact")
        read = read_letter(answer.text, question.options)
        return None if read is None else read in question.letters_of_targets

    def _likely(
        self, evaluation: cpt.Evaluation, questions: Sequence[Question]
    ) -> dict[str, str | cpt.Missing]:
        """The letter that the model finds most likely, of each multiple choice."""
        choices = [one for one in questions if one.options] if self.choice == "logprob" else []
        if not choices:
            return {}
        pairs = [pair for question in choices for pair in question.pairs()]
        logps = evaluation.logps_of(pairs, evaluation.model.model or "")
        return {question.id: question.most_likely(logps) for question in choices}


def _by_benchmark(
    questions: Sequence[Question], right: Mapping[str, float]
) -> dict[str, cpt.Score]:
    """The accuracy of each benchmark that questions are of, if there are several."""
    names = {one.benchmark for one in questions if one.benchmark}
    parts = {
        name: {
            one.id: right[one.id] for one in questions if one.benchmark == name and one.id in right
        }
        for name in sorted(names)
    }
    if len(names) < 2:
        return {}
    return {
        f"accuracy/{'_'.join(name.split())}": cpt.Score.mean(part)
        for name, part in parts.items()
        if part
    }
