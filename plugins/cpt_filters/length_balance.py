"""Pairs that are left out until length does not tell which answer is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import floor
from random import Random
from typing import TYPE_CHECKING, Any, cast

import attrs
from attrs.validators import and_, ge, le, lt, optional

import cpt
from cpt_filters.lengths import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = cast(float | None, 0.5)


@attrs.frozen
class LengthBalance(Measured):
    """Leaves out pairs with a longer chosen answer, until length says less about the label.

    A loss learns length where the longer answer is mostly the chosen one (Park et al., arXiv
    2403.19159). No more pairs are left out than it takes.
    """

    name = "length_balance"
    share: float | None = attrs.field(default=SHARE, validator=optional(and_(ge(0.0), lt(1.0))))
    """In which share of the pairs the chosen answer may be the longer one, at most.

    Those that go are drawn at random.
    """
    means: float | None = attrs.field(default=None, validator=optional(ge(0)))
    """How much longer the chosen answers may be on average, in the unit; the longest go first."""
    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**32 - 1)))
    """Another seed leaves out other pairs."""

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        count = self.counter()
        gaps = _array(count(pair.chosen.text) - count(pair.rejected.text) for pair in pairs)
        reasons = self._reasons(gaps)
        for place, pair in enumerate(pairs):
            gap = f"chosen is {gaps[place]} {self.counted} longer"
            yield cpt.Drop(reasons[place], gap) if place in reasons else pair

    def _reasons(self, gaps: NDArray[Any]) -> dict[int, str]:
        """Why each pair that goes does so, by its place."""
        import numpy as np

        drawn = set() if self.share is None else _too_many(gaps, self.share, self.seed)
        reasons = dict.fromkeys(drawn, "share")
        if self.means is None:
            return reasons
        left = np.array([place for place in range(len(gaps)) if place not in drawn], dtype=int)
        longest = left[_too_long(gaps[left], self.means)].tolist()
        return reasons | dict.fromkeys(longest, "means")


def _array(values: Iterable[int]) -> NDArray[Any]:
    import numpy as np

    return np.fromiter(values, dtype=np.int64)


def _too_many(gaps: NDArray[Any], share: float, seed: int) -> set[int]:
    """Places of pairs to leave out, drawn from those with a longer chosen answer.

    With n others, m of those may stay: m / (m + n) <= share.
    """
    longer = [place for place, gap in enumerate(gaps.tolist()) if gap > 0]
    others = len(gaps) - len(longer)
    stay = floor(share * others / (1 - share) + 1e-9)
    return set(Random(seed).sample(longer, max(0, len(longer) - stay)))


def _too_long(gaps: NDArray[Any], means: float) -> NDArray[Any]:
    """Places of the largest gaps, so many that the mean of the rest is at most `means`."""
    import numpy as np

    order = np.argsort(-gaps, kind="stable")
    sums = gaps[order][::-1].cumsum()[::-1]  # of all from here on
    counts = np.arange(len(gaps), 0, -1)
    fits = np.flatnonzero(sums <= means * counts)
    return order[: fits[0] if len(fits) else len(gaps)]
