"""The forms in which a model is asked for a judgement: log-probabilities, JSON, or text.

The first form that the model's service has and does not refuse is used. A service shows what it has
by its options (`Responder.has_option`); a model may still refuse, and is then asked in the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

import attrs

import cpt

FormName = Literal["logprobs", "json", "text"]
Found = TypeVar("Found")
TOP = 5
"""Tokens whose log-probabilities are asked for."""
ENOUGH = 3
"""Refusals of one form after which a service that never took it is asked in the next at once."""
WITHOUT_VERDICT = ("cut_off", "refused", "filtered", "empty", "malformed", "rejected")
"""Outcomes with which a judge says nothing, but is there to judge the next answer."""


@attrs.frozen
class Form(Generic[Found]):
    """One way to ask for a judgement, and to read what is said."""

    name: FormName
    responder: cpt.Responder
    """Who judges, with the options of this form."""
    request: str
    read: Callable[[cpt.Response], Found | cpt.Missing]


@attrs.frozen
class Reading(Generic[Found]):
    """What a judge said, in which form, and what was read in it."""

    form: FormName
    said: cpt.Response
    found: Found | cpt.Missing


def with_logprobs(responder: cpt.Responder) -> cpt.Responder | None:
    """The responder, asked for one token and the likeliest in its place; None if it cannot be."""
    if not (responder.has_option("top_logprobs") and responder.has_option("max_tokens")):
        return None
    return responder.with_options(top_logprobs=TOP, max_tokens=1)


def with_json(responder: cpt.Responder, schema: Mapping[str, Any]) -> cpt.Responder | None:
    """The responder, asked for JSON that fits a schema; None if it cannot be."""
    if not responder.has_option("json_schema") or responder.json_schema:
        return None
    return responder.with_options(json_schema=schema)


def schema_of(**fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with all of these fields, as every service takes it."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def not_answered(said: cpt.Response) -> cpt.Missing:
    """Why a judge said nothing that could be read, as its request ended."""
    why = said.detail or said.finish_reason or said.outcome
    return cpt.Missing(said.outcome.value, f"the judge {said.author}: {why}", said.text)


async def first_read(
    forms: Sequence[Form[Found]], prompt_id: str, ask: cpt.Ask, tries: int = 1
) -> Reading[Found]:
    """What is read in the first form that the judge is not refused in, and that can be read.

    Raises `NoPair` if the judge is not there (no budget, no answer).
    """
    *others, last = forms
    for form in others:
        if not REFUSED.knows(form.responder):
            reading = await _read(form, prompt_id, ask, tries)
            REFUSED.note(form.responder, reading.said)
            if not _goes_on(reading):
                return reading
    return await _read(last, prompt_id, ask, tries)


async def _read(form: Form[Found], prompt_id: str, ask: cpt.Ask, tries: int) -> Reading[Found]:
    """The first of so many samples that can be read, or the last."""
    question = cpt.Prompt(id=prompt_id, messages=(cpt.Message("user", form.request),))
    for sample in range(1 if form.name == "logprobs" else tries):
        said = (await ask(form.responder, question, sample)).expect(*WITHOUT_VERDICT)
        reading = Reading(form.name, said, form.read(said))
        stands_in = said.info.get("stand_in")
        if not isinstance(reading.found, cpt.Missing) or said.outcome == "rejected" or stands_in:
            break
    return reading


def _goes_on(reading: Reading[Found]) -> bool:
    """Whether the next form may say more: this one was refused, or has no label in it."""
    if not isinstance(reading.found, cpt.Missing) or reading.said.info.get("stand_in"):
        return False
    return reading.said.outcome == "rejected" or reading.form == "logprobs"


@attrs.define
class Refused:
    """Which services refused a form and never took it, as far as this process knows."""

    counts: Counter[str] = attrs.field(factory=Counter)
    taken: set[str] = attrs.field(factory=set)

    def knows(self, responder: cpt.Responder) -> bool:
        """Whether there is no use in asking it so."""
        return self.counts[_key(responder)] >= ENOUGH

    def note(self, responder: cpt.Responder, said: cpt.Response) -> None:
        """Take note of how one request ended."""
        key = _key(responder)
        if said.outcome == "rejected" and key not in self.taken:
            self.counts[key] += 1
        elif said.outcome != "rejected":
            self.taken.add(key)
            self.counts[key] = 0


def _key(responder: cpt.Responder) -> str:
    where = responder.endpoint if isinstance(responder, cpt.Service) else ""
    return f"{where} {responder.identity}"


REFUSED = Refused()
