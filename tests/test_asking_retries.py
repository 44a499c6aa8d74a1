"""When what failed is asked again, and what an HTTP error says of that."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from cpt import Denied, Overloaded, Rejected, Unreachable
from cpt.asking.rate.retries import retried
from cpt.service.http.errors import http_error, retry_after


async def waits(error: Exception, attempts: int) -> list[float]:
    """Seconds between the attempts of a request that never succeeds."""
    slept: list[float] = []

    async def once() -> None:
        raise error

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(type(error)):
        await retried(once, attempts, sleep)
    return slept


async def test_waits_have_full_jitter_below_a_bound_that_doubles() -> None:
    """Anything from nothing to the bound, so that those who failed together come back apart."""
    many = [await waits(Unreachable("HTTP 500"), 12) for _ in range(200)]
    for number, drawn in enumerate(zip(*many, strict=True)):
        bound = min(60.0, 0.5 * 2**number)
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound


async def test_who_is_told_to_wait_does_and_comes_back_a_little_later() -> None:
    drawn = await waits(Overloaded("HTTP 429", 7.0), 10)
    assert len(drawn) == 99, "that is no failure of the request"
    assert 7.0 <= min(drawn) < max(drawn) <= 7.1


async def test_what_no_attempt_fixes_is_not_asked_again() -> None:
    assert await waits(Rejected("HTTP 400"), 8) == []
    assert await waits(Denied("HTTP 401"), 8) == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_seconds(said: dict[str, str], seconds: float | None) -> None:
    assert retry_after(said) == seconds


def test_retry_after_as_a_date() -> None:
    later = retry_after({"retry-after": formatdate(time.time() + 100, usegmt=True)})
    assert later is not None and 95 < later <= 100


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *dict.fromkeys((301, 302, 401, 402, 403, 404, 405), Denied).items(),
        *dict.fromkeys((429, 503, 529), Overloaded).items(),
        *dict.fromkeys((408, 409, 425, 500, 502, 504, 520), Unreachable).items(),
        *dict.fromkeys((400, 413, 415, 418, 422), Rejected).items(),
    ],
)
def test_what_a_status_means(status: int, kind: type[Exception]) -> None:
    assert type(http_error(status, {}, {"error": {"message": "so it is"}})) is kind


@pytest.mark.parametrize("body", [{"error": {"code": "insufficient_quota"}}, "credit balance low"])
def test_an_empty_account_is_no_overload(body: object) -> None:
    assert type(http_error(429, {}, body)) is Denied
    assert type(http_error(500, {}, body)) is Unreachable
