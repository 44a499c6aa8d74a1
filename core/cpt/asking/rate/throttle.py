"""How many requests one endpoint has at a time: as many as it takes, found by trying."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from cpt.asking.rate.pace import Pace
from cpt.asking.stop import Stop

FIRST = 8
"""Requests in flight at the start."""
DOUBLING = 0.7
"""Seconds in which the level doubles, until the first refusal."""
STEPS = 16
"""From then on the level grows by this part of the most in one round of requests."""


class Throttle:
    """Lets requests to one endpoint through: never more at once than its level, nor too fast.

    The level doubles until the first refusal (429, 529), is halved by every one, and grows by a
    constant a round from then on.
    """

    def __init__(self, most: int, stop: Stop) -> None:
        self.most = most
        self.level = float(min(FIRST, most))
        self.in_flight = 0
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self.pace = Pace(self._loop.time())
        self._doubles_since: float | None = self._loop.time()
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        stop.listen(self._fail_all)

    async def enter(self, *, again: bool = False) -> float:
        """Wait for a place; return when it began. What is asked again goes first.

        Every `enter` is followed by a `leave`.
        """
        self._stop.raise_if_set()
        waiter: asyncio.Future[float] = self._loop.create_future()
        if again:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        self._admit()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Free the place for the next."""
        self.in_flight -= 1
        self._admit()

    def accepted(self, began: float) -> None:
        """The service took a request that began then."""
        self.pace.accepted(began)
        if self._doubles_since is None:
            step = max(1.0, self.most / STEPS)
            self.level = min(self.most, self.level + step / self.level)

    def overloaded(self, began: float, retry_after: float | None) -> None:
        """The service had too much when it got a request that began then."""
        if self.pace.overloaded(began, self._loop.time(), retry_after):
            self.level = max(1.0, self.level / 2)
            self._doubles_since = None

    def _fail_all(self, error: Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _admit(self) -> None:
        """Let in all that may start now; come back when the next may."""
        now = self._loop.time()
        self._grow(now)
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif self.in_flight >= int(self.level):
                return self._return_at(self._grown_at())
            elif self.pace.ready() > now:
                return self._return_at(self.pace.ready())
            else:
                self.in_flight += 1
                self.pace.start(now)
                self._waiting.popleft().set_result(now)
        return None

    def _grow(self, now: float) -> None:
        if self._doubles_since is None:
            return
        doublings = min(64.0, (now - self._doubles_since) / DOUBLING)
        self.level = min(self.most, min(FIRST, self.most) * 2**doublings)
        if self.level >= self.most:
            self._doubles_since = None

    def _grown_at(self) -> float | None:
        """When the level has room for one more without anything ending; None if it waits."""
        if self._doubles_since is None:
            return None
        doublings = math.log2((int(self.level) + 1) / min(FIRST, self.most))
        return self._doubles_since + DOUBLING * doublings

    def _return_at(self, when: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        # A little later, so that rounding does not bring us back too soon.
        self._timer = self._loop.call_at(when + 1e-4, self._admit) if when else None
