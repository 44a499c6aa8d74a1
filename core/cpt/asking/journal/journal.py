"""The journal: every request that was paid for, and its answer, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from filelock import FileLock, Timeout

from cpt.asking.journal import clean_close, schema
from cpt.asking.journal.keys import Request
from cpt.asking.journal.writer import Writer
from cpt.errors import CptError, WrongReturn
from cpt.files import ODD, from_json
from cpt.types import Response, Usage

FIND = """SELECT text, author, outcome, finish_reason, detail, input_tokens, cached_tokens,
    output_tokens, info, cost FROM answers WHERE key = ?"""
RESPONDERS = "SELECT identity, id FROM responders"
BEGIN = """INSERT INTO requests
    (key, responder, prompt_id, sample, messages, stage, asked_at) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET asked_at = excluded.asked_at, failure = NULL"""
KEEP = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
GIVE_UP = "UPDATE requests SET failure = ? WHERE key = ?"
SPENT = "SELECT total(cost), sum(cost IS NULL) FROM answers"
DOUBTFUL = """SELECT key, prompt_id, asked_at FROM requests LEFT JOIN answers USING (key)
    WHERE failure IS NULL AND outcome IS NULL ORDER BY asked_at"""


@attrs.frozen
class Paid:
    """An answer and its price."""

    response: Response
    cost: float | None = None
    """US dollars, None where that is unknown."""


class Journal:
    """Reads and writes the journal of one run folder; one process at a time holds it.

    Raises `CptError` if another run holds it, or if the file is damaged or of a newer version. It
    is read whole to know, unless it is as the last run left it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = _lock(path)
        self._sound = True
        try:
            self._reader = schema.connect(path, whole=not clean_close.take(path))
            self._connection = schema.connect(path)
            self._responders: dict[str, int] = dict(self._read(RESPONDERS, ()))
        except CptError:
            self._lock.release()
            raise
        self._writer = Writer(self._connection, self._explain)

    def find(self, request: Request) -> Paid | None:
        """The answer to a request, if it was ever paid for."""
        try:
            return find(self._reader, request)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    async def begin(self, request: Request, stage: str = "") -> None:
        """Note, durably, that a request is about to be sent."""
        responder = await self._responder(request.identity)
        await self._writer.write(
            BEGIN,
            (
                request.key,
                responder,
                request.prompt_id,
                request.sample,
                request.messages,
                stage,
                time.time(),
            ),
        )

    async def keep(self, request: Request, paid: Paid, calls: int = 1) -> None:
        """Make an answer durable, after so many calls. It is there once this returns."""
        response, usage = paid.response, paid.response.usage
        await self._writer.write(
            KEEP,
            (
                request.key,
                response.text,
                response.author,
                response.outcome,
                response.finish_reason,
                response.detail,
                usage.input_tokens,
                usage.cached_tokens,
                usage.output_tokens,
                paid.cost,
                calls,
                time.time(),
                json.dumps(dict(response.info), default=str) if response.info else "{}",
            ),
        )

    def fail(self, request: Request, why: str) -> None:
        """Note that a request failed and is not in flight; there is no need to wait."""
        written = self._writer.write(GIVE_UP, (why, request.key))
        written.add_done_callback(lambda done: done.exception())

    def doubtful(self) -> list[tuple[str, str, float]]:
        """Requests that a crash caught in flight: (key, prompt id, time), perhaps paid for."""
        return self._read(DOUBTFUL, ())

    def spent(self) -> tuple[float, int]:
        """US dollars for all answers whose price is known, and how many others there are."""
        dollars, unpriced = self._read(SPENT, ())[0]
        return dollars, unpriced or 0

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._writer.close()
        self._reader.close()
        self._connection.close()
        if self._sound:
            clean_close.put(self.path)
        self._lock.release()

    async def _responder(self, identity: str) -> int:
        if identity not in self._responders:
            number = self._responders[identity] = len(self._responders) + 1
            await self._writer.write("INSERT INTO responders VALUES (?, ?)", (number, identity))
        return self._responders[identity]

    def _read(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> CptError:
        self._sound = False
        return schema.explain(self.path, error)


def find(connection: sqlite3.Connection, request: Request) -> Paid | None:
    """The answer to a request in an open journal, if it is there.

    Raises `sqlite3.DatabaseError` for one that is not as it was kept.
    """
    found = connection.execute(FIND, (request.key,)).fetchone()
    try:
        return Paid(_response(found, request.prompt_id), found[-1]) if found else None
    except (*ODD, WrongReturn) as error:
        raise sqlite3.DatabaseError(f"an answer is not as it was kept: {error}") from error


@attrs.frozen
class Entry:
    """One request in a journal; without one, nothing is written."""

    journal: Journal | None
    request: Request
    stage: str

    async def begin(self) -> None:
        """It is about to be sent; durable once this returns."""
        if self.journal:
            await self.journal.begin(self.request, self.stage)

    def fail(self, why: str) -> None:
        """It failed, and is not in flight."""
        if self.journal:
            self.journal.fail(self.request, why)

    async def keep(self, paid: Paid, calls: int) -> None:
        """It was answered, after so many calls; durable once this returns."""
        if self.journal:
            await self.journal.keep(self.request, paid, calls)


def _lock(path: Path) -> FileLock:
    """Hold the journal until released, or until this process ends however it ends."""
    file = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        lock = FileLock(file)
        lock.acquire(timeout=0)
    except Timeout:
        raise CptError(
            f"{path}: another run is using it; wait for that run, or choose another --output."
        ) from None
    except OSError as error:
        raise CptError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another --output."
        ) from error
    return lock


def _response(row: Sequence[Any], prompt_id: str) -> Response:
    text, author, outcome, finish_reason, detail, given, cached, made, info, _ = row
    return Response(
        prompt_id=prompt_id,
        text=text,
        author=author,
        outcome=outcome,
        finish_reason=finish_reason,
        detail=detail,
        usage=Usage(input_tokens=given, cached_tokens=cached, output_tokens=made),
        info=dict(from_json(info)) if info != "{}" else {},
    )
