"""The official SDK's client, one request through it, and its errors in the project's own terms."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import aiohttp
import httpx2
import openai

from cpt import Malformed, Prompt, Response, Unreachable
from cpt.service.chat import read
from cpt.service.http_errors import failure
from cpt.service.ratelimits import heard

if TYPE_CHECKING:
    from cpt_openai import OpenAI

_Clients = dict[tuple[object, ...], openai.AsyncOpenAI]
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _Clients] = WeakKeyDictionary()


def client(responder: OpenAI) -> openai.AsyncOpenAI:
    """The SDK's client of this event loop for the responder's endpoint."""
    key = os.environ.get(responder.api_key_env) or "none"
    mine = _clients.setdefault(asyncio.get_running_loop(), {})
    settings = (responder.endpoint, key, responder.timeout)
    if settings not in mine:
        mine[settings] = openai.AsyncOpenAI(
            api_key=key,
            base_url=responder.endpoint,
            timeout=responder.timeout,
            max_retries=0,
            # Takes half of the CPU of the default transport.
            http_client=openai.DefaultAioHttpClient(),
        )
    return mine[settings]


async def close() -> None:
    """Close the clients of this event loop."""
    for each in _clients.pop(asyncio.get_running_loop(), {}).values():
        await each.close()


async def answer(responder: OpenAI, prompt: Prompt, sample: int) -> Response:
    """Ask once. Raises `Overloaded`, `Unreachable`, `Rejected` or `Denied`."""
    with translated(responder):
        # `chat.completions.create` takes as long again, to make objects that we need not.
        reply = await client(responder).post(
            "/chat/completions", cast_to=httpx2.Response, body=responder.body(prompt, sample)
        )
        heard(reply.headers)
        return read(json.loads(reply.content), prompt, responder.author)


@contextmanager
def translated(responder: OpenAI) -> Iterator[None]:
    """The SDK's errors as the engine's, with nothing of the request in them."""
    try:
        yield
    except openai.APIStatusError as error:
        secret = os.environ.get(responder.api_key_env, "")
        headers = error.response.headers
        raise failure(error.status_code, headers, error.body, secret=secret) from None
    except (openai.APIError, aiohttp.ClientError) as error:
        # The SDK's own words are "Connection error."; what it wraps says which.
        cause = error.__cause__ or error
        raise Unreachable(f"{type(cause).__name__}: {cause}") from None
    except ValueError:
        raise Malformed("what came back is no JSON") from None
