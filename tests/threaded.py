"""A scripted server that answers while the test waits for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Event, Thread
from typing import Any

from .scripted import Reply, serving


@contextmanager
def served(body: Any, **bodies: Any) -> Iterator[str]:
    """The address of a server that says the same to every request, or what `bodies` has for one of
    its words."""
    address: Queue[str] = Queue()
    finished = Event()

    async def serve() -> None:
        async with serving() as server:
            server.reply = Reply(body)
            server.replies = {word: Reply(other) for word, other in bodies.items()}
            address.put(server.url)
            await asyncio.to_thread(finished.wait)

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield address.get()
    finally:
        finished.set()
        thread.join()


def completion(text: str) -> dict[str, Any]:
    """What an endpoint for chat completions answers."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 12, "total_tokens": 72},
    }
