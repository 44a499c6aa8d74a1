"""Pairs whose answers are too unlike in length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import attrs
from attrs.validators import ge, optional

import cpt
from cpt_filters.lengths import Measured

RATIO = cast(float | None, 3.0)


@attrs.frozen
class LengthRatio(Measured):
    """Leaves out a pair if one answer is much longer than the other.

    OLMo 3 (arXiv 2512.13961) limits the difference in its chat pairs to 100 tokens:
    `difference=100`, `tokenizer=MODEL`.
    """

    name = "length_ratio"
    most: float | None = attrs.field(default=RATIO, validator=optional(ge(1.0)))
    """How many times as long as the other an answer may be."""
    difference: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """How much longer than the other an answer may be, in the unit."""

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        count = self.counter()
        for pair in pairs:
            yield self._drop(count(pair.chosen.text), count(pair.rejected.text)) or pair

    def _drop(self, chosen: int, rejected: int) -> cpt.Drop | None:
        shorter, longer = sorted((chosen, rejected))
        what = f"{chosen} {self.counted} chosen, {rejected} rejected"
        if self.most is not None and longer > self.most * max(1, shorter):
            return cpt.Drop("ratio", what)
        if self.difference is not None and longer - shorter > self.difference:
            return cpt.Drop("difference", what)
        return None
