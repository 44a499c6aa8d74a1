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

from cpt import Prompt, Response, Unreachable
from cpt.service import (
    ACCEPTED,
    Clients,
    chat_response,
    http_error,
    read_body,
    read_error,
    read_json,
    report_limits,
)

if TYPE_CHECKING:
    from cpt_server.responder import Server

ASIDE = 5.0
"""Seconds for which an address that could not be reached gets nothing, if there are others."""


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
            auto_decompress=False,
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
        raise http_error(status, headers, read_error(data), secret=key)
    return chat_response(read_json(data), prompt, responder.author, headers)


async def _post(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], key: str
) -> tuple[int, Mapping[str, str], bytes]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": ACCEPTED}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode()
    async with session.post(
        f"{url.rstrip('/')}/chat/completions", data=data, headers=headers, allow_redirects=False
    ) as reply:
        encoding = reply.headers.get("Content-Encoding", "")
        return reply.status, reply.headers, await read_body(reply.content.iter_any(), encoding)
