"""A loop over a client library and nothing else: what asking costs where nothing is kept.

python benchmarks/bare.py KIND URL PROMPTS AT_ONCE

KIND is aiohttp, openai or anthropic; with "-httpx" after it, an SDK on its own default transport.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

Ask = Callable[[str], Awaitable[str]]


@asynccontextmanager
async def by_aiohttp(url: str) -> Any:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(prompt: str) -> str:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                answer = json.loads(await reply.read())
            return str(answer["choices"][0]["message"]["content"])

        yield ask


@asynccontextmanager
async def by_openai(url: str, transport: str = "DefaultAioHttpClient") -> Any:
    import openai

    client = getattr(openai, transport)()
    sdk = openai.AsyncOpenAI(
        api_key="none", base_url=f"{url}/v1", max_retries=0, http_client=client
    )

    async def ask(prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = await sdk.chat.completions.create(model="m", messages=messages)
        return str(answer.choices[0].message.content)

    yield ask
    await sdk.close()


@asynccontextmanager
async def by_anthropic(url: str, transport: str = "DefaultAioHttpClient") -> Any:
    import anthropic

    client = getattr(anthropic, transport)()
    sdk = anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0, http_client=client)

    async def ask(prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = await sdk.messages.create(model="m", max_tokens=4096, messages=messages)
        return str(getattr(answer.content[0], "text", ""))

    yield ask
    await sdk.close()


LOOPS: dict[str, Callable[[str], Any]] = {
    "aiohttp": by_aiohttp,
    "openai": by_openai,
    "openai-httpx": partial(by_openai, transport="DefaultAsyncHttpxClient"),
    "anthropic": by_anthropic,
    "anthropic-httpx": partial(by_anthropic, transport="DefaultAsyncHttpxClient"),
}


async def main(kind: str, url: str, prompts: str, at_once: str) -> None:
    def texts() -> Iterator[str]:
        with open(prompts, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["prompt"]

    remaining = texts()
    answered = 0
    async with LOOPS[kind](url) as ask:

        async def work() -> None:
            nonlocal answered
            for prompt in remaining:
                answered += bool(await ask(prompt))

        await asyncio.gather(*(work() for _ in range(int(at_once))))
    print(json.dumps({"responses": answered}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
