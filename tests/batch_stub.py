"""A provider on loopback: the published batch protocols of OpenAI and Anthropic, and a ledger.

What becomes of a request is told by words in its text: `invalid` (refused for good), `unpaid` (the
account is empty), `flaky` (an error of the server's, the first time), `broken` (one every time),
`slow` (not reached before the batch expires, the first time). Batches stay in progress while
`held`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from aiohttp import BodyPartReader, web

from .loopback import on_loopback


@attrs.define
class Sent:
    """A batch as the provider knows it."""

    id: str
    requests: list[tuple[str, dict[str, Any]]]
    """custom_id and body."""
    metadata: dict[str, str]
    outcomes: dict[str, str] = attrs.field(factory=dict)
    refused: list[dict[str, Any]] | None = None
    """OpenAI's validation errors."""
    made: datetime = attrs.field(factory=lambda: datetime.now(UTC))


@attrs.define
class Provider:
    """The stub, its switches, and what it was asked."""

    url: str = ""
    held: bool = False
    """Batches do not end."""
    mute: bool = False
    """Batches arrive, but the reply that says so never leaves."""
    speaking: asyncio.Event = attrs.field(factory=asyncio.Event)
    """Replies to arrived batches wait for it."""
    most: int = 10_000
    """Requests that fit in a batch, and in all that are in progress."""
    out_of_order: int = 0
    """So many looks at a batch get an error of the server's."""
    denied: bool = False
    """No key is good enough."""
    batches: list[Sent] = attrs.field(factory=list)
    files: dict[str, bytes] = attrs.field(factory=dict)
    tried: Counter[str] = attrs.field(factory=Counter)
    """Times that each text was in a batch or was asked online."""
    paid: Counter[str] = attrs.field(factory=Counter)
    """Times that each text was answered."""
    spoil: Callable[[Sequence[Mapping[str, Any]]], bytes] | None = None
    """What becomes of the lines of results."""
    online: int = 0
    polls: int = 0
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    polled: asyncio.Event = attrs.field(factory=asyncio.Event)

    def take(self, requests: list[tuple[str, dict[str, Any]]], metadata: dict[str, str]) -> Sent:
        sent = Sent(f"batch_{len(self.batches)}", requests, metadata)
        for custom_id, body in requests:
            text = said(body)
            self.tried[text] += 1
            sent.outcomes[custom_id] = outcome = fate_of(text, self.tried[text])
            self.paid[text] += outcome == "answered"
        self.batches.append(sent)
        self.arrived.set()
        return sent

    @property
    def in_progress(self) -> int:
        return sum(len(batch.requests) for batch in self.batches) if self.held else 0

    def batch(self, request: web.Request) -> Sent:
        found = [batch for batch in self.batches if batch.id == request.match_info["id"]]
        if not found:
            raise web.HTTPNotFound(text='{"error": {"message": "no such batch"}}')
        self.polls += 1
        self.polled.set()
        if self.out_of_order:
            self.out_of_order -= 1
            raise web.HTTPBadGateway(text="try again")
        return found[0]

    def newest_first(self, request: web.Request) -> list[Sent]:
        """One page of the list, two to a page, as the SDKs ask for it."""
        batches = self.batches[::-1]
        if after := request.query.get("after") or request.query.get("after_id"):
            batches = batches[[batch.id for batch in batches].index(after) + 1 :]
        return batches

    async def reply(self, request: web.Request, body: Any) -> web.Response:
        await self.speaking.wait()
        if self.mute:
            assert request.transport is not None
            request.transport.close()
        return web.json_response(body)


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def fate_of(text: str, time: int) -> str:
    for word in ("invalid", "unpaid"):
        if word in text:
            return word
    if "broken" in text or ("flaky" in text and time == 1):
        return "flaky"
    return "expired" if "slow" in text and time == 1 else "answered"


# OpenAI.


def completion(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"To {said(body)}"}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }  # fmt: skip


def openai_batch(provider: Provider, sent: Sent) -> dict[str, Any]:
    expired = "expired" in sent.outcomes.values()
    status = "in_progress" if provider.held else "expired" if expired else "completed"
    body: dict[str, Any] = {
        "id": sent.id, "object": "batch", "endpoint": "/v1/chat/completions",
        "input_file_id": "file", "completion_window": "24h", "metadata": sent.metadata,
        "created_at": int(sent.made.timestamp()), "status": status,
    }  # fmt: skip
    if sent.refused is not None:
        return {**body, "status": "failed", "errors": {"object": "list", "data": sent.refused}}
    if status == "in_progress":
        return body
    bodies = dict(sent.requests)
    for kind, wanted in (("output_file_id", True), ("error_file_id", False)):
        outcomes = [item for item in sent.outcomes.items() if (item[1] == "answered") == wanted]
        if outcomes:
            body[kind] = name = f"{kind}-{sent.id}"
            # Backwards: the order of results is nobody's promise.
            lines = (openai_line(key, outcome, bodies[key]) for key, outcome in reversed(outcomes))
            if name not in provider.files:
                provider.files[name] = b"".join(lines)
    return body


def openai_line(custom_id: str, outcome: str, body: dict[str, Any]) -> bytes:
    line: dict[str, Any] = {"id": "r", "custom_id": custom_id, "response": None, "error": None}
    if outcome == "expired":
        line["error"] = {"code": "batch_expired", "message": "not done within its window"}
    else:
        status = {"answered": 200, "invalid": 400, "unpaid": 402, "flaky": 500}[outcome]
        bad = {"error": {"message": f"{outcome} request", "type": "x"}}
        line["response"] = {
            "status_code": status,
            "body": completion(body) if status == 200 else bad,
        }
    return json.dumps(line).encode() + b"\n"


async def openai_file(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    name = f"file-{len(provider.files)}"
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.name == "file":
            provider.files[name] = bytes(await part.read())
    about = {"id": name, "object": "file", "bytes": len(provider.files[name]), "created_at": 1}
    return web.json_response({**about, "filename": "f", "purpose": "batch", "status": "processed"})


async def openai_create(request: web.Request) -> web.Response:
    provider, asked = request.app[STATE], await request.json()
    lines = [json.loads(line) for line in provider.files[asked["input_file_id"]].splitlines()]
    assert all(line["url"] == asked["endpoint"] and line["method"] == "POST" for line in lines)
    if len(lines) + provider.in_progress > provider.most:
        sent = Sent(f"batch_{len(provider.batches)}", [], asked["metadata"])
        sent.refused = [
            {"code": "token_limit_exceeded", "message": "too many tokens", "line": None}
        ]
        provider.batches.append(sent)
    else:
        requests = [(line["custom_id"], line["body"]) for line in lines]
        sent = provider.take(requests, asked["metadata"])
    body = openai_batch(provider, sent)
    return await provider.reply(request, {**body, "status": "validating"})


async def openai_retrieve(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    return web.json_response(openai_batch(provider, provider.batch(request)))


async def openai_list(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    rest = provider.newest_first(request)
    data = [openai_batch(provider, batch) for batch in rest[:2]]
    return web.json_response({"object": "list", "data": data, "has_more": len(rest) > 2})


async def openai_content(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    body = provider.files[request.match_info["id"]]
    if provider.spoil:
        body = provider.spoil([json.loads(line) for line in body.splitlines()])
    return web.Response(body=body)


async def openai_online(request: web.Request) -> web.Response:
    provider, body = request.app[STATE], await request.json()
    provider.online += 1
    provider.paid[said(body)] += 1
    return web.json_response(completion(body))


# Anthropic.


def message(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "m", "type": "message", "role": "assistant", "model": body["model"],
        "content": [{"type": "text", "text": f"To {said(body)}"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }  # fmt: skip


def anthropic_batch(provider: Provider, sent: Sent) -> dict[str, Any]:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if provider.held:
        counts["processing"] = len(sent.requests)
    else:
        kinds = {"answered": "succeeded", "expired": "expired"}
        counts.update(Counter(kinds.get(outcome, "errored") for outcome in sent.outcomes.values()))
    return {
        "id": sent.id, "type": "message_batch", "request_counts": counts,
        "processing_status": "in_progress" if provider.held else "ended",
        "created_at": sent.made.isoformat(), "archived_at": None, "cancel_initiated_at": None,
        "expires_at": (sent.made + timedelta(days=1)).isoformat(),
        "ended_at": None if provider.held else datetime.now(UTC).isoformat(),
        "results_url": None if provider.held
        else f"{provider.url}/v1/messages/batches/{sent.id}/results",
    }  # fmt: skip


def anthropic_result(outcome: str, body: dict[str, Any]) -> dict[str, Any]:
    if outcome == "answered":
        return {"type": "succeeded", "message": message(body)}
    if outcome == "expired":
        return {"type": "expired"}
    kinds = {"invalid": "invalid_request_error", "unpaid": "billing_error", "flaky": "api_error"}
    kind = kinds[outcome]
    error = {"type": "error", "error": {"type": kind, "message": f"{outcome} request"}}
    return {"type": "errored", "error": error}


async def anthropic_create(request: web.Request) -> web.Response:
    provider, asked = request.app[STATE], await request.json()
    if len(asked["requests"]) > provider.most:
        error = {"type": "request_too_large", "message": "too large"}
        return web.json_response({"type": "error", "error": error}, status=413)
    requests = [(request["custom_id"], request["params"]) for request in asked["requests"]]
    sent = provider.take(requests, {})
    return await provider.reply(request, anthropic_batch(provider, sent))


async def anthropic_retrieve(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    return web.json_response(anthropic_batch(provider, provider.batch(request)))


async def anthropic_list(request: web.Request) -> web.Response:
    provider = request.app[STATE]
    rest = provider.newest_first(request)
    data = [anthropic_batch(provider, batch) for batch in rest[:2]]
    ids = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return web.json_response({"data": data, "has_more": len(rest) > 2, **ids})


async def anthropic_results(request: web.Request) -> web.Response:
    sent = request.app[STATE].batch(request)
    lines = [
        {"custom_id": custom_id, "result": anthropic_result(sent.outcomes[custom_id], body)}
        for custom_id, body in reversed(sent.requests)
    ]
    spoil = request.app[STATE].spoil
    body = spoil(lines) if spoil else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return web.Response(body=body, content_type="application/x-jsonl")


async def anthropic_online(request: web.Request) -> web.Response:
    provider, body = request.app[STATE], await request.json()
    provider.online += 1
    provider.paid[said(body)] += 1
    return web.json_response(message(body))


STATE = web.AppKey("state", Provider)
ROUTES = [
    web.post("/v1/files", openai_file),
    web.get("/v1/files/{id}/content", openai_content),
    web.post("/v1/batches", openai_create),
    web.get("/v1/batches", openai_list),
    web.get("/v1/batches/{id}", openai_retrieve),
    web.post("/v1/chat/completions", openai_online),
    web.post("/v1/messages/batches", anthropic_create),
    web.get("/v1/messages/batches", anthropic_list),
    web.get("/v1/messages/batches/{id}", anthropic_retrieve),
    web.get("/v1/messages/batches/{id}/results", anthropic_results),
    web.post("/v1/messages", anthropic_online),
]


@web.middleware
async def doorman(request: web.Request, handler: Any) -> Any:
    if request.app[STATE].denied:
        return web.json_response({"error": {"message": "bad key", "type": "x"}}, status=401)
    return await handler(request)


@asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    provider = Provider()
    provider.speaking.set()
    app = web.Application(client_max_size=1 << 28, middlewares=[doorman])
    app[STATE] = provider
    app.add_routes(ROUTES)
    async with on_loopback(app) as provider.url:
        yield provider
