"""How providers and servers word what happened, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from cpt import CptError, Denied, Filtered, Overloaded, Prompt, Rejected, Response, Unreachable
from cpt.asking import Asker
from cpt.asking.journal.queries import status
from cpt.asking.options import Asking
from cpt.asking.transports.refusals import refusal_of_all
from cpt.cli import main
from cpt.errors import AskError
from cpt.service import chat_response, http_error, is_openai, normal_url
from cpt.service.chat.finish import ended
from cpt_anthropic.messages import read
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server

from .asked import Acting, prompt, prompts
from .scripted import Reply
from .threaded import answering, completion, served


def error(message: str, **rest: Any) -> dict[str, Any]:
    return {"error": {"message": message, **rest}}


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (403, error("Input was flagged for: violence", code=403), Filtered),
        (400, error("x", code="content_policy_violation"), Filtered),
        (400, error("x", code="content_filter", innererror={"code": "y"}), Filtered),
        (400, error("x", code="moderation_blocked"), Filtered),
        (403, {"type": "error", **error("Prompt violates our usage policy", type="x")}, Filtered),
        (400, error("Input data may contain inappropriate content.", code="x"), Filtered),
        (400, error("输入内容可能包含不安全或敏感内容", code="1301"), Filtered),
        (403, error("Your account was flagged for violating our usage policies"), Denied),
        (403, error("This organization has been disabled."), Denied),
        (403, error("no permission", type="permission_error"), Denied),
        (403, "<html>Sorry, you have been blocked by our policy</html>", Denied),
        (401, error("Moderation key invalid"), Denied),
        (400, [error("API key not valid. Please pass a valid API key.")], Denied),
        (403, error("API rate limit exceeded"), Overloaded),
        (429, error("You exceeded your current quota, check billing"), Overloaded),
        (429, error("x", code="insufficient_quota"), Denied),
        (400, error("This prompt is too long for the context length"), Rejected),
        (400, error("bad words in messages", param="messages"), Rejected),
        (503, error("overloaded"), Overloaded),
    ],
)
def test_what_an_error_is_about(code: int, body: Any, kind: type[AskError]) -> None:
    found = http_error(code, {}, body)
    assert type(found) is kind
    assert not getattr(found, "of_all", False)


@pytest.mark.parametrize(
    "body",
    [
        {"object": "error", "message": "a chat template must be given", "code": 400},
        error("Unsupported parameter: 'max_tokens'", code="unsupported_parameter"),
        error("no", param="temperature"),
        {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]},
        error("top_p is deprecated for this model", type="invalid_request_error"),
        error("`top_logprobs` must be between 0 and 5"),
        error("model 'x' is not loaded"),
        {"error": "json_schema is not enabled on this server"},
    ],
)
def test_an_option_is_not_the_prompt(body: Any) -> None:
    found = http_error(400, {}, body)
    assert isinstance(found, Rejected) and found.of_all


@pytest.mark.parametrize(
    "body",
    [
        {"error": "the request exceeds the available context size"},
        {"error": "roles must alternate"},
        error("string too long", param="messages[1].content"),
        error("This model's maximum context length is 4096 tokens, max_tokens among them"),
    ],
)
def test_a_prompt_is_not_an_option(body: Any) -> None:
    found = http_error(400, {}, body)
    assert isinstance(found, Rejected) and not found.of_all


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        *((word, "answered") for word in ("stop", "STOP", "end_turn", "EOS_TOKEN", "matched_stop")),
        *((word, "answered") for word in (None, "", "FinishReason.STOP", "endTurn", "None", "eof")),
        *((word, "cut_off") for word in ("length", "MAX_TOKENS", "model_length", "maxTokens")),
        *((word, "cut_off") for word in ("tool_calls", "pause_turn", "something-new")),
        *((word, "cut_off") for word in ("too_long", "rate_limited")),
        ("model_context_window_exceeded", "cut_off"),
        *(
            (word, "filtered")
            for word in ("content_filter", "SAFETY", "prohibited-content", "ERROR_TOXIC")
        ),
        ("refusal", "refused"),
    ],
)
def test_why_a_text_ended(reason: Any, outcome: str) -> None:
    assert ended("The answer begins", reason)[0] == outcome
    if outcome == "answered":
        assert ended("", reason)[0] == "empty"


@pytest.mark.parametrize(
    "reason", ["error", "abort", "cancelled", "MALFORMED_FUNCTION_CALL", "stopped_by_user"]
)
def test_a_text_that_the_service_broke_off_is_asked_again(reason: str) -> None:
    chat = {"choices": [{"message": {"content": "The answer"}, "finish_reason": reason}]}
    message = {"content": [{"type": "text", "text": "The answer"}], "stop_reason": reason}
    with pytest.raises(Unreachable, match="broke the answer off"):
        chat_response(chat, prompt(1), "m")
    with pytest.raises(Unreachable, match="broke the answer off"):
        read(message, prompt(1), "m")


def test_an_unknown_reason_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        ended("text", "gone_fishing", "m")
    assert caplog.messages == [
        "m: unknown finish reason 'gone_fishing'; its texts count as cut off"
    ]


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (error("Rate limit exceeded: free models", code=429), Overloaded, "free models"),
        ({"choices": [error("upstream", code=502)]}, Unreachable, "upstream"),
        (error("no such key", code=401), Denied, "no such key"),
        (error("slow", type="rate_limit_error"), Overloaded, "slow"),
        ({"error": "out of memory"}, Unreachable, "out of memory"),
        (
            {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
            Overloaded,
            "rate limit",
        ),
        ({"choices": None, "hint": "upgrade"}, Unreachable, "upgrade"),
    ],
)
def test_an_error_under_a_200_is_what_it_says(body: Any, kind: type[AskError], words: str) -> None:
    for reader in (chat_response, read):
        with pytest.raises(kind, match=words) as raised:
            reader(body, prompt(1), "m", {"retry-after": "7"})
        assert getattr(raised.value, "retry_after", 7.0) == 7.0


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1/", "HTTPS://API.OpenAI.com:443/v1", "https://api.openai.com/v1"],
)
def test_the_spelling_of_an_address_changes_nothing(url: str) -> None:
    one, other = OpenAI("m", base_url=url), OpenAI("m", base_url="https://api.openai.com/v1")
    assert one.identity == other.identity
    assert "max_completion_tokens" in attrs.evolve(one, max_tokens=5).body(prompt(1), 0)
    assert normal_url("http://h:80/a//") == "http://h/a"


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://eu.api.openai.com/v1", True),
        ("https://me.openai.azure.com/openai/v1/", True),
        ("https://me.cognitiveservices.azure.com/openai/v1", True),
        ("https://api.openai.com.example/v1", False),
        ("https://notapi.openai.com.evil/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("https://openrouter.ai/api/v1", False),
    ],
)
def test_who_is_openai(url: str, is_one: bool) -> None:
    assert is_openai(url) is is_one


async def asked(journal: Path, act: Any, count: int, **options: Any) -> tuple[list[str], int]:
    responder = Acting(act=act, concurrency=4)
    async with Asker(journal, options=Asking(**options), progress=False) as ask:
        outcomes = [(await ask(responder, one)).outcome.value for one in prompts(count)]
    return outcomes, ask.stats.unfinished


async def test_if_all_is_rejected_alike_the_run_stops_and_keeps_nothing(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    with pytest.raises(CptError, match=r"the first 8 requests were all rejected \(no 7"):
        await asked(journal, lambda *_: Rejected("no 7"), 20)
    with pytest.raises(CptError, match=r"the first 2 requests were all rejected \(no template"):
        await asked(journal, lambda *_: Rejected("no template", of_all=True), 20)
    assert status(journal).answers == 0
    assert await asked(journal, lambda *_: None, 20) == (["answered"] * 20, 0)


async def test_few_rejections_without_an_answer_are_asked_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    assert await asked(journal, lambda *_: Rejected("no"), 3) == (["rejected"] * 3, 3)
    assert await asked(journal, lambda *_: None, 3) == (["answered"] * 3, 0)


async def test_rejections_are_kept_once_another_is_answered(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"

    def act(one: Prompt, _: int) -> Response | Exception | None:
        return Rejected("no") if one.id in ("p0", "p1", "p3") else None

    said = ["rejected", "rejected", "answered", "rejected"]
    assert await asked(journal, act, 4) == (said, 0)
    assert await asked(journal, lambda *_: None, 4) == (said, 0), "kept"
    again = await asked(journal, lambda *_: None, 4, again=("rejected",))
    assert again == (["answered"] * 4, 0)


async def test_a_service_that_once_answered_has_its_rejections_kept(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    await asked(journal, lambda *_: None, 1)
    assert await asked(journal, lambda *_: Rejected("no"), 3) == (
        ["answered", *["rejected"] * 2],
        0,
    )


async def test_a_filtered_prompt_is_its_own_outcome(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    assert await asked(journal, lambda *_: Filtered("flagged"), 9) == (["filtered"] * 9, 0)


def test_a_batch_that_was_all_refused_stops_the_run() -> None:
    assert refusal_of_all([Rejected("no 1"), Rejected("no 2")] * 4, 8)
    assert not refusal_of_all([Rejected("no"), Unreachable("x")] * 4, 8)
    assert not refusal_of_all([Rejected("a prompt that is too long")] * 9, 8)


async def test_a_budget_is_kept_where_no_tokens_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def act(one: Prompt, _: int) -> Response:
        return Response(prompt_id=one.id, text="word " * 400, author="m")

    prices = tmp_path / "prices.yaml"
    prices.write_text('"*": {"*": {input: 1, output: 1000}}\n')
    journal = tmp_path / "journal.sqlite"
    responder = Acting(act=act, max_tokens=600)
    options = Asking(budget=3.0, prices=str(prices))
    async with Asker(journal, options=options, progress=False) as ask:
        outcomes = [(await ask(responder, one)).outcome.value for one in prompts(12)]
    assert outcomes[:5] == ["answered"] * 5 and outcomes[-1] == "over_budget"
    assert 2.0 < ask.stats.cost <= 3.0
    said = [line for line in caplog.messages if "reports no token counts" in line]
    assert said == [
        "scripted:m reports no token counts; costs are estimated from the length of the texts"
    ]


def test_few_rejections_and_nothing_else_are_no_run_that_goes_on(tmp_path: Path) -> None:
    prompts_file = tmp_path / "p.jsonl"
    prompts_file.write_text('{"prompt": "Hi"}\n{"prompt": "Ho"}\n')
    with answering(Reply({"error": {"message": "it is odd"}}, 400)) as server:
        line = ["respond", "--prompts", str(prompts_file), "--responder", "server:m"]
        line += ["--responder.base-url", f"{server.url}/v1", "--output", str(tmp_path / "out")]
        said = CliRunner().invoke(main, line)
    assert said.exit_code == 1, said.output
    assert "all 2 requests were rejected" in said.stderr and "it is odd" in said.stderr
    assert "continues" not in said.stderr


def test_extra_body_comes_from_a_file_flags_and_json(tmp_path: Path) -> None:
    prompts_file = tmp_path / "p.jsonl"
    prompts_file.write_text('{"id": "a", "prompt": "Hi"}\n')
    with served(completion("Four.")) as address:
        config = tmp_path / "run.yaml"
        config.write_text(
            "responder:\n  name: server:m\n  extra_body:\n    min_p: 0.1\n"
            "    chat_template_kwargs: {enable_thinking: true, name: x}\n"
        )
        line = [
            "respond", "--config", str(config), "--prompts", str(prompts_file), "--output",
            str(tmp_path / "out"), "--responder.base-url", f"{address}/v1",
            "--responder.extra-body.top_k", "20",
            "--responder.extra-body.chat_template_kwargs.enable_thinking", "false",
        ]  # fmt: skip
        result = CliRunner().invoke(main, line)
        assert result.exit_code == 0, result.output
        again = CliRunner().invoke(main, ["respond", "--output", str(tmp_path / "out")])
        assert "requests 0" in again.output, again.output
        other = [*line[:-4], "--responder.extra-body", '{"top_k": 21, "a": {"name": "b"}}']
        assert "requests 1" in CliRunner().invoke(main, other).output
    identities = _identities(tmp_path / "out" / "journal.sqlite")
    assert [one["extra_body"] for one in identities] == [
        {
            "min_p": 0.1,
            "top_k": 20,
            "chat_template_kwargs": {"enable_thinking": False, "name": "x"},
        },
        {"top_k": 21, "a": {"name": "b"}},
    ]


def _identities(journal: Path) -> list[Any]:
    import sqlite3

    with sqlite3.connect(journal) as connection:
        found = connection.execute("SELECT identity FROM responders ORDER BY id").fetchall()
    return [json.loads(identity) for (identity,) in found]


@pytest.mark.parametrize("kind", [OpenAI, Server, Anthropic])
def test_extra_body_is_sent_and_overrides_nothing(kind: Any) -> None:
    responder = kind("m", extra_body={"top_k": 20, "chat_template_kwargs": {"x": False}})
    body = responder.body(prompt(1), *(() if kind is Anthropic else (0,)))
    assert body["top_k"] == 20 and body["chat_template_kwargs"] == {"x": False}
    assert "extra_body" not in kind("m").identity
    for name in ("model", "messages", "temperature", "stream", "n"):
        with pytest.raises(ValueError, match=name):
            kind("m", extra_body={name: 1})
    hash(responder)


def test_extra_body_and_a_schema_share_what_anthropic_calls_output_config() -> None:
    schema = {"type": "object"}
    extra = {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}
    body = Anthropic("m", extra_body=extra, json_schema=schema).body(prompt(1))
    form = {"type": "json_schema", "schema": schema}
    assert body["output_config"] == {"effort": "low", "format": form}
    assert body["thinking"] == {"type": "adaptive"}
    assert Anthropic("m", extra_body=extra).body(prompt(1))["output_config"] == {"effort": "low"}


def test_usage_is_read_where_it_can_be() -> None:
    def used(usage: Any) -> tuple[int, int]:
        message = {"content": [{"type": "output_text", "text": "The answer"}]}
        body = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        answer = chat_response(body, prompt(1), "m")
        assert (answer.text, answer.outcome) == ("The answer", "answered")
        return answer.usage.input_tokens, answer.usage.output_tokens

    assert used({"prompt_tokens": 3.0, "completion_tokens": 2}) == (3, 2)
    nothing: list[Any] = [None, [], {"prompt_tokens": None, "prompt_tokens_details": None}]
    for usage in [*nothing, {"prompt_tokens": "3", "completion_tokens": True}]:
        assert used(usage) == (0, 0)


def test_a_misspelt_outcome_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"'filterd' is no outcome .*; did you mean 'filtered'\?$"):
        Asking(again=("filterd",))
