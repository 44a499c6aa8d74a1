"""The mark of a journal that was closed in order: the next run need not check the whole file."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from cpt.errors import CptError


def put(journal: Path) -> None:
    """Mark a journal that was closed in order."""
    now = time.time_ns()
    # Where that fails (the disk is full), the next run reads the whole file.
    with suppress(OSError):
        # A file system's clock is coarse: a change could get the same time, but not this one.
        os.utime(journal, ns=(now, now))
        _beside(journal).write_text(_state(journal))


def take(journal: Path) -> bool:
    """Remove the mark; whether it was there and the file has not changed since.

    Raises `CptError` if it was emptied or deleted: a new one would have everything paid again.
    """
    if _beside(journal).exists() and not (journal.exists() and journal.stat().st_size):
        raise CptError(
            f"{journal}: {'empty' if journal.exists() else 'missing'}, but it held answers. Put "
            f"the journal back, or remove {_beside(journal)} to ask everything again."
        )
    try:
        intact = _beside(journal).read_bytes() == _state(journal).encode()
        _beside(journal).unlink()
    except OSError:
        return False
    return intact


def _beside(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.closed")


def _state(journal: Path) -> str:
    found = journal.stat()
    return f"{found.st_size} bytes at {found.st_mtime_ns}\n"
