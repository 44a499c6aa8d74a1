"""A language model that grades answers one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs
from attrs.validators import ge

import cpt
from cpt_judges.forms import Form, FormName, first_read, not_answered, schema_of, with_json
from cpt_judges.templates import fill, joined, load

QUESTION = """\
You grade an answer that an assistant gave. First comes what it was asked, then its answer.

=== Asked ===
{task}

=== Answer ===
{answer}

=== End of the answer ===

How good is it? It should do what was asked, be correct and be clear. Being long or short earns \
nothing in itself."""
PLACES = ("{task}", "{answer}")
REASONS = "First give your reasons in a few sentences."
RANGE = "a number from 1 (of no use) to {scale} (nothing could be better)"
OVERALL: Mapping[FormName, str] = {
    "text": f' {REASONS} Then write on a last line "Score: " and {RANGE}.\n',
    "json": f" {REASONS} Then the score: {RANGE}.\n",
}
BY_CRITERION: Mapping[FormName, str] = {
    "text": (
        f" {REASONS} Then write for each of these criteria, on a line of its own, its name, a "
        f"colon and {RANGE}: {{criteria}}.\n"
    ),
    "json": f" {REASONS} Then a score for each criterion: {RANGE}.\n",
}


def _is_weighted(_: Any, field: attrs.Attribute[Any], weights: Mapping[str, float]) -> None:
    """Raise `ValueError` for a criterion that no line can begin with, or of no weight."""
    for name, weight in weights.items():
        if not name.strip() or name != name.strip() or not set(name).isdisjoint(':"\n{}|'):
            raise ValueError(f"a criterion has a plain name of letters and blanks, got {name!r}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise ValueError(f"the weight of {name!r} must be a number above 0, got {weight!r}")


@attrs.frozen
class Llm(cpt.Judge):
    """A language model that gives each answer a number, seeing no other answer.

    Therefore the order of the answers cannot count. It answers in JSON where its service has that,
    else in text. What it says is kept. A text without a score that can be read for certain, or one
    that was cut off, gives none.
    """

    name = "llm"
    responder: cpt.Responder
    """Who judges."""
    scale: int = attrs.field(default=10, validator=ge(2))
    """The best score; the worst is 1."""
    tries: int = attrs.field(default=1, validator=ge(1))
    """Most times that it is asked about one answer, until a score can be read."""
    template: str = attrs.field(default="", metadata=cpt.PATH)
    """A file with another rubric, with the places {task} and {answer} ({scale} and
    {criteria} if you like); how to write the score is added below it."""
    criteria: Mapping[str, float] = attrs.field(factory=dict, hash=False, validator=_is_weighted)
    """What is scored, each with its weight: `{"correct": 2, "clear": 1}`. The score is the weighted
    mean. Without any, there is one score."""
    form: Literal["auto", "json", "text"] = "auto"
    """How it answers: in JSON, where its service has that, or in text; `auto` is the first of the
    two that it has."""

    def check(self) -> None:
        self._question()
        if self.form == "json" and not with_json(self.responder, {}):
            raise cpt.CptError(
                f"judge.form json: the responder {self.responder.name!r} cannot answer in JSON; "
                "leave it at auto."
            )

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        question = self._question()
        readings = await gather(
            *(
                first_read(
                    list(self._forms(question, prompt.text, response.text)),
                    prompt.id,
                    ask,
                    self.tries,
                )
                for response in responses
            )
        )
        read = [reading.found for reading in readings]
        said = [reading.said.text for reading in readings]
        return cpt.Verdict(
            scores=tuple(None if isinstance(one, cpt.Missing) else one for one in read),
            rationale=said[0] if len(said) == 1 else "",
            raw=tuple(said),
            missing=tuple(one if isinstance(one, cpt.Missing) else None for one in read),
        )

    def _forms(self, question: str, task: str, answer: str) -> Iterator[Form[float]]:
        texts = {
            "{task}": task,
            "{answer}": answer,
            "{scale}": str(self.scale),
            "{criteria}": ", ".join(self.criteria),
        }
        in_json = with_json(self.responder, self._schema())
        in_form: dict[FormName, cpt.Responder | None] = {"json": in_json, "text": self.responder}
        endings = BY_CRITERION if self.criteria else OVERALL
        for name, responder in in_form.items():
            if responder and self.form in ("auto", name):
                request = fill(joined(question, endings[name]), texts)
                yield Form(name, responder, request, self._read)

    def _question(self) -> str:
        """What is asked, less how to write the score. Raises `CptError`."""
        return load(self.template, QUESTION, PLACES)

    def _schema(self) -> dict[str, Any]:
        """A number for each criterion, or one for all; the range is checked as it is read."""
        number = {"type": "number"}
        scores = schema_of(**dict.fromkeys(self.criteria, number))
        named = {"scores": scores} if self.criteria else {"score": number}
        return schema_of(reasons={"type": "string"}, **named)

    def _read(self, said: cpt.Response) -> float | cpt.Missing:
        """The score in the judge's words, or why there is none."""
        if said.outcome != "answered":
            return not_answered(said)
        from cpt_judges.reading import read_criteria, read_score  # slow to compile

        if not self.criteria:
            score = read_score(said.text, self.scale)
            lacks = f"no score from 1 to {self.scale}"
        else:
            found = read_criteria(said.text, self.scale, tuple(self.criteria))
            score = _mean(found, self.criteria)
            unread = [name for name in self.criteria if found[name] is None]
            lacks = f"no score from 1 to {self.scale} for {', '.join(unread)}"
        if score is None:
            return cpt.Missing(
                "unread", f"{lacks} can be read in what {said.author} wrote", said.text
            )
        return score


def _mean(found: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """The weighted mean; None if one is unread."""
    total = 0.0
    for name, weight in weights.items():
        score = found[name]
        if score is None:
            return None
        total += weight * score
    return total / sum(weights.values())
