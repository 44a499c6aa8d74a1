"""How much one endpoint is asked at a time: as much as it takes, found by trying."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cpt.asking.halt import Halt

FIRST = 4
"""Requests in flight at the start; doubled each round trip until the service complains."""


class Throttle:
    """Lets requests to one endpoint through, never more at once than its level."""

    def __init__(self, most: int, halt: Halt) -> None:
        self.most = most
        self.level = float(most)
        self.in_flight = 0
        self._halt = halt
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the places."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        waiter = self._halt.future()
        self._waiting.append(waiter)
        self._admit()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < int(self.level):
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)
