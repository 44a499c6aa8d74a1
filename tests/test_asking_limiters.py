"""Every kind of limiter that providers use: asked nearly as fast as it allows, with little waste.

Time is virtual: it costs nothing, and no machine is too slow for it.
"""

from __future__ import annotations

import asyncio
import copy
import math
import random
from bisect import bisect
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from cpt import NOT_IDENTITY, Overloaded, Prompt, Response, Service, Usage
from cpt.asking.journal import keys
from cpt.asking.journal.journal import Entry
from cpt.asking.stats import Stats
from cpt.asking.stop import Stop
from cpt.asking.transports.endpoint import Endpoint

from .asked import prompt
from .clock import in_no_time
from .faulty import Bucket, Sliding, Window

ROWS = 1000
CAP = 100.0
"""Requests a second, so that 10 s would be ideal."""
WASTED = ROWS // 9
"""Refused calls that are a tenth of all."""


class Weighted:
    """A sliding second, reckoned from two seconds of the clock."""

    def __init__(self) -> None:
        self._second = self._now = self._before = 0

    def takes(self, now: float) -> bool:
        if int(now) != self._second:
            self._before = self._now if int(now) == self._second + 1 else 0
            self._second, self._now = int(now), 0
        free = self._before * (1 - now % 1) + self._now < CAP
        self._now += free
        return free


class Both:
    """A short limit and a long one."""

    def __init__(self, *limits: Any) -> None:
        self._limits = limits

    def takes(self, now: float) -> bool:
        return all([limit.takes(now) for limit in self._limits])


@attrs.define
class Places:
    """So many requests at once."""

    most: int
    taken: int = 0

    def takes(self, _: float) -> bool:
        free = self.taken < self.most
        self.taken += free
        return free

    def leave(self) -> None:
        self.taken -= 1


@attrs.define
class Queue:
    """Works through so many a second; whoever finds the queue full is refused."""

    depth: int
    free_at: float = 0.0

    def takes(self, now: float) -> bool:
        self.free_at = max(self.free_at, now)
        free = (self.free_at - now) * CAP < self.depth
        self.free_at += free / CAP
        return free

    def delay(self, now: float) -> float:
        return self.free_at - now


def nothing(_: Any, __: float) -> None:
    return None


def exactly(limiter: Any, now: float) -> float | None:
    """The time until it takes one more, where that is a matter of time."""
    if isinstance(limiter, Places):
        return None
    hundredths = range(7000)
    return bisect(hundredths, False, key=lambda n: _takes(limiter, now + n / 100)) / 100


def rounded(limiter: Any, now: float) -> float | None:
    """The same in whole seconds, never 0."""
    return max(1.0, math.ceil(exactly(limiter, now) or 0.0))


def _takes(limiter: Any, when: float) -> bool:
    return bool(copy.deepcopy(limiter).takes(when))


@attrs.frozen
class Limited(Service):
    """A service behind a limiter."""

    name = "limited"
    limiter: Any = attrs.field(metadata=NOT_IDENTITY)
    hint: Callable[[Any, float], float | None] = attrs.field(metadata=NOT_IDENTITY)
    """What `Retry-After` says."""
    latency: float = attrs.field(metadata=NOT_IDENTITY)

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.latency / 10 * random.uniform(0.5, 1.5))
        if not self.limiter.takes(loop.time()):
            raise Overloaded("slow down", self.hint(self.limiter, loop.time()))
        queued = self.limiter.delay(loop.time()) if isinstance(self.limiter, Queue) else 0.0
        await asyncio.sleep(queued + self.latency * random.uniform(0.8, 1.2))
        if isinstance(self.limiter, Places):
            self.limiter.leave()
        return Response(prompt_id=prompt.id, text="yes", author="m", usage=Usage())


def asked(limiter: Any, hint: Any, most: int, latency: float) -> tuple[float, int]:
    """Ask all rows; the seconds it took, and the calls that were refused."""
    stats = Stats()

    async def ask() -> float:
        service = Limited(limiter, hint, latency, concurrency=most)
        endpoint = Endpoint(service, Stop(), stats, patience=120.0)
        one = prompt(0)
        entry = Entry(None, keys.request(service, one, 0), "")
        await asyncio.gather(*(endpoint.ask(service, one, n, entry) for n in range(ROWS)))
        return asyncio.get_running_loop().time()

    random.seed(0)
    seconds = in_no_time(ask())
    return seconds, stats.errors["overloaded"]


KINDS: dict[str, tuple[Callable[[float], Any], float]] = {
    "any second": (lambda _: Sliding(CAP), 12.5),
    "any 5 seconds": (lambda _: Sliding(CAP, 5.0), 12.5),
    "any second, refused calls too": (lambda _: Sliding(CAP, counting=True), 12.5),
    "any second, about": (lambda _: Weighted(), 12.5),
    "second of the clock": (lambda _: Window(CAP), 12.5),
    "5 seconds of the clock": (lambda _: Window(CAP, 5.0), 12.5),
    "bucket": (lambda _: Bucket(CAP), 12.5),
    "bucket, shallow": (lambda _: Bucket(CAP, 10.0), 12.5),
    "bucket, deep": (lambda _: Bucket(CAP, 300.0), 12.5),
    "bucket, deep and empty": (lambda _: Bucket(CAP, 6000.0, level=0.0), 12.5),
    "bucket, refused calls too": (lambda _: Bucket(CAP, counting=True), 12.5),
    "second and minute": (lambda _: Both(Bucket(CAP, 20.0), Bucket(CAP, 6000.0)), 12.5),
    "queue, short": (lambda _: Queue(20), 12.5),
    "queue, long": (lambda _: Queue(100), 12.5),
    # As many at once as make the cap if the way there took no time.
    "places": (lambda latency: Places(round(1.1 * CAP * latency)), 13.0),
    # Ten in a tenth of a second: requests do not arrive as evenly as they are sent.
    "any tenth of a second": (lambda _: Sliding(CAP, 0.1), 15.0),
    "tenth of a second of the clock": (lambda _: Window(CAP, 0.1), 14.0),
}
"""Each kind, for a latency, and the most seconds that it may take."""


@pytest.mark.parametrize("hint", [nothing, exactly, rounded])
@pytest.mark.parametrize("kind", KINDS)
def test_a_capped_service_is_asked_nearly_as_fast_as_it_allows(
    kind: str, hint: Callable[[Any, float], float | None]
) -> None:
    make, longest = KINDS[kind]
    for most, latency in ((64, 0.05), (256, 0.2)):
        seconds, refused = asked(make(latency), hint, most, latency)
        assert seconds <= longest
        assert refused <= WASTED


@pytest.mark.parametrize(
    ("make", "hint", "longest"),
    [
        # The second minute begins at 60 s: nobody can be done before.
        (lambda: Window(10.0, 60.0), rounded, 65.0),
        (lambda: Sliding(10.0, 60.0), rounded, 65.0),
        # A bucket of 600 gives 600 at once, and the other 400 at ten a second.
        (lambda: Bucket(10.0, 600.0), rounded, 43.0),
        # Untold when it begins, we look every half minute.
        (lambda: Window(10.0, 60.0), nothing, 95.0),
    ],
)
def test_a_limit_by_the_minute_is_waited_for(
    make: Callable[[], Any], hint: Callable[[Any, float], float | None], longest: float
) -> None:
    seconds, refused = asked(make(), hint, 64, 0.2)
    assert seconds <= longest
    assert refused <= WASTED


def test_where_no_two_may_come_together_uneven_arrival_costs_time_but_loses_nothing() -> None:
    """No burst at all: the pace has to leave room for what arrives early or late."""
    seconds, refused = asked(Bucket(CAP, 1.5), rounded, 64, 0.05)
    assert seconds <= 20.0
    assert refused <= WASTED
