"""Pairs from models of different strength (Xu et al., arXiv 2310.02263)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import attrs

import cpt


@attrs.frozen
class Ladder(cpt.Pairer):
    """Prefer the answer of the stronger model: who wrote it is the label, and nobody judges.

    Tier and margin of a pair are the rungs between its authors: 1 for neighbours, the hardest to
    tell apart.
    """

    name = "ladder"
    rungs: tuple[cpt.Responder, ...]
    """The models, strongest first."""
    pairs: tuple[str, ...] = ()
    """Which rungs meet, as "BETTER>WORSE" by number from 0 or by author; without it, all."""

    def check(self) -> None:
        if len(self.rungs) < 2:
            raise cpt.CptError(f"pairer.rungs: a ladder has two or more, not {len(self.rungs)}.")
        list(self._meetings())

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        from asyncio import gather

        answers = await gather(*(ask(rung, prompt) for rung in self.rungs))
        meetings = list(self._meetings())
        met = [answers[place] for meeting in meetings for place in meeting]
        for answer in met:
            if answer.outcome == "over_budget":  # with a larger one there are more pairs
                answer.expect()
        made = [
            self._pair(prompt, answers, better, worse)
            for better, worse in meetings
            if {answers[better].outcome, answers[worse].outcome} == {"answered"}
        ]
        if not made:
            for answer in met:
                answer.expect()
        return made

    def _pair(
        self, prompt: cpt.Prompt, answers: Sequence[cpt.Response], better: int, worse: int
    ) -> cpt.Pair:
        return cpt.Pair(
            prompt=prompt,
            chosen=answers[better],
            rejected=answers[worse],
            pairer=self.name,
            tier=worse - better,
            margin=float(worse - better),
        )

    def _meetings(self) -> Iterator[tuple[int, int]]:
        """The rungs of each pair, the better first. Raises `CptError`."""
        if not self.pairs:
            yield from combinations(range(len(self.rungs)), 2)
        for named in self.pairs:
            left, _, right = named.partition(">")
            better, worse = self._rung(left, named), self._rung(right, named)
            if better >= worse:
                raise cpt.CptError(
                    f"pairer.pairs: in {named!r} the better one does not stand above the worse."
                )
            yield better, worse

    def _rung(self, text: str, named: str) -> int:
        """The place of the rung that is meant by a number or an author."""
        authors = [rung.author for rung in self.rungs]
        known = {str(place): place for place in range(len(authors))}
        known |= {author: place for place, author in enumerate(authors)}
        if text.strip() in known:
            return known[text.strip()]
        raise cpt.CptError(
            f"pairer.pairs: {named!r} is not BETTER>WORSE with rungs 0 to {len(authors) - 1}, or "
            f"with authors {', '.join(authors)}."
        )


@cpt.hookimpl
def cpt_pairers() -> list[type[cpt.Pairer]]:
    return [Ladder]
