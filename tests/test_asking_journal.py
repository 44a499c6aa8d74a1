"""The journal: durable, whole, one run's at a time, and readable by anyone."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpt import CptError, Message, Prompt, Response, Usage
from cpt.asking import Asker
from cpt.asking.journal import keys, schema
from cpt.asking.journal.clean_close import put, take
from cpt.asking.journal.journal import Journal, Paid
from cpt.asking.journal.queries import status, why
from cpt.asking.journal.writer import MOST, Writer
from cpt.errors import Stopped

from .asked import Acting, prompt, prompts

text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


async def fill(path: Path, count: int) -> None:
    async with Asker(path, progress=False, stage="pairs") as ask:
        await asyncio.gather(*(ask(Acting(), prompt) for prompt in prompts(count)))


def test_a_key_is_the_same_in_every_process() -> None:
    """Change this only with `keys.VERSION`: every journal there is would be paid for again."""
    one = Prompt(id="ignored", messages=(Message("system", "Be brief."), Message("user", "Süß?")))
    assert keys.request(Acting("m"), one, 3).key == "c4d8fa1c709c9b4890afe0277a5db8d4"


@given(st.lists(st.tuples(text, text), max_size=3), st.integers(0, 3), text)
def test_only_equal_requests_have_equal_keys(
    turns: list[tuple[str, str]], sample: int, model: str
) -> None:
    def key(turns: list[tuple[str, str]], sample: int, model: str) -> str:
        messages = tuple(Message(role, content) for role, content in turns)  # type: ignore[arg-type]
        return keys.request(Acting(model), Prompt(id="", messages=messages), sample).key

    mine = key(turns, sample, model)
    assert mine == key(list(turns), sample, model)
    others = [
        key([*turns, ("user", "")], sample, model),
        key([(role + "x", content) for role, content in turns] or [("", "")], sample, model),
        key([(role, content + "x") for role, content in turns] or [("", "")], sample, model),
        key(turns, sample + 1, model),
        key(turns, sample, model + "x"),
    ]
    assert mine not in others


@settings(max_examples=30, deadline=None)
@given(text, text, st.dictionaries(text, text, max_size=2), st.integers(0, 10**9))
def test_an_answer_comes_back_as_it_was(said: str, why: str, info: dict[str, str], n: int) -> None:
    async def round_trip(path: Path) -> Paid | None:
        journal = Journal(path)
        request = keys.request(Acting(), prompt(n), 1)
        await journal.begin(request)
        await journal.keep(request, Paid(answer, 0.25), calls=2)
        found = journal.find(request)
        journal.close()
        return found

    answer = Response(
        prompt_id=f"p{n}",
        text=said,
        author="m",
        outcome="cut_off",
        finish_reason="length",
        detail=why,
        usage=Usage(input_tokens=n, cached_tokens=2, output_tokens=3),
        info=info,
    )
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"cpt-{os.getpid()}"
    try:
        assert asyncio.run(round_trip(folder / "journal.sqlite")) == Paid(answer, 0.25)
    finally:
        shutil.rmtree(folder)


def test_what_is_committed_is_on_the_disk(path: Path) -> None:
    """No crash of a process can show it, only one of the machine."""
    for made in range(2):
        with closing(schema.connect(path)) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,), made
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",), made


async def test_what_waits_is_committed_together(path: Path) -> None:
    said: list[str] = []
    with closing(schema.connect(path)) as connection:
        connection.set_trace_callback(said.append)
        writer = Writer(connection, lambda error: error)
        insert = "INSERT INTO responders VALUES (?, ?)"
        await asyncio.gather(*(writer.write(insert, (n, str(n))) for n in range(2000)))
        writer.close()
        assert connection.execute("SELECT count(*) FROM responders").fetchone() == (2000,)
    assert 2000 / MOST <= said.count("COMMIT") < 500


async def test_after_an_error_nothing_more_is_written(path: Path) -> None:
    journal = Journal(path)
    request = keys.request(Acting(), prompt(1), 0)
    good = Response(prompt_id="p1", text="Two.", author="m")
    await journal.begin(request)
    unwritable: tuple[Any, ...] = (None, {}, "half \ud83d")
    for bad in unwritable:
        with pytest.raises(Stopped, match="an answer cannot be written") as error:
            await journal.keep(request, Paid(attrs.evolve(good, text=bad)))
        with pytest.raises(Stopped) as again:
            await journal.keep(request, Paid(good))
        assert again.value is error.value, "a file that refused once is not written to"
        journal.close()
        assert not seal(path).exists(), "the next run looks at all of it"
        assert status(path).answers == 0
        journal = Journal(path)
    journal.close()
    assert seal(path).exists()


async def test_what_is_sealed_bears_a_time_that_no_change_has(path: Path) -> None:
    """A file system's clock ticks every few milliseconds: two changes may look like one."""
    await fill(path, 1)
    tick = path.stat().st_mtime_ns // 10**9 * 10**9
    os.utime(path, ns=(tick, tick))
    put(path)
    assert path.stat().st_mtime_ns != tick
    assert take(path)


def seal(path: Path) -> Path:
    return path.with_name("journal.sqlite.closed")


async def test_anyone_can_read_it(path: Path) -> None:
    await fill(path, 3)
    query = """SELECT prompt_id, stage, text, outcome, json_extract(identity, '$.model'),
        json_extract(messages, '$[0].content') FROM answers JOIN requests USING (key)
        JOIN responders ON responders.id = responder ORDER BY prompt_id"""
    with closing(sqlite3.connect(path)) as connection:
        first = connection.execute(query).fetchone()
    asked = "What is 0 plus 0?"
    assert first == ("p0", "pairs", f"Answer 0 to {asked}", "answered", "m", asked)


async def test_a_second_run_is_refused_and_the_first_goes_on(path: Path) -> None:
    async with Asker(path, progress=False) as ask:
        with pytest.raises(CptError, match="another run is using it"):
            async with Asker(path, progress=False):
                pass
        await ask(Acting(), prompt(1))
    await fill(path, 2)
    assert status(path).answers == 2


async def test_it_can_be_looked_at_while_a_run_writes(path: Path) -> None:
    async with Asker(path, progress=False) as ask:
        await ask(Acting(), prompt(1))
        assert status(path).by_author == {"m": {"answered": 1}}


async def test_a_newer_version_is_refused(path: Path) -> None:
    await fill(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(CptError, match=r"written by a newer cpt .* upgrade cpt"):
        await fill(path, 1)


async def test_another_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(CptError, match="not a journal"):
        await fill(path, 1)


def not_a_database(path: Path) -> None:
    path.write_text("This is no database. " * 1000)


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : 2 * len(data) // 3] = os.urandom(2 * len(data) // 3 - len(data) // 3)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("lost", ["empty", "missing"])
async def test_a_journal_that_was_lost_is_not_paid_for_again(path: Path, lost: str) -> None:
    await fill(path, 20)
    marker = path.with_name(f"{path.name}.closed")
    if lost == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()
    for _ in range(2):
        with pytest.raises(CptError, match=f"{lost}, but it held answers.* remove {marker}"):
            await fill(path, 20)
    marker.unlink()
    await fill(path, 20)


async def test_a_garbled_mark_of_a_good_end_has_the_journal_checked(path: Path) -> None:
    await fill(path, 20)
    path.with_name(f"{path.name}.closed").write_bytes(b"\xff\xfe\x00 bytes")
    await fill(path, 20)


@pytest.mark.parametrize("damage", [not_a_database, overwritten, cut_off])
async def test_a_damaged_journal_is_one_clear_line(
    path: Path, damage: Callable[[Path], None]
) -> None:
    await fill(path, 200)
    damage(path)
    with pytest.raises(CptError, match="damaged, or not a journal") as refused:
        await fill(path, 1)
    assert "\n" not in refused.value.message
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "change",
    ["info = '[1]'", "info = 'no JSON'", "outcome = 'invented'", "info = '" + "[" * 3000 + "'"],
)
async def test_an_answer_that_was_tampered_with_is_one_clear_line(path: Path, change: str) -> None:
    await fill(path, 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE answers SET {change}")
    with pytest.raises(CptError, match="an answer is not as it was kept") as refused:
        await fill(path, 3)
    assert "\n" not in refused.value.message


async def test_only_what_was_not_closed_in_order_is_read_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes seconds for a million answers, and a run opens its journal many times."""
    read_whole: list[Any] = []
    monkeypatch.setattr(schema, "_read_whole", read_whole.append)
    await fill(path, 2)
    read_whole.clear()
    await fill(path, 3)
    assert not read_whole
    assert seal(path).exists()
    journal = Journal(path)  # Another run of which we copy what a crash would leave.
    crashed = path.with_name("crashed.sqlite")
    for suffix in ("", "-wal"):
        shutil.copy2(f"{path}{suffix}", f"{crashed}{suffix}")
    assert not seal(path).exists()
    journal.close()
    await fill(crashed, 3)
    assert len(read_whole) == 1
    os.utime(path)
    await fill(path, 3)
    assert len(read_whole) == 2


async def test_damage_that_nothing_gave_away_stops_the_run_that_meets_it(path: Path) -> None:
    """And the next one before it asks anything."""
    await fill(path, 2000)
    before = path.stat()
    overwritten(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused = []
    for _ in range(2):
        responder = Acting()
        with pytest.raises(CptError, match="damaged, or not a journal") as error:
            async with Asker(path, progress=False) as ask:
                await asyncio.gather(*(ask(responder, prompt) for prompt in prompts(3000)))
        assert error.value.exit_code == 2
        refused.append(responder.book.calls.total())
    assert refused[1] == 0
    with pytest.raises(CptError, match="damaged, or not a journal"):
        status(path)


def test_a_folder_that_cannot_be_written_is_one_clear_line() -> None:
    # Not even root writes there.
    with pytest.raises(CptError, match="/proc/self: cannot be written"):
        asyncio.run(fill(Path("/proc/self/journal.sqlite"), 1))


async def test_a_full_disk_is_a_clear_stop_and_the_journal_stays_whole(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk: the same error from the same call."""
    path = tmp_path / "journal.sqlite"
    await fill(path, 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40_000, hard))
    try:
        with pytest.raises(Stopped, match=r"journal\.sqlite: the disk .* then run again"):
            await fill(path, 3000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert whole(path)
    kept = status(path).answers
    assert 20 <= kept < 3000
    await fill(path, 3000)
    assert status(path).answers == 3000
    assert whole(path)


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs a mount of its own",
)
def test_a_disk_that_is_full_stops_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    """The same on a real file system of one megabyte, which grows, and then is read-only."""
    disk, program = tmp_path / "disk", tmp_path / "fill.py"
    disk.mkdir()
    program.write_text(FILL)
    run = f"{sys.executable} {program} {disk} 2>&1; echo status $?"
    grow = f"mount -o remount,size=100m {disk}"
    freeze = f"mount -o remount,ro {disk}"
    look = f"{sys.executable} -m cpt respond --status --output {disk}"
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {disk}; {run}; {grow}; {run}; {freeze}; {run}; {look}"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    # A program that knows nothing of exit statuses ends with 1 on any exception.
    first, second, third, looked = done.stdout.split("status")
    assert "the disk is full: make room, then run again" in first, done
    assert "3000 answers, ok" in second, done
    assert f"{disk}: cannot be written (Read-only file system)" in third, done
    assert "answers 3000" in looked, "what is kept where nobody can write can be looked at"


FILL = """
import asyncio, sqlite3, sys
from pathlib import Path
import attrs
from cpt import Message, Prompt, Response, Service
from cpt.asking import Asker

@attrs.frozen
class Talker(Service):
    name = "talker"
    async def answer(self, prompt, sample):
        return Response(prompt_id=prompt.id, text="words " * 100, author="m")

async def fill(path):
    prompts = [Prompt(id=str(n), messages=(Message("user", str(n)),)) for n in range(3000)]
    async with Asker(path, progress=False) as ask:
        await asyncio.gather(*(ask(Talker(), prompt) for prompt in prompts))

path = Path(sys.argv[1], "journal.sqlite")
asyncio.run(fill(path))
connection = sqlite3.connect(path)
count = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
print(count, "answers,", connection.execute("PRAGMA integrity_check").fetchone()[0])
"""


def whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


async def test_why_an_answer_is_there_or_not(path: Path) -> None:
    responder = Acting()
    await fill(path, 2)
    assert why(path, responder, prompt(1)).startswith("It is there: answered by m")
    assert "no request for prompt 'p7'" in why(path, responder, prompt(7))
    warmer = attrs.evolve(responder, temperature=2.0)
    assert "temperature: 1.0 there, 2.0 now" in why(path, warmer, prompt(1))
    assert "the sample number: 0 there, 4 now" in why(path, responder, prompt(1), 4)
    changed = why(path, responder, prompt(1, "What is 1 plus one?"))
    assert "plus 1?" in changed and "plus one?" in changed


async def test_why_names_the_request_that_is_most_like_it(path: Path) -> None:
    async with Asker(path, progress=False) as ask:
        for responder in (Acting("other", temperature=0.5), Acting(), Acting("another")):
            await ask(responder, prompt(1))
    said = why(path, Acting(temperature=2.0), prompt(1))
    assert said.splitlines()[1:] == ["  temperature: 1.0 there, 2.0 now"]


async def test_why_something_was_given_up(path: Path) -> None:
    journal = Journal(path)
    request = keys.request(Acting(), prompt(1), 0)
    await journal.begin(request)
    journal.fail(request, "HTTP 500")
    journal.close()
    assert "given up (HTTP 500): the next run asks it again" in why(path, Acting(), prompt(1))


async def test_what_a_crash_caught_in_flight_is_listed(path: Path) -> None:
    journal = Journal(path)
    await journal.begin(keys.request(Acting(), prompt(1), 0))
    journal.close()
    assert status(path).doubtful == ("p1",)
    assert "in flight when the run ended" in why(path, Acting(), prompt(1))
    await fill(path, 2)
    assert status(path).doubtful == ()
