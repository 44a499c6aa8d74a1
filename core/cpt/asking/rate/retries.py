"""One policy for asking again, whoever is asked."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from cpt.errors import Overloaded, Unreachable

Result = TypeVar("Result")

FULL_JITTER = wait_random_exponential(multiplier=0.5, max=60.0)
"""Seconds before the next attempt: anything up to 0.5, 1, 2, 4, ... 60."""
WAITING_COUNTS = 0.1
"""A request that was told to wait has not failed: it counts this much of an attempt."""


async def retried(
    once: Callable[[], Awaitable[Result]],
    attempts: int,
    sleep: Callable[[float], Awaitable[None]],
) -> Result:
    """Call until it succeeds; raise the last `Overloaded` or `Unreachable` after `attempts`."""
    try:
        # Nearly all succeed at once, and need no machinery that takes longer than sending them.
        return await once()
    except (Overloaded, Unreachable) as error:
        first = [error]

    async def resumed() -> Result:
        if first:
            raise first.pop()
        return await once()

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((Overloaded, Unreachable)),
        wait=_wait,
        stop=_Count(attempts),
        sleep=sleep,
        reraise=True,
    )
    return await retrying(resumed)


def _wait(state: RetryCallState) -> float:
    error = _error(state)
    if isinstance(error, Overloaded) and error.retry_after is not None:
        # Never sooner than asked; a little later, so that not all come back in the same moment.
        return error.retry_after + random.uniform(0.0, 0.1)
    return FULL_JITTER(state)


class _Count:
    """Stops when enough attempts of one request have failed."""

    def __init__(self, attempts: int) -> None:
        self._left = float(attempts)

    def __call__(self, state: RetryCallState) -> bool:
        self._left -= WAITING_COUNTS if isinstance(_error(state), Overloaded) else 1.0
        return self._left < 1e-6


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
