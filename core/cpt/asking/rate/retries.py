"""One policy for asking again, for requests, batches and looks at them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cpt.errors import AskError, Overloaded, Unreachable

Result = TypeVar("Result")
Wait = Callable[[AskError, int], float]
"""Called with the error and its number (from 1); returns the seconds to wait."""

FIRST, LONGEST = 0.5, 60.0
"""Bounds of the wait after the first error, and after many: seconds."""
WAITING_COUNTS = 0.1
"""A request that the service asked to wait has not failed: it counts this much of an attempt."""


class Attempts:
    """How often one request may still be asked."""

    def __init__(self, most: int) -> None:
        self._left = float(most)

    def count(self, error: AskError) -> None:
        """Count an attempt that ended in this error, unless the error is final."""
        if isinstance(error, Overloaded):
            self._left -= WAITING_COUNTS
        elif isinstance(error, Unreachable):
            self._left -= 1.0

    def may_retry(self, error: AskError) -> bool:
        """Whether to ask again after this error, which has been counted."""
        return isinstance(error, (Overloaded, Unreachable)) and self._left >= 1e-6


def backoff(error: AskError, number: int) -> float:
    """Anything up to 0.5, 1, 2, 4, ... 60 seconds; as long as the service asked, if it did.

    "Full jitter", so that requests that failed together come back apart:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    if isinstance(error, Overloaded) and error.retry_after is not None:
        return error.retry_after + random.uniform(0.0, 0.1)
    # Doubled no more than is needed: a number of many digits is no float.
    return random.uniform(0.0, min(LONGEST, FIRST * 2.0 ** min(number - 1, 16)))


async def retried(
    once: Callable[[], Awaitable[Result]],
    attempts: int,
    sleep: Callable[[float], Awaitable[None]],
    wait: Wait = backoff,
) -> Result:
    """Call until it succeeds; raise the last error after `attempts`, or one that is final."""
    left, number = Attempts(attempts), 0
    while True:
        try:
            return await once()
        except AskError as error:
            left.count(error)
            if not left.may_retry(error):
                raise
            number += 1
            seconds = wait(error, number)
        await sleep(seconds)
