"""Provider batches: cheaper, done within a day, with answers in the same journal.

What is asked while nothing else happens goes out together. A batch is written down before it is
sent and looked for at the provider after a crash, so that it is not paid for twice; its answers
have the same keys in the journal as if each had been asked alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from cpt.asking.journal.journal import Paid
from cpt.asking.journal.keys import Request, canonical
from cpt.asking.keeper import Keeper
from cpt.asking.options import Asking
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_follower import Follower
from cpt.asking.transports.batch_log import BatchLog, ProviderBatch
from cpt.asking.transports.batch_sender import Sender
from cpt.asking.transports.batch_timing import Timing
from cpt.asking.transports.batch_waiters import Waiters
from cpt.errors import AskError, Overloaded, Rejected, Unreachable
from cpt.service.batch import BatchService

log = logging.getLogger("cpt")


class ProviderBatches:
    """Answers requests by their providers' batch endpoints."""

    def __init__(
        self,
        journal: Path,
        keeper: Keeper,
        stop: Stop,
        timing: Timing | None = None,
        options: Asking | None = None,
    ) -> None:
        self._log = BatchLog(journal)
        self._keeper = keeper
        self._stop = stop
        self._timing = timing or Timing()
        self._most = (options or Asking()).stop_after_rejected
        self._queues: dict[str, _Queue] = {}

    async def answer(self, responder: BatchService, request: Request) -> Paid:
        """The answer, durable already. Raises the error that the request was given up with."""
        return await (await self._queue_of(responder)).answer(request)

    async def is_in_batch(self, responder: BatchService, request: Request) -> bool:
        """Whether a request is in a batch at the provider, paid for or about to be."""
        return (await self._queue_of(responder)).is_in_batch(request)

    async def close(self) -> None:
        """Stop looking; what is at a provider stays there for the next run."""
        for queue in self._queues.values():
            await queue.close()
        self._log.close()

    async def _queue_of(self, responder: BatchService) -> _Queue:
        identity = canonical(responder.identity)
        if identity not in self._queues:
            self._queues[identity] = self._new_queue(responder, identity)
        queue = self._queues[identity]
        await queue.begin()
        return queue

    def _new_queue(self, responder: BatchService, identity: str) -> _Queue:
        log, stop, timing = self._log, self._stop, self._timing
        waiters = Waiters(responder.attempts)
        sender = Sender(responder, identity, log, stop, timing, responder.batch_items)
        follower = Follower(responder, log, self._keeper, waiters, stop, timing, self._most)
        return _Queue(sender, follower, waiters, log.open(identity))


class _Queue:
    """One responder's requests on their way: to the sender, the follower, and back if they fail."""

    def __init__(
        self, sender: Sender, follower: Follower, waiters: Waiters, earlier: Sequence[ProviderBatch]
    ) -> None:
        self._sender = sender
        self._follower = follower
        self._waiters = waiters
        self._earlier = earlier
        self._postponed: list[Request] = []
        """Refused while the provider was full."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._beginning: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Once: find the batches of earlier runs."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._resume())
        await asyncio.shield(self._beginning)

    def is_in_batch(self, request: Request) -> bool:
        """Whether it is in a batch at the provider."""
        return self._follower.covered[request.key] > 0

    async def answer(self, request: Request) -> Paid:
        """What comes of a request, in whichever batch."""
        self._sender.stop.raise_if_set()
        if request.key not in self._waiters:
            self._waiters.add(request.key)
            if not self.is_in_batch(request):
                self._enqueue([request])
        return await self._waiters.wait(request.key)

    async def close(self) -> None:
        """Stop looking."""
        running = [*self._tasks, *filter(None, [self._beginning])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _resume(self) -> None:
        for batch in self._earlier:
            self._follow(await self._sender.find(batch))

    def _enqueue(self, requests: Sequence[Request]) -> None:
        if self._sender.add(requests):
            self._spawn(self._send())

    async def _send(self) -> None:
        await self._sender.settle()
        for batch in self._sender.batches():
            self._spawn(self._submit(batch))

    async def _submit(self, batch: ProviderBatch) -> None:
        try:
            self._follow([await self._sender.submit(batch)])
        except Unreachable as error:
            await self._look_for(batch, error)
        except (Overloaded, Rejected) as error:
            await self._refused(batch.requests, error)

    async def _look_for(self, batch: ProviderBatch, error: AskError) -> None:
        log.warning("a batch could not be sent (%s); looking whether it arrived", error)
        await self._sender.stop.sleep(self._sender.timing.poll)
        found = await self._sender.find(batch)
        self._follow(found)
        if not found:
            self._again(batch.requests, error)

    def _follow(self, batches: Sequence[ProviderBatch]) -> None:
        for batch in batches:
            self._follower.covered.update(request.key for request in batch.requests)
            self._spawn(self._see_through(batch))

    async def _see_through(self, batch: ProviderBatch) -> None:
        """From being at the provider to asking again what it did not answer."""
        errors = await self._follower.follow(batch)
        postponed, self._postponed = self._postponed, []
        self._enqueue(postponed)
        failed = [request for request in batch.requests if request.key in errors]
        if failed and all(isinstance(error, Overloaded) for error in errors.values()):
            return await self._refused(failed, errors[failed[0].key])
        for request in failed:
            self._again([request], errors[request.key])

    async def _refused(self, requests: Sequence[Request], error: AskError) -> None:
        """Send later or less at a time what the provider did not take together."""
        log.warning("a batch of %d was refused (%s)", len(requests), error)
        if isinstance(error, Overloaded) and self._follower.covered.total():
            # What is at the provider fills its queue: there is room when some of that has ended.
            self._postponed += requests
            return
        await self._sender.stop.sleep(self._sender.timing.poll)
        if len(requests) == 1:
            return self._again(requests, error)
        self._sender.size = len(requests) // 2
        self._enqueue(requests)

    def _again(self, requests: Sequence[Request], error: AskError) -> None:
        """Ask once more what is waited for, unless it failed too often or for good."""
        self._enqueue(
            [
                request
                for request in requests
                if not self.is_in_batch(request) and self._waiters.count_error(request, error)
            ]
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._waiters.fail_all(error)
