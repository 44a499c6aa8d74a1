"""One thread that writes: what waits is committed together, then the waiters are woken."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any

import attrs

MOST = 512
"""Statements in one transaction."""


@attrs.frozen(eq=False)
class _Write:
    statement: str
    values: Sequence[Any]
    done: asyncio.Future[None]


class Writer:
    """Runs statements on a connection, in the order they were given, in groups.

    The first error ends it: what waits and what comes later gets that error, and the file keeps
    what was committed before.
    """

    def __init__(
        self, connection: sqlite3.Connection, explain: Callable[[Exception], Exception]
    ) -> None:
        self._connection = connection
        self._explain = explain
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="cpt-journal", daemon=True)
        self._thread.start()

    def write(self, statement: str, values: Sequence[Any]) -> asyncio.Future[None]:
        """A future that is done once the statement is on the disk."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(statement, values, done))
        return done

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._gather(first)
            self._commit(group)
            _wake(group, self._error)
            if last:
                return

    def _gather(self, first: _Write) -> tuple[list[_Write], bool]:
        group = [first]
        while len(group) < MOST:
            try:
                following = self._queue.get_nowait()
            except Empty:
                break
            if following is None:
                return group, True
            group.append(following)
        return group, False

    def _commit(self, group: Sequence[_Write]) -> None:
        if self._error:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statement, same in groupby(group, lambda write: write.statement):
                self._connection.executemany(statement, [write.values for write in same])
            self._connection.execute("COMMIT")
        except Exception as error:
            # Whatever it is, the waiters must get it.
            self._error = self._explain(error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def _wake(group: Sequence[_Write], error: Exception | None) -> None:
    def settle() -> None:
        for write in group:
            if write.done.done():
                continue
            if error:
                write.done.set_exception(error)
            else:
                write.done.set_result(None)

    loop = group[0].done.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
