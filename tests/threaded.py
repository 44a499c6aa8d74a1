"""A scripted server that answers while the test waits for something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .loopback import in_a_thread
from .scripted import Reply, Server, serving


@contextmanager
def answering(reply: Reply, **replies: Reply) -> Iterator[Server]:
    """A scripted server that says the same to every request, or what `replies` has for one of its
    words."""
    with in_a_thread(serving()) as server:
        server.reply = reply
        server.replies = replies
        yield server


@contextmanager
def served(body: Any, **bodies: Any) -> Iterator[str]:
    """The address of one that says these bodies, each with status 200."""
    replies = {word: Reply(other) for word, other in bodies.items()}
    with answering(Reply(body), **replies) as server:
        yield server.url


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
