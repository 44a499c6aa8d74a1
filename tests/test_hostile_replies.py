"""One hostile reply is the outcome of its request: never a traceback, a full memory or a leak."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from cpt import Denied, Prompt, Responder
from cpt.asking.money.prices import Prices
from cpt.errors import AskError, Malformed
from cpt.service import BatchItem, chat_response, http_error, retry_after
from cpt.service.http.ratelimits import refills
from cpt_anthropic.messages import read
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server

from .asked import prompt
from .loopback import on_loopback
from .scripted import Reply, serving
from .scripted import Server as FakeServer

KINDS: dict[str, Any] = {
    "server": lambda url: Server("m", base_url=(f"{url}/v1",)),
    "openai": lambda url: OpenAI("m", base_url=f"{url}/v1"),
    "anthropic": lambda url: Anthropic("m", base_url=url),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with serving() as made:
        yield made


async def ask(kind: str, url: str) -> Any:
    responder = KINDS[kind](url)
    try:
        return await responder.answer(prompt(1), 0)
    finally:
        await responder.close()


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"0" * 1_000_000
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


ASKS_ONCE = """
import asyncio
from cpt import Message, Prompt
from cpt.errors import AskError
from cpt_{kind}.responder import {kind_class} as Kind
def peak():
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    line, = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
async def once(url):
    responder = Kind("m", base_url=(url,) if {kind!r} == "server" else url)
    try:
        await responder.answer(Prompt(id="p", messages=(Message("user", "Hi"),)), 0)
    except AskError as error:
        return f"{{type(error).__name__}}: {{error}}"
    finally:
        await responder.close()
asyncio.run(once({url!r} + "/short"))
before = peak()
said = asyncio.run(once({url!r} + "/long"))
print(said, "|", peak() - before)
"""
CLASSES = {"server": "Server", "openai": "OpenAI", "anthropic": "Anthropic"}


@pytest.mark.parametrize("how", ["packed", "plain"])
async def test_an_answer_without_end_is_malformed_in_bounded_memory(kind: str, how: str) -> None:
    packed = bomb(400) if how == "packed" else b""

    async def handle(asked: web.Request) -> web.StreamResponse:
        if "short" in asked.path:
            return web.json_response({})
        if how == "packed":
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(asked)
        for _ in range(2000):
            await response.write(b" " * 1_000_000)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with on_loopback(app) as url:
        code = ASKS_ONCE.format(kind=kind, kind_class=CLASSES[kind], url=url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    words, _, megabytes = said.decode().partition("|")
    assert words.strip() == "Malformed: an answer of more than 100 MB"
    assert float(megabytes) < 300


DEEP = b"[" * 200_000
ODD: list[Any] = [
    b"null", b"5", b'"no"', b"[]", b"[5]", b"{}", b'{"error": null}', b'{"error": []}',
    b'{"error": [[]]}', b'{"error": {"message": {"a": 1}}}', b'{"error": {"code": {}}}',
    b'{"error": {"message": 5, "code": 1e999, "type": ["x"], "param": {}}}', DEEP,
    b'{"error": ' + DEEP, b'{"error":' * 900 + b"1" + b"}" * 900, b"\xff\xfe\x00", b"",
    b'{"choices": 5}', b'{"choices": [[]]}', b'{"choices": [{"message": {"content": 5}}]}',
    b'{"choices": [{"message": {"content": [{"type": "text"}]}}]}', b'{"content": 5}',
    b'{"content": ["x"]}', b'{"choices": [null]}', b'{"error": true}', b"9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 307, 400, 403, 418, 429, 500, 599])
async def test_odd_bodies_are_errors_of_the_request(
    server: FakeServer, kind: str, status: int
) -> None:
    for body in ODD:
        server.reply = Reply(body, status)
        with pytest.raises(AskError):
            await ask(kind, server.url)


BATCHED: dict[str, list[bytes]] = {
    "openai": [
        b'{"id": "b", "status": "completed", "output_file_id": "f"}',
        b'{"id": "b", "status": "failed", "errors": {"data": [{"line": 99, "message": 5}]}}',
        b'{"id": "b", "status": "failed", "errors": "x"}',
        b'{"id": "b", "status": "failed", "errors": {"data": ["x"]}}',
        b'{"id": 5, "status": ["completed"], "output_file_id": {"a": 1}}',
        b'{"object": "list", "data": [5], "has_more": true}',
        b'{"data": [{"id": "x", "created_at": "never", "metadata": "y"}], "has_more": false}',
        b'{"data": {"a": 1}}',
    ],
    "anthropic": [
        b'{"id": "b", "processing_status": "ended", "results_url": "/results"}',
        b'{"id": "b", "processing_status": ["ended"], "results_url": 5, "created_at": "x"}',
        b'{"data": [5], "has_more": true}',
        b'{"data": [{"id": "b", "created_at": 5, "request_counts": {"a": "b"}}]}',
    ],
}
"""What a provider might say of batches; the first has results."""
LINES: list[bytes] = [
    b'{"custom_id": "k", "response": {"status_code": "200", "body": {}}}\n',
    b'{"custom_id": ["k"]}\n5\nxx',
    b'{"custom_id": "k", "error": "no"}',
    b'{"custom_id": "k", "response": 5}',
    b'{"custom_id": "k", "result": 5}',
    b'{"custom_id": "k", "result": {"type": "errored", "error": {"error": {"type": ["x"]}}}}',
    b'{"custom_id": ["k"], "result": {"type": "succeeded"}}',
    b'{"custom_id": "k", "result": {"type": "succeeded", "message": {"content": 5}}}',
]
"""What might be in a file of results."""


@pytest.mark.parametrize("kind", list(BATCHED))
async def test_odd_replies_about_batches_are_errors_of_the_request(
    server: FakeServer, kind: str
) -> None:
    responder = KINDS[kind](server.url)
    items = {"k": BatchItem("k", prompt(1), 0)}
    calls = [
        lambda: responder.batch_submit("n", list(items.values())),
        lambda: responder.batch_find("n", 1, 0.0),
        lambda: responder.batch_ended("b"),
        lambda: results(responder, items),
    ]
    for body in [*ODD, *BATCHED[kind]]:
        server.reply = Reply(body)
        for call in calls:
            with suppress(AskError):
                await call()
    server.reply = Reply(BATCHED[kind][0])
    for content in [*ODD, *LINES]:
        server.at = {"results": Reply(content), "content": Reply(content)}
        with suppress(AskError):
            found = await results(responder, items)
            assert all(isinstance(one, AskError) for one in found.values()), content
    await responder.close()


async def results(responder: Any, items: Any) -> dict[str, Any]:
    return {key: one async for key, one in responder.batch_results("b", items)}


async def test_a_line_of_results_that_is_none_takes_no_other_with_it(server: FakeServer) -> None:
    good = {
        "custom_id": "k",
        "response": {
            "status_code": 200,
            "body": {"choices": [{"message": {"content": "A\u2028B"}, "finish_reason": "stop"}]},
        },
    }
    filtered = {"custom_id": "f", "response": {"status_code": 200, "body": {"error": "blocked by"}}}
    lines = [json.dumps(line, ensure_ascii=False).encode() for line in (good, filtered)]
    server.reply = Reply(BATCHED["openai"][0])
    server.at = {"content": Reply(b"\n".join([b"5", *LINES[2:4], *lines]))}
    responder = KINDS["openai"](server.url)
    found = await results(responder, {key: BatchItem(key, prompt(1), 0) for key in "kf"})
    await responder.close()
    assert found["k"].text == "A\u2028B"
    assert isinstance(found["f"], AskError)


async def test_an_encoding_that_nobody_asked_for_is_not_read(server: FakeServer, kind: str) -> None:
    for encoding in ("br", "zstd", "gzip, gzip", "x" * 1000):
        server.reply = Reply({}, headers={"content-encoding": encoding})
        with pytest.raises(Malformed, match="in the encoding"):
            await ask(kind, server.url)


async def test_a_redirect_is_not_followed(server: FakeServer, kind: str) -> None:
    async with serving() as other:
        for status in (301, 302, 303, 307, 308):
            server.reply = Reply({}, status, {"location": f"{other.url}/v1/chat/completions"})
            with pytest.raises(Denied, match=f"HTTP {status}: a redirect to {other.url}.*base_url"):
                await ask(kind, server.url)
        assert other.asked == []


KEYS = [
    "error",
    "message",
    "code",
    "type",
    "param",
    "choices",
    "content",
    "text",
    "detail",
    "usage",
    "finish_reason",
    "stop_reason",
    "refusal",
    "errors",
    "prompt_tokens",
    "prompt_tokens_details",
    "stop_details",
    "base_resp",
    "status",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.integers(300, 599))
def test_any_body_is_an_error_or_an_answer(body: Any, status: int) -> None:
    assert isinstance(http_error(status, {}, body), AskError)
    for reader in (chat_response, read):
        try:
            reader(body, prompt(1), "m")
        except AskError as error:
            assert len(str(error)) <= 400


NUMBERS = st.one_of(
    st.text(max_size=30),
    st.floats().map(str),
    st.integers(-(10**400), 10**400).map(str),
    st.sampled_from(
        [
            *("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 +2359", "99999d"),
            *("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+23:59", "99999-01-01", "1.2.3s"),
            *("Fri, 31 Dec 99999 23:59:59 GMT", "9" * 400 + "d", "-5", "nan", "inf", "1e400d"),
        ]
    ),
)


@settings(max_examples=500, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_no_header_is_beyond_the_calendar(limit: str, left: str, reset: str) -> None:
    wait = retry_after({"retry-after": reset, "retry-after-ms": left})
    assert wait is None or 0 <= wait <= 366 * 86400
    for prefix in ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}"):
        values = zip(("limit", "remaining", "reset"), (limit, left, reset), strict=True)
        found = refills({prefix.format(what): value for what, value in values})
        rate = found.requests if found else None
        assert rate is None or 0 < rate < float("inf")


@pytest.mark.parametrize("off", [-3600.0, -86400.0, -1.79e9, 86400.0])
def test_waits_are_by_the_clock_of_the_service(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set back here would have us wait for as long."""
    began = 1_790_000_000.0
    monkeypatch.setattr("cpt.service.http.clock.time.time", lambda: began + off)
    date, later = (format_datetime(datetime.fromtimestamp(began + s, UTC), True) for s in (0, 20))
    assert retry_after({"date": date, "retry-after": later}) == 20
    reset = datetime.fromtimestamp(began + 20, UTC).isoformat()
    limits = {"limit": "100", "remaining": "0", "reset": reset}
    named = {f"anthropic-ratelimit-requests-{name}": value for name, value in limits.items()}
    found = refills({"date": date, **named})
    assert found and found.requests == pytest.approx(5)


def test_the_prices_of_an_odd_address_are_unknown() -> None:
    responder: Responder = Server("m", base_url=("http://[::1:x/v1",))
    assert isinstance(responder, Server)
    assert Prices.load().of(responder) is None


@pytest.mark.parametrize(
    "usage",
    [None, 5, [], "x", {"prompt_tokens": "x"}, {"prompt_tokens": 1e400}, {"prompt_tokens": True}],
)
def test_an_answer_with_an_odd_usage_is_kept(usage: Any) -> None:
    chat = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}], "usage": usage}
    message = {"content": [{"type": "text", "text": "Yes."}], "stop_reason": "end_turn"}
    for response in (
        chat_response(json.loads(json.dumps(chat)), Prompt(id="p", messages=()), "m"),
        read({**message, "usage": usage}, Prompt(id="p", messages=()), "m"),
    ):
        assert (response.text, response.outcome) == ("Yes.", "answered")
        assert response.usage.output_tokens == 0
