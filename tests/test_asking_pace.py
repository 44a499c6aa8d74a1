"""How fast a service is asked, found out from its refusals and headers."""

from __future__ import annotations

import asyncio
import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt.asking.rate.throttle import Throttle
from cpt.asking.stop import Stop
from cpt.errors import Stopped
from cpt.service.http.ratelimits import Refill, listen, refills, report_limits

from .clock import in_no_time
from .faulty import Sliding, Window

ROWS = 1000
RETRY_AFTER = 1.0


class Random:
    """Refuses a tenth, whatever the pace."""

    def takes(self, now: float) -> bool:
        return random.random() > 0.1


@attrs.define
class Course:
    """How asking `ROWS` requests went."""

    seconds: float = 0.0
    refused: int = 0
    most_in_flight: int = 0


async def ask_all(service: object, most: int, latency: float) -> Course:
    """Ask as the engine does: a refused request comes back after `RETRY_AFTER`, before others."""
    loop, course = asyncio.get_running_loop(), Course()
    throttle = Throttle(most, Stop())

    async def ask() -> None:
        again = False
        while True:
            began = await throttle.enter(again=again)
            course.most_in_flight = max(course.most_in_flight, throttle.in_flight)
            await asyncio.sleep(latency / 10)
            if service.takes(loop.time()):  # type: ignore[attr-defined]
                await asyncio.sleep(latency)
                throttle.accepted(began)
                throttle.leave()
                return
            course.refused += 1
            throttle.overloaded(began, RETRY_AFTER)
            throttle.leave()
            await asyncio.sleep(RETRY_AFTER + random.uniform(0.0, 0.1))
            again = True

    await asyncio.gather(*(ask() for _ in range(ROWS)))
    course.seconds = loop.time()
    return course


@pytest.mark.parametrize("kind", [Sliding, Window])
def test_a_service_with_room_is_asked_as_much_as_the_user_allows(kind: type) -> None:
    course = in_no_time(ask_all(kind(1e9), 64, 1.0))
    assert course.refused == 0
    assert course.most_in_flight == 64
    assert course.seconds <= ROWS / 64 * 1.1 + 4, "the level rises within seconds"


def test_refusals_that_going_slower_does_not_help_do_not_slow_us_down() -> None:
    random.seed(0)
    course = in_no_time(ask_all(Random(), 64, 0.2))
    assert course.seconds < 30, "at the pace of the last refusal it would take minutes"


def test_a_service_that_refuses_everything_is_hardly_asked() -> None:
    async def knock() -> int:
        throttle, loop, calls = Throttle(64, Stop()), asyncio.get_running_loop(), 0

        async def ask() -> None:
            nonlocal calls
            while loop.time() < 60:
                began = await throttle.enter()
                calls += 1
                throttle.overloaded(began, 20.0)
                throttle.leave()

        await asyncio.gather(*(ask() for _ in range(64)))
        return calls

    assert in_no_time(knock()) < 100


def test_the_halt_ends_all_that_wait() -> None:
    async def wait() -> list[BaseException | None]:
        stop = Stop()
        throttle = Throttle(1, stop)

        async def ask() -> None:
            await throttle.enter()
            await asyncio.sleep(10)
            throttle.leave()

        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        tasks.append(asyncio.create_task(stop.sleep(1e6)))
        await asyncio.sleep(1)
        stop.set(Stopped("enough"))
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = in_no_time(wait())
    assert [type(error) for error in ended] == [type(None), Stopped, Stopped, Stopped]


def test_a_waiter_that_is_cancelled_leaves_no_place_taken() -> None:
    async def cancel() -> None:
        throttle = Throttle(1, Stop())

        async def ask() -> None:
            await throttle.enter()
            try:
                await asyncio.sleep(1)
            finally:
                throttle.leave()

        first, second, third = (asyncio.create_task(ask()) for _ in range(3))
        await asyncio.sleep(0.5)
        second.cancel()
        first.cancel()
        await third
        assert throttle.in_flight == 0

    in_no_time(cancel())


def test_a_waiter_that_is_cancelled_as_it_is_let_in_leaves_no_place_taken() -> None:
    async def cancel() -> None:
        throttle = Throttle(1, Stop())
        await throttle.enter()
        waiting = asyncio.create_task(throttle.enter())
        await asyncio.sleep(0)
        throttle.leave()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert throttle.in_flight == 0

    in_no_time(cancel())


def test_the_level_is_halved_by_a_refusal_and_grows_by_a_constant_a_round() -> None:
    async def course() -> None:
        throttle, loop = Throttle(64, Stop()), asyncio.get_running_loop()
        await asyncio.sleep(10)
        began = await throttle.enter()
        assert throttle.level == 64.0
        throttle.overloaded(began, None)
        throttle.overloaded(began, None)
        assert throttle.level == 32.0, "what was sent before is the same refusal"
        for _ in range(32):
            throttle.accepted(loop.time())
        assert 35.5 < throttle.level < 36.0, "a sixteenth of the most, in one round"

    in_no_time(course())


def test_what_is_asked_again_goes_first() -> None:
    async def queue() -> list[str]:
        throttle, came = Throttle(1, Stop()), []

        async def ask(name: str, again: bool) -> None:
            await throttle.enter(again=again)
            came.append(name)
            throttle.leave()

        await throttle.enter()
        tasks = [asyncio.create_task(ask(*case)) for case in (("new", False), ("again", True))]
        await asyncio.sleep(0)
        throttle.leave()
        await asyncio.gather(*tasks)
        return came

    assert in_no_time(queue()) == ["again", "new"]


OPENAI = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1m0s",
    "x-ratelimit-limit-tokens": "60000",
    "x-ratelimit-remaining-tokens": "59000",
    "x-ratelimit-reset-tokens": "20ms",
}


def test_a_limit_nearly_used_up_sets_the_pace_of_its_refill() -> None:
    assert refills(OPENAI) == Refill(requests=10.0, tokens=None)


def test_points_in_time_are_read_too() -> None:
    anthropic = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:40Z",
    }
    assert refills(anthropic, now=50.0) == Refill(requests=1.0)


def test_headers_without_limits_say_nothing() -> None:
    assert refills({"content-type": "application/json"}) is None


@given(st.dictionaries(st.sampled_from(sorted(OPENAI)), st.text(max_size=8)))
def test_no_header_can_break_a_request(headers: dict[str, str]) -> None:
    refills(headers)


async def test_a_service_is_heard_by_whoever_asked_it() -> None:
    said: list[Refill] = []

    async def asked() -> None:
        listen(said.append)
        report_limits(OPENAI)

    await asyncio.create_task(asked())
    report_limits(OPENAI)
    assert said == [Refill(requests=10.0)]
