"""A language model that says whether a free answer is right, beside the right answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import cpt

REQUEST = """\
You grade the answer to a question whose right answers are known. First comes the question, then \
the right answers, then the answer to grade.

=== Question ===
{question}

=== Right answers, one a line ===
{targets}

=== Answer ===
{answer}

=== End of the answer ===

Does the answer say the same as one of the right ones? Other words, more words and another form of \
a number are no fault; a second answer that contradicts it is one. Give your reason in a sentence. \
Then write on a last line a grade from 0.0 (wrong) to 1.0 (right) in double brackets: [[1.0]].
"""
GRADE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?|\.\d+)\s*\]\]")
WITHOUT_GRADE = ("cut_off", "refused", "filtered", "empty", "malformed", "rejected")
"""Outcomes with which a grader says nothing, but is there to grade the next answer."""


def read_grade(text: str) -> float | None:
    """The last grade from 0 to 1 in double brackets (MixEval, arXiv 2406.06565); None without."""
    said = [float(grade) for grade in GRADE.findall(text)]
    return said[-1] if said and said[-1] <= 1 else None


async def graded(
    grader: cpt.Responder,
    asked: cpt.Prompt,
    targets: Sequence[str],
    answer: str,
    ask: cpt.Ask,
    tries: int,
) -> float | cpt.Missing:
    """The grade of an answer from 0 to 1; why there is none if it cannot be read.

    Raises `NoPair` if the grader is not there (no budget, no answer).
    """
    places = {"{question}": asked.text, "{targets}": "\n".join(targets), "{answer}": answer}
    question = cpt.Prompt(id=asked.id, messages=(cpt.Message("user", _filled(places)),))
    for sample in range(tries):
        said = (await ask(grader, question, sample)).expect(*WITHOUT_GRADE)
        if said.outcome != "answered":
            why = said.detail or said.finish_reason or said.outcome
            return cpt.Missing(said.outcome.value, f"the grader {said.author}: {why}", said.text)
        if (grade := read_grade(said.without_thought.text)) is not None:
            return grade
        if said.info.get("stand_in"):
            break
    detail = f"no grade from 0 to 1 can be read in what {said.author} wrote"
    return cpt.Missing("unread", detail, said.text)


def _filled(places: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, places)), lambda place: places[place[0]], REQUEST)
