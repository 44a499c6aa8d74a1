"""Clients of services: one for each event loop, and an SDK's errors in the engine's terms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

import aiohttp

from cpt.errors import Malformed, Unreachable
from cpt.service.http_errors import http_error


class Closable(Protocol):
    """Something with connections."""

    def close(self) -> Awaitable[None]: ...


Client = TypeVar("Client", bound=Closable)


class Clients(Generic[Client]):
    """Clients by event loop and settings: a connection belongs to the loop that opened it."""

    def __init__(self, connect: Callable[..., Client]) -> None:
        self._connect = connect
        self._loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[object, ...], Client]
        ] = WeakKeyDictionary()

    def get(self, *settings: object) -> Client:
        """The client of the running event loop with these settings: `connect(*settings)`, once."""
        clients = self._loops.setdefault(asyncio.get_running_loop(), {})
        if settings not in clients:
            clients[settings] = self._connect(*settings)
        return clients[settings]

    async def close(self) -> None:
        """Close those of the running event loop: what a responder's `close` does."""
        for client in self._loops.pop(asyncio.get_running_loop(), {}).values():
            await client.close()


@contextmanager
def sdk_errors(sdk: Any, secret: str = "") -> Iterator[None]:
    """Raise the errors of an SDK in the block as the engine's, with nothing of the request in them.

    `sdk` is a module with `APIError` and `APIStatusError`, such as `openai` or `anthropic`;
    `secret` is the key that was sent. What is not JSON raises `Malformed`.
    """
    try:
        yield
    except sdk.APIStatusError as error:
        headers = error.response.headers
        raise http_error(error.status_code, headers, error.body, secret=secret) from None
    except (sdk.APIError, aiohttp.ClientError) as error:
        # The SDK's own words are "Connection error."; what it wraps says which.
        cause = error.__cause__ or error
        raise Unreachable(f"{type(cause).__name__}: {cause}") from None
    except ValueError:
        raise Malformed("what came back is not JSON") from None
