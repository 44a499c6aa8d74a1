"""Records on the disk for as long as one stage needs them, gone through as often as it takes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Generic, Self, TypeVar

import attrs

T = TypeVar("T")
AT_ONCE = 64
"""Records that are in memory together."""


@attrs.define(eq=False)
class Spool(Generic[T]):
    """Records in a file that has no name, so that nothing is left of it, whatever happens."""

    file: IO[bytes]
    places: list[tuple[int, int]] = attrs.field(factory=list)
    """Offset and size of every chunk that is written."""
    latest: list[T] = attrs.field(factory=list)
    """What is not written yet."""

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        return cls(TemporaryFile(dir=folder))

    @classmethod
    def of(cls, records: Iterable[T], folder: Path) -> Self:
        """A spool of all these."""
        spool = cls.in_folder(folder)
        for record in records:
            spool.add(record)
        return spool

    def add(self, record: T) -> None:
        self.latest.append(record)
        if len(self.latest) == AT_ONCE:
            chunk = pickle.dumps(self.latest, pickle.HIGHEST_PROTOCOL)
            self.places.append((self.file.tell(), len(chunk)))
            self.file.write(chunk)
            self.file.flush()
            self.latest = []

    def __iter__(self) -> Iterator[T]:
        for offset, size in self.places:
            yield from pickle.loads(os.pread(self.file.fileno(), size, offset))
        yield from self.latest

    def close(self) -> None:
        """Give its place on the disk back."""
        self.file.close()
