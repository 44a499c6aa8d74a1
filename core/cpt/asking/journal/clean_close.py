"""A journal that is as its last run left it need not be read whole to know that it is sound."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from cpt.errors import CptError


def put(journal: Path) -> None:
    """Mark a journal that was closed in good order."""
    now = time.time_ns()
    # Where that cannot be (the disk is full), the next run reads the whole file.
    with suppress(OSError):
        # A file system's clock is so coarse that a change could bear the same time; not this one.
        os.utime(journal, ns=(now, now))
        _beside(journal).write_text(_state(journal))


def take(journal: Path) -> bool:
    """Remove the mark; whether it was there and nobody changed the file since.

    Raises `CptError` if somebody emptied it: what looks like a new journal would be paid for anew.
    """
    if _beside(journal).exists() and journal.exists() and not journal.stat().st_size:
        raise CptError(
            f"{journal}: empty, but it held answers. Put the journal back, or remove this file to "
            "ask everything again."
        )
    try:
        intact = _beside(journal).read_text() == _state(journal)
        _beside(journal).unlink()
    except OSError:
        return False
    return intact


def _beside(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.closed")


def _state(journal: Path) -> str:
    found = journal.stat()
    return f"{found.st_size} bytes at {found.st_mtime_ns}\n"
