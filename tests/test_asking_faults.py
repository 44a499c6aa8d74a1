"""Every answer paid for once, through any failure: real processes, and a server with a ledger."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cpt.asking.journal.queries import status
from cpt.cli import main

from .faulty import FAULTS, Faulty, faulty
from .respond import Command, finished, text, write_prompts

FAST = ("--responder.concurrency", "64", "--responder.timeout", "3")
WIRES = {"server:m": "/v1", "openai:m": "/v1", "anthropic:m": ""}


def command(tmp_path: Path, server: Faulty, count: int, responder: str = "server:m") -> Command:
    url = server.url + WIRES[responder]
    return Command(write_prompts(tmp_path, count), url, tmp_path / "out", responder, FAST)


async def until(server: Faulty, enough: Callable[[Any], bool], process: Process) -> None:
    """Wait for the server's books to say so, or the process to end."""
    while process.returncode is None and not enough(await asyncio.to_thread(server.ledger)):
        await asyncio.sleep(0.01)


def more_than(answers: float) -> Callable[[Any], bool]:
    return lambda books: sum(books["answered"].values()) > answers


@pytest.mark.parametrize("responder", WIRES)
async def test_every_request_is_answered_once_through_all_faults(
    tmp_path: Path, responder: str
) -> None:
    count = 120
    with faulty(faults=FAULTS, retry_after=0.2) as server:
        run = command(tmp_path, server, count, responder)
        code, said, errors = await run.run()
        assert code == 0, errors
        ledger = server.ledger()
    assert said["outcomes"] == {"answered": count}
    assert set(ledger["answered"].values()) == {1}, "none lost, none asked again"
    assert len(ledger["answered"]) == count
    assert ledger["early"] == 0, "nobody came back sooner than told"
    assert ledger["most_in_flight"] <= 64
    assert set(FAULTS) <= set(ledger["happened"])
    assert said["requests"] == count + said["retries"]
    assert sum(ledger["received"].values()) <= said["requests"]
    table = pq.read_table(run.output / "responses.parquet").to_pylist()
    assert [row["id"] for row in table] == [str(number) for number in range(count)]
    assert all(row["text"].startswith(f"To {row['prompt'][0]['content'][:20]}") for row in table)


async def test_what_is_journaled_is_never_asked_again_however_often_it_is_killed(
    tmp_path: Path,
) -> None:
    count, kills = 200, 3
    rng = random.Random(0)
    settled: dict[str, int] = {}
    with faulty(faults=FAULTS, retry_after=0.1, latency=0.05) as server:
        run = command(tmp_path, server, count)
        for kill in range(kills):
            process = await run.start()
            enough = (kill + rng.random()) * count / (kills + 1)
            await until(server, more_than(enough), process)
            process.send_signal(signal.SIGKILL)
            await process.communicate()
            assert process.returncode == -signal.SIGKILL
            received = server.ledger()["received"]
            settled |= {asked: received[asked] for asked in run.journaled() - settled.keys()}
            if run.journaled():
                assert len(status(run.output / "journal.sqlite").doubtful) <= 64
        code, said, errors = await run.run()
        assert code == 0, errors
        ledger = server.ledger()
    assert said["responses"] == count
    assert said["outcomes"] == {"answered": count}
    assert {asked: ledger["received"][asked] for asked in settled} == settled
    assert settled, "it was killed before anything was journaled"
    extra = sum(ledger["answered"].values()) - count
    assert extra <= kills * 64, "no more than was in flight"
    assert run.whole()
    assert status(run.output / "journal.sqlite").doubtful == ()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_ctrl_c_keeps_what_is_in_flight(
    tmp_path: Path, kind: signal.Signals
) -> None:
    with faulty(latency=0.5) as server:
        run = command(tmp_path, server, 2000)
        process = await run.start()
        await until(server, more_than(50), process)
        process.send_signal(kind)
        code, said, errors = await finished(process)
        ledger = server.ledger()
        assert code == 130, errors
        assert said is None
        assert "answers in flight are awaited and kept" in errors
        assert "Traceback" not in errors
        assert ledger["in_flight"] == 0
        assert run.journaled() == set(ledger["answered"]) == set(ledger["received"])
        assert status(run.output / "journal.sqlite").doubtful == ()
        assert not (run.output / "responses.parquet").exists()


async def test_the_second_ctrl_c_leaves_at_once_and_loses_nothing_journaled(
    tmp_path: Path,
) -> None:
    with faulty(latency=0.05, faults={"hanging": 0.05}) as server:
        run = command(tmp_path, server, 2000)
        run = Command(run.prompts, run.url, run.output, flags=("--responder.timeout", "600"))
        process = await run.start()
        hanging = 10
        await until(server, lambda books: books["happened"].get("hanging", 0) > hanging, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        while b"Press Ctrl-C again to quit" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        code, _, _ = await finished(process)
        assert code == 130
        before, received = run.journaled(), server.ledger()["received"]
    assert before and run.whole()
    assert all(received[asked] == 1 for asked in before)
    assert len(status(run.output / "journal.sqlite").doubtful) >= hanging


async def test_a_capped_service_is_asked_with_little_waste(tmp_path: Path) -> None:
    """What the pace tests show in imagined time, once over real connections."""
    with faulty(latency=0.1, cap=100, retry_after=1.0) as server:
        run = command(tmp_path, server, 200)
        code, said, errors = await run.run()
        ledger = server.ledger()
    assert code == 0, errors
    assert said["outcomes"] == {"answered": 200}
    assert ledger["early"] == 0
    assert ledger["happened"].get("overloaded", 0) <= 60


async def test_a_wrong_key_is_one_line(tmp_path: Path) -> None:
    with faulty(deny=True) as server:
        run = command(tmp_path, server, 10_000)
        code, _, errors = await run.run()
        assert sum(server.ledger()["received"].values()) <= 64
    assert code == 2
    assert "server:m: HTTP 401: no such key" in errors.splitlines()[-1]


async def test_a_broken_row_is_found_before_anything_is_paid(tmp_path: Path) -> None:
    with faulty() as server:
        run = command(tmp_path, server, 500)
        with run.prompts.open("a") as file:
            file.write('{"id": "last", "prompt": ["not a message"]}\n')
        code, _, errors = await run.run()
        assert server.ledger()["received"] == {}
    assert code == 2
    assert "prompts.jsonl:501: " in errors


async def test_one_bad_prompt_costs_one_call_and_no_other_answer(tmp_path: Path) -> None:
    with faulty(reject=text(77)) as server:
        run = command(tmp_path, server, 200)
        for _ in range(2):
            code, said, errors = await run.run()
            assert code == 0, errors
            assert said["outcomes"] == {"answered": 199, "rejected": 1}
        assert set(server.ledger()["received"].values()) == {1}
    row = pq.read_table(run.output / "responses.parquet").to_pylist()[77]
    assert (row["outcome"], row["text"]) == ("rejected", "")
    assert "HTTP 400: this prompt is too long" in row["detail"]
    assert said["reasons"] == {"rejected": "prompt 77: HTTP 400: this prompt is too long"}


def test_what_a_person_is_told(tmp_path: Path) -> None:
    with faulty(reject=text(1)) as server:
        line = ["respond", "--prompts", str(write_prompts(tmp_path, 3)), "--responder", "server:m"]
        line += ["--responder.base-url", f"{server.url}/v1", "--output", str(tmp_path / "out")]

        def told(*flags: str) -> str:
            done = CliRunner().invoke(main, [*line, *flags], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.stdout

        assert "server:m  3 requests: about " in told("--dry-run")
        assert not (tmp_path / "out").exists() and server.ledger()["received"] == {}
        said = told()
        assert said.startswith("responses 3, outcomes (") and "rejected 1" in said
        assert "rejected, for example: prompt 1: HTTP 400: this prompt is too long" in said
        assert "reasons" not in said
        assert told("--why", "2").startswith("It is there: answered by m, 20")
        first, second = json.loads(told("--why", "2", "--samples", "2", "--json"))
        assert first.startswith("It is there") and "the sample number: 0 there, 1 now" in second
        assert json.loads(told("--status", "--json"))["by_author"] == {
            "m": {"answered": 2, "rejected": 1}
        }
        assert "paid responses: m an unknown price for " in told("--status")
        assert sum(server.ledger()["received"].values()) == 3


async def test_what_failed_for_now_is_told_by_the_exit_status(tmp_path: Path) -> None:
    with faulty(faults={"malformed": 0.3}) as server:
        run = command(tmp_path, server, 30)
        flags = (*FAST, "--responder.attempts", "1")
        once = Command(run.prompts, run.url, run.output, flags=flags)
        code, said, errors = await once.run()
        assert code == 1, errors
        assert said["unfinished"] == said["outcomes"]["malformed"] > 0
        assert "asked 1 times, last: what came back is not JSON" in said["reasons"]["malformed"]
        code, said, errors = await run.run()
        assert code == 0, errors
        assert said["outcomes"] == {"answered": 30}
        assert set(server.ledger()["answered"].values()) == {1}
