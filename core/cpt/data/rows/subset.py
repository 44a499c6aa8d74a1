"""Some rows of a source in a file of their own, as they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from cpt.data.rows.reading import AT_ONCE, read_rows, table_file
from cpt.errors import BadData
from cpt.files import atomic

Keep = Sequence[int]
"""For each row of a source 1 if it is taken, else 0."""


def write_subset(source: str | Path, path: Path, keep: Keep) -> int:
    """Write the rows of a source of pairs that `keep` takes, and return how many there are.

    They have the columns of the source. The suffix of `path` says the format: `.jsonl`, `.csv`, or
    `.parquet` for a source that is one such file. Raises `BadData` if it has another suffix, or if
    no row is left; then nothing is written.
    """
    if path.suffix not in WRITERS:
        raise BadData(f"{path}: cannot be written; name a {', '.join(WRITERS)} file.")
    if not any(keep):
        raise BadData(f"{source}: no row would be left, so {path} is not written.")
    with atomic(path) as temporary:
        WRITERS[path.suffix](source, temporary, keep)
    return sum(map(bool, keep))


def _rows(source: str | Path, keep: Keep) -> Iterator[Mapping[str, Any]]:
    return (row.values for row in compress(read_rows(source, "pairs"), keep))


def _write_jsonl(source: str | Path, path: Path, keep: Keep) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in _rows(source, keep):
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_csv(source: str | Path, path: Path, keep: Keep) -> None:
    rows = _rows(source, keep)
    first = next(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first), extrasaction="raise")
        writer.writeheader()
        writer.writerow(first)
        for row in rows:
            if row.keys() - first.keys():
                raise BadData(f"{source}: its rows have other columns each; name a .jsonl file.")
            writer.writerow(row)


def _write_parquet(source: str | Path, path: Path, keep: Keep) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile, ParquetWriter

    file = table_file(source, "pairs")
    if file.suffix != ".parquet":
        raise BadData(f"{source}: not a Parquet file, so it has no such columns; name a .jsonl.")
    with ParquetFile(file) as read, ParquetWriter(path, read.schema_arrow) as writer:
        start = 0
        for batch in read.iter_batches(batch_size=AT_ONCE):
            taken = pa.array([bool(kept) for kept in keep[start : start + len(batch)]])
            writer.write_batch(batch.filter(taken))
            start += len(batch)


WRITERS: Mapping[str, Callable[[str | Path, Path, Keep], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
