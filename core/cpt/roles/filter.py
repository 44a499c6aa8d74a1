"""Filters decide which pairs of a set are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import attrs

from cpt.roles.component import Component
from cpt.types import Drop, Pair


@attrs.frozen
class Filter(Component):
    """Leaves pairs out of a set, each for a reason that is recorded."""

    role = "filter"

    @abstractmethod
    def filter(self, pairs: Iterable[Pair]) -> Iterator[Pair | Drop]:
        """Yield for each pair, in order, the pair itself or a `Drop` that says why it goes.

        `pairs` may be gone through as often as it takes: each time they come one by one from the
        disk. A filter that needs the whole set keeps numbers of the pairs, not the pairs. A kept
        pair may be changed (its sides exchanged, say) but has the same id. The same pairs give the
        same result. A filter asks nobody: what a judge said is on the pairs.
        """
