"""What `pairs.py` gives to `cpt`: a checker function, and a stand-in for a model that judges.

The models of the lab cannot judge. The stand-in reads the questions of the judges `llm` and
`pairwise` and answers in their words, with the errors of a mediocre judge: it sees an answer's
credit with an error of standard deviation 0.3, and finds the answer shown first 0.1 better.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import attrs

import cpt
from cpt_lab.checker import credit
from cpt_lab.world import read

ERROR, FIRST = 0.3, 0.1
PARTS = re.compile(r"^=== (?:Asked|Answer|Answer A|Answer B) ===\n(.*?)\n\n(?====)", re.M | re.S)


def credited(prompt: cpt.Prompt, response: cpt.Response) -> float | None:
    """The lab's own credit, as a function of the user's for the judge `checker`."""
    task = read(prompt.text)
    return None if task is None else credit(task, response.text)


@attrs.frozen
class Grader(cpt.Local):
    """Stands in for a model that judges answers in the lab."""

    name = "grader"

    @property
    def author(self) -> str:
        return self.name

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        return [
            cpt.Response(prompt_id=prompt.id, text=_said(prompt.text), author=self.name)
            for prompt, _ in requests
        ]


def _said(question: str) -> str:
    """A score for one answer, a verdict for two."""
    asked, *answers = PARTS.findall(question)
    task = read(asked)
    assert task is not None
    draw = Random(question)
    seen = [credit(task, answer) + draw.gauss(0, ERROR) for answer in answers]
    if len(seen) == 1:
        return f"Score: {1 + 9 * min(max(seen[0], 0), 1):.1f}"
    return "[[A]]" if seen[0] + FIRST > seen[1] else "[[B]]"


@cpt.hookimpl
def cpt_responders() -> list[type[cpt.Responder]]:
    return [Grader]
