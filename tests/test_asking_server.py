"""The `server` responder: what comes back over the wire, and which address is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest

from cpt import (
    CptError,
    Denied,
    Message,
    Overloaded,
    Prompt,
    Rejected,
    Response,
    Unreachable,
    Usage,
)
from cpt.asking import Asker
from cpt.errors import AskError, Malformed
from cpt.service.http import bodies
from cpt.service.http.ratelimits import Refill, listen
from cpt.testing import ResponderContract
from cpt_server.responder import Server

from .asked import prompt, prompts
from .scripted import NEARLY_USED, Reply, serving
from .scripted import Server as FakeServer
from .threaded import completion, served


class TestServer(ResponderContract):
    secrets = ("OPENAI_API_KEY",)

    @pytest.fixture(autouse=True)
    def _component(self) -> Iterator[None]:
        with served(completion("Four.")) as address:
            self.component = Server("m", base_url=(f"{address}/v1",))
            yield


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with serving() as made:
        made.reply = Reply(completion("Four."))
        yield made


async def ask(server: FakeServer, asked: Prompt | None = None, **options: Any) -> Response:
    responder = Server("m", base_url=(f"{server.url}/v1",), **options)
    try:
        return await responder.answer(asked or prompt(2), 3)
    finally:
        await responder.close()


async def test_what_is_sent_is_what_the_options_say(server: FakeServer) -> None:
    options: dict[str, Any] = {
        "temperature": 0.5,
        "max_tokens": 7,
        "seed": 10,
        "stop": ("END",),
        "system": "Hm.",
    }
    answer = await ask(server, **options)
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Hm."},
            {"role": "user", "content": "What is 2 plus 2?"},
        ],
        "temperature": 0.5,
        "max_tokens": 7,
        "seed": 13,
        "stop": ["END"],
    }
    assert (answer.text, answer.author, answer.outcome) == ("Four.", "m", "answered")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (60, 12)


async def test_options_not_given_are_left_to_the_server(server: FakeServer) -> None:
    await ask(server)
    assert set(server.asked[0][1]) == {"model", "messages"}


async def test_a_prompt_with_a_system_message_keeps_it(server: FakeServer) -> None:
    own = Prompt(id="x", messages=(Message("system", "Mine."), Message("user", "Hi")))
    await ask(server, own, system="Ours.")
    assert [turn["content"] for turn in server.asked[0][1]["messages"]] == ["Mine.", "Hi"]


def ended(reason: str, content: Any, **message: Any) -> dict[str, Any]:
    body = completion("")
    body["choices"][0] = {"finish_reason": reason, "message": {"content": content, **message}}
    return body


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (ended("stop", "Yes."), "answered"),
        (ended("length", "Ye"), "cut_off"),
        (ended("content_filter", ""), "filtered"),
        (ended("stop", None, refusal="I will not."), "refused"),
        (ended("stop", ""), "empty"),
        (ended("stop", " \n"), "empty"),
        (ended("length", ""), "empty"),
        (ended("stop", [{"type": "thinking", "thinking": []}]), "empty"),
        (ended("stop", [{"type": "thinking"}, {"type": "text", "text": "Yes."}]), "answered"),
        (ended("stop", None, refusal={"why": "unsafe"}), "refused"),
    ],
)
async def test_an_answer_that_is_none_says_so(
    server: FakeServer, body: dict[str, Any], outcome: str
) -> None:
    server.reply = Reply(body)
    answer = await ask(server)
    assert answer.outcome == outcome
    assert answer.finish_reason == body["choices"][0]["finish_reason"]
    assert (answer.detail == "") == (outcome in ("answered", "cut_off"))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply({"error": {"message": "no key"}}, 401), Denied),
        (Reply({"error": {"message": "no model"}}, 404), Denied),
        (Reply({"error": {"message": "too long"}}, 400), Rejected),
        (Reply({"error": {"message": "slow"}}, 429, {"retry-after": "7"}), Overloaded),
        (Reply("busy", 503), Overloaded),
        (Reply(b"<html>", 500), Unreachable),
        (Reply(b'{"choices": [{"mess'), Malformed),
        (Reply({"choices": []}), Malformed),
        (Reply(ended("stop", 5)), Malformed),
        (Reply(ended("stop", [{"type": "text"}])), Malformed),
        (Reply({"error": {"message": "only GET"}}, 405), Denied),
        (Reply(b"", 301), Denied),
        (Reply({"error": {"message": "\x1b[31m \ud83d"}}, 500), Unreachable),
        (Reply(b"\xff\xfe"), Malformed),
        (Reply(cut=True), Unreachable),
    ],
)
async def test_trouble_is_told_by_its_kind(
    server: FakeServer, reply: Reply, error: type[AskError]
) -> None:
    server.reply = reply
    with pytest.raises(AskError) as raised:
        await ask(server)
    assert type(raised.value) is error
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("count", [-5, 10**30, 1.5, "7", None, float("nan"), [3]])
async def test_a_count_that_cannot_be_is_none(server: FakeServer, count: Any) -> None:
    body = completion("Yes.")
    body["usage"] = {"prompt_tokens": 9, "completion_tokens": count}
    server.reply = Reply(body)
    assert (await ask(server)).usage == Usage(input_tokens=9)
    body["usage"] = {"prompt_tokens": count, "prompt_tokens_details": {"cached_tokens": 4}}
    assert (await ask(server)).usage == Usage(), "what was cached is a part of what was sent"


async def test_an_answer_without_end_is_cut_off(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MOST_BYTES", 1000)
    assert (await ask(server)).outcome == "answered"
    server.reply = Reply(b" " * 1001)
    with pytest.raises(Unreachable, match="an answer of more than"):
        await ask(server)


async def test_what_the_headers_say_of_its_limits_is_passed_on(server: FakeServer) -> None:
    heard: list[Refill] = []
    listen(heard.append)
    server.reply = Reply(completion("Four."), headers=NEARLY_USED)
    await ask(server)
    assert heard == [Refill(requests=9.0)]


async def test_retry_after_is_read(server: FakeServer) -> None:
    server.reply = Reply({}, 429, {"retry-after": "7"})
    with pytest.raises(Overloaded) as raised:
        await ask(server)
    assert raised.value.retry_after == 7.0


async def test_the_key_is_sent_and_never_said(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret-and-long")
    await ask(server, api_key_env="MY_KEY")
    assert server.asked[0][2]["Authorization"] == "Bearer secret-and-long"
    server.reply = Reply({"error": {"message": "bad key secret-and-long"}}, 401)
    with pytest.raises(Denied, match=r"bad key \*\*\*"):
        await ask(server, api_key_env="MY_KEY")


async def test_the_load_is_shared_between_addresses() -> None:
    async with AsyncExitStack() as open_servers:
        servers = [await open_servers.enter_async_context(serving()) for _ in range(3)]
        for server in servers:
            server.reply = Reply(completion("Four."))
        responder = Server("m", base_url=tuple(f"{server.url}/v1" for server in servers))
        async with Asker(None, progress=False) as ask:
            await asyncio.gather(*(ask(responder, prompt) for prompt in prompts(90)))
    shares = [len(server.asked) for server in servers]
    assert sum(shares) == 90
    assert min(shares) > 15


async def test_an_address_where_nobody_is_costs_little(server: FakeServer) -> None:
    responder = Server("m", base_url=("http://127.0.0.1:9/v1", f"{server.url}/v1"))
    async with Asker(None, progress=False) as ask:
        answers = await asyncio.gather(*(ask(responder, prompt) for prompt in prompts(50)))
        assert {answer.outcome for answer in answers} == {"answered"}
        assert ask.stats.sent <= 50 + responder.concurrency


def test_another_address_is_the_same_model() -> None:
    one = Server("m", base_url=("http://a/v1",))
    assert one.identity == attrs.evolve(one, base_url=("http://b/v1", "http://c/v1")).identity


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x/v1", "http:///v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(CptError, match="is no address"):
        Server("m", base_url=(url,)).check()


@pytest.mark.parametrize("key", ["sk-1234\n", "sk 1234", "süß-1234"])
def test_a_key_that_cannot_be_sent_is_one_line_without_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(CptError, match="MY_KEY: the key in this") as refused:
        Server("m", api_key_env="MY_KEY").check()
    assert "1234" not in refused.value.message
