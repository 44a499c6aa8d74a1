"""The official SDK: its client, one request through it, and its errors in the engine's terms."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import anthropic
import httpx2

from cpt import Prompt, Response
from cpt.service import read_json, report_limits, sdk_clients, sdk_errors
from cpt_anthropic.messages import read

if TYPE_CHECKING:
    from cpt_anthropic.responder import Anthropic


CLIENTS = sdk_clients(anthropic.AsyncAnthropic, anthropic.DefaultAioHttpClient)


def client(responder: Anthropic) -> anthropic.AsyncAnthropic:
    """The SDK's client of this event loop for the responder's endpoint."""
    return CLIENTS.get(responder.key or "none", responder.endpoint, responder.timeout)


def translated(responder: Anthropic) -> AbstractContextManager[None]:
    """The SDK's errors as the engine's."""
    return sdk_errors(anthropic, responder.key)


async def answer(responder: Anthropic, prompt: Prompt) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    with translated(responder):
        # `messages.create` makes objects that nothing here needs, and knows no `temperature`.
        reply = await client(responder).post(
            "/v1/messages", cast_to=httpx2.Response, body=responder.body(prompt)
        )
        report_limits(reply.headers)
        return read(read_json(reply.content), prompt, responder.author, reply.headers)
