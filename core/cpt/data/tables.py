"""Tables of rows, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt.errors import BadData
from cpt.files import atomic
from cpt.types import Message

if TYPE_CHECKING:
    import pyarrow

Plain = Mapping[str, Any]
Add = Callable[[Plain], None]
"""Adds a row to a table."""
CHUNK = 2**20
"""Bytes of JSON that become Parquet together."""
TEXT, NUMBER, COUNT, MESSAGES, SCORES = "text", "number", "count", "messages", "scores"


def write_rows(path: str | Path, rows: Iterable[Plain], columns: Mapping[str, str]) -> int:
    """Write rows with these columns, by their kind, and return how many there were.

    The suffix of `path` says the format: `.parquet` or `.jsonl`. Memory does not grow with the
    number of rows.
    """
    count = 0
    with writing(path, columns) as add:
        for row in rows:
            add(row)
            count += 1
    return count


@contextmanager
def writing(path: str | Path, columns: Mapping[str, str]) -> Iterator[Add]:
    """The same for rows that come one by one: the table is there if the block succeeds."""
    path = Path(path)
    writers = {".parquet": _writing_parquet, ".jsonl": _writing_jsonl}
    if path.suffix not in writers:
        raise BadData(f"{path}: cannot be written; name a {' or '.join(writers)} file.")
    with atomic(path) as temporary, writers[path.suffix](temporary, columns) as add:
        yield add


@contextmanager
def _writing_parquet(path: Path, columns: Mapping[str, str]) -> Iterator[Add]:
    from pyarrow.parquet import ParquetWriter

    schema = _schema(columns)
    lines = bytearray()

    def add(row: Plain) -> None:
        lines.extend(_line(row, columns).encode())
        if len(lines) >= CHUNK:
            flush()

    def flush() -> None:
        writer.write_table(_table(bytes(lines), schema))
        lines.clear()

    with ParquetWriter(path, schema) as writer:
        yield add
        if lines:
            flush()


def _table(lines: bytes, schema: pyarrow.Schema) -> pyarrow.Table:
    from pyarrow import BufferReader
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    # By way of JSON: every other way from Python's objects loads pandas, and 60 MB with it.
    whole = ReadOptions(use_threads=False, block_size=len(lines) + 1)
    return read_json(BufferReader(lines), whole, ParseOptions(explicit_schema=schema))


@contextmanager
def _writing_jsonl(path: Path, columns: Mapping[str, str]) -> Iterator[Add]:
    with path.open("w", encoding="utf-8") as file:

        def add(row: Plain) -> None:
            file.write(_line(row, columns))

        yield add


def _line(row: Plain, columns: Mapping[str, str]) -> str:
    plain = {name: row[name] for name in columns}
    return json.dumps(plain, ensure_ascii=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    """A number of numpy's or torch's as one of Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written in a table")


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
