"""CLAIR: what a reviser says is read, or refused for a reason that is counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import CptError, Message, NoPair, Prompt, Response
from cpt.testing import FakeAsk, PairerContract, Scripted, fake_prompts
from cpt_clair.pairer import Clair
from cpt_clair.revision import parse, unfenced
from cpt_clair.template import TEMPLATE, fill, returned

PROMPT = fake_prompts(1)[0]
REVISED = "{teacher_reasoning}\nToo short.\n\n{corrected_student_solution}\nAnswer zero to {id}."


def says(text: str, author: str = "student") -> Scripted:
    return Scripted(model=author, says=(text,))


@attrs.frozen
class Ending(Scripted):
    """Ends its answers in its own way."""

    outcome: str = "failed"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        said = super().answer_all(requests)
        return [attrs.evolve(answer, outcome=self.outcome) for answer in said]


@attrs.frozen
class Repeating(Scripted):
    """Revises to what it was asked, so that a test can see it."""

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        mark = "{corrected_student_solution}:\n"
        return [
            Response(prompt_id=prompt.id, text=mark + prompt.text, author="repeating")
            for prompt, _ in requests
        ]


async def no_pair(clair: Clair) -> NoPair:
    with pytest.raises(NoPair) as caught:
        await clair.pair(PROMPT, FakeAsk())
    return caught.value


class TestClair(PairerContract):
    component = Clair(student=says("Answer 0 to {id}."), reviser=says(REVISED, "teacher"))


async def test_a_revision_is_preferred_to_the_answer() -> None:
    (pair,) = await TestClair.component.pair(PROMPT, FakeAsk())
    assert (pair.chosen.text, pair.chosen.author) == ("Answer zero to p0.", "teacher")
    assert (pair.rejected.text, pair.rejected.author) == ("Answer 0 to p0.", "student")
    assert pair.rationale == "Too short."
    # One character gives way to four, in a text that is then 18 long.
    assert pair.margin == pytest.approx(4 / 18)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Here you are: a better answer.", "no_identifiers"),
        ("{corrected_student_solution}: a\n{teacher_reasoning}: b", "no_identifiers"),
        ("{teacher_reasoning}: good\n{corrected_student_solution}:\n ", "empty"),
        ("{teacher_reasoning}: ok\n{corrected_student_solution}: Answer 0 to {id}.\n", "unchanged"),
    ],
)
async def test_a_useless_revision_says_why_and_is_kept(said: str, reason: str) -> None:
    none = await no_pair(Clair(student=says("Answer 0 to {id}."), reviser=says(said)))
    assert none.reason == reason
    assert none.raw == said.replace("{id}", "p0")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (TEMPLATE.splitlines()[-1], "template_returned"),
        ("{{corrected_student_solution}}", "template_returned"),
        (f"Answer one.\n{TEMPLATE}", "template_returned"),
        ("What is 0 plus 0?\n", "prompt_returned"),
        ("Answer one, as the student wrote.", None),
        ("What is it?", None),
    ],
)
async def test_a_reviser_that_gives_the_request_back(said: str, reason: str | None) -> None:
    clair = Clair(student=says("Answer 0."), reviser=says("{corrected_student_solution}:\n" + said))
    if reason:
        assert (await no_pair(clair)).reason == reason
    else:
        assert len(await clair.pair(PROMPT, FakeAsk())) == 1


def test_a_form_to_fill_in_is_the_template() -> None:
    template = "{task}\n{student_solution}\n{teacher_reasoning}\n\n{corrected_student_solution}\nS."
    assert returned("S.", template, "Q?", "A") == "template_returned"
    assert returned("A", template, "A", "A") == returned("B", template, "Q?", "A") == ""


@pytest.mark.parametrize("outcome", ["cut_off", "empty", "refused", "failed"])
async def test_what_did_not_end_well_is_no_pair(outcome: str) -> None:
    ending = Ending(says=(REVISED,), outcome=outcome)
    for clair in (
        Clair(student=says("x"), reviser=ending),
        Clair(student=ending, reviser=says(REVISED)),
    ):
        none = await no_pair(clair)
        assert none.reason == outcome
        assert none.raw == REVISED.replace("{id}", "p0")


async def test_an_answer_in_a_fence_stays_in_one() -> None:
    reviser = says("{teacher_reasoning}: a\n{corrected_student_solution}:\n```\nx = 2\n```")
    for answer, revision in (("```\nx = 1\n```", "```\nx = 2\n```"), ("x is 1", "x = 2")):
        (pair,) = await Clair(student=says(answer), reviser=reviser).pair(PROMPT, FakeAsk())
        assert pair.chosen.text == revision


async def test_the_template_can_be_the_users(tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_text(
        "Use {teacher_reasoning}, {corrected_student_solution}: {task}|{student_solution}"
    )
    clair = Clair(student=says("{task} is {id}"), reviser=Repeating(), template=str(file))
    clair.check()
    none = await no_pair(clair)
    assert none.raw.endswith(": What is 0 plus 0?|{task} is p0")
    assert none.reason == "template_returned"


def test_a_template_says_all_that_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_text("{task} {teacher_reasoning}")
    clair = Clair(student=says("a"), reviser=says("b"), template=str(file))
    with pytest.raises(CptError, match=r"lacks \{student_solution\}, \{corrected"):
        clair.check()
    with pytest.raises(CptError, match="cannot be read"):
        attrs.evolve(clair, template=f"{file}.none").check()
    attrs.evolve(clair, template="").check()


async def test_the_length_can_be_kept() -> None:
    clair = Clair(student=says("a"), reviser=Repeating())
    free, kept = [await no_pair(attrs.evolve(clair, keep_length=keeps)) for keeps in (False, True)]
    assert "as long as" in kept.raw
    assert "as long as" not in free.raw


def test_a_conversation_is_shown_as_a_transcript() -> None:
    task = Prompt(id="a", messages=(Message("system", "Be kind."), Message("user", "Hi")))
    assert "System: Be kind.\n\nUser: Hi\n" in fill(TEMPLATE, task.text, "Hello")


def test_published_revisions(published: Callable[[str], Path]) -> None:
    text = published("clair_20.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 20
    for row in rows:
        found = parse(row["raw_completion"])
        assert found.solution == unfenced(found.solution) == row["revision"]
        assert found.reasoning == row["teacher_reasoning"]


FORMS = (
    "{%s}\n\n",
    "{%s}:\n",
    "{%s}: ",
    "{ %s } :\n",
    "**{%s}**:\n",
    "**{%s}:**\n",
    "### {%s}\n",
    "`{%s}`: ",
    "**%s:** ",
    "## %s\n",
    "%s:\n",
    "__%s__\n",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("reasoning", "solution"),
    [
        ("teacher_reasoning", "corrected_student_solution"),
        ("Teacher Reasoning", "Corrected Student Solution"),
        ("TEACHER_REASONING", "WORSENED_STUDENT_SOLUTION"),
        (r"teacher\_reasoning", r"corrected\_student\_solution"),
    ],
)
def test_the_forms_of_an_identifier(form: str, reasoning: str, solution: str) -> None:
    said, answer = "The **corrected student solution** should say more.", "**Paris**, of course."
    found = parse(f"{form % reasoning}{said}\n\n{form % solution}{answer}\n")
    assert (found.reasoning, found.solution) == (said, answer)


def test_words_in_a_sentence_are_no_identifier() -> None:
    sentence = "{teacher_reasoning}\nCorrected student solution texts need care.\n"
    with pytest.raises(NoPair, match="no_identifiers"):
        parse(sentence)
    inside = "It stands under {corrected_student_solution}: see there.\n"
    assert parse(f"{sentence}{inside}**{{corrected_student_solution}}**\nx").solution == "x"


def test_the_last_identifier_counts() -> None:
    mark = "{corrected_student_solution}\n"
    found = parse(f"{{teacher_reasoning}}\nA first try:\n{mark}bad\nNo, better:\n{mark}good")
    assert found.solution == "good"


def test_reasoning_may_be_unmarked() -> None:
    assert parse("Too short.\n{corrected_student_solution}\nx").reasoning == "Too short."


lines = st.text(st.characters(exclude_categories=["C", "Z"])).map(lambda text: f"a{text}")
prose = st.lists(lines, min_size=1).map("\n".join)


@given(reasoning=prose, solution=prose, form=st.sampled_from(FORMS))
def test_any_text_is_read_back(reasoning: str, solution: str, form: str) -> None:
    marks = form % "teacher_reasoning", form % "corrected_student_solution"
    found = parse(f"{marks[0]}{reasoning}\n{marks[1]}{solution}")
    assert (found.reasoning, found.solution) == (reasoning, solution)


@pytest.mark.parametrize(
    ("solution", "bare"),
    [
        ("```\nHello\n```", "Hello"),
        ("```markdown\nHello\n```", "Hello"),
        ("````\n```py\nx\n```\n````", "```py\nx\n```"),
        ("```python\nx = 1\n```", None),
        ("```\na\n```\nand\n```\nb\n```", None),
        ("```\na\n```\nand more", None),
        ("Hello", None),
    ],
)
def test_only_a_fence_around_everything_goes(solution: str, bare: str | None) -> None:
    assert unfenced(solution) == (bare or solution)


def test_a_completion_between_fences() -> None:
    inside = "{teacher_reasoning}\na\n{corrected_student_solution}\n```py\nx\n```\nb"
    assert parse(f"```\n{inside}\n```").solution == "```py\nx\n```\nb"
    assert parse(inside).solution == "```py\nx\n```\nb"
