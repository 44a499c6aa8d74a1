"""What filters leave of the pairs of a run: one filter after the other, through files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from cpt.errors import during
from cpt.roles import Filter
from cpt.roles.returns import Decisions
from cpt.run.spool import Spool
from cpt.run.stages.outcomes import Dropped, Made, listed
from cpt.types import Drop, Pair


@attrs.define
class FilterCounts:
    """What one filter did."""

    filter: Filter
    kept: int = 0
    reasons: Counter[str] = attrs.field(factory=Counter)
    first: str = ""
    """The detail of the first pair that it dropped."""

    def add(self, decision: Pair | Drop) -> None:
        if isinstance(decision, Pair):
            self.kept += 1
            return
        self.reasons[decision.reason] += 1
        self.first = self.first or decision.detail

    @property
    def why_none(self) -> str:
        """That it left nothing, and why; no text if it left something."""
        if self.kept or not self.reasons:
            return ""
        first = f"; for example: {self.first}" if self.first else ""
        return (
            f"the filter {self.filter.name!r} dropped all of {self.reasons.total()} pairs "
            f"({listed(dict(self.reasons.most_common()))}{first}); change its options or leave it "
            "out"
        )


def filtered(filters: Sequence[Filter], made: Spool[Made], folder: Path) -> tuple[Spool[Made], str]:
    """What the filters leave, and a complaint if one of them left nothing: then it is the last.

    Only one set before a filter and one after it are on the disk. Raises `WrongReturn`.
    """
    for filter in filters:
        counts = FilterCounts(filter)
        with during(f"the filter {filter.name!r} went through the pairs"):
            before, made = made, Spool.of(_sifted(filter, made, counts), folder)
        before.close()
        if counts.why_none:
            return made, counts.why_none
    return made, ""


@attrs.frozen
class _Pairs:
    """All pairs of a set, which can be gone through as often as a filter likes."""

    made: Spool[Made]

    def __iter__(self) -> Iterator[Pair]:
        return (pair for made in self.made for pair in made.pairs)


def _sifted(filter: Filter, before: Spool[Made], counts: FilterCounts) -> Iterator[Made]:
    decisions = Decisions.of(filter, _Pairs(before))
    for made in before:
        kept: list[Pair] = []
        dropped: list[Dropped] = []
        for pair in made.pairs:
            decision = decisions.next(pair)
            counts.add(decision)
            if isinstance(decision, Pair):
                kept.append(decision)
            else:
                dropped.append(Dropped(pair.id, filter.name, _in_words(decision)))
        yield _left(made, kept, dropped)
    decisions.end()


def _left(made: Made, kept: Sequence[Pair], dropped: Sequence[Dropped]) -> Made:
    """What is left of a prompt; one that lost its last pair has the outcome of that pair."""
    lost = made.pairs and not kept
    outcome = attrs.evolve(
        made.outcome,
        outcome=dropped[0].reason if lost else made.outcome.outcome,
        pairs=len(kept),
        dropped=(*made.outcome.dropped, *dropped),
    )
    return Made(tuple(kept), outcome)


def _in_words(drop: Drop) -> str:
    return f"{drop.reason}: {drop.detail}" if drop.detail else drop.reason
