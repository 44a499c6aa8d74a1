"""Counting values into bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import attrs

BINS = 25


@attrs.frozen
class Bin:
    """How many values there are from `low` up to `high`."""

    low: float
    high: float
    count: int


def equal_bins(values: Sequence[float]) -> list[Bin]:
    """The range of these finite values in `BINS` equal parts; one bin if they are all equal."""
    low, high = min(values), max(values)
    if low == high:
        return [Bin(low - 0.5, high + 0.5, len(values))]
    return _counted(values, low, (high - low) / BINS, BINS)


def whole_bins(values: Sequence[int]) -> list[Bin]:
    """About `BINS` bins that are equally many whole numbers wide, one of them around zero.

    Their range is that of the middle 98% of the values; the outermost bins hold the rest, too.
    """
    low, high = _middle(values)
    width = math.ceil((high - low + 1) / BINS)
    width += 1 - width % 2  # only an odd number of whole numbers has zero in its middle
    first, last = (math.floor(end / width + 0.5) for end in (low, high))
    start = (first - 0.5) * width
    return _counted(values, start, width, last - first + 1)


def beyond(values: Sequence[int]) -> int:
    """How many values are outside the range of `whole_bins`."""
    low, high = _middle(values)
    return sum(not low <= value <= high for value in values)


def _middle(values: Sequence[int]) -> tuple[int, int]:
    ranked = sorted(values)
    return ranked[len(ranked) // 100], ranked[-1 - len(ranked) // 100]


def _counted(values: Sequence[float], start: float, width: float, bins: int) -> list[Bin]:
    """A value beyond the first or the last bin counts for that bin."""
    counts = [0] * bins
    for value in values:
        counts[min(max(math.floor((value - start) / width), 0), bins - 1)] += 1
    edges = [start + place * width for place in range(bins + 1)]
    return [
        Bin(low, high, count) for (low, high), count in zip(pairwise(edges), counts, strict=True)
    ]
