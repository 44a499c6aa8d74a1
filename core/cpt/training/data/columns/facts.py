"""What a loss sees of each pair, on the disk or from the pairs themselves."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import IO, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.types import Pair
from cpt.types.batch import PairFacts

AT_ONCE = 2**20
"""Bytes that are read together."""


def text_of(facts: PairFacts) -> bytes:
    """Facts as a line of JSON, without its end."""
    plain = attrs.asdict(facts, recurse=False)
    return json.dumps(plain, default=str, sort_keys=True).encode()


class Facts(Sequence[PairFacts]):
    """The facts of each pair of a corpus."""

    @overload
    def __getitem__(self, index: int) -> PairFacts: ...
    @overload
    def __getitem__(self, index: slice) -> list[PairFacts]: ...
    def __getitem__(self, index: int | slice) -> PairFacts | list[PairFacts]:
        if isinstance(index, slice):
            return [self.of(place) for place in range(*index.indices(len(self)))]
        return self.of(range(len(self))[index])

    @abstractmethod
    def of(self, place: int) -> PairFacts:
        """Those of one pair."""

    @abstractmethod
    def texts(self) -> Iterator[bytes]:
        """`text_of` each, one by one."""


@attrs.frozen(eq=False)
class FactsOfPairs(Facts):
    """Of pairs that are in memory."""

    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    def of(self, place: int) -> PairFacts:
        return PairFacts.of(self.pairs[place])

    def texts(self) -> Iterator[bytes]:
        return (text_of(PairFacts.of(pair)) for pair in self.pairs)


@attrs.frozen(eq=False)
class StoredFacts(Facts):
    """Lines of JSON in a file."""

    file: IO[bytes]
    ends: NDArray[np.int64]
    """After which byte each line ends, its end included; a 0 before them. Shape (pairs + 1,)."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def of(self, place: int) -> PairFacts:
        start, end = self.ends[place : place + 2].tolist()
        return PairFacts(**json.loads(os.pread(self.file.fileno(), end - start, start)))

    def texts(self) -> Iterator[bytes]:
        rest, start = b"", 0
        while block := os.pread(self.file.fileno(), AT_ONCE, start):
            start += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
