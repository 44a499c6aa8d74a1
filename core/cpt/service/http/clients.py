"""Clients of services: one for each event loop, and an SDK's errors in the engine's terms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

import aiohttp

from cpt.errors import AskError, Malformed, Unreachable
from cpt.secrets import hide
from cpt.service.http.bodies import ACCEPTED, in_lines, read_body, read_error, unpacked
from cpt.service.http.errors import http_error


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


def bounded(client: type[Any]) -> type[Any]:
    """A class of HTTP clients as SDKs use them (httpx), whose responses have an end.

    A body of more than 100 MB raises `Malformed`, compressed ones by what comes out; so does such
    a line of one that is streamed. Pass `follow_redirects=False` to it.
    """

    class Bounded(client):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            request.headers["accept-encoding"] = ACCEPTED
            response = await super().send(request, stream=True, **options)
            if stream and response.status_code < 300:
                return _like(response, _streamed(response))
            try:
                return _like(response, await read_body(response.aiter_raw(), _encoding(response)))
            finally:
                await response.aclose()

    return Bounded


async def _streamed(response: Any) -> AsyncIterator[bytes]:
    try:
        async for piece in in_lines(unpacked(response.aiter_raw(), _encoding(response))):
            yield piece
    finally:
        await response.aclose()


def _encoding(response: Any) -> str:
    return str(response.headers.get("content-encoding", ""))


def _like(response: Any, content: Any) -> Any:
    """The same response with content that was unpacked."""
    about_the_wire = {"content-encoding", "content-length", "transfer-encoding"}
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in about_the_wire]
    return type(response)(
        response.status_code, headers=headers, content=content, request=response.request
    )


def sdk_clients(client: Callable[..., Client], transport: type[Any]) -> Clients[Client]:
    """Clients of an SDK, by key, base URL and timeout in seconds; their responses have an end.

    `client` is a class such as `openai.AsyncOpenAI`, and `transport` one such as
    `openai.DefaultAioHttpClient`, which takes half of the CPU of the SDK's default.
    """
    http = bounded(transport)

    def connect(key: str, url: str, timeout: float) -> Client:
        return client(
            api_key=key,
            base_url=url,
            timeout=timeout,
            max_retries=0,
            http_client=http(follow_redirects=False),
        )

    return Clients(connect)


@contextmanager
def sdk_errors(sdk: Any, secret: str = "") -> Iterator[None]:
    """Raise the errors of an SDK in the block as the engine's, with nothing of the request in them.

    `sdk` is a module with `APIError`, whose base all its errors have, and `APIStatusError`, such as
    `openai` or `anthropic`; `secret` is the key that was sent. What is not JSON, or not what the
    SDK takes it for, raises `Malformed`.
    """
    hide(secret)
    try:
        yield
    except sdk.APIStatusError as error:
        # The SDK's own reading of an error fails on bodies that it does not expect.
        body = read_error(error.response.content)
        raise http_error(error.status_code, error.response.headers, body) from None
    except (sdk.APIError, aiohttp.ClientError) as error:
        # The SDK's own words are "Connection error."; what it wraps says which.
        cause = error.__cause__ or error
        if isinstance(cause, AskError):
            raise cause from None
        raise Unreachable(f"{type(cause).__name__}: {cause}") from None
    except (ValueError, RecursionError):
        raise Malformed("what came back is not JSON") from None
    except (AttributeError, LookupError, TypeError, sdk.APIError.__base__) as error:
        # An SDK takes a reply for what it should be; we meet what it is.
        raise Malformed(f"what came back is not as the API says ({error!r})") from None
