"""Rows of any source, one by one, each with the place that it comes from."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any, AnyStr, cast

from cpt import paths
from cpt.data.rows.row import Row, short
from cpt.errors import BadData, first_line
from cpt.files import DEEPEST, Refused, from_json

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
AT_ONCE = 1024
LONGEST_ROW = 16 * 2**20
"""Bytes of one line, or characters of one cell."""
LARGEST_LIST = 256 * 2**20
"""Bytes of a file that is one JSON list, which is read whole."""


def read_rows(source: str | Path, table: str = "") -> Iterator[Row]:
    """Yield every row of a source; of a run's folder, those of its `table`.

    The source may have a scheme (`lab:train`). Raises `BadData` if it does not exist, cannot be
    read, or has no row.
    """
    found = _plain_rows(source, table)
    first = next(found, None)
    if first is None:
        raise BadData(f"{source}: holds no rows.")
    for number, (values, where) in enumerate(chain([first], found), start=1):
        if not isinstance(values, dict):
            raise BadData(f"{where}: expected an object with named columns, got {short(values)}.")
        yield Row(values, where, number)


def _plain_rows(source: str | Path, table: str) -> Iterator[tuple[Any, str]]:
    source = paths.resolve(str(source))
    path = Path(source)
    if path.is_dir():
        for file in _files_in(path, table):
            yield from _rows_of(file)
    elif path.exists():
        yield from _rows_of(path)
    elif HUB_ID.fullmatch(source) and _suffix(path) not in READERS:
        yield from _hub_rows(source)
    else:
        raise BadData(f"{source}: no such file or folder.")


def table_file(source: str | Path, table: str) -> Path:
    """The one file that holds a source, or the table of a run's folder."""
    path = Path(paths.resolve(str(source)))
    files = _files_in(path, table) if path.is_dir() else [path]
    return files[0] if len(files) == 1 else path


def refuse_to_replace(path: Path, source: str | Path, table: str) -> None:
    """Raise `BadData` if a source is read from `path`: what is not written would be lost."""
    read = Path(paths.resolve(str(source)))
    if not path.exists() or not read.exists():
        return
    if any(file.samefile(path) for file in (_files_in(read, table) if read.is_dir() else [read])):
        raise BadData(f"{path}: is what {source} is read from; name another file to write.")


def _files_in(folder: Path, table: str) -> list[Path]:
    if (folder / f"{table}.parquet").exists():
        return [folder / f"{table}.parquet"]
    files = sorted(
        path
        for path in folder.rglob("*")
        if _suffix(path) in READERS
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise BadData(f"{folder}: no data file in this folder; expected {', '.join(READERS)}.")
    return files


def _rows_of(path: Path) -> Iterator[tuple[Any, str]]:
    if not path.is_file():
        raise BadData(
            f"{path}: no file but a pipe or a device; save it first, it is read more than once."
        )
    if _suffix(path) not in READERS:
        raise BadData(f"{path}: unknown format; expected {', '.join(READERS)}.")
    try:
        yield from READERS[_suffix(path)](path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadData(f"{path}: cannot be read ({' '.join(str(error).split())}).") from error
    except MemoryError:
        raise BadData(f"{path}: a row does not fit in memory.") from None


def _suffix(path: Path) -> str:
    """What a file's name says of its format, whether compressed or not."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _jsonl_rows(path: Path) -> Iterator[tuple[Any, str]]:
    with _open(path) as file:
        for number, line in enumerate(_lines(file, path), start=1):
            if line.strip():
                yield _decoded(line, f"{path}:{number}"), f"{path}:{number}"


def _lines(file: IO[AnyStr], path: Path) -> Iterator[AnyStr]:
    """The lines of a file, none of which may be endless."""
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise BadData(f"{path}:{number}: a line of more than {LONGEST_ROW >> 20} MB.")
        yield line


def _json_rows(path: Path) -> Iterator[tuple[Any, str]]:
    """A list of rows; a file that begins otherwise is taken for lines of JSON."""
    with _open(path) as file:
        begin = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        if not begin.startswith(b"["):
            yield from _jsonl_rows(path)
            return
        text = begin + file.read(LARGEST_LIST)
        if len(text) > LARGEST_LIST:
            most = f"{LARGEST_LIST >> 20} MB"
            raise BadData(f"{path}: more than {most} in one list; save it as .jsonl, row by row.")
        rows = _decoded(text, str(path))
    for number, values in enumerate(rows, start=1):
        yield values, f"{path}, item {number}"


def _decoded(text: bytes, where: str) -> Any:
    try:
        return from_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadData(f"{where}: not UTF-8.") from None
    except Refused as error:
        raise BadData(f"{where}: {error}.") from None
    except ValueError as error:
        raise BadData(f"{where}: broken JSON ({error}).") from None


def _csv_rows(path: Path) -> Iterator[tuple[Any, str]]:
    csv.field_size_limit(LONGEST_ROW)
    with _open(path) as file:
        lines = _lines(TextIOWrapper(file, "utf-8-sig", newline=""), path)
        reader = csv.DictReader(lines, strict=True)
        try:
            names = reader.fieldnames or ()
            if twice := [name for name in names if names.count(name) > 1]:
                raise BadData(f"{path}: the column {short(twice[0])} is there twice.")
            for values in reader:
                where = f"{path}:{reader.line_num}"
                if None in values or None in values.values():
                    raise BadData(f"{where}: expected {len(names)} columns.")
                yield values, where
        except csv.Error as error:
            raise BadData(f"{path}:{reader.reader.line_num}: broken CSV ({error}).") from None


def _parquet_rows(path: Path) -> Iterator[tuple[Any, str]]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            columns = (file.schema.column(index) for index in range(len(file.schema)))
            if any(column.max_definition_level > DEEPEST for column in columns):
                raise BadData(f"{path}: a column has more than {DEEPEST} levels.")
            for batch in file.iter_batches(batch_size=AT_ONCE):
                for values in _plain(batch, f"{path}, row", number):
                    number += 1
                    yield values, f"{path}, row {number}"
    except ArrowException as error:
        raise BadData(f"{path}: broken Parquet ({str(error).splitlines()[0]}).") from None


def _plain(batch: Any, where: str, before: int) -> list[dict[str, Any]]:
    """A batch as plain values. Raises `BadData` with the first row that has none, as some dates."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows
    except (ValueError, OverflowError):
        for number in range(len(batch)):
            try:
                batch.slice(number, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                bad = f"{where} {before + number + 1}: a value cannot be read"
                raise BadData(f"{bad} ({first_line(error)}).") from error
        raise


def _hub_rows(source: str) -> Iterator[tuple[Any, str]]:
    import datasets

    name, _, split = source.partition(":")
    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # whatever the hub, the network or the data set has to say
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadData(
            f"{source}: neither a file or folder here nor a data set that can be loaded ({reason})."
        ) from error
    split = split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
    if split not in splits:
        there = ", ".join(f"{name}:{one}" for one in splits)
        raise BadData(f"{source}: no such split; there are {there}.")
    for number, values in enumerate(splits[split], start=1):
        yield values, f"{name}:{split}, row {number}"


READERS: Mapping[str, Callable[[Path], Iterator[tuple[Any, str]]]] = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
