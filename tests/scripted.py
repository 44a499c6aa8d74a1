"""A server on loopback that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
from aiohttp import web

from .loopback import on_loopback


@attrs.define
class Reply:
    """What the server sends: JSON, or raw bytes, or a cut connection."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: bool = False


NEARLY_USED = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "1",
    "x-ratelimit-reset-requests": "11s",
}
"""Headers after which nine requests a second may be asked."""


@attrs.define
class Server:
    """The address, the reply that is next for every request, and the requests so far."""

    url: str = ""
    reply: Reply = attrs.field(factory=Reply)
    replies: Mapping[str, Reply] = attrs.field(factory=dict)
    """Those to requests with a word in them."""
    at: Mapping[str, Reply] = attrs.field(factory=dict)
    """Those to requests with a word in their path."""
    asked: list[tuple[str, Any, Mapping[str, str]]] = attrs.field(factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.text()
        plain = json.loads(raw) if raw.startswith("{") else raw
        self.asked.append((request.path, plain, dict(request.headers)))
        fitting = [reply for word, reply in self.at.items() if word in request.path]
        fitting += [reply for word, reply in self.replies.items() if word in raw]
        reply = fitting[0] if fitting else self.reply
        if reply.cut:
            assert request.transport is not None
            request.transport.close()
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        headers = {"content-type": "application/json", **reply.headers}
        return web.Response(body=data, status=reply.status, headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with on_loopback(app) as server.url:
        yield server
