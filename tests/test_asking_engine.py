"""Whatever is asked is paid for once and kept."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import CptError, Denied, Overloaded, Prompt, Rejected, Response, Unreachable, Usage
from cpt.asking import Asker, in_order
from cpt.asking.dispatch import frozen_by_others
from cpt.asking.journal.queries import status
from cpt.asking.options import Asking
from cpt.errors import BadData, Stopped
from cpt.roles import Responder
from cpt.service.http.ratelimits import report_limits

from .asked import Act, Acting, Batched, Book, prompt, prompts
from .clock import in_no_time


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def price(responder: Responder, usage: Usage, *, batch: bool = False) -> float | None:
    return usage.output_tokens / 1000


async def ask_all(
    journal: Path | None, responder: Responder, asked: list[Prompt], options: Asking | None = None
) -> list[Response]:
    async with Asker(journal, options=options, progress=False, price=price) as ask:
        return [result async for result in in_order(asked, lambda one: ask(responder, one), 50)]


async def test_an_answer_is_asked_for_once(journal: Path) -> None:
    responder = Acting()
    first = await ask_all(journal, responder, prompts(20))
    assert await ask_all(journal, responder, prompts(20)) == first
    assert set(responder.book.calls.values()) == {1}
    assert first[3].text == "Answer 0 to What is 3 plus 3?"
    assert first[3].usage == Usage(input_tokens=10, output_tokens=5)


@pytest.mark.parametrize("others", [True, False])
async def test_what_others_have_frozen_stays_frozen(journal: Path, others: bool) -> None:
    """The garbage collector skips what is loaded; in the end what was frozen here is let go."""
    frozen_by_others.cache_clear()
    gc.freeze() if others else gc.unfreeze()
    await ask_all(journal, Acting(), prompts(1))
    assert frozen_by_others() is others
    assert (gc.get_freeze_count() > 0) is others
    gc.freeze()
    frozen_by_others.cache_clear()


async def test_only_what_is_new_is_asked(journal: Path) -> None:
    responder = Acting()
    await ask_all(journal, responder, prompts(100))
    grown = [attrs.evolve(prompt, id=f"other-{prompt.id}") for prompt in prompts(150)[::-1]]
    answers = await ask_all(journal, responder, grown)
    assert responder.book.calls.total() == 150, "more prompts, reordered, with other ids"
    assert [answer.prompt_id for answer in answers] == [prompt.id for prompt in grown]


async def test_how_it_is_fetched_does_not_matter(journal: Path) -> None:
    responder = Acting()
    await ask_all(journal, responder, prompts(5))
    slower = attrs.evolve(responder, timeout=1.0, concurrency=1, attempts=1)
    await ask_all(journal, slower, prompts(5))
    assert responder.book.calls.total() == 5


async def test_what_changes_an_answer_is_asked_anew(journal: Path) -> None:
    responder = Acting()
    async with Asker(journal, progress=False) as ask:
        for one in (responder, attrs.evolve(responder, temperature=0.5)):
            await ask(one, prompt(1))
            await ask(one, prompt(1), sample=1)
            await ask(one, prompt(1, "What is 1 plus 1?!"))
    assert responder.book.calls == {"What is 1 plus 1?": 4, "What is 1 plus 1?!": 2}


async def test_identical_requests_in_flight_are_one(journal: Path) -> None:
    responder = Acting(book=Book(release=asyncio.Event()))
    async with Asker(journal, progress=False) as ask:
        same = [attrs.evolve(prompt(1), id=f"id{number}") for number in range(20)]
        asking = [asyncio.create_task(ask(responder, prompt)) for prompt in same]
        while not responder.book.in_flight:
            await asyncio.sleep(0.001)
        assert responder.book.release
        responder.book.release.set()
        answers = await asyncio.gather(*asking)
    assert responder.book.calls.total() == 1
    assert [answer.prompt_id for answer in answers] == [prompt.id for prompt in same]


async def test_who_stops_waiting_loses_no_paid_answer(journal: Path) -> None:
    responder = Acting(book=Book(release=asyncio.Event()))
    async with Asker(journal, progress=False) as ask:
        asking = asyncio.create_task(ask(responder, prompt(1)))
        while not responder.book.in_flight:
            await asyncio.sleep(0.001)
        asking.cancel()
        assert responder.book.release
        responder.book.release.set()
    assert status(journal).answers == 1


async def test_an_answer_is_durable_before_it_is_returned(journal: Path) -> None:
    async with Asker(journal, progress=False) as ask:
        for number in range(5):
            await ask(Acting(), prompt(number))
            assert status(journal).answers == number + 1


async def test_one_bad_prompt_is_one_call_and_one_recorded_failure(journal: Path) -> None:
    def act(asked: Prompt, _: int) -> Exception | None:
        return Rejected("too long") if asked.id == "p500" else None

    responder = Acting(act=act)
    for _ in range(2):
        answers = await ask_all(journal, responder, prompts(1000))
        failed = [answer for answer in answers if answer.outcome != "answered"]
        assert [(answer.prompt_id, answer.outcome, answer.detail) for answer in failed] == [
            ("p500", "rejected", "too long")
        ]
    assert set(responder.book.calls.values()) == {1}


def flaky(*errors: Exception) -> Act:
    """Fails so often in this way, then answers."""
    return lambda _, call: errors[call - 1] if call <= len(errors) else None


@pytest.mark.parametrize("error", [Overloaded("429"), Overloaded("529", 7.0), Unreachable("cut")])
def test_what_may_pass_is_asked_again(error: Exception) -> None:
    responder = Acting(act=flaky(error, error, error))
    answers = in_no_time(ask_all(None, responder, prompts(3)))
    assert {answer.outcome for answer in answers} == {"answered"}
    assert set(responder.book.calls.values()) == {4}


def test_a_request_that_hangs_is_given_up_and_asked_again() -> None:
    book = Book()

    @attrs.frozen
    class Hanging(Acting):
        async def answer(self, prompt: Prompt, sample: int) -> Response:
            if not book.calls[prompt.id]:
                book.calls[prompt.id] += 1
                await asyncio.sleep(1e9)
            return await super().answer(prompt, sample)

    answers = in_no_time(ask_all(None, Hanging(timeout=60.0), prompts(3)))
    assert {answer.outcome for answer in answers} == {"answered"}


def test_what_never_succeeds_is_given_up_in_bounded_calls_and_asked_next_time(
    journal: Path,
) -> None:
    def act(asked: Prompt, call: int) -> Exception | None:
        return Unreachable("HTTP 500") if asked.id == "p3" and call <= 4 else None

    responder = Acting(act=act, attempts=4)
    answers = in_no_time(ask_all(journal, responder, prompts(8)))
    assert [answer.outcome for answer in answers].count("failed") == 1
    assert "asked 4 times, last: HTTP 500" in answers[3].detail
    assert status(journal).given_up == 1
    assert status(journal).doubtful == ()
    again = in_no_time(ask_all(journal, responder, prompts(8)))
    assert {answer.outcome for answer in again} == {"answered"}
    assert responder.book.calls.total() == 7 + 4 + 1
    assert status(journal).given_up == 0


def test_being_told_to_wait_is_bounded_too() -> None:
    def act(asked: Prompt, _: int) -> Exception | None:
        return Overloaded("too large for your tier", 1.0) if asked.id == "p0" else None

    responder = Acting(act=act, attempts=2)
    answers = in_no_time(ask_all(None, responder, prompts(200)))
    assert answers[0].outcome == "failed"
    assert responder.book.calls["What is 0 plus 0?"] == 20


async def test_a_wrong_key_stops_at_once(journal: Path) -> None:
    responder = Acting(act=lambda *_: Denied("HTTP 401: wrong key"))
    with pytest.raises(CptError, match="scripted:m: HTTP 401: wrong key") as stopped:
        await ask_all(journal, responder, prompts(10_000))
    assert stopped.value.exit_code == 2
    assert responder.book.calls.total() <= responder.concurrency


async def test_what_is_in_flight_at_a_stop_is_kept(journal: Path) -> None:
    def act(asked: Prompt, _: int) -> Exception | None:
        return Denied("no") if asked.id == "p0" else None

    responder = Acting(act=act, concurrency=4)
    with pytest.raises(CptError):
        await ask_all(journal, responder, prompts(4))
    assert status(journal).answers == 3


def test_a_dead_service_stops_the_run_with_one_line() -> None:
    responder = Acting(act=lambda *_: Unreachable("HTTP 500"), attempts=1000)
    with pytest.raises(Stopped, match=r"scripted:m: no answer for \d\d s \(HTTP 500\)") as stopped:
        in_no_time(ask_all(None, responder, prompts(50)))
    assert stopped.value.exit_code == 1
    assert responder.book.calls.total() < 300, "a dead service is asked ever more rarely"


def test_what_a_dead_service_was_asked_is_not_in_doubt(journal: Path) -> None:
    responder = Acting(act=lambda *_: Unreachable("HTTP 500"), attempts=1000)
    with pytest.raises(Stopped):
        in_no_time(ask_all(journal, responder, prompts(50)))
    assert status(journal).given_up > 0
    assert status(journal).doubtful == ()


def test_a_service_that_dies_is_asked_ever_more_rarely_for_as_long_as_we_are_patient() -> None:
    failed: list[float] = []

    def act(_: Prompt, __: int) -> Exception | None:
        now = asyncio.get_running_loop().time()
        if now < 20:
            return None
        failed.append(now)
        return Unreachable("HTTP 500")

    responder = Acting(act=act, attempts=1000, requests_per_minute=1200.0)
    with pytest.raises(Stopped, match=r"no answer for 1[2-5]\d s"):
        in_no_time(ask_all(None, responder, prompts(3000)))
    assert len(failed) < 60, "the user allows twenty a second"


@pytest.mark.parametrize("sign_of_life", [None, Rejected("too long")])
def test_a_service_that_fails_now_and_then_is_not_dead(sign_of_life: Exception | None) -> None:
    calls = 0

    def act(_: Prompt, __: int) -> Exception | None:
        nonlocal calls
        calls += 1
        return sign_of_life if calls % 10 else Unreachable("HTTP 500")

    responder = Acting(act=act, requests_per_minute=60.0)
    answers = in_no_time(ask_all(None, responder, prompts(400)))
    assert {answer.outcome for answer in answers} == {"rejected" if sign_of_life else "answered"}


async def test_an_error_of_the_caller_ends_what_waits_to_be_asked_again(journal: Path) -> None:
    gate = threading.Event()

    class Gated(Batched):
        def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
            assert not self.book.batches or gate.wait(60)
            return super().answer_all(requests)

    responder = Acting(act=lambda *_: Overloaded("busy", 3600.0))
    local = Gated(size=1)
    with pytest.raises(KeyError):
        async with Asker(journal, progress=False) as ask:
            waiting = asyncio.create_task(ask(responder, prompt(1)))
            asking = [asyncio.create_task(ask(local, prompt)) for prompt in prompts(50)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            gate.set()
            raise KeyError
    await asyncio.gather(waiting, *asking, return_exceptions=True)
    assert responder.book.calls.total() == 1
    assert len(local.book.batches) < 25, "nor is a model of ours asked what nobody wants"


def test_a_service_that_recovers_in_time_is_waited_for() -> None:
    times: list[float] = []

    def act(_: Prompt, __: int) -> Exception | None:
        times.append(asyncio.get_running_loop().time())
        return Overloaded("busy", 30.0) if 5 < times[-1] - times[0] < 100 else None

    responder = Acting(act=act, requests_per_minute=60.0)
    answers = in_no_time(ask_all(None, responder, prompts(30)))
    assert {answer.outcome for answer in answers} == {"answered"}


def test_limits_of_the_user_are_kept() -> None:
    began: list[float] = []

    def act(_: Prompt, __: int) -> None:
        began.append(asyncio.get_running_loop().time())

    responder = Acting(act=act, requests_per_minute=60.0, concurrency=3)
    in_no_time(ask_all(None, responder, prompts(100)))
    assert max(sum(t <= start < t + 60 for start in began) for t in began) <= 62
    assert responder.book.most_in_flight <= 3


def test_tokens_a_minute_are_kept() -> None:
    began: list[float] = []

    def act(_: Prompt, __: int) -> None:
        began.append(asyncio.get_running_loop().time())

    in_no_time(ask_all(None, Acting(act=act, tokens_per_minute=900.0), prompts(200)))
    # 15 tokens an answer: 60 answers a minute, once their length is known.
    assert sum(60 <= start < 120 for start in began) <= 62


@pytest.mark.parametrize(("kind", "limit"), [("requests", 600), ("tokens", 9000)])
def test_limits_that_the_service_tells_are_kept(kind: str, limit: int) -> None:
    """It gives ten requests of 15 tokens a second, and has none left."""
    began: list[float] = []
    said = {"limit": str(limit), "remaining": "0", "reset": "60s"}

    def act(_: Prompt, __: int) -> None:
        began.append(asyncio.get_running_loop().time())
        report_limits({f"x-ratelimit-{what}-{kind}": value for what, value in said.items()})

    in_no_time(ask_all(None, Acting(act=act), prompts(300)))
    steady = began[200:]
    assert 9.0 < (len(steady) - 1) / (steady[-1] - steady[0]) < 11.0


def test_a_service_that_wants_us_to_wait_for_days_stops_the_run(journal: Path) -> None:
    responder = Acting(act=lambda *_: Overloaded("HTTP 429: used up", 3e6))
    with pytest.raises(Stopped, match=r"wants no request for 833 hours \(HTTP 429: used up\)"):
        in_no_time(ask_all(journal, responder, prompts(50)))


def test_a_limit_that_takes_hours_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    said = {"limit": "100", "remaining": "5", "reset": "95h"}

    def act(_: Prompt, __: int) -> None:
        report_limits({f"x-ratelimit-{what}-requests": value for what, value in said.items()})

    answers = in_no_time(ask_all(None, Acting(act=act), prompts(8)))
    assert {answer.outcome for answer in answers} == {"answered"}
    assert caplog.messages == ["scripted:m: waiting 3600 s, as its headers allow no more"]


def test_a_long_wait_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def act(_: Prompt, __: int) -> Exception | None:
        early = asyncio.get_running_loop().time() < 500
        return Overloaded("HTTP 429: used up", 600.0) if early else None

    answers = in_no_time(ask_all(None, Acting(act=act), prompts(50)))
    assert {answer.outcome for answer in answers} == {"answered"}
    (said,) = caplog.messages
    assert said == "scripted:m: waiting 600 s, as it asked (HTTP 429: used up)"


async def test_responders_at_one_endpoint_share_its_limits(journal: Path) -> None:
    book = Book(release=asyncio.Event())
    two = [Acting(temperature=t, concurrency=3, book=book) for t in (0.0, 1.0)]
    async with Asker(journal, progress=False) as ask:
        asking = [
            asyncio.create_task(ask(responder, one)) for responder in two for one in prompts(30)
        ]
        while book.in_flight < 3:
            await asyncio.sleep(0.001)
        assert book.release
        book.release.set()
        await asyncio.gather(*asking)
    assert book.calls.total() == 60
    assert book.most_in_flight == 3


async def test_the_budget_is_never_passed(journal: Path) -> None:
    responder = Acting(max_tokens=20)
    options = Asking(budget=0.5)  # An answer costs 0.005, and might cost 0.02.
    answers = await ask_all(journal, responder, prompts(300), options)
    outcomes = [answer.outcome for answer in answers]
    assert set(outcomes) == {"answered", "over_budget"}
    cost = status(journal).cost
    assert cost is not None and 0.45 < cost <= 0.5
    assert "of $0.5 are spent, and one more may cost $0.0200" in answers[-1].detail
    again = await ask_all(journal, responder, prompts(300), Asking(budget=2.0))
    assert {answer.outcome for answer in again} == {"answered"}
    assert set(responder.book.calls.values()) == {1}


async def test_what_earlier_runs_spent_counts(journal: Path) -> None:
    responder = Acting(max_tokens=20)
    await ask_all(journal, responder, prompts(80))
    answers = await ask_all(journal, responder, prompts(100), Asking(budget=0.4))
    assert [answer.outcome for answer in answers] == ["answered"] * 80 + ["over_budget"] * 20


async def test_a_budget_says_what_it_cannot_know(
    journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Asker(journal, progress=False) as ask:
        await ask(Acting(), prompt(1))
    for _ in range(2):
        caplog.clear()
        await ask_all(journal, Acting(max_tokens=20), prompts(3), Asking(budget=5.0))
        assert caplog.messages == ["the budget leaves out 1 answers whose price is unknown"]


async def test_without_a_limit_the_longest_answers_so_far_say_what_the_next_may_cost(
    journal: Path,
) -> None:
    """An answer costs 0.005; 4096 tokens, which it might have had, would cost four dollars."""
    await ask_all(journal, Acting(), prompts(30), Asking(budget=4.2))
    assert status(journal).answers == 30


async def test_a_budget_needs_a_price(journal: Path) -> None:
    options = Asking(budget=1.0)
    async with Asker(journal, options=options, progress=False) as ask:
        with pytest.raises(CptError, match="no price is known"):
            await ask(Acting(), prompt(1))


async def test_a_local_model_gets_what_waits_sorted_by_length(journal: Path) -> None:
    texts = ["x" * (37 * number % 50 + 1) for number in range(40)]
    asked = [prompt(number, text) for number, text in enumerate(texts)]
    responder = Batched(size=10)
    answers = await ask_all(journal, responder, asked)
    assert [answer.text for answer in answers] == [f"Answer 0 to {text}" for text in texts]
    lengths = [[len(text) for text in batch] for batch in responder.book.batches]
    assert [len(batch) for batch in lengths] == [10, 10, 10, 10]
    ascending = sorted(map(len, texts))
    assert lengths == [ascending[30:], ascending[20:30], ascending[10:20], ascending[:10]]
    await ask_all(journal, responder, asked)
    assert len(responder.book.batches) == 4, "local answers are kept too"


async def test_a_local_model_that_forgets_an_answer_is_named(journal: Path) -> None:
    with pytest.raises(
        CptError, match="the responder 'batched' returned 7 responses to 8 requests"
    ):
        await ask_all(journal, Batched(forget=1), prompts(8))


async def test_without_a_journal_nothing_is_kept() -> None:
    responder = Acting()
    for _ in range(2):
        await ask_all(None, responder, prompts(3))
    assert set(responder.book.calls.values()) == {2}


async def test_a_prompt_that_is_no_text_is_bad_data(journal: Path) -> None:
    with pytest.raises(BadData, match="prompt 'p1'"):
        await ask_all(journal, Acting(), [prompt(1, "half a \ud83d character")])
    with pytest.raises(BadData, match="its id or messages"):
        await ask_all(journal, Acting(), [attrs.evolve(prompt(1), id="half a \ud83d")])
    with pytest.raises(BadData, match="int where text belongs"):
        await ask_all(journal, Acting(), [prompt(1, 5)])  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["text", "detail", "finish_reason"])
async def test_an_answer_with_half_a_character_can_be_kept(journal: Path, where: str) -> None:
    def act(asked: Prompt, _: int) -> Response:
        whole = Response(prompt_id=asked.id, text="whole", author="m")
        changed: dict[str, Any] = {where: "half \ud83d"}
        return attrs.evolve(whole, **changed)

    (answer,) = await ask_all(journal, Acting(act=act), prompts(1))
    assert getattr(answer, where) == "half ?"
    assert where == "text" or answer.text == "whole"


async def test_a_fault_of_a_responder_ends_the_run_and_keeps_the_rest(journal: Path) -> None:
    def act(asked: Prompt, _: int) -> Exception | None:
        return KeyError("a bug") if asked.id == "p2" else None

    with pytest.raises(KeyError):
        await ask_all(journal, Acting(act=act, concurrency=4), prompts(4))
    assert status(journal).answers == 3
    assert status(journal).doubtful == ("p2",)
