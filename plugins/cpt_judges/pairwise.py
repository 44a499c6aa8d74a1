"""A language model that compares answers two by two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Literal

import attrs
from attrs.validators import ge

import cpt
from cpt_judges.forms import (
    Form,
    FormName,
    Reading,
    first_read,
    schema_of,
    with_json,
    with_logprobs,
)
from cpt_judges.preferences import GRADES, Preference, reader
from cpt_judges.templates import fill, joined, load

QUESTION = """\
You compare two answers that two assistants gave. First comes what they were asked, then answer A, \
then answer B.

=== Asked ===
{task}

=== Answer A ===
{answer_a}

=== Answer B ===
{answer_b}

=== End of the answers ===

Which one is better? It should do what was asked, be correct and be clear. Being long or short \
earns nothing in itself, and neither does coming first or second.
"""
PLACES = ("{task}", "{answer_a}", "{answer_b}")
ENDINGS: Mapping[FormName, str] = {
    "logprobs": "\nReply with one letter and nothing else: A or B.\n",
    "json": (
        '\nGive your reasons in a few sentences. Then the verdict: "A", "B", or "tie" if neither '
        "is better.\n"
    ),
    "text": (
        "\nGive your reasons in a few sentences. Then write on a last line [[A]] if answer A is "
        "better, [[B]] if answer B is better, or [[C]] if neither is.\n"
    ),
}
SCHEMA = schema_of(
    reasons={"type": "string"}, verdict={"type": "string", "enum": ["A", "B", "tie"]}
)
GRADED: Mapping[FormName, str] = {
    "json": (
        "\nFirst answer what was asked yourself, in short. Then compare both answers with yours, "
        'and give the verdict: "A>>B" if answer A is much better, "A>B" if it is a little better, '
        '"A=B" if neither is, "B>A" or "B>>A" if answer B is.\n'
    ),
    "text": (
        "\nFirst answer what was asked yourself, in short. Then compare both answers with yours, "
        "and say what is wrong in each. Then write the verdict on a last line: [[A>>B]] if answer "
        "A is much better, [[A>B]] if it is a little better, [[A=B]] if neither is, [[B>A]] or "
        "[[B>>A]] if answer B is.\n"
    ),
}
"""The same in Arena-Hard's five grades."""
GRADED_SCHEMA = schema_of(
    answer={"type": "string"},
    reasons={"type": "string"},
    verdict={"type": "string", "enum": list(GRADES)},
)


@attrs.frozen
class Pairwise(cpt.Judge):
    """A language model that compares answers two by two, each two in both orders.

    The score of an answer is its mean probability to win, over the others (0.5 of a tie). A verdict
    is the probability of the labels A and B as the one token of an answer, where the service gives
    log-probabilities; else it is read in JSON or in text. Two that say the same are a tie, and
    nobody is asked. What cannot be read gives no verdict: if one of the two orders is unread, so
    are the two. With `grades` 5 it is asked as Arena-Hard asks (arXiv 2406.11939): it first answers
    itself, then says A>>B, A>B, A=B, B>A or B>>A, of which the strong ones count three times.
    """

    name = "pairwise"
    responder: cpt.Responder
    """Who judges."""
    form: Literal["auto", "logprobs", "json", "text"] = "auto"
    """How it answers: with log-probabilities, JSON or text; `auto` is the first that it has."""
    grades: Literal[5] | None = None
    """5 asks for five verdicts with strong ones, in JSON or text; else there are A, B and a tie."""
    scheme: Literal["all", "ring"] = "all"
    """Of more than two answers: compare all pairs, or each with the next in a fixed circle."""
    template: str = attrs.field(default="", metadata=cpt.PATH)
    """A file with another question, with the places {task}, {answer_a} and {answer_b}; how to reply
    is added below it."""
    tries: int = attrs.field(default=1, validator=ge(1))
    """Most times that it is asked in one order, until JSON or text can be read."""

    def check(self) -> None:
        self._question()
        names = [form.name for form in attrs.evolve(self, form="auto")._forms("", "", "", "")]
        if self.form not in ("auto", *names):
            raise cpt.CptError(
                f"judge.form {self.form}: the responder {self.responder.name!r} cannot answer so; "
                f"it has {', '.join(names)}."
            )

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        if len(responses) < 2:
            raise cpt.CptError(
                "the judge 'pairwise' compares two answers or more and was given one; score single "
                "answers with `llm`."
            )
        question = self._question()
        pairs = [two for two in self._pairs(responses) if not _same(responses, *two)]
        shown = [order for two in pairs for order in (two, two[::-1])]
        compared = await gather(
            *(self._compare(question, prompt, responses, *order, ask) for order in shown)
        )
        return _verdict(responses, list(compared), self._pairs(responses))

    def _pairs(self, responses: Sequence[cpt.Response]) -> list[tuple[int, int]]:
        """Which answers are compared. The circle does not depend on the order they come in."""
        if self.scheme == "all" or len(responses) < 4:
            return list(combinations(range(len(responses)), 2))
        circle = sorted(range(len(responses)), key=lambda place: _drawn(responses[place].text))
        following = [*circle[1:], circle[0]]
        return [(min(two), max(two)) for two in zip(circle, following, strict=True)]

    async def _compare(
        self,
        question: str,
        prompt: cpt.Prompt,
        responses: Sequence[cpt.Response],
        first: int,
        second: int,
        ask: cpt.Ask,
    ) -> cpt.Comparison:
        forms = list(
            self._forms(question, prompt.text, responses[first].text, responses[second].text)
        )
        reading: Reading[Preference] = await first_read(forms, prompt.id, ask, self.tries)
        unread = reading.found if isinstance(reading.found, cpt.Missing) else None
        found = Preference(None) if isinstance(reading.found, cpt.Missing) else reading.found
        return cpt.Comparison(
            first=first,
            second=second,
            first_wins=found.first_wins,
            weight=found.weight,
            read_from=reading.form,
            raw=reading.said.text,
            missing=unread,
        )

    def _forms(self, question: str, task: str, one: str, other: str) -> Iterator[Form[Preference]]:
        """The forms that the service has, the surest first; only the one that was chosen."""
        texts = dict(zip(PLACES, (task, one, other), strict=True))
        graded = self.grades == 5
        endings = GRADED if graded else ENDINGS
        in_form: dict[FormName, cpt.Responder | None] = {
            "logprobs": None if graded else with_logprobs(self.responder),
            "json": with_json(self.responder, GRADED_SCHEMA if graded else SCHEMA),
            "text": self.responder,
        }
        for name, responder in in_form.items():
            if responder and self.form in ("auto", name):
                request = fill(joined(question, endings[name]), texts)
                yield Form(name, responder, request, reader(name, graded))

    def _question(self) -> str:
        """What is asked, less how to reply. Raises `CptError`."""
        return load(self.template, QUESTION, PLACES)


def _verdict(
    responses: Sequence[cpt.Response],
    compared: Sequence[cpt.Comparison],
    pairs: Sequence[tuple[int, int]],
) -> cpt.Verdict:
    """Each answer's mean probability to win, over those that it was compared with."""
    wins: list[list[float]] = [[] for _ in responses]
    missing: list[cpt.Missing | None] = [None] * len(responses)
    for two in pairs:
        found = _probability(two, compared)
        for place, won in zip(two, (found, None), strict=True):
            if isinstance(found, cpt.Missing):
                missing[place] = missing[place] or found
            else:
                wins[place].append(found if won is not None else 1 - found)
    words = [one.raw for one in compared if one.read_from != "logprobs"]
    return cpt.Verdict(
        scores=tuple(fmean(won) if won else None for won in wins),
        rationale=words[0] if words else "",
        raw=tuple(_words_on(place, compared) for place in range(len(responses))),
        missing=tuple(None if won else why for won, why in zip(wins, missing, strict=True)),
        comparisons=tuple(compared),
    )


def _probability(two: tuple[int, int], compared: Sequence[cpt.Comparison]) -> float | cpt.Missing:
    """The probability that the first is better, over both orders; 0.5 if nobody was asked."""
    both = [one for one in compared if {one.first, one.second} == set(two)]
    read = []
    for one in both:
        if one.first_wins is None:
            return one.missing or cpt.Missing("unread")
        read.append(one.first_wins if one.first == two[0] else 1 - one.first_wins)
    return fmean(read, [one.weight or 1.0 for one in both]) if read else 0.5


def _words_on(place: int, compared: Sequence[cpt.Comparison]) -> str:
    """What the judge said each time that this answer came first."""
    return "\n\n".join(one.raw for one in compared if one.first == place)


def _same(responses: Sequence[cpt.Response], one: int, other: int) -> bool:
    return responses[one].text.strip() == responses[other].text.strip()


def _drawn(text: str) -> bytes:
    """Sorts texts as if by lot, always in the same way."""
    from hashlib import blake2b

    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
