"""`openai` and `server` against a server that nobody here wrote: `transformers serve`, offline."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest

from cpt import Message, Prompt
from cpt_lab.recipes import make
from cpt_openai.responder import OpenAI

from .respond import Command, finished

COUNT = 200


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """A lab of our own, made again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield patch


@pytest.fixture(scope="module")
def model(lab: pytest.MonkeyPatch) -> Path:
    return make("tiny/base")


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    """The address of a running server."""
    line = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    server = subprocess.Popen(
        [*line, "--host", "127.0.0.1", "--port", "0", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert server.stderr is not None
    said = []
    for printed in server.stderr:
        said.append(printed)
        if found := re.search(r"http://127\.0\.0\.1:\d+", printed):
            break
    else:
        pytest.fail("".join(said))
    Thread(target=server.stderr.read, daemon=True).start()
    yield f"{found[0]}/v1"
    server.terminate()
    server.wait()


async def ask_all(responder: OpenAI, asked: list[Prompt]) -> list[str]:
    try:
        answers = await asyncio.gather(*(responder.answer(prompt, 0) for prompt in asked))
    finally:
        await responder.close()
    assert [answer.prompt_id for answer in answers] == [prompt.id for prompt in asked]
    for answer in answers:
        assert answer.outcome == ("answered" if answer.finish_reason == "stop" else "cut_off")
        assert answer.text and answer.usage.input_tokens and 0 < answer.usage.output_tokens <= 12
    return [answer.text for answer in answers]


async def test_a_local_model_answers(url: str, model: Path) -> None:
    asked = [Prompt(id=f"p{n}", messages=(Message("user", f"Say {n}."),)) for n in range(10)]
    responder = OpenAI(str(model), base_url=url, max_tokens=12, temperature=0.0)
    responder.check()
    greedy = await ask_all(responder, asked)
    assert await ask_all(responder, asked) == greedy


@pytest.mark.parametrize("kind", ["openai", "server"])
async def test_what_was_answered_before_a_stop_is_not_asked_again(
    kind: str, url: str, model: Path, tmp_path: Path
) -> None:
    flags = ("--limit", str(COUNT), "--responder.concurrency", "8", "--responder.max-tokens", "12")
    run = Command(make("test"), url, tmp_path / "out", f"{kind}:{model}", flags)
    process = await run.start()
    while process.returncode is None and len(run.journaled()) < COUNT / 4:
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _, said = await finished(process)
    assert code == 130, said
    kept = len(run.journaled())
    assert COUNT / 4 <= kept < COUNT

    code, counts, said = await run.run()
    assert code == 0, said
    assert (counts["responses"], counts["from_journal"]) == (COUNT, kept)
    assert counts["requests"] == COUNT - kept
    assert set(counts["outcomes"]) <= {"answered", "cut_off"}
    table = pq.read_table(run.output / "responses.parquet").to_pylist()
    assert [row["id"] for row in table] == [f"test-{number}" for number in range(COUNT)]
    assert all(row["text"] and row["output_tokens"] for row in table)
