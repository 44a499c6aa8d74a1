"""Orders cut into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random


def shuffled(items: Sequence[int], draw: Random) -> list[int]:
    return draw.sample(items, len(items))


def cut(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
