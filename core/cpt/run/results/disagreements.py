"""Scores of one model that contradict each other: one judge is pleased, another measure is not.

A judge that can be pleased without a better answer is learned to be pleased: reward hacking. It
shows where a score of one evaluator rises while that of an independent one falls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import attrs

from cpt.config import AFTER, BEFORE
from cpt.run.results.scores import ROUND, Meanings, Scores, numbers
from cpt.statistics import difference
from cpt.types import Score

FEWEST = 10
"""Prompts below which no change is taken for certain."""


@attrs.frozen
class SideEffect:
    """What changed beyond chance, and should not."""

    words: str
    """What the score is, as its evaluator says it."""
    before: Score
    after: Score
    change: Score


@attrs.frozen
class Disagreement:
    """Two scores that moved apart between two models, beyond chance."""

    start: str
    end: str
    up: str
    """The name of the score that rose."""
    rise: Score
    """By how much, over the prompts that both models have."""
    down: str
    """The name of the score that fell."""
    fall: Score

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        own = {"from": self.start, "to": self.end, "up": self.up, "down": self.down}
        return {**own, "rise": numbers(self.rise), "fall": numbers(self.fall)}


def disagreements(scores: Scores, meanings: Meanings) -> list[Disagreement]:
    """Where one evaluator's score of quality rose and another evaluator's fell.

    Of each two evaluators and each span the pair that moved apart most; the intervals of all
    changes that were looked at hold together at 95% (Bonferroni). A span is the whole run, and
    where it had rounds, each of them.
    """
    changes = {span: _changes(scores, span, meanings.quality) for span in _spans(scores)}
    looked_at = sum(map(len, changes.values()))
    found: list[Disagreement] = []
    for (start, end), named in changes.items():
        certain = {
            name: gap
            for name, (one, other) in named.items()
            if (gap := _gap(one, other, looked_at)) is not None
        }
        found += _apart(start, end, certain)
    return found


def side_effects(scores: Scores, meanings: Meanings) -> Iterator[SideEffect]:
    """What training changed, beyond chance, of what it should leave alone."""
    both = _changes(scores, (BEFORE, AFTER), tuple(meanings.side_effects))
    for name, (after, before) in both.items():
        gap = _gap(after, before, len(both))
        if gap is not None and (gap.low > 0 or gap.high < 0):
            yield SideEffect(meanings.side_effects[name], before, after, gap)


def measures(meanings: Meanings) -> set[str]:
    """The evaluators that have a score of quality: fewer than two cannot disagree."""
    return {_evaluator(name) for name in meanings.quality}


def _gap(after: Score, before: Score, looked_at: int) -> Score | None:
    gap = difference(after, before, comparisons=looked_at)
    return gap if gap is not None and gap.n >= FEWEST else None


def _spans(scores: Scores) -> list[tuple[str, str]]:
    rounds = [BEFORE, *(name for name in scores if name.startswith(ROUND)), AFTER]
    steps = list(pairwise(rounds)) if len(rounds) > 2 else []
    known = [(BEFORE, AFTER), *steps]
    return [span for span in known if all(name in scores for name in span)]


def _changes(
    scores: Scores, span: tuple[str, str], names: Sequence[str]
) -> dict[str, tuple[Score, Score]]:
    """The later and the earlier value of each score that both models have."""
    start, end = (scores.get(name, {}) for name in span)
    return {name: (end[name], start[name]) for name in names if name in start and name in end}


def _apart(start: str, end: str, gaps: Mapping[str, Score]) -> Iterator[Disagreement]:
    rose = {name: gap for name, gap in gaps.items() if gap.low > 0}
    fell = {name: gap for name, gap in gaps.items() if gap.high < 0}
    seen = set()
    clearest = sorted(product(rose, fell), key=lambda two: -_clarity(rose[two[0]], fell[two[1]]))
    for up, down in clearest:
        of = (_evaluator(up), _evaluator(down))
        if of[0] != of[1] and of not in seen:
            seen.add(of)
            yield Disagreement(start, end, up, rose[up], down, fell[down])


def _clarity(rise: Score, fall: Score) -> float:
    """How far both are from no change, in halves of their intervals."""
    return min(abs(gap.value) / ((gap.high - gap.low) / 2 or 1e-9) for gap in (rise, fall))


def _evaluator(score: str) -> str:
    return score.partition("/")[0]
