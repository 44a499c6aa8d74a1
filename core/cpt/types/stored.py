"""Records that lie on the disk, as a sequence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


class Stored(Sequence[T]):
    """A sequence that reads its records when they are asked for.

    Going through it in order is cheap; a record here and one there is not. Slices read nothing.
    """

    @property
    @abstractmethod
    def digest(self) -> str:
        """A digest of all that the records are read from."""

    @abstractmethod
    def take(self, places: NDArray[np.int64]) -> Sequence[T]:
        """The records at these places, none of them read yet."""


def taken(records: Sequence[T], places: NDArray[np.int64]) -> Sequence[T]:
    """The records at these places."""
    if isinstance(records, Stored):
        return records.take(places)
    return [records[place] for place in places.tolist()]
