"""Reading which of two answers a judge prefers: in its words, JSON, or log-probabilities."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

import cpt
from cpt_judges.forms import FormName, not_answered

GRADES = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
LABELS = ("A", "B")
IN_BRACKETS = re.compile(r"\[\[\s*([AB]\s*(?:>>|>|=|<|<<)\s*[AB])\s*\]\]")
LEAST_MASS = 0.5
"""Less probability on both labels together is no verdict: the judge wants to say something else."""


@attrs.frozen
class Preference:
    """Which of two answers is better."""

    first_wins: float | None
    weight: float | None = None
    """How often it counts, of verdicts in grades."""


def reader(form: FormName, graded: bool) -> Callable[[cpt.Response], Preference | cpt.Missing]:
    """What reads a verdict in a form; `graded` is in Arena-Hard's five grades."""
    if graded:
        return _read_grade
    return _read_mass if form == "logprobs" else _read_words


def _read_grade(said: cpt.Response) -> Preference | cpt.Missing:
    """The last of the five grades in the judge's words, or in its JSON."""
    from cpt.statistics import grade_values

    if said.outcome != "answered":
        return not_answered(said)
    text = said.without_thought.text
    found = IN_BRACKETS.findall(text) or _verdicts_in_json(text)
    try:
        values = grade_values(found[-1], model_is_a=True)
    except (IndexError, ValueError):
        detail = f"none of {', '.join(GRADES)} can be read in what {said.author} wrote"
        return cpt.Missing("unread", detail, said.text)
    return Preference(values[0], float(len(values)))


def _verdicts_in_json(text: str) -> list[str]:
    from cpt_judges.verdicts import json_objects

    verdicts = (found.get("verdict") for found in json_objects(text))
    return [verdict for verdict in verdicts if isinstance(verdict, str)]


def _read_mass(said: cpt.Response) -> Preference | cpt.Missing:
    """The share of the label of the first answer, of the probability of both."""
    from cpt_judges.verdicts import read_logprobs

    places = said.info.get("top_logprobs") or [[]]
    mass = read_logprobs(places[0], LABELS)
    if mass and mass.total >= LEAST_MASS:
        return Preference(mass.first)
    total = mass.total if mass else 0.0
    if said.outcome == "rejected":
        return not_answered(said)
    return cpt.Missing("unread", f"A and B have a probability of {total:.2g} together", said.text)


def _read_words(said: cpt.Response) -> Preference | cpt.Missing:
    """The verdict in the judge's words."""
    if said.outcome != "answered":
        return not_answered(said)
    from cpt_judges.verdicts import read_verdict  # its expressions are slow to compile

    found = read_verdict(said.text, LABELS)
    if found is None:
        detail = f"no verdict for A or B can be read in what {said.author} wrote"
        return cpt.Missing("unread", detail, said.text)
    return Preference(found)
