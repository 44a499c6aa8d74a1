"""What a reviser is asked."""

from __future__ import annotations

import re

TEMPLATE = """\
A student was given a task and wrote a solution. You are the student's teacher. Mend the solution \
with as few changes as possible, so that it becomes correct, clear and helpful.

Task:
{task}

Solution of the student:
{student_solution}

Work in two steps.

1. Write {teacher_reasoning} on a line of its own. Below it, say what is wrong or weak in the \
solution, and which small change mends each point.
2. Write {corrected_student_solution} on a line of its own. Below it, write out the whole solution \
with these changes made, and nothing else.

Leave whatever is good enough exactly as the student wrote it, word for word, in the same form and \
tone. Nobody who reads the new solution may notice that it was revised: it mentions no student, no \
teacher and no correction.
"""
KEEP_LENGTH = "\nThe new solution must be about as long as the student's.\n"
IDENTIFIERS = ("{teacher_reasoning}", "{corrected_student_solution}")
PLACES = ("{task}", "{student_solution}")


def missing(template: str) -> list[str]:
    """What a template must say and does not."""
    return [word for word in (*PLACES, *IDENTIFIERS) if word not in template]


def fill(template: str, task: str, solution: str) -> str:
    """The template with a task and a solution in their places, whatever these say themselves."""
    texts = dict(zip(PLACES, (task, solution), strict=True))
    places = "|".join(map(re.escape, PLACES))
    return re.sub(places, lambda place: texts[place[0]], template)
