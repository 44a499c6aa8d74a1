"""One request over HTTP, to whichever address has the least to do."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp
import attrs

from cpt import Malformed, Prompt, Response, Unreachable
from cpt.service.chat import read
from cpt.service.http_errors import failure
from cpt.service.ratelimits import heard

if TYPE_CHECKING:
    from cpt_server import Server

ASIDE = 5.0
"""Seconds for which an address that could not be reached gets nothing, if there are others."""
MOST_BYTES = 100_000_000
"""Bytes of an answer: far above any that a model writes, and far below a machine's memory."""


@attrs.define(eq=False)
class Connections:
    """What one event loop has open, and what is under way where."""

    session: aiohttp.ClientSession
    load: Counter[str] = attrs.field(factory=Counter)
    aside: dict[str, float] = attrs.field(factory=dict)
    """Until when an address gets nothing, in the loop's time."""

    def least_busy(self, urls: tuple[str, ...], now: float) -> str:
        return min(urls, key=lambda url: (self.aside.get(url, 0.0) > now, self.load[url]))


_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()


def connections() -> Connections:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _connections:
        # The engine bounds what is in flight and how long it may take.
        _connections[loop] = Connections(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            )
        )
    return _connections[loop]


async def close() -> None:
    """Close those of the running event loop."""
    if mine := _connections.pop(asyncio.get_running_loop(), None):
        await mine.session.close()


async def answer(responder: Server, prompt: Prompt, sample: int) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    mine, now = connections(), asyncio.get_running_loop().time()
    url = mine.least_busy(responder.base_url, now)
    key = os.environ.get(responder.api_key_env or "", "")
    mine.load[url] += 1
    try:
        status, headers, data = await _post(mine.session, url, responder.body(prompt, sample), key)
    except (aiohttp.ClientError, OSError) as error:
        mine.aside[url] = now + ASIDE
        raise Unreachable(f"{url}: {type(error).__name__}: {error}") from None
    finally:
        mine.load[url] -= 1
    heard(headers)
    if status >= 300:
        raise failure(status, headers, _parsed(data), secret=key)
    try:
        body = json.loads(data)
    except ValueError:
        raise Malformed("what came back is no JSON") from None
    return read(body, prompt, responder.author)


async def _post(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], key: str
) -> tuple[int, Mapping[str, str], bytes]:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode()
    async with session.post(
        f"{url.rstrip('/')}/chat/completions", data=data, headers=headers
    ) as reply:
        return reply.status, reply.headers, await _read(reply)


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """The body, unless it has no end."""
    data = bytearray()
    async for part in reply.content.iter_any():
        data += part
        if len(data) > MOST_BYTES:
            raise Unreachable(f"an answer of more than {MOST_BYTES / 1e6:.0f} MB")
    return bytes(data)


def _parsed(data: bytes) -> Any:
    """An error's body, whatever it is."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")
