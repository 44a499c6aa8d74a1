"""A judge on loopback: chat completions by a model of whom it is known what it prefers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import log
from typing import Any

import attrs
from aiohttp import web

from cpt_server.http import CONNECTIONS

from .loopback import on_loopback

Prefers = Callable[[str, str], str]
"""From answer A and answer B to `A`, `B` or `tie`."""


def the_good(one: str, other: str) -> str:
    """Prefers the answer with the word `good` in it."""
    good = ["good" in text for text in (one, other)]
    return "tie" if good[0] == good[1] else "AB"[good.index(True)]


@attrs.define
class JudgeServer:
    """What it prefers, which forms it has, and what it was asked."""

    url: str = ""
    prefers: Prefers = the_good
    refuses: Mapping[str, tuple[int, str]] = attrs.field(factory=dict)
    """Status and message for requests with this in their body."""
    ignores: bool = False
    """Whether it takes log-probabilities and schemas for nothing, without a word."""
    mass: float = 0.9
    """The probability of its first token."""
    text: str = ""
    """What it says in place of a verdict."""
    asked: list[Mapping[str, Any]] = attrs.field(factory=list)

    def forms(self) -> list[str]:
        """The form of each request so far."""
        return [form_of(body) for body in self.asked]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        for word, (status, message) in self.refuses.items():
            if word in body:
                return web.json_response({"error": {"message": message}}, status=status)
        return web.json_response(self._completion(body))

    def _completion(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        form = "text" if self.ignores else form_of(body)
        verdict = self.prefers(*answers_in(body["messages"][-1]["content"]))
        said = self.text or WORDS[form].format(verdict="C" if verdict == "tie" else verdict)
        if form == "json" and not self.text:
            said = json.dumps({"reasons": "It is so.", "verdict": verdict})
        choice: dict[str, Any] = {
            "finish_reason": "length" if body.get("max_tokens") == 1 else "stop",
            "message": {"role": "assistant", "content": said},
        }
        if form == "logprobs":
            choice["logprobs"] = {"content": [{"top_logprobs": self._tokens(verdict)}]}
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        return {"object": "chat.completion", "model": "j", "choices": [choice], "usage": usage}

    def _tokens(self, verdict: str) -> list[Mapping[str, Any]]:
        first, second = ("A", "B") if verdict != "B" else ("B", "A")
        rest = min(0.05, 1 - self.mass)
        likely = {first: self.mass, second: rest if verdict != "tie" else self.mass, "The": 1e-6}
        return [{"token": token, "logprob": log(p)} for token, p in likely.items()]


WORDS = {"logprobs": "{verdict}", "json": "", "text": "They differ.\n[[{verdict}]]"}


def form_of(body: Mapping[str, Any]) -> str:
    return "logprobs" if "logprobs" in body else "json" if "response_format" in body else "text"


def answers_in(asked: str) -> tuple[str, str]:
    """Answers A and B in a request of `pairwise`."""
    after = asked.partition("=== Answer A ===")[2]
    one, _, rest = after.partition("=== Answer B ===")
    return one, rest.partition("=== End of the answers ===")[0]


@asynccontextmanager
async def judging(**behaviour: Any) -> AsyncIterator[JudgeServer]:
    """A server for as long as the block runs."""
    server = JudgeServer(**behaviour)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/chat/completions", server.handle)
    async with on_loopback(app) as url:
        server.url = f"{url}/v1"
        try:
            yield server
        finally:
            await CONNECTIONS.close()
