"""The journal's file: its tables, how it is opened, and what to do if it cannot be."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cpt.errors import CptError, Stopped

APPLICATION = 0x63707401
"""SQLite's application id of a journal."""
VERSION = 1
"""Raised with every change of the tables; an older program refuses a newer file."""

TABLES = """
CREATE TABLE responders (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE           -- JSON: all that determines its answers
);
CREATE TABLE requests (
    key TEXT PRIMARY KEY,                   -- of responder, messages and sample
    responder INTEGER NOT NULL REFERENCES responders,
    prompt_id TEXT NOT NULL,
    sample INTEGER NOT NULL,
    messages TEXT NOT NULL,                 -- JSON: a list of {role, content}
    stage TEXT NOT NULL,
    asked_at REAL NOT NULL,                 -- seconds since 1970
    failure TEXT                            -- why it was given up; it is asked again next time
);
CREATE INDEX requests_by_prompt ON requests (prompt_id);
CREATE TABLE answers (
    key TEXT PRIMARY KEY REFERENCES requests,
    text TEXT NOT NULL,
    author TEXT NOT NULL,
    outcome TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost REAL,                              -- US dollars; NULL where no price is known
    calls INTEGER NOT NULL,                 -- times it was sent
    answered_at REAL NOT NULL,
    info TEXT NOT NULL                      -- JSON
);
"""

NOT_STORABLE = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What SQLite raises if a value is at fault, not the file."""

DOLLARS = """CASE WHEN total(cost) > 0 OR coalesce(sum(cost IS NULL), 0) = 0
    THEN total(cost) END"""
"""SQL: what some answers cost as far as is known; NULL where nothing is, which is not zero."""


def connect(path: Path, *, readonly: bool = False, whole: bool = False) -> sqlite3.Connection:
    """Open a journal, and make it if there is none. Raises `CptError` if it is not usable.

    `whole` reads every page, a second or two for a million answers, to find any damage; without,
    a file that is cut short or spoilt at its beginning is found out at once, other damage later.
    """
    with explained(path):
        connection = _open(path, readonly)
        try:
            _inspect(connection, path, readonly)
            if whole:
                _read_whole(connection)
        except (sqlite3.Error, CptError):
            connection.close()
            raise
    return connection


@contextmanager
def reading(path: Path, *, whole: bool = False) -> Iterator[sqlite3.Connection]:
    """The same for a block that only reads. Raises `CptError` where it finds damage."""
    with explained(path), closing(connect(path, readonly=True, whole=whole)) as connection:
        yield connection


def _open(path: Path, readonly: bool) -> sqlite3.Connection:
    how = "mode=ro" if readonly else "mode=rwc"
    if readonly and not os.access(path.parent, os.W_OK) and not _log(path).exists():
        # SQLite makes a log even to read, unless the file is declared not to change.
        how = "immutable=1"
    uri = f"{path.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _log(path: Path) -> Path:
    """What is not yet in the file itself; gone once the last writer has closed it."""
    return path.with_name(f"{path.name}-wal")


def _inspect(connection: sqlite3.Connection, path: Path, readonly: bool) -> None:
    connection.execute("PRAGMA busy_timeout = 10000")
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty and not application and not readonly:
        return _make(connection)
    if application != APPLICATION:
        raise CptError(f"{path}: a database, but not a journal; choose another --output.")
    if version > VERSION:
        raise CptError(
            f"{path}: written by a newer cpt (format {version}, this one reads {VERSION}); "
            "upgrade cpt, or choose another --output."
        )
    if not readonly:
        _set_up(connection)
    return None


def _read_whole(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _make(connection: sqlite3.Connection) -> None:
    _set_up(connection)
    connection.executescript(
        f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION};"
        f" PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # Only FULL syncs the log at every commit, and that is what makes an answer survive.
    connection.execute("PRAGMA synchronous = FULL")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise the errors of SQLite in the block as `CptError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from error


def explain(path: Path, error: BaseException) -> CptError:
    """An error while the file was used, as a line that says what to do."""
    text = " ".join(str(error).split())
    if not isinstance(error, sqlite3.Error) or isinstance(error, NOT_STORABLE):
        return Stopped(f"{path}: an answer cannot be written ({type(error).__name__}: {text}).")
    if isinstance(error, sqlite3.OperationalError):
        remedy = {
            "full": "the disk is full: make room",
            "readonly": "it cannot be written: choose a folder that can",
            "unable to open": "it cannot be opened: choose a folder that can be written",
            "disk I/O": "the disk refuses it (full, or failing)",
            "locked": "another program holds it: close that",
        }
        for word, say in remedy.items():
            if word in text:
                return Stopped(f"{path}: {say}, then run again; all answers in it are kept.")
    return CptError(
        f"{path}: damaged, or not a journal ({text}). Move it away to start again, or save what "
        f"can be read with `sqlite3 {path} .recover`."
    )
