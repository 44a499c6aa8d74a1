"""Orders cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random


def shuffled(items: Sequence[int], draw: Random) -> list[int]:
    """All of them in a random order."""
    return draw.sample(items, len(items))


def cut(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Batches of `size`, of which the last may be smaller."""
    for start in range(0, len(order), size):
        yield order[start : start + size]
