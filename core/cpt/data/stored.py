"""The pairs of a run's table, read from the disk as they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.data.pairs import pair_or_unusable
from cpt.data.rows.row import Row
from cpt.errors import BadData
from cpt.types import Pair
from cpt.types.stored import Stored

AT_ONCE = 256
"""Pairs that are made together."""


@attrs.frozen(eq=False)
class StoredPairs(Stored[Pair]):
    """Pairs of a Parquet table that `write_pairs` wrote."""

    path: Path
    places: NDArray[np.int64]
    """The row of each pair in the table. Shape (pairs,)."""

    @classmethod
    def of(cls, path: Path) -> StoredPairs:
        """All pairs of a table. Raises `BadData`."""
        return cls(path, np.arange(_opened(path).ends[-1], dtype=np.int64))

    @property
    def digest(self) -> str:
        with self.path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16))
        digest.update(self.places.tobytes())
        return digest.hexdigest()

    def take(self, places: NDArray[np.int64]) -> StoredPairs:
        return StoredPairs(self.path, self.places[places])

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> StoredPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | StoredPairs:
        if isinstance(index, slice):
            return StoredPairs(self.path, self.places[index])
        (pair,) = _opened(self.path).pairs(self.places[index, None])
        return pair

    def __iter__(self) -> Iterator[Pair]:
        for start in range(0, len(self.places), AT_ONCE):
            yield from _opened(self.path).pairs(self.places[start : start + AT_ONCE])


@attrs.define(eq=False)
class _Table:
    """An open table, and the part of it that was read last."""

    path: Path
    file: Any
    ends: NDArray[np.int64]
    """After which row each group of rows ends, a 0 before them. Shape (groups + 1,)."""
    group: int = -1
    rows: Any = None

    def pairs(self, places: NDArray[np.int64]) -> Iterator[Pair]:
        """The pairs in these rows."""
        groups = np.searchsorted(self.ends, places, side="right") - 1
        cuts = np.flatnonzero(np.diff(groups)) + 1
        for part in np.split(places, cuts) if len(places) else ():
            group = int(np.searchsorted(self.ends, part[0], side="right")) - 1
            found = self._group(group).take(part - self.ends[group]).to_pylist()
            for values, place in zip(found, part.tolist(), strict=True):
                yield self._pair(Row(values, f"{self.path}, row {place + 1}", place + 1))

    def _group(self, number: int) -> Any:
        if number != self.group:
            self.rows, self.group = self.file.read_row_group(number), number
        return self.rows

    def _pair(self, row: Row) -> Pair:
        found = pair_or_unusable(row)
        if not isinstance(found, Pair):
            raise BadData(f"{found.detail} ({found.reason}).")
        return found


def _opened(path: Path) -> _Table:
    try:
        state = path.stat()
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror}).") from error
    return _open(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _open(path: Path, *_: int) -> _Table:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path, pre_buffer=False)
    except (ArrowException, OSError) as error:
        raise BadData(f"{path}: broken Parquet ({str(error).splitlines()[0]}).") from None
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return _Table(path, file, np.cumsum([0, *sizes]))
