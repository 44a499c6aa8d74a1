"""Which ids were seen: 8 bytes each, however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECENT = 65_536
"""Ids that are looked up in a set, which takes ten times the memory."""


@attrs.define(eq=False)
class Ids:
    """Ids by their hashes: the last ones in a set, those before them in one sorted array."""

    most: int = RECENT
    _recent: set[int] = attrs.field(factory=set, init=False)
    _older: NDArray[Any] | None = attrs.field(default=None, init=False)

    def __contains__(self, name: str) -> bool:
        key = hash(name)
        if key in self._recent or self._older is None:
            return key in self._recent
        place = int(self._older.searchsorted(key))
        return place < len(self._older) and int(self._older[place]) == key

    def add(self, name: str) -> None:
        self._recent.add(hash(name))
        if len(self._recent) >= self.most:
            self._sort()

    def _sort(self) -> None:
        import numpy as np  # slow to import

        parts = [np.fromiter(self._recent, dtype=np.int64)]
        parts += [] if self._older is None else [self._older]
        self._older = np.sort(np.concatenate(parts))
        self._recent.clear()
