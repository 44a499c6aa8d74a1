"""The requests that are waited for while batches bring their answers."""

from __future__ import annotations

import asyncio

from cpt.asking.journal.journal import Paid
from cpt.asking.journal.keys import Request
from cpt.asking.rate.retries import Attempts
from cpt.errors import AskError


class Waiters:
    """One future for each request, by its key, and how often it may still be asked."""

    def __init__(self, attempts: int) -> None:
        self._most = attempts
        self._futures: dict[str, asyncio.Future[Paid]] = {}
        self._attempts: dict[str, Attempts] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._futures

    def add(self, key: str) -> None:
        """Begin to wait for a request."""
        future = self._futures[key] = asyncio.get_running_loop().create_future()
        # All that waited may have been cancelled: an error that is not retrieved is no news.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def wait(self, key: str) -> Paid:
        """The answer. Raises the error that it ended with."""
        return await asyncio.shield(self._futures[key])

    def settle(self, key: str, paid: Paid) -> None:
        """It was answered: those who wait get the answer."""
        if future := self._futures.pop(key, None):
            future.set_result(paid)

    def count_error(self, request: Request, error: AskError) -> bool:
        """Count an error of a request; return whether to ask again.

        If not, its waiter gets the error.
        """
        if request.key not in self._futures:
            return False
        left = self._attempts.setdefault(request.key, Attempts(self._most))
        left.count(error)
        if left.may_retry(error):
            return True
        self._futures.pop(request.key).set_exception(error)
        return False

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will be answered."""
        for key in list(self._futures):
            self._futures.pop(key).set_exception(error)
