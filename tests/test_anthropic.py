"""`anthropic` against a scripted server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpt import CptError, Denied, Message, Overloaded, Prompt, Rejected, Unreachable, Usage
from cpt.service.http.ratelimits import Refill, listen
from cpt_anthropic.responder import Anthropic

from .scripted import NEARLY_USED, Reply, Server, serving

PROMPT = Prompt(id="p1", messages=(Message("system", "Be brief."), Message("user", "Two and two?")))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


def message(text: str = "Four.", reason: str = "end_turn", **rest: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": text}] if text else [],
        "stop_reason": reason,
        "usage": {
            "input_tokens": 4,
            "cache_read_input_tokens": 8,
            "cache_creation_input_tokens": 1,
            "output_tokens": 3,
        },
        **rest,
    }


def problem(kind: str, words: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": words}}


async def ask(server: Server, reply: Reply, prompt: Prompt = PROMPT, **options: Any) -> Any:
    server.reply = reply
    responder = Anthropic("m", base_url=server.url, **options)
    try:
        return await responder.answer(prompt, 0)
    finally:
        await responder.close()


async def test_an_answer_with_its_usage(server: Server) -> None:
    response = await ask(server, Reply(message()))
    assert (response.text, response.outcome, response.author) == ("Four.", "answered", "m")
    assert response.usage == Usage(input_tokens=13, cached_tokens=8, output_tokens=3)


@pytest.mark.parametrize("count", [-5, 10**30, 1.5, "7", None, [3]])
async def test_a_count_that_cannot_be_is_none(server: Server, count: Any) -> None:
    used = {"input_tokens": 4, "cache_read_input_tokens": count, "output_tokens": count}
    assert (await ask(server, Reply(message(usage=used)))).usage == Usage(input_tokens=4)


async def test_thoughts_are_not_part_of_the_answer(server: Server) -> None:
    content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Four."}]
    assert (await ask(server, Reply(message(content=content)))).text == "Four."


async def test_the_key_goes_where_the_service_looks_for_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "k-123")
    await ask(server, Reply(message()), api_key_env="OTHER_KEY")
    headers = server.asked[0][2]
    assert any("k-123" in value for value in headers.values())
    assert headers["anthropic-version"]


async def test_what_the_headers_say_of_its_limits_is_passed_on(server: Server) -> None:
    heard: list[Refill] = []
    listen(heard.append)
    await ask(server, Reply(message(), headers=NEARLY_USED))
    assert heard == [Refill(requests=9.0)]


async def test_the_request_carries_the_options_and_nothing_else(server: Server) -> None:
    await ask(server, Reply(message()), temperature=0.5, max_tokens=9, stop=("\n",), top_p=0.9)
    path, body, _ = server.asked[0]
    assert path == "/v1/messages"
    assert body == {
        "model": "m",
        "max_tokens": 9,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Two and two?"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["\n"],
    }


async def test_a_system_option_serves_prompts_that_have_none(server: Server) -> None:
    bare = Prompt(id="p2", messages=(Message("user", "Hello"),))
    await ask(server, Reply(message()), bare, system="Default.")
    await ask(server, Reply(message()), PROMPT, system="Default.")
    assert [body["system"] for _, body, _ in server.asked] == ["Default.", "Be brief."]


@pytest.mark.parametrize(
    ("body", "outcome", "detail"),
    [
        (message("Fo", "max_tokens"), "cut_off", ""),
        (message("Fo", "model_context_window_exceeded"), "cut_off", ""),
        (message("", "max_tokens"), "empty", "no text (finish reason 'max_tokens')"),
        (message("", "end_turn"), "empty", "no text (finish reason 'end_turn')"),
        (message(" \n", "end_turn"), "empty", "no text (finish reason 'end_turn')"),
        (
            message("", "refusal", stop_details={"type": "refusal", "explanation": "No."}),
            "refused",
            "No.",
        ),
        (message("I", "refusal"), "refused", ""),
        (message("I", "refusal", stop_details=["No."]), "refused", ""),
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
        (Reply(problem("rate_limit_error", "slow"), 429, {"retry-after": "7"}), Overloaded, "slow"),
        (Reply(problem("overloaded_error", "busy"), 529), Overloaded, "busy"),
        (Reply(problem("authentication_error", "bad key"), 401), Denied, "bad key"),
        (Reply(problem("not_found_error", "model: m"), 404), Denied, "model: m"),
        (
            Reply(problem("invalid_request_error", "Your credit balance is too low"), 400),
            Denied,
            "credit",
        ),
        (Reply(problem("invalid_request_error", "too long"), 400), Rejected, "too long"),
        (Reply(problem("api_error", "oops"), 500), Unreachable, "oops"),
        (Reply(b'{"content": ['), Unreachable, "not JSON"),
        (Reply({"content": [{}]}), Unreachable, "not a message"),
        (Reply(cut=True), Unreachable, "Server"),
    ],
)
async def test_what_an_error_means(
    server: Server, reply: Reply, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await ask(server, reply)
    assert len(server.asked) == 1, "the SDK retried behind the engine's back"


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    with pytest.raises(CptError, match="ANTHROPIC_API_KEY"):
        Anthropic("m").check()
    Anthropic("m", base_url="http://127.0.0.1:1").check()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    Anthropic("m").check()


def test_a_key_that_cannot_be_sent_is_one_line_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-1234\n")
    with pytest.raises(CptError, match="MY_KEY: the key in this") as refused:
        Anthropic("m", api_key_env="MY_KEY").check()
    assert "1234" not in refused.value.message
