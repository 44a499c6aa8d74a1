"""One request over HTTP, to the address that has the least to do."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs

from cpt import Malformed, Prompt, Response, Unreachable
from cpt.service import Clients, chat_response, http_error, report_limits

if TYPE_CHECKING:
    from cpt_server import Server

ASIDE = 5.0
"""Seconds for which an address that could not be reached gets nothing, if there are others."""
MOST_BYTES = 100_000_000
"""Bytes of an answer: far above any that a model writes, and far below a machine's memory."""


@attrs.define(eq=False)
class Connections:
    """What one event loop has open, and what is in flight where."""

    session: aiohttp.ClientSession
    load: Counter[str] = attrs.field(factory=Counter)
    aside: dict[str, float] = attrs.field(factory=dict)
    """Until when an address gets nothing, in the loop's time."""

    def least_busy(self, urls: tuple[str, ...], now: float) -> str:
        return min(urls, key=lambda url: (self.aside.get(url, 0.0) > now, self.load[url]))

    async def close(self) -> None:
        await self.session.close()


def _connect() -> Connections:
    # The engine bounds what is in flight and how long it may take.
    return Connections(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        )
    )


CONNECTIONS = Clients(_connect)


async def answer(responder: Server, prompt: Prompt, sample: int) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    mine, now = CONNECTIONS.get(), asyncio.get_running_loop().time()
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
    report_limits(headers)
    if status >= 300:
        raise http_error(status, headers, _parsed(data), secret=key)
    try:
        body = json.loads(data)
    except ValueError:
        raise Malformed("what came back is not JSON") from None
    return chat_response(body, prompt, responder.author)


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
