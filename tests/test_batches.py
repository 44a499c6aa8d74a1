"""The batch road: paid once through any crash, partial failures asked again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import NOT_IDENTITY, CptError, Message, Prompt, Response, Unreachable
from cpt.asking import Asker
from cpt.asking.journal.queries import bill, status
from cpt.asking.options import Asking
from cpt.asking.transports.batch_timing import Timing
from cpt.run.stages.respond import respond
from cpt.service import BatchItem, BatchService
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI

from .batch_stub import Provider, providing, said

QUICK = Timing(quiet=0.02, poll=0.02)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as made:
        yield made


@pytest.fixture(params=["openai", "anthropic"])
def service(request: pytest.FixtureRequest, provider: Provider) -> BatchService:
    if request.param == "openai":
        return OpenAI("m", base_url=f"{provider.url}/v1")
    return Anthropic("m", base_url=provider.url)


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(id=text, messages=(Message("user", text),)) for text in texts]


async def ask_all(
    journal: Path, service: BatchService, asked: Sequence[Prompt], *, batch: bool = True
) -> tuple[list[Response], Asker]:
    async with Asker(journal, options=Asking(batch=batch), timing=QUICK) as ask:
        return await asyncio.gather(*(ask(service, prompt) for prompt in asked)), ask


async def test_a_batch_answers_everything_at_once(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    asked = prompts(*(f"question {number}" for number in range(30)))
    answers, ask = await ask_all(tmp_path / "j.sqlite", service, asked)
    assert [answer.text for answer in answers] == [f"To question {number}" for number in range(30)]
    assert [answer.prompt_id for answer in answers] == [prompt.id for prompt in asked]
    assert len(provider.batches) == 1 and provider.online == 0
    assert ask.stats.outcomes == {"answered": 30}
    assert ask.stats.output_tokens == 150
    polls = provider.polls
    await ask_all(tmp_path / "j.sqlite", service, [*asked, *prompts("new")], batch=False)
    assert provider.polls == polls, "what ended is not looked at again"


async def test_from_online_to_batch_and_back_only_what_is_new_is_asked(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    journal = tmp_path / "j.sqlite"
    await ask_all(journal, service, prompts("a", "b"), batch=False)
    await ask_all(journal, service, prompts("b", "c", "a"))
    await ask_all(journal, service, prompts("c", "d"), batch=False)
    assert provider.paid == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert provider.online == 3 and len(provider.batches) == 1


async def test_partial_errors_are_asked_again_and_refusals_kept(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    journal, asked = tmp_path / "j.sqlite", prompts("fine", "invalid", "flaky", "slow")
    answers, _ = await ask_all(journal, service, asked)
    assert [answer.outcome for answer in answers] == [
        "answered",
        "rejected",
        "answered",
        "answered",
    ]
    assert "invalid request" in answers[1].detail
    assert provider.tried == {"fine": 1, "invalid": 1, "flaky": 2, "slow": 2}
    assert provider.paid == {"fine": 1, "invalid": 0, "flaky": 1, "slow": 1}
    await ask_all(journal, service, asked)
    assert provider.tried.total() == 6, "a recorded outcome was asked again"


async def test_batches_are_billed_at_their_own_price(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    own = tmp_path / "prices.yaml"
    host = provider.url.removeprefix("http://")
    own.write_text(f"{host}: {{m: {{input: 2, output: 8, batch_input: 1, batch_output: 4}}}}")
    options = Asking(batch=True, prices=str(own))
    async with Asker(tmp_path / "j.sqlite", options=options, timing=QUICK) as ask:
        await asyncio.gather(*(ask(service, prompt) for prompt in prompts("a", "invalid")))
    (line,) = bill(tmp_path / "j.sqlite")
    assert line.dollars == pytest.approx((10 * 1 + 5 * 4) / 1e6) and line.unpriced == 0


async def test_a_batch_too_large_is_sent_in_parts(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.most = 3
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts(*"abcdefghij"))
    assert [answer.text for answer in answers] == [f"To {letter}" for letter in "abcdefghij"]
    assert provider.paid == dict.fromkeys("abcdefghij", 1)


async def test_a_batch_of_too_many_bytes_is_sent_in_parts(
    provider: Provider, service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(service), "batch_bytes", 30_000)
    asked = prompts(*(f"{number}" + "x" * 5000 for number in range(4)), "y" * 100_000)
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, asked)
    assert {answer.outcome for answer in answers} == {"answered"}
    sent = ["".join(said(body)[-1] for _, body in batch.requests) for batch in provider.batches]
    assert sorted("".join(sent)) == list("xxxxy")
    assert "y" in sent and "xx" in sent and "xxx" not in sent


async def test_options_count_in_the_bytes_of_a_batch(
    provider: Provider, service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(service), "batch_bytes", 60_000)
    more: dict[str, Any] = {"system": "s" * 20_000, "extra_body": {"metadata": {"a": "b" * 1_000}}}
    long = attrs.evolve(service, **more)
    await ask_all(tmp_path / "j.sqlite", long, prompts("a", "b"))
    assert [len(batch.requests) for batch in provider.batches] == [1, 1]
    assert "b" * 1_000 in str(provider.batches[0].requests)


async def test_results_may_be_longer_than_any_answer(
    provider: Provider, service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpt.service.http.bodies.MOST_BYTES", 2_000)
    asked = prompts(*(f"question {number}" for number in range(40)))
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, asked)
    assert {answer.outcome for answer in answers} == {"answered"}


async def test_a_result_that_is_none_costs_its_own_request(
    provider: Provider, service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd: list[Any] = [None, [], "a", {"custom_id": []}]
    shapes: list[dict[str, Any]] = [{}, {"response": 1, "result": 1}, {"response": [], "result": 0}]

    spoilt: set[str] = set()

    def lines(results: Sequence[Mapping[str, Any]]) -> bytes:
        begun = [{"custom_id": one["custom_id"], **next(wrong)} for one in results[::2]]
        spoilt.update(one["custom_id"] for one in begun)
        rest = [*odd, *begun, *results[1::2]]
        return b"\n\n".join(json.dumps(one).encode() for one in rest)

    wrong = cycle(shapes)
    monkeypatch.setattr(provider, "spoil", lines)
    patient = attrs.evolve(service, attempts=1)
    answers, ask = await ask_all(tmp_path / "j.sqlite", patient, prompts(*"abcde"))
    assert len(answers) == 5 and len(spoilt) >= 3
    assert ask.stats.unfinished == len(spoilt)
    assert ask.stats.outcomes["answered"] == 5 - len(spoilt)


async def test_what_never_succeeds_in_a_batch_is_given_up_and_asked_next_time(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    journal, patient = tmp_path / "j.sqlite", attrs.evolve(service, attempts=3)
    for runs in (1, 2):
        answers, ask = await ask_all(journal, patient, prompts("fine", "broken"))
        assert [answer.outcome for answer in answers] == ["answered", "failed"]
        assert "broken" not in provider.paid or not provider.paid["broken"]
        assert provider.tried == {"fine": 1, "broken": 3 * runs}
        assert ask.stats.unfinished == 1
        found = status(journal)
        assert (found.given_up, found.in_batches, found.doubtful) == (1, 0, ())


async def test_a_provider_that_is_out_of_order_is_looked_at_again(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.out_of_order = 3
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b"))
    assert [answer.text for answer in answers] == ["To a", "To b"]
    assert provider.paid == {"a": 1, "b": 1}
    assert provider.polls > 3


async def test_a_request_that_shows_an_empty_account_stops_the_run(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    with pytest.raises(CptError, match=f"^{service.name}:m: HTTP 402: unpaid request"):
        await ask_all(tmp_path / "j.sqlite", service, prompts("a", "unpaid"))
    assert provider.tried["unpaid"] == 1


async def test_all_prompts_of_a_run_go_out_together(
    provider: Provider, service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few are under way where each is asked by itself."""
    monkeypatch.setattr(
        "cpt.asking.transports.batches.Timing", lambda: Timing(quiet=0.5, poll=0.02)
    )
    asked, asking = prompts(*map(str, range(600))), Asking(batch=True, at_once=10)
    done = await asyncio.to_thread(respond, asked, service, tmp_path, asking=asking)
    assert done["outcomes"] == {"answered": 600}
    assert len(provider.batches) == 1


async def test_a_full_queue_is_waited_for(provider: Provider, tmp_path: Path) -> None:
    """While batches are in progress, a smaller one would be refused as well."""
    service = OpenAI("m", base_url=f"{provider.url}/v1")
    provider.held, provider.most = True, 3
    async with Asker(tmp_path / "j.sqlite", options=Asking(batch=True), timing=QUICK) as ask:
        first = [asyncio.create_task(ask(service, prompt)) for prompt in prompts(*"abc")]
        await provider.polled.wait()
        second = [asyncio.create_task(ask(service, prompt)) for prompt in prompts(*"de")]
        while len(provider.batches) < 2:
            await asyncio.sleep(0.01)
        provider.held = False
        answers = await asyncio.gather(*first, *second)
    assert [answer.text for answer in answers] == [f"To {letter}" for letter in "abcde"]
    assert [len(batch.requests) for batch in provider.batches] == [3, 0, 2]


async def test_a_wrong_key_stops_the_run_in_one_line(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.denied = True
    with pytest.raises(CptError, match=f"^{service.name}:m: HTTP 401: bad key$"):
        await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b"))
    provider.denied = False
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b"))
    assert [answer.text for answer in answers] == ["To a", "To b"]


async def test_a_batch_that_the_provider_lost_is_asked_again(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.held = True
    running = asyncio.create_task(ask_all(tmp_path / "j.sqlite", service, prompts("a")))
    await provider.polled.wait()
    provider.batches.clear()
    provider.held = False
    answers, _ = await running
    assert answers[0].text == "To a"


async def test_a_reply_that_never_came_is_no_second_payment(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.mute = True
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b"))
    assert [answer.text for answer in answers] == ["To a", "To b"]
    assert provider.paid == {"a": 1, "b": 1}


RUN = """
import asyncio, sys
from pathlib import Path
from tests.test_batches import ask_all, prompts
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
kind, url, journal, *texts = sys.argv[1:]
service = OpenAI("m", base_url=f"{url}/v1") if kind == "openai" else Anthropic("m", base_url=url)
asyncio.run(ask_all(Path(journal), service, prompts(*texts)))
"""


async def killed(
    provider: Provider, service: BatchService, journal: Path, when: asyncio.Event, *texts: str
) -> None:
    """Run in a process of its own until `when`, then kill that."""
    root = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, service.name, provider.url, str(journal), *texts,
        cwd=root, env={**os.environ, "PYTHONPATH": f"{root}/core:{root}/plugins"},
    )  # fmt: skip
    await when.wait()
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def test_killed_between_submit_and_reply(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    """The batch arrived, its id is nowhere: it is found by its name, or by what it brings."""
    provider.speaking.clear()
    await killed(provider, service, tmp_path / "j.sqlite", provider.arrived, "a", "b")
    provider.speaking.set()
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b", "c"))
    assert [answer.text for answer in answers] == ["To a", "To b", "To c"]
    assert provider.paid == {"a": 1, "b": 1, "c": 1}


async def test_killed_between_reply_and_results(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.held = True
    await killed(provider, service, tmp_path / "j.sqlite", provider.polled, "a", "b")
    found = status(tmp_path / "j.sqlite")
    assert (found.in_batches, found.doubtful) == (2, ())
    provider.held = False
    answers, ask = await ask_all(tmp_path / "j.sqlite", service, prompts("b", "c"))
    assert [answer.text for answer in answers] == ["To b", "To c"]
    assert provider.paid == {"a": 1, "b": 1, "c": 1}
    assert ask.stats.outcomes["answered"] == 3, "what nobody asked for any more was not kept"


async def test_what_is_in_a_batch_is_not_paid_for_online(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    provider.held = True
    await killed(provider, service, tmp_path / "j.sqlite", provider.polled, "a", "b")
    provider.held = False
    await ask_all(tmp_path / "j.sqlite", service, prompts("b", "c"), batch=False)
    assert provider.paid == {"a": 1, "b": 1, "c": 1} and provider.online == 1


async def test_a_wrong_key_cannot_look_for_a_batch(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    """Whether the batch arrived is not known, so nothing is asked a second time."""
    provider.speaking.clear()
    await killed(provider, service, tmp_path / "j.sqlite", provider.arrived, "a")
    provider.speaking.set()
    provider.denied = True
    with pytest.raises(CptError, match="HTTP 401: bad key"):
        await ask_all(tmp_path / "j.sqlite", service, prompts("a"), batch=False)


async def test_only_what_was_sent_at_the_time_may_be_a_batch_that_was_cut_short(
    provider: Provider, service: BatchService
) -> None:
    """Full batches are all of one size, and a day's run sends many."""
    since = datetime.now(UTC)
    body = {"model": "m", "messages": [{"content": "a"}]}
    for name, hours in {"before": -1.0, "then": 0.1, "later": 4.0}.items():
        sent = provider.take([("one", body), ("two", body)], {"cpt": name})
        sent.made = since + timedelta(hours=hours)
    provider.take([("one", body)], {"cpt": "smaller"})
    assert await service.batch_find("then", 2, since.timestamp()) == ["batch_1"]
    if isinstance(service, OpenAI):  # it has a name: the clock here may have been a day off
        assert await service.batch_find("then", 2, since.timestamp() + 86400) == ["batch_1"]
    await service.close()


async def test_a_batch_whose_id_is_known_is_not_taken_for_another(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    """Two of one size at the provider, and the reply to the second never came."""
    journal = tmp_path / "j.sqlite"
    provider.held = True
    async with Asker(journal, options=Asking(batch=True), timing=QUICK) as ask:
        first = [asyncio.create_task(ask(service, prompt)) for prompt in prompts("a", "b")]
        await provider.polled.wait()
        provider.mute = True
        second = [asyncio.create_task(ask(service, prompt)) for prompt in prompts("c", "d")]
        while len(provider.batches) < 2:
            await asyncio.sleep(0.01)
        provider.held = False
        await asyncio.gather(*first, *second)
    assert provider.paid == {"a": 1, "b": 1, "c": 1, "d": 1}
    with closing(sqlite3.connect(journal)) as connection:
        found = connection.execute("SELECT remote FROM batches WHERE remote NOT NULL").fetchall()
    assert sorted(found) == [("batch_0",), ("batch_1",)]


async def test_a_batch_of_others_is_not_taken_for_ours(
    provider: Provider, service: BatchService, tmp_path: Path
) -> None:
    """Killed before the batch went out, while a colleague sent one just as large."""
    provider.speaking.clear()
    await killed(provider, service, tmp_path / "j.sqlite", provider.arrived, "a", "b")
    provider.speaking.set()
    ours = provider.batches.pop()
    provider.paid.clear()
    theirs = [("x", ours.requests[0][1]), ("y", ours.requests[1][1])]
    provider.take(theirs, {"cpt": "another"})
    provider.paid.clear()
    answers, _ = await ask_all(tmp_path / "j.sqlite", service, prompts("a", "b"))
    assert [answer.text for answer in answers] == ["To a", "To b"]
    assert provider.paid == {"a": 1, "b": 1}


@attrs.frozen
class Interrupted(BatchService):
    """A provider whose results are cut off once, after the first."""

    name = "interrupted"
    batch_items, batch_bytes = 100, 1_000_000
    model: str = "m"
    sent: dict[str, BatchItem] = attrs.field(factory=dict, metadata=NOT_IDENTITY, eq=False)
    looks: list[str] = attrs.field(factory=list, metadata=NOT_IDENTITY, eq=False)
    last: object = attrs.field(default="answer", metadata=NOT_IDENTITY, eq=False)

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        raise AssertionError("it is asked in batches")

    async def batch_submit(self, name: str, items: Sequence[BatchItem]) -> str:
        self.sent.update({item.key: item for item in items})
        return "batch"

    async def batch_find(self, name: str, count: int, since: float) -> Sequence[str]:
        return []

    async def batch_ended(self, remote: str) -> bool:
        return True

    async def batch_results(
        self, remote: str, items: Mapping[str, BatchItem]
    ) -> AsyncIterator[tuple[str, Any]]:
        self.looks.append(remote)
        for place, (key, item) in enumerate(self.sent.items()):
            if place == 1 and len(self.looks) == 1:
                raise Unreachable("cut off")
            answer = Response(prompt_id=item.prompt.id, text=f"To {item.prompt.id}", author="m")
            yield key, answer if self.last == "answer" else self.last


async def test_results_that_are_cut_off_are_fetched_again_and_lose_nothing(tmp_path: Path) -> None:
    service = Interrupted()
    asking = ask_all(tmp_path / "j.sqlite", service, prompts("a", "b", "c"))
    answers, ask = await asyncio.wait_for(asking, 20)
    assert [answer.text for answer in answers] == ["To a", "To b", "To c"]
    assert len(service.looks) == 2 and ask.stats.outcomes == {"answered": 3}


async def test_wrong_results_of_a_batch_get_one_line(tmp_path: Path) -> None:
    service = Interrupted(last=None)
    said = (
        "the responder 'interrupted' returned None for prompt 'a'; "
        "`batch_results` must yield (key, cpt.Response or cpt.AskError)."
    )
    with pytest.raises(CptError, match=re.escape(said)):
        await asyncio.wait_for(ask_all(tmp_path / "j.sqlite", service, prompts("a")), 20)
