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
RETURNED = {
    "template_returned": "the revision is a part of the request itself",
    "prompt_returned": "the revision is the prompt",
}
LONG = 30
"""Characters of a line that nobody writes by chance."""


def missing(template: str) -> list[str]:
    """What a template must say and does not."""
    return [word for word in (*PLACES, *IDENTIFIERS) if word not in template]


def returned(solution: str, template: str, task: str, answer: str) -> str:
    """Which of `RETURNED` a solution is, if it is one: what a weak reviser gives for an answer."""
    if _bare(solution) == _bare(task) != _bare(answer):
        return "prompt_returned"
    said = f"{task}\n{answer}"
    after = template.rpartition(IDENTIFIERS[1])[2]
    if _bare(after) and _bare(solution) == _bare(fill(after, task, answer)):
        return "template_returned"
    signs = [*PLACES, *IDENTIFIERS, *(line for line in template.splitlines() if len(line) >= LONG)]
    again = any(sign in solution and sign not in said for sign in signs)
    return "template_returned" if again else ""


def _bare(text: str) -> str:
    return " ".join(text.split())


def fill(template: str, task: str, solution: str) -> str:
    """The template with a task and a solution in their places, whatever these say themselves."""
    texts = dict(zip(PLACES, (task, solution), strict=True))
    places = "|".join(map(re.escape, PLACES))
    return re.sub(places, lambda place: texts[place[0]], template)
