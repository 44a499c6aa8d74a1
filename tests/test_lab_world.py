"""The lab's world: tasks, right and careless answers, and who judges and fixes them."""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cpt
from cpt.testing import FakeAsk, JudgeContract, ResponderContract, fake_prompts
from cpt_clair.pairer import Clair
from cpt_clair.revision import parse
from cpt_clair.template import TEMPLATE, fill
from cpt_lab.checker import Checker, credit
from cpt_lab.families import FAMILIES
from cpt_lab.ignorant import Ignorant
from cpt_lab.reviser import Reviser, fix, nearest
from cpt_lab.settings import Settings
from cpt_lab.world import Task, ask, draw, read, write

seeds = st.integers(0, 2**32)
flaws = st.floats(0.0, 1.0)


def a_task(seed: int) -> Task:
    return next(draw("train", Random(seed)))


def a_prompt(seed: int) -> cpt.Prompt:
    text = ask(a_task(seed), Random(seed))
    return cpt.Prompt(id=f"p{seed}", messages=(cpt.Message("user", text),))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_drawn_for_every_set(family: str) -> None:
    for split in ("test", "dev", "train", "study"):
        tasks = islice(draw(split, Random(0)), 400)
        assert any(task.family.name == family for task in tasks)


@given(seeds)
def test_the_task_can_be_read_from_its_prompt(seed: int) -> None:
    task = a_task(seed)
    assert read(ask(task, Random(seed))) == task


@given(seeds)
def test_both_ways_to_put_a_task_are_in_one_set(seed: int) -> None:
    task = a_task(seed)
    wordings = [wording.format(**task.given) for wording in task.family.asks]
    assert {read(text).split for text in wordings} == {"train"}  # type: ignore[union-attr]


def test_what_is_no_task_is_not_read() -> None:
    assert read("What is the meaning of life?") is None


@given(seeds)
def test_a_right_answer_earns_everything(seed: int) -> None:
    task = a_task(seed)
    assert [credit(task, answer) for answer in task.right_answers] == [1.0, 1.0]
    assert write(task, Random(seed)) in task.right_answers


@given(seeds)
def test_a_habit_costs_half_or_more(seed: int) -> None:
    task = a_task(seed)
    for answer in task.right_answers:
        assert credit(task, task.family.habit(answer)) <= 0.5


@given(seeds, flaws)
def test_only_a_right_answer_earns_everything(seed: int, rate: float) -> None:
    task = a_task(seed)
    answer = write(task, Random(seed), rate)
    assert 0.0 <= credit(task, answer) <= 1.0
    assert (credit(task, answer) == 1.0) == (answer in task.right_answers)


@given(seeds, st.text())
def test_no_text_is_beyond_the_checker(seed: int, text: str) -> None:
    assert 0.0 <= credit(a_task(seed), text) <= 0.5


def test_credit_is_partial() -> None:
    """Two of three words; then one letter of four in its place, worth a little."""
    plurals = read("Give the plurals of box, fox and leaf.")
    assert plurals
    assert credit(plurals, "The plurals are boxes, foxes and 7.") == pytest.approx(2 / 3)
    assert credit(plurals, "boxes, foxes") == pytest.approx(0.5 * 2 / 3)
    word = read("Spell abcd backwards.")
    assert word
    assert credit(word, "Backwards it reads dcba.") == 1.0
    assert credit(word, "Backwards it reads dcbx.") == pytest.approx(0.3 * 3 / 4)
    assert credit(word, "Backwards it reads abcd.") < 0.3
    assert credit(word, "") == 0.0


def test_the_careless_earn_less() -> None:
    def mean(rate: float) -> float:
        random = Random(0)
        tasks = list(islice(draw("train", random), 2000))
        return sum(credit(task, write(task, random, rate)) for task in tasks) / len(tasks)

    perfect, strong, middle, weak = (mean(rate) for rate in (0.0, 0.25, 0.5, 0.8))
    assert 1.0 == perfect > strong + 0.1 > middle + 0.2 > weak + 0.3


@given(seeds, flaws)
def test_fixing_everything_gives_the_nearest_right_answer(seed: int, rate: float) -> None:
    task = a_task(seed)
    answer = write(task, Random(seed), rate)
    right = nearest(task, answer)
    assert fix(answer, right, 1.0, Random(seed))[1] == right
    assert fix(answer, right, 0.0, Random(seed))[1] == answer


@given(seeds, flaws)
def test_a_revision_is_never_worse(seed: int, rate: float) -> None:
    task = a_task(seed)
    answer = write(task, Random(seed), rate)
    request = fill(TEMPLATE, ask(task, Random(seed)), answer)
    prompt = cpt.Prompt(id="p", messages=(cpt.Message("user", request),))
    (said,) = Reviser(fixes=1.0).answer_all([(prompt, 0)])
    assert parse(said.text).solution in task.right_answers


def test_the_reviser_leaves_flaws() -> None:
    random = Random(1)
    repaired = 0
    careless = [
        (task, answer)
        for task in islice(draw("train", random), 1000)
        if (answer := write(task, random, 0.5)) not in task.right_answers
    ]
    for task, answer in careless:
        request = fill(TEMPLATE, ask(task, random), answer)
        prompt = cpt.Prompt(id="p", messages=(cpt.Message("user", request),))
        (said,) = Reviser(fixes=0.7).answer_all([(prompt, 0)])
        repaired += parse(said.text).solution in task.right_answers
    assert 0.5 < repaired / len(careless) < 0.8


def test_the_reviser_refuses_what_it_does_not_know() -> None:
    (said,) = Reviser().answer_all([(fake_prompts(1)[0], 0)])
    assert said.outcome == "refused"
    assert "no line with a task" in said.detail


def test_a_probability_is_checked() -> None:
    with pytest.raises(ValueError, match="'fixes' must be <= 1"):
        Reviser(fixes=2.0)


def test_the_lab_is_kept_in_the_cache_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CPT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Settings().folder.parent == tmp_path / "cpt" / "lab"


def test_through_clair() -> None:
    """The pairer's own template and parser."""
    answers = {"p": "The plurals are boxes, foxes and leafs. Please ask if you need more."}
    text = "Give the plurals of box, fox and leaf."
    prompt = cpt.Prompt(id="p", messages=(cpt.Message("user", text),))
    student, reviser = Student(), Reviser(fixes=1.0)

    async def say(responder: cpt.Responder, prompt: cpt.Prompt, sample: int = 0) -> cpt.Response:
        if isinstance(responder, Student):
            return cpt.Response(prompt_id="p", text=answers["p"], author="student")
        return reviser.answer_all([(prompt, sample)])[0]

    (pair,) = asyncio.run(_pairs(Clair(student=student, reviser=reviser), prompt, say))
    assert pair.chosen.text == "The plurals are boxes, foxes and leaves."
    assert pair.rejected.text == answers["p"]
    assert "'leafs. Please ask if you need more.' should be 'leaves.'" in pair.rationale


async def _pairs(pairer: cpt.Pairer, prompt: cpt.Prompt, say: cpt.Ask) -> list[cpt.Pair]:
    made = await pairer.pair(prompt, say)
    return [pair for pair in made if isinstance(pair, cpt.Pair)]


def test_the_checker_names_a_foreign_prompt() -> None:
    with pytest.raises(cpt.CptError, match=re.escape("'p0': it is no prompt of the lab")):
        asyncio.run(_judge(fake_prompts(1)[0]))


async def _judge(prompt: cpt.Prompt) -> cpt.Verdict:
    response = cpt.Response(prompt_id=prompt.id, text="Yes.", author="me")
    return await Checker().judge(prompt, [response], FakeAsk())


class Student(cpt.Local):
    """Is asked, and answers elsewhere."""

    name = "student"

    def answer_all(self, requests):
        raise AssertionError


class TestIgnorant(ResponderContract):
    component = Ignorant()


class TestReviser(ResponderContract):
    component = Reviser()

    def prompts(self) -> list[cpt.Prompt]:
        requests = []
        for seed in range(3):
            task = a_task(seed)
            request = fill(TEMPLATE, ask(task, Random(seed)), write(task, Random(seed), 0.8))
            requests.append(cpt.Prompt(id=f"p{seed}", messages=(cpt.Message("user", request),)))
        return requests


class TestChecker(JudgeContract):
    component = Checker()

    def case(self) -> tuple[cpt.Prompt, list[cpt.Response]]:
        task = a_task(0)
        texts = [task.right_answers[0], task.family.habit(task.right_answers[0]), "No."]
        return a_prompt(0), [
            cpt.Response(prompt_id="p0", text=text, author=f"a{number}")
            for number, text in enumerate(texts)
        ]
