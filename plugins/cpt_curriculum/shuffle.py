"""Random order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import attrs

import cpt
from cpt_curriculum.batches import cut, shuffled


@attrs.frozen
class Shuffle(cpt.Scheduler):
    """Every pair once an epoch, in random order."""

    name = "shuffle"

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        draw = Random(seed)
        for _ in range(epochs):
            yield from cut(shuffled(range(len(pairs)), draw), size)
