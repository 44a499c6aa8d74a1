"""A server on loopback that says what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
from aiohttp import web


@attrs.define
class Reply:
    """What the server sends: JSON, or raw bytes, or a cut connection."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut: bool = False


@attrs.define
class Server:
    """The address, the reply that is next for every request, and the requests so far."""

    url: str = ""
    reply: Reply = attrs.field(factory=Reply)
    asked: list[tuple[str, Any, Mapping[str, str]]] = attrs.field(factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, json.loads(await request.read()), dict(request.headers)))
        if self.reply.cut:
            assert request.transport is not None
            request.transport.close()
        data = self.reply.body
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        headers = {"content-type": "application/json", **self.reply.headers}
        return web.Response(body=raw, status=self.reply.status, headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
