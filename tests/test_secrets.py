"""A key goes to its service and nowhere else, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpt import CptError, Denied, Overloaded, Rejected, Unreachable
from cpt.asking import Asker
from cpt.asking.journal.keys import request
from cpt.asking.options import Asking
from cpt.asking.transports.batch_timing import Timing
from cpt.errors import AskError
from cpt.secrets import hide, scrub
from cpt.service import http_error
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server

from .asked import Acting, prompt
from .commands import Commands
from .scripted import Reply, serving
from .scripted import Server as FakeServer
from .warm import WarmPython

KEY = "marked-key-4f9c1d7e-do-not-show"
TEXT = "It is four."
ANSWERS = {
    "openai": {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]},
    "server": {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]},
    "anthropic": {
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}
"""An endpoint's answer, by the kind of service."""

ECHO = {"error": {"message": f"Bearer {KEY} was refused", "type": "x"}}
"""An endpoint that repeats the key that it was sent, as some do."""

TROUBLES = {
    "overloaded": Reply(ECHO, 429, {"retry-after": "0"}),
    "broken": Reply(f"<html>{KEY}</html>".encode(), 500),
    "rejected": Reply(ECHO, 400),
    "malformed": Reply(b'{"choices": ' + KEY.encode()),
    "cut": Reply(cut=True),
}
"""What prompts with these words in them get."""


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with serving() as made:
        yield made


async def run(warm: WarmPython, folder: Path, kind: str, url: str) -> str:
    """`cpt pair` with two rungs of a service, and all that it said, the SDKs at their loudest."""
    folder.mkdir()
    prompts = folder / "prompts.jsonl"
    words = ["fine", *TROUBLES]
    prompts.write_text("".join(f'{{"id": "{word}", "prompt": "{word}"}}\n' for word in words))
    base_url = url if kind == "anthropic" else f"{url}/v1"
    # A name that does not look like a secret's: nothing but the service knows that it is one.
    rung = {"name": kind, "base_url": base_url, "api_key_env": "MY_ACCESS", "attempts": 1}
    rungs = [{**rung, "model": model} for model in ("strong", "weak")]
    options = {"prompts": str(prompts), "pairer": {"name": "ladder", "rungs": rungs}}
    (folder / "run.yaml").write_text(yaml.safe_dump(options))
    line = ["pair", "--json", "--config", folder / "run.yaml", "--output", folder / "out"]
    loud = {"OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug"}
    status, said = await command(warm, folder, *line, **loud)
    # Two rungs that say the same give no pair, and neither does a service that says nothing.
    assert status == 2, said
    assert (folder / "out" / "journal.sqlite").is_file()
    assert "never retrieved" not in said and "Unclosed" not in said, said
    return said


async def command(
    warm: WarmPython, folder: Path, *line: object, **variables: str
) -> tuple[int, str]:
    """The exit status of `cpt LINE` with the key, and all that it said."""
    env = {"MY_ACCESS": KEY, **variables}
    ended = await asyncio.to_thread(warm.run, "-m", "cpt", *line, cwd=folder, env=env)
    return ended.status, ended.out + ended.err


def places_with_the_key(folder: Path, said: str | bytes) -> list[str]:
    """Where the key can be read, in any file of the folder or on the screen."""
    found = [str(path) for path in folder.rglob("*") if path.is_file() and seen(path.read_bytes())]
    return [
        *found,
        *(["the screen"] if seen(said if isinstance(said, bytes) else said.encode()) else []),
    ]


def seen(data: bytes) -> bool:
    """Whether any eight characters of the key in a row are there."""
    return any(KEY[start : start + 8].encode() in data for start in range(len(KEY) - 7))


@pytest.fixture(params=list(ANSWERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_key_is_nowhere_after_success_and_trouble(
    warm: WarmPython, server: FakeServer, tmp_path: Path, kind: str
) -> None:
    server.reply, server.replies = Reply(ANSWERS[kind]), TROUBLES
    said = await run(warm, tmp_path / "run", kind, server.url)
    assert {word for word in TROUBLES for _, body, _ in server.asked if word in str(body)} == set(
        TROUBLES
    )
    assert all(KEY in str(headers) for _, _, headers in server.asked), "not even the service had it"
    assert places_with_the_key(tmp_path / "run", said) == []


async def test_the_key_is_nowhere_after_it_was_refused(
    warm: WarmPython, server: FakeServer, tmp_path: Path, kind: str
) -> None:
    server.reply = Reply(ECHO, 401)
    said = await run(warm, tmp_path / "run", kind, server.url)
    assert "HTTP 401: Bearer *** was refused" in said
    assert places_with_the_key(tmp_path / "run", said) == []
    assert len(server.asked) < 20, "a refused key was tried on"


REFUSED = f"Bearer {KEY} was refused"


@pytest.mark.parametrize("error", [Unreachable(REFUSED), Rejected(REFUSED), Denied(REFUSED)])
async def test_no_error_of_any_responder_says_what_a_variable_keeps_secret(
    error: AskError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEONES_API_KEY", KEY)
    responder = Acting(act=lambda *_: error, attempts=1)
    journal = tmp_path / "journal.sqlite"
    with suppress(CptError):
        async with Asker(journal, progress=False) as ask:
            said = await ask(responder, prompt(1))
            assert "Bearer *** was refused" in said.detail
    assert places_with_the_key(tmp_path, "") == []
    assert b"Bearer ***" in journal.read_bytes() or isinstance(error, Denied)


async def test_what_stops_a_run_does_not_say_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEONES_API_KEY", KEY)
    for error in (Denied(f"no {KEY}"), Overloaded(f"no {KEY}", 1e6)):
        with pytest.raises(CptError, match=r"no \*\*\*") as stopped:
            async with Asker(None, progress=False) as ask:
                await ask(Acting(act=lambda *_, error=error: error), prompt(1))
        assert KEY not in stopped.value.message


@pytest.mark.parametrize("responder", [Server, OpenAI, Anthropic])
def test_an_address_with_a_password_is_refused_without_saying_it(responder: Any) -> None:
    url = f"http://me:{KEY}@127.0.0.1:9/v1"
    with pytest.raises(CptError, match=r"127\.0\.0\.1:9/v1: this address") as refused:
        responder("m", base_url=(url,) if responder is Server else url).check()
    assert KEY not in refused.value.message


async def test_the_key_is_nowhere_if_nobody_is_there(
    warm: WarmPython, tmp_path: Path, kind: str
) -> None:
    said = await run(warm, tmp_path / "run", kind, "http://127.0.0.1:9")
    assert b"Cannot connect" in (tmp_path / "run" / "out" / "journal.sqlite").read_bytes()
    assert places_with_the_key(tmp_path / "run", said) == []


LONGEST = 420
"""Characters after which any message is cut."""


@pytest.mark.parametrize("status", [307, 400])
@pytest.mark.parametrize("shape", ["message", "other", "text", "error"])
def test_no_cut_leaves_a_part_of_a_key(status: int, shape: str) -> None:
    for before in range(LONGEST):
        echo = "x" * before + KEY
        body: Any = {
            "message": {"error": {"message": echo}},
            "other": {"error": {"code": 5, "got": [echo]}},
            "text": echo,
            "error": {"error": echo},
        }[shape]
        error = http_error(status, {"location": echo}, body, secret=KEY)
        assert not seen(f"{error} {error.args}".encode()), before


async def test_no_part_of_a_key_is_in_any_file_wherever_its_message_was_cut(
    warm: WarmPython, server: FakeServer, tmp_path: Path, kind: str
) -> None:
    pads = range(LONGEST - len(KEY) - 40, LONGEST, 3)
    server.replies = {
        f"<{pad}>": Reply({"error": {"message": "x" * pad + KEY}}, (400, 403, 500)[pad % 3])
        for pad in pads
    }
    server.reply = Reply(ANSWERS[kind])
    prompts = tmp_path / "prompts.jsonl"
    words = ["fine", *server.replies]
    prompts.write_text("".join(f'{{"id": "{word}", "prompt": "{word}"}}\n' for word in words))
    url = server.url if kind == "anthropic" else f"{server.url}/v1"
    line = ["respond", "--prompts", prompts, "--responder", f"{kind}:m"]
    options = {"base-url": url, "api-key-env": "MY_ACCESS", "attempts": "1", "concurrency": "1"}
    flags = [part for name, value in options.items() for part in (f"--responder.{name}", value)]
    _, said = await command(warm, tmp_path, *line, *flags, "--output", tmp_path / "out")
    assert "Traceback" not in said, said
    assert places_with_the_key(tmp_path / "out", said) == []


async def test_an_answer_and_its_finish_reason_do_not_say_the_key(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_ACCESS", KEY)
    choice = {"message": {"content": f"It is {KEY}."}, "finish_reason": KEY[:-1]}
    server.reply = Reply({"choices": [choice]})
    responder = Server("m", base_url=(f"{server.url}/v1",), api_key_env="MY_ACCESS")
    responder.check()
    async with Asker(tmp_path / "journal.sqlite", progress=False) as ask:
        answer = await ask(responder, prompt(1))
    assert answer.text == "It is ***."
    assert places_with_the_key(tmp_path, "") == []


LONG = "x" * 180 + KEY
"""Words that an error may be cut in."""
BATCH: dict[str, Any] = {"id": "b", "status": "completed", "processing_status": "ended"}
BATCHED: dict[str, dict[str, Reply]] = {
    "refused": {"": Reply(ECHO, 401)},
    "rejected": {"": Reply(ECHO, 400)},
    "broken": {"": Reply(LONG.encode(), 200)},
    "failed": {
        "": Reply({**BATCH, "status": "failed", "errors": {"data": [{"message": LONG}]}}),
        "results": Reply(LONG.encode(), 404),
    },
    "an error in a line": {
        "": Reply({**BATCH, "output_file_id": "f", "results_url": "/results"}),
        "content": Reply(b""),
        "results": Reply(b""),
    },
}
"""What a provider that repeats the key says of batches, by a word in the path."""


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("trouble", BATCHED)
async def test_no_batch_says_the_key(
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    trouble: str,
) -> None:
    monkeypatch.setenv("MY_ACCESS", KEY)
    url = server.url if kind == "anthropic" else f"{server.url}/v1"
    made = Anthropic if kind == "anthropic" else OpenAI
    responder = made("m", base_url=url, api_key_env="MY_ACCESS", attempts=1)
    key = request(responder, prompt(1), 0).key
    line = {
        "custom_id": key,
        "error": {"message": LONG},
        "result": {"type": "errored", "error": {"error": {"type": "x", "message": LONG}}},
    }
    in_line = Reply(json.dumps(line).encode() + b"\n" + LONG.encode())
    replies = {
        word: in_line if reply.body == b"" else reply for word, reply in BATCHED[trouble].items()
    }
    server.reply = replies.pop("")
    server.at = replies
    said = ""
    try:
        async with Asker(
            tmp_path / "journal.sqlite",
            options=Asking(batch=True),
            timing=Timing(quiet=0.01, poll=0.01),
            progress=False,
        ) as ask:
            said = (await ask(responder, prompt(1))).detail
    except CptError as error:
        said = f"{error.message} {error}"
    assert any(KEY in str(headers) for _, _, headers in server.asked), "it was not even sent"
    told = (said + caplog.text).encode() + (tmp_path / "journal.sqlite").read_bytes()
    if trouble not in ("broken", "failed"):  # of those an SDK may say nothing
        assert b"***" in told, told
    assert places_with_the_key(tmp_path, told) == []


@pytest.mark.parametrize("responder", [Server, OpenAI, Anthropic])
@pytest.mark.parametrize("query", [f"?api-key={KEY}", f"?k={KEY}", f"#{KEY}"])
def test_a_key_in_a_query_is_refused_without_saying_it(responder: Any, query: str) -> None:
    url = f"http://127.0.0.1:9/v1{query}"
    with pytest.raises(CptError, match=r"127\.0\.0\.1:9/v1: this address.*query") as refused:
        responder("m", base_url=(url,) if responder is Server else url).check()
    assert KEY not in refused.value.message


FAULTY = """
import os, click, cpt

@click.command()
def fail():
    raise RuntimeError("no answer from https://me:" + os.environ["MY_KEY"] + "@host/\\x1b[31m")

@cpt.hookimpl
def cpt_commands():
    return [fail]
"""


def test_a_fault_of_the_program_is_told_without_the_key(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    ended = commands.one("-p", "faulty.py", "fail", cwd=tmp_path, env={"MY_KEY": KEY})
    assert ended.status == 1
    assert "Traceback" in ended.err and ", in fail\n" in ended.err
    assert ended.err.endswith("RuntimeError: no answer from https://***@host/\\x1b[31m\n")
    assert places_with_the_key(tmp_path, ended.err) == []


def test_ordinary_words_stay() -> None:
    hide("dummy")
    assert scrub("a dummy, and a login: http://me:pass@host/v1") == (
        "a dummy, and a login: http://***@host/v1"
    )
