"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cpt.errors import BadData

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk, a quota or a limit that is used up."""
DEEPEST = 100
"""Levels of a value that is read: one inside the other, lists and mappings together."""
LEFT_ALONE = 60.0
"""Seconds since it was changed after which a temporary file may be one that was left."""
LARGEST, LARGEST_JSON = 2**20, 2**28
"""Characters of a text that people write, and of a file of JSON, which is read whole."""
OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust name the error number."""
TORCH_WRITER = ("PytorchStreamWriter", "inline_container")
"""What torch calls its writer, which does not say why it failed."""
ODD = (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What code raises that meets data of another shape than it wrote."""


@contextmanager
def disk_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Raise a full disk in the block as an `OSError` of `path`, whichever library reports it."""
    try:
        yield
    except OSError as error:
        # The error of a full disk names no file, and a temporary name means nothing to a user.
        if error.errno in FULL or (temporary and error.filename == str(temporary)):
            error.filename = str(path)
        raise
    except Exception as error:
        if not (found := _disk_error(error)):
            raise
        raise OSError(*found, str(path)) from error


def _disk_error(error: Exception) -> tuple[int, str] | None:
    """The number and the text of a full disk that a library reports in its own way."""
    text = str(error)
    if any(name in text for name in TORCH_WRITER):
        return errno.ENOSPC, "the disk is full, or refuses the file"
    number = int(found[1]) if (found := OS_ERROR.search(text)) else 0
    return (number, os.strerror(number)) if number in FULL else None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, durably, if the block succeeds.

    Raises `BadData` if the folder of `path` cannot be made.
    """
    _make_folder(path.parent)
    _remove_what_killed_processes_left(path)
    temporary = _temporary(path)
    try:
        with disk_errors(path, temporary):
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # what is wrong with the disk is being raised already
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError) as error:
        why = "a file is in its place" if folder.exists() else error.strerror
        raise BadData(f"{folder}: this folder cannot be made ({why}); choose another.") from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder; one that is at `path` is replaced."""
    temporary = unfinished(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with disk_errors(path):
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            publish(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unfinished(path: Path) -> Path:
    """Where `atomic_folder` writes: the processes of a launch write into it together."""
    return path.with_name(f".{path.name}.tmp")


def publish(temporary: Path, final: Path) -> None:
    """Give a written folder its name, once all that is in it is on the disk."""
    for path in [*temporary.rglob("*"), temporary]:
        sync(path)
    temporary.rename(final)
    sync(final.parent)


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: a number that is not finite is null.

    What JSON has no form for is written as its text.
    """
    try:
        return json.dumps(value, indent=indent, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or leave what was there."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Refused(ValueError):
    """JSON that other tools, or cpt itself, could not work with: too deep, half a character."""


def from_json(text: str) -> Any:
    """What a text says. Raises `ValueError`: `Refused` if it is JSON but no sound value."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise Refused(f"it has more than {DEEPEST} levels") from None
    except ValueError:
        raise Refused("a whole number has thousands of digits") from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise Refused(f"it has more than {DEEPEST} levels")
    if "\\ud" in text or "\\uD" in text:
        _refuse_halves(value)
    return value


def _is_deep(value: Any) -> bool:
    """Whether a value has more than `DEEPEST` levels."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _refuse_halves(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused("a text holds half of a character (a lone surrogate)") from None


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Raise `BadData` if the block meets something in a file that cpt does not write there."""
    try:
        yield
    except (*ODD, OSError) as error:
        if getattr(error, "errno", None):  # the disk's fault, not the file's
            raise
        said = error.args[0] if len(error.args) > 1 else error  # attrs adds the field and the type
        why = f"{type(error).__name__}: {said}"
        raise BadData(
            f"{path}: not as cpt wrote it ({why}); put it back, or make it again with --redo."
        ) from error


def read_text(path: Path, what: str, most: int = LARGEST) -> str:
    """The text of a file that `what` names in an error: "the template".

    Raises `BadData` if it cannot be read, is not UTF-8, has more than so many characters, or is a
    pipe or a device, which may have no end.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadData(f"{path}: {what} must be a file, not a folder, a pipe or a device.")
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BadData(f"{path}: {what} cannot be read ({reason}).") from error
    if len(text) > most:
        raise BadData(f"{path}: {what} has more than {most} characters.")
    return text


def refuse_devices(folder: Path, of: str) -> None:
    """Raise `BadData` for a pipe or a device in the folder of a model or a run.

    Whoever reads what belongs there would wait for it, or read without end.
    """
    for file in folder.iterdir():
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise BadData(f"{file}: a pipe or a device is no part of {of}; remove it.")


def read_json(path: Path) -> Any:
    """The content of a file, None if there is none. Raises `BadData` if it is not JSON."""
    if not path.exists():
        return None
    try:
        return from_json(read_text(path, "what is read as JSON", LARGEST_JSON))
    except ValueError as error:
        raise BadData(f"{path}: damaged ({error}); remove it and run the stage again.") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """One record for each line, nothing if there is no file.

    Half a line at the end is skipped, as a killed process may leave one. Raises `BadData` for any
    other line that is not a JSON object.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = from_json(line)
            except ValueError as error:
                if not line.endswith("\n"):
                    return
                raise BadData(f"{path}, line {number}: not JSON ({error}).") from error
            if not isinstance(record, dict):
                raise BadData(f"{path}, line {number}: not a record in braces.")
            yield record


@contextmanager
def writing_lines(path: Path) -> Iterator[Callable[[Mapping[str, Any]], object]]:
    """A function that writes one record a line as JSON; the file is whole or not there."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield lambda record: file.write(json_text(record) + "\n")


def _remove_what_killed_processes_left(path: Path) -> None:
    """Temporary files of `path` that nobody writes: a process of another machine may do so."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        number = left.name.split(".")[-2]
        with suppress(OSError):
            is_old = time.time() - left.stat().st_mtime > LEFT_ALONE
            if is_old and number.isdecimal() and not _runs(int(number)):
                left.unlink()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
