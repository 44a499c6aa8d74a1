"""Prompts to answers: what `respond` writes and says, and what a person sees meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pyarrow.parquet as pq
import pytest

from cpt import Prompt, Rejected, Response, Usage
from cpt.asking import progress
from cpt.asking.options import Asking
from cpt.asking.progress import Progress
from cpt.asking.stats import Stats
from cpt.data import read_responses
from cpt.errors import Stopped
from cpt.run.stages.respond import _at_once, respond

from .asked import Acting, prompt, prompts


def act(asked: Prompt, _: int) -> Response | Exception | None:
    if asked.id == "p1":
        return Rejected("too long")
    if asked.id == "p2":
        usage = Usage(input_tokens=4, cached_tokens=1, output_tokens=2)
        return Response(prompt_id="p2", text="half an", author="m", outcome="cut_off", usage=usage)
    return None


def test_the_table_has_a_row_for_every_sample_in_order(tmp_path: Path) -> None:
    said = respond(iter(prompts(4)), Acting(act=act), tmp_path, samples=2, total=4)
    assert said["responses"] == 8
    assert said["outcomes"] == {"answered": 4, "rejected": 2, "cut_off": 2}
    assert (said["requests"], said["from_journal"], said["retries"], said["unfinished"]) == (
        8,
        0,
        0,
        0,
    )
    assert said["reasons"] == {"rejected": "prompt p1: too long"}
    rows = pq.read_table(tmp_path / "responses.parquet").to_pylist()
    assert [(row["id"], row["sample"]) for row in rows] == [
        (f"p{number}", sample) for number in range(4) for sample in range(2)
    ]
    assert rows[1]["text"] == "Answer 1 to What is 0 plus 0?"
    assert rows[1]["prompt"] == [{"role": "user", "content": "What is 0 plus 0?"}]
    assert rows[2] | {"prompt": None} == {
        **{"id": "p1", "sample": 0, "text": "", "author": "m", "outcome": "rejected"},
        **{"finish_reason": "", "detail": "too long", "prompt": None},
        **{"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "cost": 0.0},
    }
    assert rows[4]["cost"] is None, "an unknown price is not zero"


def test_a_table_larger_than_is_written_at_once_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpt.data.rows.writing.CHUNK", 1000)

    def long(asked: Prompt, _: int) -> Response:
        return Response(prompt_id=asked.id, text=f"{asked.id} ä\n" * int(asked.id[1:]), author="m")

    respond(prompts(60), Acting(act=long), tmp_path)
    table = pq.ParquetFile(tmp_path / "responses.parquet")
    assert table.num_row_groups > 10
    rows = table.read(["id", "text"]).to_pylist()
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(60)]
    assert [row["text"].count("ä\n") for row in rows] == list(range(60))


def test_again_asks_nothing_and_writes_the_same(tmp_path: Path) -> None:
    responder = Acting(act=act)
    respond(prompts(50), responder, tmp_path)
    first = (tmp_path / "responses.parquet").read_bytes()
    said = respond(prompts(50), responder, tmp_path)
    assert (said["requests"], said["from_journal"]) == (0, 50)
    assert (tmp_path / "responses.parquet").read_bytes() == first


def test_what_it_wrote_can_be_read_as_responses(tmp_path: Path) -> None:
    respond(prompts(3), Acting(act=act), tmp_path)
    read = list(read_responses(tmp_path / "responses.parquet"))
    assert [asked.messages for asked, _ in read] == [prompt.messages for prompt in prompts(3)]
    assert [(response.prompt_id, response.outcome) for _, response in read] == [
        ("p0", "answered"),
        ("p1", "rejected"),
        ("p2", "cut_off"),
    ]
    assert read[2][1].usage == Usage(input_tokens=4, cached_tokens=1, output_tokens=2)


def test_a_stopped_run_leaves_no_half_table(tmp_path: Path) -> None:
    def broken() -> Iterator[Prompt]:
        yield from prompts(30)
        raise Stopped("the source is gone")

    with pytest.raises(Stopped):
        respond(broken(), Acting(), tmp_path)
    there = ["journal.sqlite", "journal.sqlite.closed", "journal.sqlite.lock"]
    assert sorted(os.listdir(tmp_path)) == there
    assert respond(prompts(30), Acting(), tmp_path)["from_journal"] == 30


def test_enough_prompts_are_under_way_to_keep_a_service_busy() -> None:
    """Some of them wait for the disk, or to be asked again."""
    assert _at_once(Acting(concurrency=1000), Asking()) == 2000
    assert _at_once(Acting(concurrency=1), Asking(at_once=7)) == 7


def test_prompts_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A source that never ends is no reason to take all of it first."""
    responder, taken = Acting(), 0

    def endless() -> Iterator[Prompt]:
        nonlocal taken
        while taken < 100_000:
            taken += 1
            if taken > 3000 and responder.book.calls:
                raise Stopped("enough")
            yield prompt(taken)

    with pytest.raises(Stopped, match="enough"):
        respond(endless(), responder, tmp_path, asking=Asking(at_once=4))
    assert responder.book.calls.total() > 1000
    assert taken == 3001


@pytest.fixture
def busy() -> Stats:
    stats = Stats(items=40, from_journal=10, in_flight=7, retries=3, input_tokens=12_000)
    stats.outcomes.update({"answered": 25, "rejected": 2, "refused": 3})
    stats.errors.update({"overloaded": 2, "unreachable": 1})
    stats.cost, stats.unpriced = 0.125, 4
    return stats


async def test_progress_says_all_that_a_person_wants_to_know(busy: Stats) -> None:
    shown = Progress(busy, 100, "responses")
    line = shown.line()
    await shown.close()
    for part in (
        "responses: 40/100 done",
        "40 answers (10 from the journal)",
        "7 in flight",
        "3 refused, 2 rejected",
        "asked again: 2 overloaded, 1 unreachable",
        "12,000 tokens",
        "$0.1250 + 4 of unknown price",
        " left",
    ):
        assert part in line


async def test_progress_is_plain_lines_where_there_is_no_terminal(
    busy: Stats, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.01)
    shown = Progress(busy, 100, "responses")
    while not (said := capsys.readouterr()).err:
        await asyncio.sleep(0.01)
    await shown.close()
    assert said.out == ""
    assert said.err.startswith("responses: 40/100 done")
    assert "\x1b" not in said.err and "\r" not in said.err


async def test_tokens_of_answers_that_are_being_made_count(busy: Stats) -> None:
    shown = Progress(busy, 100, "responses")
    busy.generating = 345
    assert "12,345 tokens" in shown.line()
    await shown.close()


async def test_time_left_is_there_while_a_local_model_makes_its_next_answers(
    busy: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = Progress(busy, 100, "responses")
    lines = []
    for _ in range(3):
        now += 25
        lines.append(shown.line())
    line = lines[-1]
    assert "0:01:52 left" in line and "0.0/s" in line
    await shown.close()


async def test_speed_and_time_left_are_those_of_late(
    busy: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = Progress(busy, 100, "responses")
    now += 10
    line = shown.line()
    assert "0:00:15 left" in line and "4.0/s" in line
    now += 5
    busy.items += 10
    busy.outcomes["answered"] += 10
    line = shown.line()
    assert "0:00:25 left" in line and "2.0/s" in line
    await shown.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_progress_is_live_on_a_terminal_and_whole_on_a_narrow_one(
    busy: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "LIVE", 0.01)
    for name, value in {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    shown = Progress(busy, 100, "[stage]")
    while "unknown price" not in screen.getvalue():
        await asyncio.sleep(0.01)
    busy.items = 41
    await shown.close()
    plain = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue())
    last = " ".join(re.sub("[━╸╺]", "", plain).split())
    assert "[stage]: 41/100 done" in last
    assert "12,000 tokens · $0.1250 + 4 of unknown price" in last
    assert "\x1b" in screen.getvalue()


async def test_where_it_ended_is_said_if_anything_was(
    busy: Stats, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Progress(busy, 100, "responses")
    await quick.close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "FIRST", -1.0)
    await Progress(busy, 100, "responses").close()
    assert capsys.readouterr().err.startswith("responses: 40/100 done")


def test_the_summary_is_plain_data(busy: Stats) -> None:
    assert attrs.evolve(busy).plain()["cost"] == 0.125
