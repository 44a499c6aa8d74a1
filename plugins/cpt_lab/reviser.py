"""A reviser for CLAIR that knows the right answers and fixes most of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from random import Random

import attrs
from attrs.validators import ge, le

import cpt
from cpt_lab.world import Task, read

REVISION = """\
{{teacher_reasoning}}
{reasoning}

{{corrected_student_solution}}
{solution}"""

IDENTIFIER = re.compile(r"\{(?:teacher_reasoning|corrected_student_solution)\}")


@attrs.frozen
class Reviser(cpt.Local):
    """Fix the flaws of a student's answer to a prompt of the lab, each with a probability.

    It is asked for a revision of the kind that `clair` wants: the prompt has a line with
    the task and, below it, one with the answer. It turns the answer into the nearest right one and
    leaves out some of the changes. The same answer is always fixed in the same way.
    """

    name = "lab_reviser"
    journaled = False  # To ask again is as fast as to look it up.
    fixes: float = attrs.field(default=0.8, validator=[ge(0.0), le(1.0)])
    """Probability that a flaw is fixed."""
    seed: int = attrs.field(default=0, kw_only=True)
    """Decides which flaws are."""

    @property
    def author(self) -> str:
        return self.name

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        return [self._answer(prompt, sample) for prompt, sample in requests]

    def _answer(self, prompt: cpt.Prompt, sample: int) -> cpt.Response:
        found = _task_and_answer(prompt.text)
        if found is None:
            return cpt.Response(
                prompt_id=prompt.id,
                text="",
                author=self.author,
                outcome="refused",
                detail="there is no line with a task of the lab and one with an answer below it",
            )
        task, answer = found
        random = Random(f"{self.seed} {sample} {prompt.text}")
        reasoning, solution = fix(answer, nearest(task, answer), self.fixes, random)
        return cpt.Response(
            prompt_id=prompt.id,
            text=REVISION.format(reasoning=reasoning, solution=solution),
            author=self.author,
        )


def _task_and_answer(text: str) -> tuple[Task, str] | None:
    """The first task among the lines of a text, and what looks most like an answer below it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        if (task := read(line)) and (below := _before_identifiers(lines[number:])):
            return task, max(below, key=lambda answer: _likeness(task, answer))
    return None


def _before_identifiers(lines: Sequence[str]) -> Sequence[str]:
    """The lines above the first that names what to write: no answer, however odd the real one."""
    named = (at for at, line in enumerate(lines) if IDENTIFIER.search(line))
    return lines[: next(named, 0)] or lines


def nearest(task: Task, answer: str) -> str:
    """The right answer that is most like the one given."""
    from rapidfuzz.distance.Levenshtein import distance

    return min(task.right_answers, key=lambda right: distance(answer, right))


def _likeness(task: Task, line: str) -> float:
    from rapidfuzz.distance.Levenshtein import normalized_similarity

    return normalized_similarity(line, nearest(task, line))


def fix(answer: str, right: str, fixes: float, random: Random) -> tuple[str, str]:
    """A remark about each change that is made, and the answer with these changes.

    Each difference from the right answer is changed with the probability `fixes`.
    """
    before, after = answer.split(), right.split()
    remarks: list[str] = []
    words: list[str] = []
    for change, old, new in _changes(before, after):
        if change and random.random() < fixes:
            remarks.append(f"- {' '.join(old) or 'nothing'!r} should be {' '.join(new)!r}")
            words += new
        else:
            words += old
    if not remarks:
        return "Nothing needs to be changed.", answer
    return "\n".join(remarks), " ".join(words)


def _changes(
    before: Sequence[str], after: Sequence[str]
) -> Iterator[tuple[bool, Sequence[str], Sequence[str]]]:
    """Stretches of words: whether they differ, how they were and how they should be."""
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, i, j, m, n in matcher.get_opcodes():
        yield kind != "equal", before[i:j], after[m:n]
