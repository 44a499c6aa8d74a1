"""The official SDK: its client, one request through it, and its errors in the engine's terms."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import httpx2
import openai

from cpt import Prompt, Response
from cpt.service import chat_response, read_json, report_limits, sdk_clients, sdk_errors

if TYPE_CHECKING:
    from cpt_openai.responder import OpenAI


CLIENTS = sdk_clients(openai.AsyncOpenAI, openai.DefaultAioHttpClient)


def client(responder: OpenAI) -> openai.AsyncOpenAI:
    """The SDK's client of this event loop for the responder's endpoint."""
    return CLIENTS.get(responder.key or "none", responder.endpoint, responder.timeout)


def translated(responder: OpenAI) -> AbstractContextManager[None]:
    """The SDK's errors as the engine's."""
    return sdk_errors(openai, responder.key)


async def answer(responder: OpenAI, prompt: Prompt, sample: int) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    with translated(responder):
        # `chat.completions.create` takes twice as long, to make objects that nothing here needs.
        reply = await client(responder).post(
            "/chat/completions", cast_to=httpx2.Response, body=responder.body(prompt, sample)
        )
        report_limits(reply.headers)
        return chat_response(read_json(reply.content), prompt, responder.author, reply.headers)
