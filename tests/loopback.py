"""Servers on this machine's loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

from aiohttp import web

Served = TypeVar("Served")


@asynccontextmanager
async def on_loopback(app: web.Application) -> AsyncIterator[str]:
    """The address at which an application is served for as long as the block runs."""
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[Served]) -> Iterator[Served]:
    """What a server yields, while it serves in an event loop of a thread of its own."""
    ready: Queue[Served] = Queue()
    finished = Event()

    async def serve() -> None:
        async with server as served:
            ready.put(served)
            await asyncio.to_thread(finished.wait)

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield ready.get()
    finally:
        finished.set()
        thread.join()
