"""Tables of rows, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt.data.rows import AT_ONCE
from cpt.errors import BadData
from cpt.files import atomic
from cpt.types import Message

if TYPE_CHECKING:
    import pyarrow

Plain = Mapping[str, Any]
TEXT, NUMBER, COUNT, MESSAGES, SCORES = "text", "number", "count", "messages", "scores"


def write_rows(path: str | Path, rows: Iterable[Plain], columns: Mapping[str, str]) -> int:
    """Write rows with these columns, by their kind, and return how many there were.

    The suffix of `path` says the format: `.parquet` or `.jsonl`. Memory does not grow with the
    number of rows.
    """
    path = Path(path)
    writers: dict[str, Callable[..., int]] = {".parquet": _write_parquet, ".jsonl": _write_jsonl}
    if path.suffix not in writers:
        raise BadData(f"{path}: cannot be written; name a {' or '.join(writers)} file.")
    with atomic(path) as temporary:
        return writers[path.suffix](temporary, iter(rows), columns)


def _write_parquet(path: Path, rows: Iterator[Plain], columns: Mapping[str, str]) -> int:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema, count = _schema(columns), 0
    with ParquetWriter(path, schema) as writer:
        while chunk := list(islice(rows, AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count


def _write_jsonl(path: Path, rows: Iterator[Plain], columns: Mapping[str, str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            plain = {name: row[name] for name in columns}
            file.write(json.dumps(plain, ensure_ascii=False) + "\n")
            count += 1
    return count


def _schema(columns: Mapping[str, str]) -> pyarrow.Schema:
    import pyarrow as pa

    kinds = {
        TEXT: pa.string(),
        NUMBER: pa.float64(),
        COUNT: pa.int64(),
        MESSAGES: pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        SCORES: pa.struct({"chosen": pa.float64(), "rejected": pa.float64()}),
    }
    return pa.schema({name: kinds[kind] for name, kind in columns.items()})


def plain_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as the ecosystem writes them."""
    return [{"role": message.role, "content": message.content} for message in messages]


def packed(info: Mapping[str, Any]) -> str:
    """A mapping of anything as one cell of text."""
    return json.dumps(dict(info), ensure_ascii=False, default=str)
