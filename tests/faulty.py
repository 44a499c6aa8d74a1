"""A model's endpoint that fails on purpose, in a process of its own, and keeps the books.

Speaks chat completions and messages: `python tests/faulty.py '{"latency": 0.05, "faults":
{"overloaded": 0.1}}'` prints its port. GET /ledger says what it was asked and what it answered.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

FAULTS = {
    "overloaded": 0.10,
    "broken": 0.05,
    "hanging": 0.03,
    "malformed": 0.02,
    "cut": 0.02,
    "reset": 0.01,
}
"""How often what happens to a request: the mix that the engine has to get through."""


class Sliding:
    """So many requests a second, in any `span` of seconds; refused ones may count too."""

    def __init__(self, most: float, span: float = 1.0, *, counting: bool = False) -> None:
        self._most = most * span
        self._span = span
        self._counting = counting
        self._taken: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self._taken and self._taken[0] <= now - self._span:
            self._taken.popleft()
        free = len(self._taken) < self._most
        if free or self._counting:
            self._taken.append(now)
        return free


class Window:
    """So many requests a second, in every `span` of seconds by the clock."""

    def __init__(self, most: float, span: float = 1.0) -> None:
        self._most = most * span
        self._span = span
        self._window = -1
        self._taken = 0

    def takes(self, now: float) -> bool:
        if int(now / self._span) != self._window:
            self._window, self._taken = int(now / self._span), 0
        self._taken += 1
        return self._taken <= self._most


class Bucket:
    """So many requests a second, and at most `burst` at once after a pause."""

    def __init__(
        self,
        most: float,
        burst: float = 0.0,
        *,
        level: float | None = None,
        counting: bool = False,
    ) -> None:
        self._most = most
        self._burst = burst or most
        self._level = self._burst if level is None else level
        self._counting = counting
        self._then = 0.0

    def takes(self, now: float) -> bool:
        self._level = min(self._burst, self._level + (now - self._then) * self._most)
        self._then = now
        free = self._level >= 1.0
        if free or self._counting:
            self._level -= 1.0
        return free


CAPS: dict[str, Callable[[float], Any]] = {"sliding": Sliding, "window": Window, "bucket": Bucket}


@attrs.define
class Endpoint:
    """What it does to whom, and its books."""

    latency: float = 0.02
    faults: dict[str, float] = attrs.field(factory=dict)
    retry_after: float = 0.5
    cap: float = 0.0
    """Requests a second that it takes; 0 takes all."""
    kind: str = "sliding"
    words: int = 150
    reject: str = ""
    """Prompts with this in them get a 400."""
    deny: bool = False
    seed: int = 0
    received: Counter[str] = attrs.field(factory=Counter)
    """Requests by prompt."""
    answered: Counter[str] = attrs.field(factory=Counter)
    """Answers that were sent whole, by prompt."""
    happened: Counter[str] = attrs.field(factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    first: float = 0.0
    """When the first request came, and when the last answer went, in seconds."""
    last: float = 0.0
    early: int = 0
    """Requests that came back sooner than they were told to."""
    _not_before: dict[str, float] = attrs.field(factory=dict, init=False)
    _limiter: Any = attrs.field(default=None, init=False)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        prompt = body["messages"][-1]["content"]
        self.first = self.first or time.monotonic()
        self.received[prompt] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            what = self._fate(prompt)
            self.happened[what] += 1
            return await getattr(self, f"_{what}")(request, body, prompt)
        finally:
            self.in_flight -= 1

    def _fate(self, prompt: str) -> str:
        now = time.monotonic()
        self.early += now < self._not_before.get(prompt, 0.0)
        if self.deny:
            return "denied"
        if self.reject and self.reject in prompt:
            return "rejected"
        if self.cap:
            self._limiter = self._limiter or CAPS[self.kind](self.cap)
            if not self._limiter.takes(now):
                return "overloaded"
        draw = random.Random(f"{self.seed} {prompt} {self.received[prompt]}").random()
        for what, share in self.faults.items():
            draw -= share
            if draw < 0:
                return what
        return "well"

    async def _well(self, request: web.Request, body: Any, prompt: str) -> web.StreamResponse:
        await asyncio.sleep(self.latency)
        text = json.dumps(answer(body, prompt, self.words, "messages" in request.path))
        response = web.Response(text=text, content_type="application/json")
        await response.prepare(request)
        await response.write_eof()
        self.answered[prompt] += 1
        self.last = time.monotonic()
        return response

    async def _overloaded(self, request: web.Request, *_: Any) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._not_before[body["messages"][-1]["content"]] = time.monotonic() + self.retry_after
        return _error(429, "slow down", {"Retry-After": str(self.retry_after)})

    async def _broken(self, *_: Any) -> web.StreamResponse:
        return _error(random.choice((500, 502, 529)), "something broke")

    async def _hanging(self, *_: Any) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return _error(500, "nobody waits that long")

    async def _malformed(self, *_: Any) -> web.StreamResponse:
        return web.Response(text='{"choices": [{"mess', content_type="application/json")

    async def _cut(self, request: web.Request, *_: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000"})
        response.content_type = "application/json"
        await response.prepare(request)
        await response.write(b'{"choices": [{"message"')
        return self._hang_up(request, response)

    async def _reset(self, request: web.Request, *_: Any) -> web.StreamResponse:
        return self._hang_up(request, web.Response())

    @staticmethod
    def _hang_up(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return response

    async def _rejected(self, *_: Any) -> web.StreamResponse:
        return _error(400, "this prompt is too long")

    async def _denied(self, *_: Any) -> web.StreamResponse:
        return _error(401, "no such key")

    async def ledger(self, _: web.Request) -> web.Response:
        plain = attrs.asdict(self, filter=lambda field, _: not field.name.startswith("_"))
        return web.json_response(plain)


def answer(body: Any, prompt: str, words: int, messages: bool) -> dict[str, Any]:
    """What a model might say, in either format."""
    text = f"To {prompt[:20]}: " + "words " * words
    if messages:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 20, "output_tokens": words},
        }
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": words, "total_tokens": 20 + words},
    }


def _error(status: int, words: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": words}}, status=status, headers=headers)


async def serve(endpoint: Endpoint) -> None:
    app = web.Application(client_max_size=2**30)
    app.router.add_get("/ledger", endpoint.ledger)
    app.router.add_post("/{path:.*}", endpoint.handle)
    # A handler whose client has gone is cancelled: it is in flight no more.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)  # type: ignore[union-attr]
    await asyncio.Event().wait()


@attrs.frozen
class Faulty:
    """The server as a test sees it."""

    url: str

    def ledger(self) -> Any:
        with urllib.request.urlopen(f"{self.url}/ledger") as reply:
            return json.load(reply)


@contextmanager
def faulty(**settings: Any) -> Iterator[Faulty]:
    """Run it, with these fields of `Endpoint`, until the block ends."""
    line = [sys.executable, str(Path(__file__)), json.dumps(settings)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Faulty(f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(Endpoint(**json.loads(sys.argv[1]))))
