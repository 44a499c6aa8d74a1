"""Which batches are at a provider: written down before they are sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from cpt.asking.journal import schema
from cpt.asking.journal.keys import Request
from cpt.service.batch import BatchItem
from cpt.types import Message, Prompt

TABLES = (
    """CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,                 -- of the responder
    remote TEXT,                            -- the provider's id; NULL until it is known
    state TEXT NOT NULL,                    -- open; ended; found, under other names; lost
    created_at REAL NOT NULL                -- seconds since 1970
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS batched (
    batch TEXT NOT NULL REFERENCES batches,
    place INTEGER NOT NULL,                 -- of the request in the batch
    key TEXT NOT NULL REFERENCES requests,
    PRIMARY KEY (batch, place)
    ) WITHOUT ROWID""",
)
OPEN = """SELECT name, remote, created_at FROM batches WHERE identity = ? AND state = 'open'
    ORDER BY created_at"""
ANY_OPEN = "SELECT 1 FROM batches WHERE state = 'open' LIMIT 1"
INSIDE = """SELECT key, prompt_id, sample, messages FROM batched JOIN requests USING (key)
    WHERE batch = ? ORDER BY place"""


@attrs.frozen
class ProviderBatch:
    """A batch that was, or is about to be, sent."""

    name: str
    identity: str
    requests: Sequence[Request]
    since: float
    """When it was written down, in seconds since 1970."""
    remote: str | None = None
    """The provider's id, once that is known."""

    @property
    def items(self) -> dict[str, BatchItem]:
        """Its requests as the service takes them, by key."""
        return {request.key: item(request) for request in self.requests}


def item(request: Request) -> BatchItem:
    """A request of the journal as a service takes it."""
    messages = tuple(Message(**turn) for turn in request.turns)
    prompt = Prompt(id=request.prompt_id, messages=messages, tools=tuple(request.tools))
    return BatchItem(request.key, prompt, request.sample)


def pending(journal: Path) -> bool:
    """Whether batches of an earlier run may still bring answers."""
    with schema.reading(journal) as connection:
        there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone()
        return bool(there and connection.execute(ANY_OPEN).fetchone())


class BatchLog:
    """The batches of one journal. All is on the disk when a method returns."""

    def __init__(self, journal: Path) -> None:
        self._path = journal
        self._connection = schema.connect(journal)
        with self._writing() as write:
            for table in TABLES:
                write.execute(table)

    def intend(self, batch: ProviderBatch) -> None:
        """Note a batch that is about to be sent, or was found at the provider."""
        row = (batch.name, batch.identity, batch.remote, batch.since)
        inside = [(batch.name, place, request.key) for place, request in enumerate(batch.requests)]
        with self._writing() as write:
            write.execute("INSERT INTO batches VALUES (?, ?, ?, 'open', ?)", row)
            write.executemany("INSERT INTO batched VALUES (?, ?, ?)", inside)

    def sent(self, name: str, remote: str) -> None:
        """Note the id that the provider gave it."""
        with self._writing() as write:
            write.execute("UPDATE batches SET remote = ? WHERE name = ?", (remote, name))

    def over(self, name: str, state: str) -> None:
        """Note that it will bring nothing more."""
        with self._writing() as write:
            write.execute("UPDATE batches SET state = ? WHERE name = ?", (state, name))

    def open(self, identity: str) -> list[ProviderBatch]:
        """The batches of one responder that may still bring answers."""
        with schema.explained(self._path):
            return [
                ProviderBatch(name, identity, self._inside(name, identity), since, remote)
                for name, remote, since in self._connection.execute(OPEN, (identity,)).fetchall()
            ]

    def known(self) -> set[str]:
        """The providers' ids of all batches there ever were."""
        with schema.explained(self._path):
            found = self._connection.execute("SELECT remote FROM batches WHERE remote NOT NULL")
            return {remote for (remote,) in found}

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _inside(self, name: str, identity: str) -> list[Request]:
        return [
            Request(key=key, prompt_id=prompt, sample=sample, identity=identity, messages=messages)
            for key, prompt, sample, messages in self._connection.execute(INSIDE, (name,))
        ]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises `CptError` that says what to do if the file cannot be written."""
        with schema.explained(self._path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
