"""Pairs from models of different strength (Xu et al., arXiv 2310.02263)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import attrs

import cpt


def _check_rungs(_: Any, field: attrs.Attribute[Any], rungs: Sequence[cpt.Responder]) -> None:
    if len(rungs) < 2:
        raise ValueError(f"{field.name!r} must have two models or more, got {len(rungs)}")


def _check_pairs(ladder: Ladder, field: attrs.Attribute[Any], _: Sequence[str]) -> None:
    try:
        list(ladder.meetings())
    except ValueError as error:
        raise ValueError(f"{field.name!r} must be BETTER>WORSE: {error}") from error


@attrs.frozen
class Ladder(cpt.Pairer):
    """Prefer the answer of the stronger model: who wrote it is the label, without a judge.

    Tier and margin of a pair are the rungs between its authors: 1 for neighbours, the hardest to
    tell apart.
    """

    name = "ladder"
    rungs: tuple[cpt.Responder, ...] = attrs.field(validator=_check_rungs)
    """The models, strongest first."""
    pairs: tuple[str, ...] = attrs.field(default=(), validator=_check_pairs)
    """Which rungs meet, as "BETTER>WORSE" by number from 0 or by author; without it, all."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair | cpt.NoPair]:
        from asyncio import gather

        answers = await gather(*(ask(rung, prompt) for rung in self.rungs))
        meetings = list(self.meetings())
        met = [answers[place] for meeting in meetings for place in meeting]
        for answer in met:
            if answer.outcome == "over_budget":  # with a larger one there are more pairs
                answer.expect()
        made = [self._pair(prompt, answers, better, worse) for better, worse in meetings]
        if all(isinstance(pair, cpt.NoPair) for pair in made):
            for answer in met:
                answer.expect()
        return made

    def meetings(self) -> Iterator[tuple[int, int]]:
        """The rungs of each pair, the better first. Raises `ValueError`."""
        if not self.pairs:
            yield from combinations(range(len(self.rungs)), 2)
        for named in self.pairs:
            left, _, right = named.partition(">")
            better, worse = self._rung(left, named), self._rung(right, named)
            if better >= worse:
                raise ValueError(f"in {named!r} the better one is not above the worse")
            yield better, worse

    def _pair(
        self, prompt: cpt.Prompt, answers: Sequence[cpt.Response], better: int, worse: int
    ) -> cpt.Pair | cpt.NoPair:
        """A pair, or why there is none: what became of the answer that is missing."""
        try:
            chosen, rejected = answers[better].expect(), answers[worse].expect()
        except cpt.NoPair as none:
            return none
        return cpt.Pair(
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            pairer=self.name,
            tier=worse - better,
            margin=float(worse - better),
        )

    def _rung(self, text: str, named: str) -> int:
        """The place of the rung that is meant by a number or an author."""
        authors = [rung.author for rung in self.rungs]
        known = {str(place): place for place in range(len(authors))}
        known |= {author: place for place, author in enumerate(authors)}
        if text.strip() in known:
            return known[text.strip()]
        raise ValueError(
            f"{named!r} has a rung that is not there; rungs are 0 to {len(authors) - 1}, or "
            f"{', '.join(authors)}"
        )
