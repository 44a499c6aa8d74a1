"""`openai` against a scripted server, and against `transformers serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpt import CptError, Denied, Message, Overloaded, Prompt, Rejected, Unreachable, Usage
from cpt.service.http.ratelimits import Refill, listen
from cpt_openai.responder import OpenAI

from .scripted import NEARLY_USED, Reply, Server, serving

PROMPT = Prompt(id="p1", messages=(Message("user", "Two and two?"),))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


def completion(text: str | None = "Four.", reason: str = "stop", **message: Any) -> dict[str, Any]:
    used = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    choice = {
        "index": 0,
        "finish_reason": reason,
        "message": {"role": "assistant", "content": text, **message},
    }
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": used,
    }


async def ask(server: Server, reply: Reply, sample: int = 0, **options: Any) -> Any:
    server.reply = reply
    responder = OpenAI("m", base_url=f"{server.url}/v1", **options)
    try:
        return await responder.answer(PROMPT, sample)
    finally:
        await responder.close()


async def test_an_answer_with_its_usage(server: Server) -> None:
    response = await ask(server, Reply(completion()))
    assert (response.text, response.outcome, response.author) == ("Four.", "answered", "m")
    assert response.prompt_id == "p1"
    assert response.usage == Usage(input_tokens=12, cached_tokens=8, output_tokens=3)


async def test_the_key_goes_where_the_service_looks_for_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "k-123")
    await ask(server, Reply(completion()), api_key_env="OTHER_KEY")
    assert server.asked[0][2]["Authorization"] == "Bearer k-123"


async def test_what_the_headers_say_of_its_limits_is_passed_on(server: Server) -> None:
    heard: list[Refill] = []
    listen(heard.append)
    await ask(server, Reply(completion(), headers=NEARLY_USED))
    assert heard == [Refill(requests=9.0)]


async def test_the_request_carries_the_options_and_nothing_else(server: Server) -> None:
    options = {
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ("\n",),
        "seed": 40,
        "system": "Be brief.",
    }
    await ask(server, Reply(completion()), sample=2, **options)
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Two and two?"},
        ],
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["\n"],
        "seed": 42,
    }


async def test_openai_itself_gets_the_newer_name_of_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert OpenAI("m", max_tokens=9).body(PROMPT, 0)["max_completion_tokens"] == 9


@pytest.mark.parametrize(
    ("body", "outcome", "detail"),
    [
        (completion("Fo", "length"), "cut_off", ""),
        (completion("", "length"), "empty", "no text (finish reason 'length')"),
        (completion(None), "empty", "no text (finish reason 'stop')"),
        (completion(None, refusal="I can not."), "refused", "I can not."),
        (completion("", "content_filter"), "filtered", "no text (finish reason 'content_filter')"),
        (completion("Some", "content_filter"), "filtered", ""),
    ],
)
async def test_what_is_no_answer_is_named(
    server: Server, body: Any, outcome: str, detail: str
) -> None:
    response = await ask(server, Reply(body))
    assert (response.outcome, response.detail) == (outcome, detail)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (
            Reply({"error": {"message": "slow\ndown"}}, 429, {"retry-after": "7"}),
            Overloaded,
            "slow down",
        ),
        (Reply({}, 503), Overloaded, "503"),
        (
            Reply({"error": {"code": "insufficient_quota", "message": "broke"}}, 429),
            Denied,
            "broke",
        ),
        (Reply({"error": {"message": "bad key"}}, 401), Denied, "bad key"),
        (Reply({"error": {"message": "no such model"}}, 404), Denied, "no such model"),
        (Reply({"error": {"message": "too long"}}, 400), Rejected, "too long"),
        (Reply(b"<html>oops</html>", 500), Unreachable, "500"),
        (Reply(b'{"choices": ['), Unreachable, "not JSON"),
        (Reply({"choices": []}), Unreachable, "not a chat completion"),
        (Reply(["neither"]), Unreachable, "not a chat completion"),
        (Reply(cut=True), Unreachable, "Server"),
    ],
)
async def test_what_an_error_means(
    server: Server, reply: Reply, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await ask(server, reply)
    assert len(server.asked) == 1, "the SDK retried behind the engine's back"


async def test_retry_after_is_passed_on(server: Server) -> None:
    with pytest.raises(Overloaded) as caught:
        await ask(server, Reply({}, 429, {"retry-after": "7"}))
    assert caught.value.retry_after == 7.0


async def test_a_dead_endpoint_is_unreachable() -> None:
    responder = OpenAI("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(Unreachable):
        await responder.answer(PROMPT, 0)
    await responder.close()


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(CptError, match="OPENAI_API_KEY"):
        OpenAI("m").check()
    with pytest.raises(CptError, match="OTHER_KEY"):
        OpenAI("m", api_key_env="OTHER_KEY").check()
    OpenAI("m", base_url="http://127.0.0.1:1/v1").check()
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    OpenAI("m").check()


def test_an_option_that_is_not_given_is_no_part_of_the_identity() -> None:
    """Else every option that a later version adds would have all answers paid for again."""
    given = OpenAI("m", temperature=0.0, base_url="http://x/v1").identity
    assert given == {
        "responder": "openai",
        "model": "m",
        "temperature": 0.0,
        "base_url": "http://x/v1",
    }


def test_what_changes_an_answer_changes_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = OpenAI("m").identity
    for options in (
        {"temperature": 0.5},
        {"base_url": "http://x/v1"},
        {"seed": 1},
        {"stop": ("a",)},
    ):
        assert OpenAI("m", **options).identity != plain
    for options in ({"timeout": 5.0}, {"concurrency": 1}, {"api_key_env": "OTHER"}):
        assert OpenAI("m", **options).identity == plain
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert OpenAI("m").identity != plain


def test_a_key_that_cannot_be_sent_is_one_line_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-1234\n")
    with pytest.raises(CptError, match="MY_KEY: the key in this") as refused:
        OpenAI("m", api_key_env="MY_KEY").check()
    assert "1234" not in refused.value.message
