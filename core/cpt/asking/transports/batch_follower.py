"""Following batches at a provider until they end, and keeping what they bring."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import attrs

from cpt.asking.journal.keys import Request
from cpt.asking.keeper import Keeper
from cpt.asking.rate.retries import retried
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_log import BatchLog, ProviderBatch
from cpt.asking.transports.batch_timing import Timing
from cpt.asking.transports.batch_waiters import Waiters
from cpt.asking.transports.refusals import refusal_of_all
from cpt.errors import AskError, Denied, Rejected, Unreachable
from cpt.roles.returns import checked_response
from cpt.service.batch import BatchService
from cpt.types import Response

Result = TypeVar("Result")

log = logging.getLogger("cpt")

TOGETHER = 512
"""Answers of a batch that are made durable at a time."""
EXPECTED = "`batch_results` must yield (key, cpt.Response or cpt.AskError)"


@attrs.define(eq=False)
class Follower:
    """The batches of one responder that are at the provider."""

    responder: BatchService
    log: BatchLog
    keeper: Keeper
    waiters: Waiters
    stop: Stop
    timing: Timing
    most_rejected: int
    """So many rejections alike, and no answer, stop the run."""
    covered: Counter[str] = attrs.field(factory=Counter)
    """Keys of the requests in these batches."""

    async def follow(self, batch: ProviderBatch) -> dict[str, AskError]:
        """See a batch of `covered` to its end; the errors of what it did not answer, by key."""
        missing = {request.key: request for request in batch.requests}
        errors: dict[str, AskError] = {}
        state, remote = "ended", str(batch.remote)
        try:
            while not await self._retried(lambda: self.responder.batch_ended(remote)):
                await self.stop.sleep(self.timing.poll)
            await self._retried(lambda: self._collect(batch, missing, errors))
        except Rejected as error:
            log.warning("batch %s brings nothing (%s)", remote, error)
            state = "lost"
        self.log.over(batch.name, state)
        self.covered.subtract(request.key for request in batch.requests)
        # Only now: the next run shall ask again, not read the same batch for ever.
        if denied := next((error for error in errors.values() if isinstance(error, Denied)), None):
            raise denied
        whole = not (self.responder.top_logprobs or self.responder.json_schema)
        if whole and len(missing) == len(batch.requests):
            refusal = refusal_of_all(errors.values(), self.most_rejected)
            if refusal:
                raise refusal
        return {
            key: errors.get(key) or Unreachable("its batch did not answer it") for key in missing
        }

    async def _collect(
        self, batch: ProviderBatch, missing: dict[str, Request], errors: dict[str, AskError]
    ) -> None:
        """Keep every answer of a batch that is `missing`, and note the errors."""
        items, answers = batch.items, dict[str, Response]()
        async for key, result in self.responder.batch_results(str(batch.remote), items):
            if isinstance(result, AskError):
                errors[key] = result
            elif key in missing:
                prompt = items[key].prompt
                answers[key] = checked_response(self.responder, prompt, result, EXPECTED)
            if len(answers) >= TOGETHER:
                await self._keep(missing, answers)
                answers.clear()
        await self._keep(missing, answers)

    async def _keep(self, missing: dict[str, Request], answers: Mapping[str, Response]) -> None:
        """Make answers durable, then hand them out; until then they are missing."""

        async def keep(key: str, response: Response) -> None:
            request = missing[key]
            paid = await self.keeper.keep(self.responder, request, response, batch=True)
            del missing[key]
            self.waiters.settle(key, paid)

        await asyncio.gather(*(keep(*answer) for answer in answers.items()))

    async def _retried(self, call: Callable[[], Awaitable[Result]]) -> Result:
        attempts, after = self.responder.attempts, self.timing.after
        return await retried(call, attempts, self.stop.sleep, after)
