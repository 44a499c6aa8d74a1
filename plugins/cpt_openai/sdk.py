"""The official SDK: its client, one request through it, and its errors in the engine's terms."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import httpx2
import openai

from cpt import Prompt, Response
from cpt.service import Clients, bounded, chat_response, read_json, report_limits, sdk_errors

if TYPE_CHECKING:
    from cpt_openai.responder import OpenAI


_HttpClient = bounded(openai.DefaultAioHttpClient)


def _connect(key: str, url: str, timeout: float) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=url,
        timeout=timeout,
        max_retries=0,
        # Takes half of the CPU of the default transport.
        http_client=_HttpClient(follow_redirects=False),
    )


CLIENTS = Clients(_connect)


def client(responder: OpenAI) -> openai.AsyncOpenAI:
    """The SDK's client of this event loop for the responder's endpoint."""
    key = os.environ.get(responder.api_key_env) or "none"
    return CLIENTS.get(key, responder.endpoint, responder.timeout)


def translated(responder: OpenAI) -> AbstractContextManager[None]:
    """The SDK's errors as the engine's."""
    return sdk_errors(openai, secret=os.environ.get(responder.api_key_env, ""))


async def answer(responder: OpenAI, prompt: Prompt, sample: int) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    with translated(responder):
        # `chat.completions.create` takes twice as long, to make objects that nothing here needs.
        reply = await client(responder).post(
            "/chat/completions", cast_to=httpx2.Response, body=responder.body(prompt, sample)
        )
        report_limits(reply.headers)
        return chat_response(read_json(reply.content), prompt, responder.author, reply.headers)
