"""Questions with known answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
from attrs.validators import ge

import cpt
from cpt_checks.questions import Question, read_questions
from cpt_checks.reading import is_right, read_letter
from cpt_checks.shares import share


@attrs.frozen(kw_only=True)
class Grade:
    """What an answer is worth, from 0 to 1."""

    right: float | None = None
    """None if the grader said nothing that can be read."""
    by_rule: float | None = None
    """The same by rule, where a grader graded."""
    unparsed: float | None = 0.0
    """1 if it cannot be read; None if it was not graded at all."""
    why: cpt.Missing | None = None
    """Why it is not graded."""


Found = Mapping[str, Grade | cpt.Missing]


@attrs.frozen
class ScoredQa(cpt.RunEvaluator):
    """The share of questions that the model answers rightly, from a file of yours.

    The file is MixEval's JSON or has rows with its columns: `prompt`, `target`, `options` (of
    multiple choice), `context`. A choice is the letter that the answer names, or the option whose
    letter the model finds most likely. A free answer is right if it is, or contains, a target; with
    a `grader`, a language model grades it from 0 to 1 and `accuracy_by_rule` is the other one. A
    letter that cannot be read is wrong; a grade that cannot be read leaves its question out. Both
    are counted in `unparsed`, and neither is ever guessed.
    """

    name = "scored_qa"
    quality = ("accuracy",)
    lower_is_better = ("unparsed",)
    unit = "questions"
    needs = frozenset()
    questions: str = attrs.field(metadata=cpt.PATH)
    """File of the questions: .json or .jsonl."""
    choice: Literal["letter", "logprob"] = "letter"
    """How a choice is read: from what the model writes, or from its probabilities."""
    rule: Literal["contains", "exact"] = "contains"
    """When a free answer is right: if it has a target among its words, or is one."""
    grader: cpt.Responder | None = None
    """A language model that grades free answers; without one the rule does."""
    tries: int = attrs.field(default=1, validator=ge(1))
    """Most times that the grader is asked about one answer, until a grade can be read."""
    temperature: float = 0.0
    """At which the model answers."""

    def check(self) -> None:
        read_questions(Path(self.questions))

    def for_dry_run(self) -> cpt.Evaluator:
        return self

    async def measure(self, evaluation: cpt.Evaluation, ask: cpt.Ask) -> Mapping[str, cpt.Score]:
        from asyncio import gather

        questions = read_questions(Path(self.questions))
        likely = self._likely(evaluation, questions)
        model = evaluation.model.with_options(temperature=self.temperature)
        given = await gather(*(self._grade(model, one, likely, ask) for one in questions))
        found = dict(zip((one.id for one in questions), given, strict=True))
        self._refuse_nothing(found)
        scores = {
            "accuracy": _score(found, lambda grade: grade.right),
            "accuracy_by_rule": _score(found, lambda grade: grade.by_rule),
            "unparsed": _score(found, lambda grade: grade.unparsed),
        }
        known = {name: score for name, score in scores.items() if score is not None}
        return known | _by_benchmark(questions, known["accuracy"].each)

    async def _grade(
        self,
        model: cpt.Responder,
        question: Question,
        likely: Mapping[str, str | cpt.Missing],
        ask: cpt.Ask,
    ) -> Grade | cpt.Missing:
        if question.id in likely:
            letter = likely[question.id]
            return letter if isinstance(letter, cpt.Missing) else _chosen(question, letter)
        try:
            answer = (await ask(model, question.prompt)).expect("cut_off", "empty")
        except cpt.NoPair as none:
            return cpt.Missing(none.reason, none.detail, none.raw)
        if question.options:
            return _chosen(question, read_letter(answer.text, question.options))
        by_rule = float(is_right(answer.text, question.targets, exact=self.rule == "exact"))
        if self.grader is None:
            return Grade(right=by_rule)
        return await self._graded(self.grader, question, answer.text, by_rule, ask)

    async def _graded(
        self, grader: cpt.Responder, question: Question, answer: str, by_rule: float, ask: cpt.Ask
    ) -> Grade:
        from cpt_checks.grading import graded

        try:
            found = await graded(grader, question.asked, question.targets, answer, ask, self.tries)
        except cpt.NoPair as none:
            why = cpt.Missing(none.reason, none.detail, none.raw)
            return Grade(by_rule=by_rule, unparsed=None, why=why)
        if isinstance(found, cpt.Missing):
            return Grade(by_rule=by_rule, unparsed=1.0, why=found)
        return Grade(right=found, by_rule=by_rule)

    def _refuse_nothing(self, found: Found) -> None:
        """Raise `CptError` if no question has a grade."""
        if any(isinstance(one, Grade) and one.right is not None for one in found.values()):
            return
        missing = [one if isinstance(one, cpt.Missing) else one.why for one in found.values()]
        reasons = sorted({why.reason for why in missing if why})
        raise cpt.CptError(f"the evaluator {self.name!r}: no answer ({', '.join(reasons)}).")

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


def _chosen(question: Question, letter: str | None) -> Grade:
    """What a choice is worth; one that cannot be read is wrong."""
    if letter is None:
        return Grade(right=0.0, unparsed=1.0)
    return Grade(right=float(letter in question.letters_of_targets))


def _score(found: Found, value: Callable[[Grade], float | None]) -> cpt.Score | None:
    """The mean of what grades have; None if none has it."""
    each: dict[str, float] = {}
    missing: dict[str, cpt.Missing] = {}
    for name, one in found.items():
        if isinstance(one, cpt.Missing):
            missing[name] = one
        elif (known := value(one)) is not None:
            each[name] = known
        elif one.why:
            missing[name] = one.why
    return share(each, missing) if each else None


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
        f"accuracy/{'_'.join(name.split())}": share(part) for name, part in parts.items() if part
    }
