"""How a judge judges: agreement with labels, bias of position and of length.

Functions of counts, so that they cost the same for a hundred pairs and a million:

    counts = JudgementCounts()
    for judgement in judgements:
        counts.add(judgement)
    counts.agreement, counts.kappa, counts.position_bias
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from cpt.statistics.intervals import wilson
from cpt.types import Comparison, Pair, Response, Verdict

CLOSE = 1e-9
"""A probability this near to one half is a tie: what is left of rounding."""
WIN, TIE, LOSS = 1, 0, -1


@attrs.frozen(kw_only=True)
class Judgement:
    """What a judge found of two answers, A and B."""

    preference: float | None
    """The probability that A is the better one: 1, 0, or 0.5 for a tie; None if unparsed."""
    lengths: tuple[int, int] | None = None
    """Of A and of B, in characters (Unicode code points); None where they are not known."""
    label: float | None = None
    """The same as `preference`, by whoever is compared with: people, or another judge."""
    comparisons: Sequence[Comparison] = ()
    """Each time that they were shown; A is response 0, B is response 1."""

    @classmethod
    def of(
        cls, verdict: Verdict, answers: Sequence[Response], label: float | None = None
    ) -> Judgement:
        """A judge's verdict on two answers."""
        return cls(
            preference=preference_of(verdict),
            lengths=_lengths(*answers) if any(answer.text for answer in answers) else None,
            label=label,
            comparisons=verdict.comparisons,
        )

    @classmethod
    def of_pair(cls, pair: Pair) -> Judgement:
        """What is recorded in a judged pair, whose chosen answer is A."""
        recorded = pair.info.get("comparisons")
        shown = [_comparison(one) for one in recorded] if isinstance(recorded, list) else []
        return cls(
            preference=1.0,
            lengths=_lengths(pair.chosen, pair.rejected),
            comparisons=[one for one in shown if one],
        )


def preference_of(verdict: Verdict) -> float | None:
    """The probability that the first of two answers is the better one, by a verdict on them.

    The scores themselves, where answers were compared and they are such probabilities; else 1, 0.5
    or 0 by their order. None if one has no score.
    """
    first, second = verdict.scores
    if first is None or second is None:
        return None
    if verdict.comparisons and abs(first + second - 1) <= CLOSE:
        return first
    return (1 + (first > second) - (first < second)) / 2


def outcome(preference: float) -> int:
    """1 for a win of A, 0 for a tie, -1 for a win of B."""
    if abs(preference - 0.5) <= CLOSE:
        return TIE
    return WIN if preference > 0.5 else LOSS


@attrs.define
class JudgementCounts:
    """Counts of judgements, and what they say; a figure is None where nothing was counted."""

    unparsed: int = 0
    """Pairs without a verdict."""
    _cells: Counter[tuple[int, int | None, int | None]] = attrs.field(factory=Counter, init=False)
    """By verdict, label, and which answer is the longer one."""
    _shown: Counter[int] = attrs.field(factory=Counter, init=False)
    """By verdict on the answer that was shown first."""
    _in_both: int = attrs.field(default=0, init=False)
    _flipped: int = attrs.field(default=0, init=False)

    def add(self, judgement: Judgement) -> None:
        """Count one."""
        self._count_positions(judgement.comparisons)
        if judgement.preference is None:
            self.unparsed += 1
            return
        label = None if judgement.label is None else outcome(judgement.label)
        self._cells[outcome(judgement.preference), label, _longer(judgement.lengths)] += 1

    def _count_positions(self, comparisons: Sequence[Comparison]) -> None:
        won: dict[int, list[float]] = {}
        for one in comparisons:
            if one.first_wins is not None:
                self._shown[outcome(one.first_wins)] += 1
                a_wins = one.first_wins if one.first == 0 else 1 - one.first_wins
                won.setdefault(one.first, []).append(a_wins)
        if len(won) == 2:
            winners = [outcome(sum(order) / len(order)) for order in won.values()]
            self._in_both += 1
            self._flipped += sorted(winners) == [LOSS, WIN]

    @property
    def judged(self) -> int:
        """Pairs with a verdict."""
        return self._cells.total()

    @property
    def labelled(self) -> int:
        """Pairs with a verdict and a label."""
        return sum(count for (_, label, _), count in self._cells.items() if label is not None)

    @property
    def n(self) -> int:
        """The same as `labelled`, under its name in JSON."""
        return self.labelled

    @property
    def agreement(self) -> float | None:
        """Share of pairs whose verdict (win, tie or loss) is their label."""
        return self._share(lambda verdict, label, _: verdict == label)

    @property
    def longer_wins(self) -> float | None:
        """The baseline: with what share of labels "the longer one wins" agrees."""
        known = any(longer is not None for _, _, longer in self._cells)
        return self._share(lambda _, label, longer: longer == label) if known else None

    @property
    def agreement_interval(self) -> tuple[float, float] | None:
        """The 95% interval of `agreement` (Wilson, 1927)."""
        share = self.agreement
        return None if share is None else wilson(share, self.labelled)

    @property
    def kappa(self) -> float | None:
        """Agreement beyond chance, over win, tie and loss (Cohen, 1960).

        None where chance alone agrees always: both sides say one thing only.
        """
        agreement = self.agreement
        if agreement is None:
            return None
        verdicts, labels = Counter[int](), Counter[int]()
        for (verdict, label, _), count in self._cells.items():
            if label is not None:
                verdicts[verdict] += count
                labels[label] += count
        both = sum(verdicts[outcome] * labels[outcome] for outcome in (WIN, TIE, LOSS))
        chance = both / self.labelled**2
        return None if chance > 1 - CLOSE else (agreement - chance) / (1 - chance)

    @property
    def longer_preferred(self) -> float | None:
        """The bias: the share of decided verdicts on answers of unequal length for the longer."""
        decided = Counter[bool]()
        for (verdict, _, longer), count in self._cells.items():
            if verdict and longer:
                decided[verdict == longer] += count
        return decided[True] / decided.total() if decided else None

    @property
    def position_bias(self) -> float | None:
        """The share of comparisons won by the answer shown first, ties half; 0.5 is no bias.

        It says something where answers were shown in both orders, or in an order drawn by lot.
        """
        total = self._shown.total()
        return (self._shown[WIN] + self._shown[TIE] / 2) / total if total else None

    @property
    def flips(self) -> float | None:
        """Of the pairs that were shown in both orders, the share with another winner in each."""
        return self._flipped / self._in_both if self._in_both else None

    @property
    def ties(self) -> float | None:
        """The share of verdicts that are ties."""
        tied = sum(count for (verdict, _, _), count in self._cells.items() if verdict == TIE)
        return tied / self.judged if self.judged else None

    def plain(self) -> dict[str, Any]:
        """All of it, by name."""
        names = ("n", "judged", "unparsed", "agreement", "agreement_interval", "kappa")
        biases = ("longer_wins", "longer_preferred", "position_bias", "flips", "ties")
        return {name: getattr(self, name) for name in (*names, *biases)}

    def biases(self) -> dict[str, float]:
        """What is known of the judge without labels."""
        names = ("longer_preferred", "position_bias", "flips")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def _share(self, holds: Callable[[int, int, int | None], bool]) -> float | None:
        held = sum(
            count
            for (verdict, label, longer), count in self._cells.items()
            if label is not None and holds(verdict, label, longer)
        )
        return held / self.labelled if self.labelled else None


def _lengths(one: Response, other: Response) -> tuple[int, int]:
    return len(one.without_thought.text), len(other.without_thought.text)


def _comparison(recorded: Any) -> Comparison | None:
    """One comparison in the `info` of a pair; None if it is none."""
    if not isinstance(recorded, Mapping) or recorded.get("first") not in ("chosen", "rejected"):
        return None
    first = 0 if recorded["first"] == "chosen" else 1
    wins = recorded.get("first_wins")
    sound = isinstance(wins, int | float) and not isinstance(wins, bool) and 0 <= wins <= 1
    return Comparison(first=first, second=1 - first, first_wins=wins if sound else None)


def _longer(lengths: tuple[int, int] | None) -> int | None:
    """Which answer is the longer one, as an outcome; None where that is not known."""
    return None if lengths is None else (lengths[0] > lengths[1]) - (lengths[0] < lengths[1])
