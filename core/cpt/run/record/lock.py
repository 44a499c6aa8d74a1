"""One command at a time writes into the folder of a run."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from cpt.errors import CptError

LOCK = "run.lock"
CONTROLS = "controls"
UNFINISHED = re.compile(r"\..+\.(tmp|gone)")
"""A name under which something is written or removed."""


@contextmanager
def held(folder: Path, who: str = "") -> Iterator[None]:
    """Hold a run folder, made if need be, until the block or this process ends.

    `who` is what another command is told about the holder. A control shares the lock of its run.
    What killed processes left unfinished is removed first, and the folder itself at the end if it
    was made here and holds no run. Raises `CptError` if another process holds it, or if it cannot
    be written.
    """
    folder = folder.resolve()
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    run = _run_of(folder)
    lock = _acquire(run, who)
    try:
        if folder == run:
            _clear(folder)
        yield
    finally:
        if not (run / "run.yaml").exists():
            (run / LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # it holds something now
            for path in made:
                path.rmdir()


def _run_of(folder: Path) -> Path:
    """The run that this folder is of: itself, or the one that it is a control of."""
    above = folder.parent.parent
    is_control = folder.parent.name == CONTROLS and (above / "run.yaml").exists()
    return _run_of(above) if is_control else folder


def _acquire(folder: Path, who: str) -> FileLock:
    file = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
        holder = _read(file)
        lock = FileLock(file)
        lock.acquire(timeout=0)
    except Timeout:
        raise CptError(
            f"{folder}: in use by {holder or 'another command'}; wait until it ends, or choose "
            "another --output."
        ) from None
    except OSError as error:
        raise CptError(
            f"--output {folder}: cannot be written ({error.strerror}); choose another."
        ) from error
    if not isinstance(lock, SoftFileLock):  # the content of those is their own
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with suppress(OSError):
            file.write_text(f"{who or 'a command'} (process {os.getpid()}, since {since})\n")
    return lock


def _read(file: Path) -> str:
    with suppress(OSError, ValueError):
        text = file.read_text(encoding="utf-8").strip()
        return text if text.isprintable() and len(text) < 200 else ""
    return ""


def _clear(folder: Path) -> None:
    """Remove what killed processes wrote, or were removing, under a temporary name."""
    for path in list(folder.rglob(".*")):
        if not UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
