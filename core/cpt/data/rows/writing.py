"""Tables of rows, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

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
TOOLS, TRUTH = "tools", "truth"
RARE = (TOOLS, TRUTH)
"""Columns that are there only in tables where a row has a value: tools, or what is true or not."""


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
    table = _Parquet.at(path, columns)
    try:
        yield table.add
        table.flush()
    finally:
        table.writer.close()


@attrs.define(eq=False)
class _Parquet:
    """A Parquet file that is being written, and the JSON of the rows that come next in it.

    Its messages have a role and a content, as every reader knows them; only a row with more than
    that, or with tools, gives the whole file columns for it.
    """

    path: Path
    columns: Mapping[str, str]
    schema: pyarrow.Schema
    writer: Any
    wide: bool = False
    lines: bytearray = attrs.field(factory=bytearray)

    @classmethod
    def at(cls, path: Path, columns: Mapping[str, str]) -> _Parquet:
        from pyarrow.parquet import ParquetWriter

        schema = _schema(columns, wide=False)
        return cls(path, columns, schema, ParquetWriter(path, schema))

    def add(self, row: Plain) -> None:
        if not self.wide and _is_wide(row, self.columns):
            self.widen()
        self.lines.extend(_line(row, self.columns).encode())
        if len(self.lines) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        if self.lines:
            self.writer.write_table(_table(bytes(self.lines), self.schema))
            self.lines.clear()

    def widen(self) -> None:
        """Write what was written again, with columns for all that a row may hold."""
        from pyarrow.parquet import ParquetFile, ParquetWriter

        self.flush()
        self.writer.close()
        before = self.path.with_name(f"{self.path.name}.narrow")
        self.path.rename(before)
        self.wide, self.schema = True, _schema(self.columns, wide=True)
        self.writer = ParquetWriter(self.path, self.schema)
        try:
            with ParquetFile(before) as file:
                for batch in file.iter_batches(batch_size=256):
                    rows = (json.dumps(row, ensure_ascii=False) for row in batch.to_pylist())
                    lines = "\n".join(rows).encode()
                    self.writer.write_table(_table(lines, self.schema))
        finally:
            before.unlink()


def _is_wide(row: Plain, columns: Mapping[str, str]) -> bool:
    return any(
        any(len(turn) > len(("role", "content")) for turn in row[name] or ())
        if kind == MESSAGES
        else kind in RARE and row[name] is not None
        for name, kind in columns.items()
    )


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
    plain = {
        name: row[name]
        for name, kind in columns.items()
        if kind not in RARE or row[name] is not None
    }
    return json.dumps(plain, ensure_ascii=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    """A number of numpy's or torch's as one of Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} cannot be written in a table")


def _schema(columns: Mapping[str, str], *, wide: bool) -> pyarrow.Schema:
    import pyarrow as pa

    text = pa.string()
    call = {"id": text, "type": text, "function": pa.struct({"name": text, "arguments": text})}
    more = {
        "reasoning_content": text,
        "tool_calls": pa.list_(pa.struct(call)),
        "tool_call_id": text,
        "name": text,
    }
    kinds = {
        TEXT: text,
        TOOLS: text,
        NUMBER: pa.float64(),
        COUNT: pa.int64(),
        TRUTH: pa.bool_(),
        MESSAGES: pa.list_(pa.struct({"role": text, "content": text, **(more if wide else {})})),
        SCORES: pa.struct({"chosen": pa.float64(), "rejected": pa.float64()}),
    }
    kept = {name: kind for name, kind in columns.items() if wide or kind not in RARE}
    return pa.schema({name: kinds[kind] for name, kind in kept.items()})


def plain_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the ecosystem writes them."""
    return [message.plain() for message in messages]


def packed_tools(tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Tools as one cell of text; None if there are none."""
    return json.dumps([*tools], ensure_ascii=False) if tools else None


def packed(info: Mapping[str, Any]) -> str:
    """A mapping of anything as one cell of text."""
    return json.dumps(dict(info), ensure_ascii=False, default=str)
