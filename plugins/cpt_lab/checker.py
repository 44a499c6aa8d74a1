"""The judge who knows the right answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

import cpt
from cpt_lab.world import Task, form, read

NEAR = 0.3
"""Most that a wrong word earns by its likeness to the right one."""
FORMLESS = 0.5
"""What facts are worth in an answer that leaves something out or adds more."""


@attrs.frozen
class Checker(cpt.Judge):
    """Give each answer to a prompt of the lab the credit that it earns, from 0 to 1.

    Credit is the share of the facts asked for that are right, a near miss counting a little; half
    of that if the answer is not of the right form: if a sentence is missing or one too many.
    """

    name = "lab_checker"

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        task = read(prompt.text)
        if task is None:
            raise cpt.CptError(
                f"lab_checker cannot judge answers to {prompt.id!r}: it is no prompt of the lab. "
                "Take prompts from lab:train, lab:dev or lab:test, or another judge."
            )
        return cpt.Verdict(scores=tuple(credit(task, response.text) for response in responses))


def credit(task: Task, answer: str) -> float:
    """What an answer earns, from 0 to 1."""
    given = {slot: value for slot, value in task.given.items() if slot not in task.found}
    for wording in task.family.answers:
        if said := form(wording, given).fullmatch(answer):
            return _share(task.found, said.groupdict())
    from statistics import fmean  # slow to import

    words = set(re.findall(r"\w+", answer))
    return FORMLESS * fmean(value in words for value in task.found.values())


def _share(right: Mapping[str, str], said: Mapping[str, str]) -> float:
    """Mean credit of the facts."""
    from statistics import fmean

    from rapidfuzz.distance.Levenshtein import normalized_similarity

    return fmean(
        1.0 if said[slot] == value else NEAR * normalized_similarity(said[slot], value)
        for slot, value in right.items()
    )
