"""Run many things at once; get their results in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import attrs

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 16
"""Most results that wait for a slower one before them, in multiples of what runs at once."""


async def in_order(
    items: Iterable[Item], function: Callable[[Item], Awaitable[Result]], at_once: int
) -> AsyncGenerator[Result, None]:
    """Run `function` on up to `at_once` items at a time; yield the results in the items' order.

    Items are taken as they are needed, so memory does not grow with their number. After the first
    exception nothing more is begun; it is raised in its place in the order.
    """
    window = _Window[Result](at_once)
    feeder = asyncio.ensure_future(window.feed(function(item) for item in items))
    try:
        while (following := await window.started.get()) is not None:
            yield await following
            window.ahead.release()
        await feeder
    finally:
        unfinished: list[asyncio.Future[Any]] = [feeder, *window.running]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


@attrs.define
class _Window(Generic[Result]):
    """What is under way, in order, and how much more may begin."""

    at_once: int
    room: asyncio.Semaphore = attrs.field(init=False)
    ahead: asyncio.Semaphore = attrs.field(init=False)
    started: asyncio.Queue[asyncio.Future[Result] | None] = attrs.field(factory=asyncio.Queue)
    running: set[asyncio.Future[Result]] = attrs.field(factory=set)
    failed: bool = False

    def __attrs_post_init__(self) -> None:
        self.room = asyncio.Semaphore(self.at_once)
        self.ahead = asyncio.Semaphore(self.at_once * AHEAD)

    async def feed(self, work: Iterable[Awaitable[Result]]) -> None:
        try:
            await self._start(iter(work))
        finally:
            self.started.put_nowait(None)

    async def _start(self, work: Iterator[Awaitable[Result]]) -> None:
        while True:
            await self.ahead.acquire()
            await self.room.acquire()
            following = None if self.failed else next(work, None)
            if following is None:
                return
            task = asyncio.ensure_future(following)
            self.running.add(task)
            task.add_done_callback(self._end)
            self.started.put_nowait(task)

    def _end(self, task: asyncio.Future[Result]) -> None:
        self.room.release()
        self.running.discard(task)
        # Retrieve every exception: asyncio prints those that are not.
        failed = task.cancelled() or task.exception() is not None
        self.failed = self.failed or failed
