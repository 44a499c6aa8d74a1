"""Evaluators without a judge: what is checked, what is read, and what is never guessed."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cpt
from cpt.testing import EvaluatorContract, FakeAsk, Scripted
from cpt_checks.grading import read_grade
from cpt_checks.instructions import generated
from cpt_checks.reading import is_right, read_letter
from cpt_checks.scored_qa import ScoredQa
from cpt_checks.shares import share
from cpt_checks.verifiable import Checked, Verifiable, _by_instruction, _problem

pytest.importorskip("if_verifiable")


@attrs.frozen
class Says(Scripted):
    """Says what it is told to."""

    temperature: float = 1.0


def verifiable(name: str, *instructions: tuple[str, dict[str, Any]]) -> cpt.Prompt:
    info = {
        "instruction_id_list": [one for one, _ in instructions],
        "kwargs": [{"num_words": None, **given} for _, given in instructions],
    }
    return cpt.Prompt(id=name, messages=(cpt.Message("user", "Write."),), info=info)


VERSE = (cpt.Message("user", "Write a verse."),)
NO_COMMA: tuple[str, dict[str, Any]] = ("punctuation:no_comma", {})
THREE = ("length_constraints:number_words", {"num_words": 3, "relation": "at least"})


class TestVerifiable(EvaluatorContract):
    component = Verifiable()

    def model(self) -> cpt.Responder:
        return Says(says=("One, two.",))

    def prompts(self) -> list[cpt.Prompt]:
        return [verifiable("p0", NO_COMMA, THREE), verifiable("p1", NO_COMMA)]

    async def test_by_prompt_and_by_instruction(self) -> None:
        ask = FakeAsk()
        model = Says(says=("*One two.*\nIt has three, more words.",))
        prompts = [*self.prompts(), verifiable("p2", THREE)]
        found = await Verifiable().evaluate(model, prompts, ask)
        assert found["prompt_strict"].each == {"p0": 0.0, "p1": 0.0, "p2": 1.0}
        assert found["instruction_strict"].value == 2 / 4
        assert found["prompt_loose"].each["p1"] == 1.0  # without its last line there is no comma
        assert found["instruction_loose"].value == 1.0

    async def test_what_cannot_be_checked_is_named(self) -> None:
        prompts = [
            verifiable("p0", NO_COMMA),
            verifiable("unknown", ("no:such", {})),
            verifiable("drawn", ("keywords:existence", {})),
            cpt.Prompt(id="plain", messages=(cpt.Message("user", "Hi"),)),
        ]
        found = await Verifiable().evaluate(Says(says=("Yes",)), prompts, FakeAsk())
        score = found["prompt_strict"]
        assert score.n == 1
        assert {name: why.reason for name, why in score.missing.items()} == {
            "unknown": "unknown_instruction",
            "drawn": "incomplete",
            "plain": "no_instructions",
        }
        with pytest.raises(cpt.CptError, match="no prompt can be checked"):
            await Verifiable().evaluate(Says(says=("Yes",)), prompts[1:], FakeAsk())


def test_the_interval_of_instructions_covers_although_those_of_a_prompt_go_together() -> None:
    drawn, covered = np.random.default_rng(2), 0
    for _ in range(1000):
        counts = drawn.integers(1, 4, 60)
        followed = drawn.binomial(counts, drawn.choice([0.2, 0.8], 60))
        checked = {
            str(place): Checked(int(count), int(hits), int(hits))
            for place, (count, hits) in enumerate(zip(counts, followed, strict=True))
        }
        score = _by_instruction(checked, "strict", {})
        covered += score.low <= 0.5 <= score.high
    assert 930 <= covered <= 970


def test_few_right_answers_prove_little() -> None:
    few = share({str(number): 1.0 for number in range(3)})
    assert (few.value, few.high) == (1.0, 1.0)
    assert few.low == pytest.approx(0.4385, abs=1e-3)  # Wilson for 3 of 3
    assert not math.isfinite(share({"a": 1.0}).low)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(b)", None),
        ("**B.**", "B"),
        ("B. blue", "B"),
        ("The answer is (C).", "C"),
        ("Answer: A, not B", "A"),
        ("The answer is A. No, the answer is B.", None),
        ("Blue", "B"),
        ("E", None),
        ("A good question: it is hard to say.", None),
        ("", None),
    ],
)
def test_a_letter_is_read_or_it_is_not(text: str, letter: str | None) -> None:
    assert read_letter(text, ["red", "blue", "green"]) == letter


@pytest.mark.parametrize(
    ("text", "target", "exact", "right"),
    [
        ("It is the Eiffel Tower.", "Eiffel tower", False, True),
        ("It is the Eiffel Tower.", "Eiffel tower", True, False),
        ("The Eiffel Tower!", "Eiffel tower", True, True),
        ("First 3, then 1,200.", "1200", False, True),
        ("1200 or 3", "1200", False, False),
        ("artist", "art", False, False),
        ("", "x", False, False),
    ],
)
def test_a_free_answer_is_right_by_rule(text: str, target: str, exact: bool, right: bool) -> None:
    assert is_right(text, [target], exact=exact) is right


QUESTIONS = {
    "0": {
        "problem_type": "single-choice",
        "context": None,
        "prompt": "Which colour has the sky?",
        "target": [1],
        "options": ["red", "blue"],
        "benchmark_name": "Sky",
    },
    "1": {"prompt": "How much is 1 + 1?", "target": ["2"], "benchmark_name": "Sums"},
}


async def test_mixeval_is_read_and_nothing_is_guessed(tmp_path: Path) -> None:
    file = tmp_path / "mixeval.json"
    file.write_text(json.dumps(QUESTIONS))
    model = Says(says=("Hard to say, perhaps 2",))
    evaluator = ScoredQa(questions=str(file))
    found = await evaluator.evaluate(model, [], FakeAsk())
    assert found["accuracy"].each == {"0": 0.0, "1": 1.0}
    assert found["unparsed"].each == {"0": 1.0, "1": 0.0}
    assert found["accuracy/Sums"].value == 1.0

    def logps_of(pairs: Any, _: str) -> Any:
        likes_b = cpt.PairLogps(chosen=-3.0, rejected=-1.0, chosen_tokens=2, rejected_tokens=2)
        return {pair.id: likes_b for pair in pairs}

    evaluation = cpt.Evaluation(model=model, base=model, logps_of=logps_of)
    likely = await ScoredQa(questions=str(file), choice="logprob").measure(evaluation, FakeAsk())
    assert likely["accuracy"].value == 1.0 and likely["unparsed"].value == 0.0


FREE = {
    str(number): {"prompt": f"How much is 1 + {number}?", "target": [str(1 + number)]}
    for number in range(4)
}


@attrs.frozen
class Grader(Scripted):
    """Grades by the answer that it is shown."""

    name = "grader"

    def _answer(self, prompt: cpt.Prompt, sample: int) -> cpt.Response:
        said = ("It is [[0.5]], no: [[1.0]]", "good", "[[7]]", "")
        number = int(prompt.text.partition("How much is 1 + ")[2][0])
        outcome = "failed" if number == 3 else "answered"
        return cpt.Response(
            prompt_id=prompt.id, text=said[number], author="grader", outcome=outcome
        )


async def test_a_grader_grades_free_answers_beside_the_rule(tmp_path: Path) -> None:
    """What it wrote without a grade leaves the question out, and is counted."""
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(FREE))
    model = Says(says=("It is 1",))
    evaluator = ScoredQa(questions=str(file), grader=Grader())
    found = await evaluator.evaluate(model, [], FakeAsk())
    assert found["accuracy"].each == {"0": 1.0}
    assert found["accuracy_by_rule"].each == {"0": 1.0, "1": 0.0, "2": 0.0, "3": 0.0}
    assert found["unparsed"].each == {"0": 0.0, "1": 1.0, "2": 1.0}
    reasons = {name: why.reason for name, why in found["accuracy"].missing.items()}
    assert reasons == {"1": "unread", "2": "unread", "3": "failed"}


@given(st.text(max_size=200))
def test_a_grade_is_from_0_to_1_or_it_is_none(text: str) -> None:
    grade = read_grade(text)
    assert grade is None or 0 <= grade <= 1
    assert read_grade(f"{text}\n[[0.25]]") == 0.25


class TestGenerated(EvaluatorContract):
    """Prompts made of instructions, without any file."""

    component = Verifiable(generate=5, kinds=("length_constraints:number_words", "punctuation:*"))

    def model(self) -> cpt.Responder:
        return Says(says=("One, two.",))

    def prompts(self) -> list[cpt.Prompt]:
        return [verifiable("p0", NO_COMMA), cpt.Prompt(id="other", messages=VERSE)]

    def ids(self) -> set[str]:
        return {"p0", *(prompt.id for prompt in self.component._generated())}

    async def test_rows_without_instructions_are_left_to_other_evaluators(self) -> None:
        found = await self.component.evaluate(self.model(), self.prompts(), FakeAsk())
        score = found["prompt_strict"]
        assert (score.n, score.of) == (6, 6)
        assert self.component.must_have() == frozenset()
        assert Verifiable().must_have() == {"prompts"}

    def test_they_are_the_same_for_a_seed_and_can_all_be_checked(self) -> None:
        drawn = random.random()
        random.seed(5)
        ones, others, third = (generated(40, (), seed) for seed in (1, 1, 2))
        assert ones == others != third
        assert len({prompt.id for prompt in ones}) == 40
        assert not [prompt for prompt in ones if _problem(prompt)]
        random.seed(5)
        after = random.random()
        random.seed(5)
        generated(3, (), 1)
        assert random.random() == after != drawn

    @pytest.mark.parametrize(
        ("kinds", "count", "said"),
        [
            (("no:such",), 1, "no instruction is called 'no:such'"),
            (("punctuation:no_comma",), 900, "no 900 different prompts can be made, only 216"),
            (("combination:repeat_prompt",), 1, "no prompt can be made of"),
        ],
    )
    def test_what_cannot_be_made_is_one_line(self, kinds: Any, count: int, said: str) -> None:
        with pytest.raises(cpt.CptError, match=said):
            Verifiable(generate=count, kinds=kinds).check()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"target": ["x"]}, "has no text in `prompt`"),
        ({"prompt": "Why?"}, "has no right answer in `target`"),
        ({"prompt": "Why?", "options": ["a", "b"], "target": [2]}, "from 0 to 1, got 2"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, row: Any, said: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(cpt.CptError, match=said):
        ScoredQa(questions=str(file)).check()
