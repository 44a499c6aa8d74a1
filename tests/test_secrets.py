"""A key goes to its service and nowhere else, whatever goes wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpt import CptError, Denied, Overloaded, Rejected, Unreachable
from cpt.asking import Asker
from cpt.errors import AskError
from cpt_anthropic import Anthropic
from cpt_openai import OpenAI
from cpt_server import Server

from .asked import Scripted as Asked
from .asked import prompt
from .scripted import Reply, serving
from .scripted import Server as Scripted

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
async def server() -> AsyncIterator[Scripted]:
    async with serving() as made:
        yield made


async def run(folder: Path, kind: str, url: str) -> bytes:
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
    line = ["-m", "cpt", "pair", "--json", "--config", str(folder / "run.yaml")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *line, "--output", str(folder / "out"),
        env={**os.environ, "MY_ACCESS": KEY, "OPENAI_LOG": "debug", "ANTHROPIC_LOG": "debug"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    # Two rungs that say the same give no pair, and neither does a service that says nothing.
    assert process.returncode == 2, said.decode()
    assert (folder / "out" / "journal.sqlite").is_file()
    assert b"never retrieved" not in said and b"Unclosed" not in said, said.decode()
    return said


def places_with_the_key(folder: Path, said: bytes) -> list[str]:
    """Where the key can be read, in any file of the folder or on the screen."""
    found = [str(path) for path in folder.rglob("*") if path.is_file() and seen(path.read_bytes())]
    return [*found, *(["the screen"] if seen(said) else [])]


def seen(data: bytes) -> bool:
    return KEY.encode() in data


@pytest.fixture(params=list(ANSWERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_key_is_nowhere_after_success_and_trouble(
    server: Scripted, tmp_path: Path, kind: str
) -> None:
    server.reply, server.replies = Reply(ANSWERS[kind]), TROUBLES
    said = await run(tmp_path / "run", kind, server.url)
    assert {word for word in TROUBLES for _, body, _ in server.asked if word in str(body)} == set(
        TROUBLES
    )
    assert all(KEY in str(headers) for _, _, headers in server.asked), "not even the service had it"
    assert places_with_the_key(tmp_path / "run", said) == []


async def test_the_key_is_nowhere_after_it_was_refused(
    server: Scripted, tmp_path: Path, kind: str
) -> None:
    server.reply = Reply(ECHO, 401)
    said = await run(tmp_path / "run", kind, server.url)
    assert b"HTTP 401: Bearer *** was refused" in said
    assert places_with_the_key(tmp_path / "run", said) == []
    assert len(server.asked) < 20, "a refused key was tried on"


REFUSED = f"Bearer {KEY} was refused"


@pytest.mark.parametrize("error", [Unreachable(REFUSED), Rejected(REFUSED), Denied(REFUSED)])
async def test_no_error_of_any_responder_says_what_a_variable_keeps_secret(
    error: AskError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEONES_API_KEY", KEY)
    responder = Asked(act=lambda *_: error, attempts=1)
    journal = tmp_path / "journal.sqlite"
    with suppress(CptError):
        async with Asker(journal, progress=False) as ask:
            said = await ask(responder, prompt(1))
            assert "Bearer *** was refused" in said.detail
    assert places_with_the_key(tmp_path, b"") == []
    assert b"Bearer ***" in journal.read_bytes() or isinstance(error, Denied)


async def test_what_stops_a_run_does_not_say_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEONES_API_KEY", KEY)
    for error in (Denied(f"no {KEY}"), Overloaded(f"no {KEY}", 1e6)):
        with pytest.raises(CptError, match=r"no \*\*\*") as stopped:
            async with Asker(None, progress=False) as ask:
                await ask(Asked(act=lambda *_, error=error: error), prompt(1))
        assert KEY not in stopped.value.message


@pytest.mark.parametrize("responder", [Server, OpenAI, Anthropic])
def test_an_address_with_a_password_is_refused_without_saying_it(responder: Any) -> None:
    url = f"http://me:{KEY}@127.0.0.1:9/v1"
    with pytest.raises(CptError, match=r"127\.0\.0\.1:9/v1: this address") as refused:
        responder("m", base_url=(url,) if responder is Server else url).check()
    assert KEY not in refused.value.message


async def test_the_key_is_nowhere_if_nobody_is_there(tmp_path: Path, kind: str) -> None:
    said = await run(tmp_path / "run", kind, "http://127.0.0.1:9")
    assert b"Cannot connect" in (tmp_path / "run" / "out" / "journal.sqlite").read_bytes()
    assert places_with_the_key(tmp_path / "run", said) == []
