"""Pairs from the log of an application."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge, min_len, optional

import cpt
from cpt_feedback.log import Shown, shown_in, votes_of

if TYPE_CHECKING:
    from cpt.data import RowsByPrompt

Kind = Literal["edit", "rating", "regeneration"]


@attrs.frozen
class Feedback(cpt.Pairer):
    """Prefer what users of an application preferred, as its log says.

    A row of the log is an answer that was shown: `prompt`, `response` and its `author`, and what
    the user did with it: `edited`, the answer as the user changed it; `rating`, up or down;
    `regenerated`, the answer that the user asked for in its place. An edited answer is preferred to
    the original; to one prompt, an answer with more thumbs up than down to one with more down; a
    regenerated answer to the one that it replaced, unless the ratings say otherwise. The margin is
    the gap in thumbs, of ratings only.
    """

    name = "feedback"
    source: str = attrs.field(metadata=cpt.PATH)
    """The log: a file of rows, found by a prompt's id or text, and read into memory."""
    kinds: tuple[Kind, ...] = attrs.field(
        default=("edit", "rating", "regeneration"), validator=min_len(1)
    )
    """What counts: `edit`, `rating`, `regeneration`; repeat the flag for several."""
    pairs_per_prompt: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Most pairs of one prompt: edits first, then ratings, the widest gap first."""

    def check(self) -> None:
        for row in self._log():
            shown_in(row)

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        shown = [shown_in(row) for row in self._log().of(prompt)]
        pairs = list(islice(self._pairs(prompt, shown), self.pairs_per_prompt))
        if not pairs:
            raise cpt.NoPair("no_feedback", f"{len(shown)} answers, of which none was preferred")
        return pairs

    def _pairs(self, prompt: cpt.Prompt, shown: Sequence[Shown]) -> Iterator[cpt.Pair]:
        votes = votes_of(shown)
        if "edit" in self.kinds:
            yield from _edits(prompt, shown)
        if "rating" in self.kinds:
            yield from _ratings(prompt, shown, votes)
        if "regeneration" in self.kinds:
            yield from _regenerations(prompt, shown, votes)

    def _log(self) -> RowsByPrompt:
        from cpt.data import rows_by_prompt

        return rows_by_prompt(self.source)


def _edits(prompt: cpt.Prompt, shown: Sequence[Shown]) -> Iterator[cpt.Pair]:
    for one in shown:
        if one.edited:
            yield _pair(prompt, one.edited, one.answer, "edit")


def _ratings(
    prompt: cpt.Prompt, shown: Sequence[Shown], votes: Mapping[str, int]
) -> Iterator[cpt.Pair]:
    """Every answer with more thumbs up over every one with more down, the widest gap first."""
    answers = {one.answer.text: one.answer for one in reversed(shown)}
    liked = sorted((text for text in votes if votes[text] > 0), key=lambda text: -votes[text])
    disliked = sorted((text for text in votes if votes[text] < 0), key=lambda text: votes[text])
    met = [(better, worse) for better in liked for worse in disliked]
    for better, worse in sorted(met, key=lambda pair: votes[pair[1]] - votes[pair[0]]):
        pair = _pair(prompt, answers[better], answers[worse], "rating")
        yield attrs.evolve(
            pair,
            margin=float(votes[better] - votes[worse]),
            chosen_score=float(votes[better]),
            rejected_score=float(votes[worse]),
        )


def _regenerations(
    prompt: cpt.Prompt, shown: Sequence[Shown], votes: Mapping[str, int]
) -> Iterator[cpt.Pair]:
    """The new answer over the one that it replaced, where it has not fewer thumbs up."""
    for one in shown:
        new, old = one.regenerated, one.answer
        if new and votes.get(new.text, 0) >= max(votes.get(old.text, 0), 0):
            yield _pair(prompt, new, old, "regeneration")


def _pair(prompt: cpt.Prompt, chosen: cpt.Response, rejected: cpt.Response, kind: Kind) -> cpt.Pair:
    chosen, rejected = (attrs.evolve(side, prompt_id=prompt.id) for side in (chosen, rejected))
    info = {"judge": "user", "kind": kind}
    return cpt.Pair(prompt=prompt, chosen=chosen, rejected=rejected, pairer="feedback", info=info)
