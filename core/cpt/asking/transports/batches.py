"""Provider batches: another road to the same journal, cheaper, and done within a day.

What is asked while nothing else happens goes out together. A batch is written down before it is
sent and looked for at the provider after a crash, so that it is not paid for twice; its answers
reach the journal under the keys that they would have had one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from cpt.asking.journal.keys import Request, canonical
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_log import Batch, BatchLog
from cpt.errors import AskError, Denied, Overloaded, Rejected, Unreachable
from cpt.service.batch import BatchService
from cpt.types import Response

Keep = Callable[[BatchService, Request, Response], Awaitable[None]]
"""Makes an answer durable; once it returns, the answer may be counted."""

log = logging.getLogger("cpt")

Result = TypeVar("Result")

TOGETHER = 512
"""Answers of a batch that are made durable at a time."""


@attrs.frozen(kw_only=True)
class Timing:
    """How batches are timed."""

    quiet: float = 1.0
    """Seconds without a new request until those that wait are sent."""
    poll: float = 30.0
    """Seconds between two looks at a batch."""


class Batches:
    """Answers requests by their providers' batch endpoints."""

    def __init__(self, journal: Path, keep: Keep, stop: Stop, timing: Timing | None = None) -> None:
        self._log = BatchLog(journal)
        self._keep = keep
        self._stop = stop
        self._timing = timing or Timing()
        self._queues: dict[str, _Queue] = {}

    async def answer(self, responder: BatchService, request: Request) -> Response:
        """The answer, durable already. Raises what the service raised when it last gave up."""
        return await (await self._queue_of(responder)).answer(request)

    async def hold(self, responder: BatchService, request: Request) -> bool:
        """Whether a request is in a batch at the provider, paid for or about to be."""
        return (await self._queue_of(responder)).covered[request.key] > 0

    async def close(self) -> None:
        """Stop looking; what is at a provider stays there for the next run."""
        for queue in self._queues.values():
            await queue.close()
        self._log.close()

    async def _queue_of(self, responder: BatchService) -> _Queue:
        identity = canonical(responder.identity)
        if identity not in self._queues:
            self._queues[identity] = _Queue(
                responder, identity, self._log, self._keep, self._stop, self._timing
            )
        queue = self._queues[identity]
        await queue.begin()
        return queue


@attrs.define(eq=False)
class _Queue:
    """The batches of one responder."""

    responder: BatchService
    identity: str
    log: BatchLog
    keep: Keep
    stop: Stop
    timing: Timing
    covered: Counter[str] = attrs.field(factory=Counter)
    """Keys in batches at the provider."""
    _waiting: dict[str, asyncio.Future[Response]] = attrs.field(factory=dict)
    _unsent: dict[str, Request] = attrs.field(factory=dict)
    _held: list[Request] = attrs.field(factory=list)
    """Refused while the provider was full."""
    _failures: Counter[str] = attrs.field(factory=Counter)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)
    _beginning: asyncio.Task[None] | None = None
    _size: int = 0
    """Requests in a batch: halved when the provider finds one too large."""

    async def begin(self) -> None:
        """Once: find the batches of earlier runs."""
        if self._beginning is None:
            self._size = self.responder.batch_items
            self._beginning = asyncio.create_task(self._reconcile())
        await asyncio.shield(self._beginning)

    async def answer(self, request: Request) -> Response:
        """What comes of a request, in whichever batch."""
        self.stop.check()
        if request.key not in self._waiting:
            waiter = self._waiting[request.key] = asyncio.get_running_loop().create_future()
            # Whoever waited may have been cancelled: an error that nobody hears is no news.
            waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
            if not self.covered[request.key]:
                self._enqueue([request])
        return await asyncio.shield(self._waiting[request.key])

    async def close(self) -> None:
        """Stop looking."""
        running = [*self._tasks, *filter(None, [self._beginning])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _reconcile(self) -> None:
        for batch in self.log.open(self.identity):
            for found in [batch] if batch.remote else await self._find(batch):
                self._follow(found)

    def _enqueue(self, requests: Sequence[Request]) -> None:
        if requests and not self._unsent:
            self._spawn(self._send())
        self._unsent.update({each.key: each for each in requests})

    async def _send(self) -> None:
        """Send what is not sent yet, once it grows no more."""
        before = 0
        while before < len(self._unsent) < self._size:
            before = len(self._unsent)
            await self.stop.sleep(self.timing.quiet)
        while self._unsent:
            name = f"cpt-{uuid.uuid4().hex}"
            batch = Batch(name, self.identity, self._take(), time.time())
            self.log.intend(batch)
            self._spawn(self._submit(batch))

    def _take(self) -> list[Request]:
        """As much of that as fits in a batch."""
        taken: list[Request] = []
        room = self.responder.batch_bytes
        for request in list(self._unsent.values())[: self._size]:
            # Escapes can double the text; the rest of a request is its options.
            room -= 2 * len(request.messages.encode()) + 4096
            if taken and room < 0:
                break
            taken.append(self._unsent.pop(request.key))
        return taken

    async def _submit(self, batch: Batch) -> None:
        try:
            remote = await self.responder.batch_submit(batch.name, list(batch.items.values()))
            self.log.sent(batch.name, remote)
            self._follow(attrs.evolve(batch, remote=remote))
        except Unreachable as error:
            log.warning("a batch could not be sent (%s); looking whether it arrived", error)
            await self.stop.sleep(self.timing.poll)
            found = await self._find(batch)
            for each in found:
                self._follow(each)
            self._again([] if found else batch.requests, error)
        except (Overloaded, Rejected) as error:
            self.log.over(batch.name, "lost")
            await self._refused(batch.requests, error)

    async def _refused(self, requests: Sequence[Request], error: AskError) -> None:
        """Send later or less at a time what the provider did not take together."""
        log.warning("a batch of %d was refused (%s)", len(requests), error)
        if isinstance(error, Overloaded) and self.covered.total():
            # What is at the provider fills its queue: there is room when some of that has ended.
            self._held += requests
            return
        await self.stop.sleep(self.timing.poll)
        if len(requests) == 1:
            return self._again(requests, error)
        self._size = len(requests) // 2
        self._enqueue(requests)

    async def _find(self, batch: Batch) -> list[Batch]:
        """At the provider: what may be this batch, whose id was never noted."""
        known, count = self.log.known(), len(batch.requests)
        remotes = await self._patiently(
            lambda: self.responder.batch_find(batch.name, count, batch.since)
        )
        found = [
            attrs.evolve(batch, name=f"{batch.name}-{number}", remote=remote)
            for number, remote in enumerate(remotes)
            if remote not in known
        ]
        for each in found:
            self.log.intend(each)
        self.log.over(batch.name, "found" if found else "lost")
        return found

    def _follow(self, batch: Batch) -> None:
        self.covered.update(each.key for each in batch.requests)
        self._spawn(self._see_through(batch, str(batch.remote)))

    async def _see_through(self, batch: Batch, remote: str) -> None:
        """From being at the provider to having brought what it brings."""
        missing = {each.key: each for each in batch.requests}
        errors: dict[str, AskError] = {}
        state = "ended"
        try:
            while not await self._patiently(lambda: self.responder.batch_ended(remote)):
                await self.stop.sleep(self.timing.poll)
            await self._patiently(lambda: self._collect(batch, remote, missing, errors))
        except Rejected as error:
            log.warning("batch %s brings nothing (%s)", remote, error)
            state = "lost"
        self.log.over(batch.name, state)
        self.covered.subtract(each.key for each in batch.requests)
        held, self._held = self._held, []
        self._enqueue(held)
        if missing and all(isinstance(errors.get(key), Overloaded) for key in missing):
            return await self._refused(list(missing.values()), errors[next(iter(missing))])
        for key, request in missing.items():
            self._again([request], errors.get(key) or Unreachable("its batch did not answer it"))

    async def _collect(
        self,
        batch: Batch,
        remote: str,
        missing: dict[str, Request],
        errors: dict[str, AskError],
    ) -> None:
        """Keep every answer of a batch that is `missing`, and note the errors."""
        answers: list[tuple[Request, Response]] = []
        async for key, result in self.responder.batch_results(remote, batch.items):
            if isinstance(result, Denied):
                raise result
            if isinstance(result, AskError):
                errors[key] = result
            elif key in missing:
                answers.append((missing.pop(key), result))
            if len(answers) >= TOGETHER:
                await self._deliver(answers)
                answers.clear()
        await self._deliver(answers)

    async def _deliver(self, answers: Sequence[tuple[Request, Response]]) -> None:
        await asyncio.gather(*(self.keep(self.responder, *answer) for answer in answers))
        for request, response in answers:
            if waiter := self._waiting.pop(request.key, None):
                waiter.set_result(response)

    def _again(self, requests: Sequence[Request], error: AskError) -> None:
        """Ask once more what somebody waits for, unless it failed too often or for good."""
        for request in requests:
            if request.key not in self._waiting or self.covered[request.key] > 0:
                continue
            self._failures[request.key] += 1
            final = isinstance(error, Rejected)
            if final or self._failures[request.key] >= self.responder.attempts:
                self._waiting.pop(request.key).set_exception(error)
            else:
                self._enqueue([request])

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call until the provider answers, or has not for too long."""
        for attempt in range(1, self.responder.attempts + 1):
            try:
                return await call()
            except (Overloaded, Unreachable) as error:
                if attempt == self.responder.attempts:
                    raise
                log.warning("%s; looking again", error)
                await self.stop.sleep(self.timing.poll)
        raise AssertionError("attempts is at least 1")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or not (error := task.exception()):
            return
        for key in list(self._waiting):
            self._waiting.pop(key).set_exception(error)
