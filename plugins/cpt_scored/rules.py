"""Which of several scored answers meet, as chosen and rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from random import Random
from typing import Literal

RuleName = Literal["best_worst", "best_random", "all_pairs", "largest_gap", "max_vs_mean_minus_2sd"]
Places = tuple[int, int]
"""The place of the chosen and of the rejected answer."""


def ranked(scores: Sequence[float], random: Random | None) -> list[int]:
    """The places of the scores, best first; equal ones as they come, or as they are drawn."""
    places = list(range(len(scores)))
    if random:
        random.shuffle(places)
    return sorted(places, key=lambda place: -scores[place])


def tier_of(scores: Sequence[float], chosen: int, rejected: int) -> int:
    """How many distinct scores lie between the two, and one more: 1 is the hardest to tell."""
    return len({score for score in scores if scores[rejected] <= score < scores[chosen]})


def _best_worst(scores: Sequence[float], rank: Sequence[int], random: Random) -> Iterator[Places]:
    """The best over the worst, then over the second worst, ..."""
    yield from ((rank[0], other) for other in sorted(rank[1:], key=lambda place: scores[place]))


def _best_random(scores: Sequence[float], rank: Sequence[int], random: Random) -> Iterator[Places]:
    """The best over the others in random order."""
    others = list(rank[1:])
    random.shuffle(others)
    yield from ((rank[0], other) for other in others)


def _all_pairs(scores: Sequence[float], rank: Sequence[int], random: Random) -> Iterator[Places]:
    """Every better answer over every worse one, the widest gap first."""
    yield from sorted(combinations(rank, 2), key=lambda pair: _gap(scores, pair))


def _largest_gap(scores: Sequence[float], rank: Sequence[int], random: Random) -> Iterator[Places]:
    """Neighbours in the order of scores, the widest gap first."""
    yield from sorted(pairwise(rank), key=lambda pair: _gap(scores, pair))


def _max_vs_mean_minus_2sd(
    scores: Sequence[float], rank: Sequence[int], random: Random
) -> Iterator[Places]:
    """The best over the one whose score is nearest to the mean less two standard deviations."""
    from statistics import fmean, pstdev  # slow to import

    wanted = fmean(scores) - 2 * pstdev(scores)
    nearest = sorted(rank[1:], key=lambda place: abs(scores[place] - wanted))
    yield from ((rank[0], other) for other in nearest)


def _gap(scores: Sequence[float], pair: Places) -> float:
    """Below 0, so that the widest comes first."""
    return scores[pair[1]] - scores[pair[0]]


RULES: Mapping[str, Callable[[Sequence[float], Sequence[int], Random], Iterator[Places]]] = {
    "best_worst": _best_worst,
    "best_random": _best_random,
    "all_pairs": _all_pairs,
    "largest_gap": _largest_gap,
    "max_vs_mean_minus_2sd": _max_vs_mean_minus_2sd,
}
EVERY = ("all_pairs",)
"""Rules that give as many pairs as there are, where no number is given."""
