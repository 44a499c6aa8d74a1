"""Contrastive learning from AI revisions (D'Oosterlinck et al., arXiv 2408.06266)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

import cpt
from cpt import paths
from cpt.files import read_text
from cpt_clair.revision import Revision, parse, unfenced
from cpt_clair.template import KEEP_LENGTH, RETURNED, TEMPLATE, fill, missing, returned


@attrs.frozen
class Clair(cpt.Pairer):
    """Prefer a student's answer, revised as little as possible, to the answer itself.

    y_l = M(x), y_w = Reviser(x, y_l): equation 1. The margin is the share of characters that the
    revision changed (edit distance over the longer length). No pair comes of a revision without
    its identifiers, cut off, empty or unchanged, nor of one that gives the template or the prompt
    back.
    """

    name = "clair"
    student: cpt.Responder
    """Whose answers are revised and rejected: the model to be trained, or its recorded answers."""
    reviser: cpt.Responder
    """Who revises them: a stronger model."""
    keep_length: bool = False
    """Ask for a revision about as long as the answer, so that length tells nothing."""
    template: str = attrs.field(default="", metadata=cpt.PATH)
    """A file with another request to the reviser, with the places {task} and {student_solution}
    and the identifiers {teacher_reasoning} and {corrected_student_solution}."""

    def check(self) -> None:
        if absent := missing(self._template()):
            raise cpt.CptError(
                f"{self.template}: the template lacks {', '.join(absent)}; write each where its "
                "text belongs."
            )

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        answer = (await ask(self.student, prompt)).expect()
        request = fill(self._template(), prompt.text, answer.text)
        revised = await ask(
            self.reviser,
            cpt.Prompt(id=prompt.id, messages=(cpt.Message("user", request),)),
        )
        found = parse(revised.expect().text)
        if reason := returned(found.solution, self._template(), prompt.text, answer.text):
            raise cpt.NoPair(reason, RETURNED[reason], revised.text)
        return [self._pair(prompt, answer, revised, found)]

    def _pair(
        self, prompt: cpt.Prompt, answer: cpt.Response, revised: cpt.Response, found: Revision
    ) -> cpt.Pair:
        from rapidfuzz.distance.Levenshtein import normalized_distance

        # A student whose whole answer is a fenced block gets a fenced block back.
        fenced = answer.text.lstrip().startswith("```")
        solution = found.solution if fenced else unfenced(found.solution)
        if solution == answer.text.strip():
            raise cpt.NoPair(
                "unchanged", f"{revised.author} left the answer as it is", revised.text
            )
        return cpt.Pair(
            prompt=prompt,
            chosen=attrs.evolve(revised, prompt_id=prompt.id, text=solution),
            rejected=answer,
            pairer=self.name,
            margin=normalized_distance(solution, answer.text),
            rationale=found.reasoning,
        )

    def _template(self) -> str:
        """What the reviser is asked. Raises `CptError`."""
        text = TEMPLATE
        if self.template:
            text = read_text(Path(paths.resolve(self.template)), "the template")
        return text + KEEP_LENGTH * self.keep_length
